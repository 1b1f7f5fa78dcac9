"""Find what decides whether two statements contradict: negation, direction, numbers, names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.text.languages.english import NEGATIONS
from rag.text.words import WORD

_NUMBER = re.compile(r"\d(?:[\d,.]*\d)?")
_CAPITAL = re.compile(r"\b[A-Z][\w-]*\w")


def words(text: str) -> list[str]:
    """Return the words of `text` in lower case, in order."""
    return [word.replace("’", "'") for word in WORD.findall(text.casefold())]


def is_negated(found: Sequence[str]) -> bool:
    """Whether any of the words negates."""
    return any(word in NEGATIONS or word.endswith("n't") for word in found)


def direction(found: Sequence[str], axis: tuple[frozenset[str], frozenset[str]]) -> int:
    """Return 1 or -1 for the side of `axis` with more of the words, 0 for neither."""
    difference = sum((word in axis[0]) - (word in axis[1]) for word in found)
    return (difference > 0) - (difference < 0)


def numbers(text: str) -> frozenset[str]:
    """Return the numbers in `text`, without thousands separators."""
    return frozenset(number.replace(",", "") for number in _NUMBER.findall(text))


def names(text: str) -> frozenset[str]:
    """Return the capitalised words of `text` in lower case, except for its first word."""
    first = re.match(r"\W*\w+", text)
    rest = text[first.end() :] if first else text
    return frozenset(name.casefold() for name in _CAPITAL.findall(rest))
