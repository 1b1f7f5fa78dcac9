"""question -> how its answer has to be read: a fact, a list, steps, yes or no, and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rag.answering.extraction import parse_question
from rag.answering.extraction.words import Token, tokens
from rag.parsing import read_whole
from rag.text.languages import english
from rag.text.stopwords import reads_as_english
from rag.text.words import content_words, stem

Manner = Literal["fact", "list", "definition", "whether", "steps", "comparison", "reason", "facts"]

_POLITE = re.compile(english.POLITE_START, re.IGNORECASE)
_DEFINITION = re.compile(english.DEFINITION_QUESTION)
_LONG_DEFINITIONS = [re.compile(pattern) for pattern in english.LONG_DEFINITION_QUESTIONS]
_SIDES = [re.compile(pattern, re.IGNORECASE) for pattern in english.COMPARED_SIDES]
_WHETHER = re.compile(dict(english.QUESTION_KINDS)["whether"])
_QUESTION_WORD = re.compile(r"\b(?:what|which|who|whom|whose|when|where|why|how)\b")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_ORDINAL = re.compile(
    rf"\b({'|'.join(_ORDINALS)}|last)\b (?:\w+ )?(?:step|item|level|stage|phase|point|rule|task)\b"
)
_COUNT = re.compile(rf"\b(?:the|all|name|list) (\d{{1,2}}|{'|'.join(english.NUMERALS)})\b")


@dataclass(frozen=True, slots=True)
class Request:
    """A question, and how its answer has to be read.

    `words` are its content words; `names` the stems of its names and numbers; `term` what a
    definition is asked of, and `sides` what is compared, in small letters; `count` how many items a
    list must have; `ordinal` which item is asked for, from 1, or -1 for the last.
    """

    text: str
    manner: Manner
    asked: str
    words: frozenset[str]
    names: frozenset[str]
    term: str = ""
    sides: tuple[str, ...] = ()
    head: str = ""
    count: int | None = None
    ordinal: int | None = None


def parse_request(question: str) -> Request:
    """Return how the answer to a question has to be read; of other languages, as a fact."""
    text = _POLITE.sub("", question).strip() or question.strip()
    low = " ".join(text.lower().split())
    parsed = parse_question(text)
    sides = _find_sides(low)
    term = _find_term(low)
    noun = _find_plural(text)
    count, ordinal = _COUNT.search(low), _ORDINAL.search(low)
    is_fact = ordinal or not reads_as_english(text)
    return Request(
        text=text,
        manner="fact" if is_fact else _find_manner(low, term, sides, noun),
        asked=parsed.asked,
        words=content_words(text),
        names=parsed.names,
        term=term,
        sides=sides,
        head=noun or parsed.head,
        count=read_whole(str(english.NUMERALS.get(count[1], count[1]))) if count else None,
        ordinal=_number_of(ordinal[1]) if ordinal else None,
    )


def _find_manner(low: str, term: str, sides: tuple[str, ...], noun: str) -> Manner:
    def asks(pattern: str) -> bool:
        return re.search(pattern, low) is not None

    choice: Manner = "fact"
    if sides or asks(english.ASKS_COMPARISON):
        choice = "comparison"
    elif _asks_whether(low):
        choice = "whether"
    elif asks(english.ASKS_TWO_FACTS) and not term:
        choice = "facts"
    elif asks(english.ASKS_REASON):
        choice = "reason"
    elif asks(english.ASKS_STEPS):
        choice = "reason" if asks(english.EXPLAINS_HOW) else "steps"
    elif term:
        choice = "definition"
    elif noun or asks(english.ASKS_LIST):
        choice = "list"
    return choice


def _asks_whether(low: str) -> bool:
    """Return whether a question is for yes or no: it begins with a verb and leaves no choice."""
    if re.search(r"\bor\b(?! not\b)", low):
        return False
    if _WHETHER.match(low) or re.match(r"(?:shall|should|am|might|\w+n't)\b", low):
        return True
    words = {token.low for token in tokens(low)}
    return (
        low.endswith("?")
        and not _QUESTION_WORD.search(low)
        and not words.isdisjoint(english.AUXILIARIES)
    )


def _find_term(low: str) -> str:
    """Return what a definition is asked of, or nothing.

    Of "the" something a value is asked more often than what it is: the sentence that the reader
    found says both.
    """
    bare = low.rstrip(" ?.!")
    for pattern in _LONG_DEFINITIONS:
        if match := pattern.fullmatch(bare):
            return _bare_term(match[1])
    match = _DEFINITION.fullmatch(low)
    if match is None or re.match(r"what(?: is|'s| are| was| were) the\b", low):
        return ""
    term = match[1]
    if any(token.is_function for token in tokens(term)) or term.split()[0] in english.NUMERALS:
        return ""
    return _bare_term(term)


def _bare_term(term: str) -> str:
    return re.sub(r"^(?:an?|the) |^[\"'“‘]|[\"'”’]$", "", term).strip(" \"'“”‘’")


def _find_sides(low: str) -> tuple[str, ...]:
    for pattern in _SIDES:
        if match := pattern.search(low):
            return tuple(side.strip(" \"'“”") for side in match.groups())
    return ()


def _find_plural(text: str) -> str:
    """Return the stem of the plural that "which" or "what" asks for, or nothing."""
    found = tokens(text)
    for at, token in enumerate(found):
        if token.low in ("which", "what"):
            for place in range(at + 1, min(at + 5, len(found))):
                word = found[place]
                if word.is_mark or word.is_function:
                    break
                if word.is_name and place > at + 1:
                    break
                if _is_plural(word.low) and _ends_a_noun(found, at, place):
                    return stem(word.low)
    return ""


def _is_plural(word: str) -> bool:
    if word in english.IRREGULAR_PLURALS:
        return True
    return (
        len(word) > 3
        and word.endswith("s")
        and not word.endswith(english.SINGULAR_ENDINGS)
        and word not in english.SINGULAR_WITH_S
    )


def _ends_a_noun(found: list[Token], at: int, place: int) -> bool:
    """Return whether a word in -s ends the noun asked for, and is no verb ("costs 4.65")."""
    if place == at + 1:
        # "What makes it turn", "what causes rust"
        following = found[place + 1].low if place + 1 < len(found) else ""
        return found[at].low == "which" or following in english.AUXILIARIES | {"of"}
    if place + 1 >= len(found):
        return False
    after = found[place + 1]
    verb_follows = after.low in english.DETERMINERS or after.is_number or after.is_name
    return not verb_follows and after.low not in english.PREPOSITIONS | english.PRONOUNS


def _number_of(ordinal: str) -> int:
    return -1 if ordinal == "last" else _ORDINALS.index(ordinal) + 1
