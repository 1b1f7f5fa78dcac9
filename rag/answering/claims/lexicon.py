"""The words of English that turn a statement around, and those that set it in a direction."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:[.,'-]\w+)*")
_NUMBER = re.compile(r"\d(?:[\d,.]*\d)?")
_CAPITAL = re.compile(r"\b[A-Z][\w-]*\w")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS = _words(
    """
    not no never none nor neither cannot without nothing nobody nowhere hardly barely scarcely
    little fail fails failed failing unable lack lacks lacked lacking absence absent unlikely
    impossible
    """
)
DENIALS = _words(
    """
    false falsely myth myths hoax scam fraud wrong wrongly untrue incorrect incorrectly mistaken
    mistake misleading exaggerate exaggerates exaggerated exaggeration overestimate overestimates
    overestimated debunked disproved disproven refute refutes refuted deny denies denied reject
    rejects rejected contradict contradicts contradicted flawed error errors fabricated bogus
    nonsense supposed supposedly alleged allegedly alarmist alarmists alarmism ceased ended stopped
    stabilized halted paused pause hiatus
    """
)
HEDGES = _words(
    """
    may might could would possibly perhaps probably likely suggest suggests suggested appear appears
    appeared seem seems seemed potential potentially believe believes believed think thinks thought
    claim claims claimed expect expected estimate estimates estimated predict predicts predicted
    project projects projected
    """
)
AXES = (
    (
        _words(
            """
            increase increases increased increasing increasingly rise rises rising rose risen grow
            grows growing grew grown growth gain gains gained gaining expand expands expanded
            expanding expansion more most higher highest greater greatest larger largest bigger
            biggest longer longest faster fastest accelerate accelerates accelerated accelerating
            acceleration intensify intensifies intensified intensifying strengthen strengthens
            strengthened stronger strongest worsen worsens worsened worsening worse worst up above
            exceed exceeds exceeded surge surged soar soared doubled tripled many often
            """
        ),
        _words(
            """
            decrease decreases decreased decreasing decline declines declined declining fall falls
            falling fell fallen shrink shrinks shrinking shrank shrunk lose loses losing lost loss
            losses reduce reduces reduced reducing reduction reductions less least lower lowest
            smaller smallest shorter shortest fewer fewest slower slowest slow slows slowed slowing
            weaken weakens weakened weakening weaker weakest drop drops dropped dropping retreat
            retreats retreated retreating diminish diminishes diminished down below halved few
            rarely
            """
        ),
    ),
    (
        _words("warm warms warmed warming warmer warmest hot hotter hottest heat heats heated"),
        _words("cool cools cooled cooling cooler coolest cold colder coldest freeze freezes froze"),
    ),
)
"""Pairs of opposite directions: up and down, warm and cold."""


def words(text: str) -> list[str]:
    """The words of `text` in lower case, in order."""
    return _WORD.findall(text.casefold().replace("’", "'"))


def negated(found: Sequence[str]) -> bool:
    """Whether any word negates."""
    return any(word in NEGATIONS or word.endswith("n't") for word in found)


def direction(found: Sequence[str], axis: tuple[frozenset[str], frozenset[str]]) -> int:
    """1 or -1 for the side of `axis` that more words are on, 0 for neither."""
    difference = sum((word in axis[0]) - (word in axis[1]) for word in found)
    return (difference > 0) - (difference < 0)


def numbers(text: str) -> frozenset[str]:
    """The numbers of `text`, without separators of thousands."""
    return frozenset(number.replace(",", "") for number in _NUMBER.findall(text))


def names(text: str) -> frozenset[str]:
    """The capitalised words of `text` in lower case, but for its first word."""
    first = re.match(r"\W*\w+", text)
    rest = text[first.end() :] if first else text
    return frozenset(name.casefold() for name in _CAPITAL.findall(rest))
