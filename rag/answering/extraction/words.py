"""text -> tokens, and what kind of thing a run of them names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.text.sentences import stem

_TOKEN = re.compile(r"[^\W_]+(?:[.,:'’/-][^\W_]+)*%?|[^\w\s]")
_YEAR = re.compile(r"1\d{3}s?|20\d{2}s?")
_NUMERAL = re.compile(r"[£$€]?\d")
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th)")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    "the a an this that these those its his her their our my your some any each no"
)
PREPOSITIONS = _words(
    "of in on at by for with from to into onto over under between among through during before "
    "after since until about against within without across along around near toward towards "
    "upon via per than as like including"
)
CONJUNCTIONS = _words(
    "and or but nor yet so because although while whereas if when where which who whom whose that "
    "how why what"
)
PRONOUNS = _words(
    "i he she it they we you him her them us me himself herself itself themselves there one"
)
AUXILIARIES = _words(
    "is are was were be been being am has have had having do does did will would can could may "
    "might shall should must not also only just even still often"
)
_FUNCTION = DETERMINERS | PREPOSITIONS | CONJUNCTIONS | PRONOUNS | AUXILIARIES
_MONTHS = _words(
    "january february march april may june july august september october november december jan feb "
    "mar apr jun jul aug sep sept oct nov dec"
)
_WEEKDAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
_NUMBERS = _words(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "hundred thousand million billion trillion dozen half third quarter twice once first second"
)
_UNITS = _words(
    "percent % million billion trillion thousand hundred dollars pounds euros miles kilometers km "
    "metres meters feet ft m inches years days hours minutes seconds months weeks people students "
    "acres hectares tons tonnes degrees points yards votes members times tokens parameters "
    "questions examples characters words layers documents"
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a mark of punctuation: `text[start:end] == raw`."""

    raw: str
    low: str
    stem: str
    start: int
    end: int

    @property
    def is_function(self) -> bool:
        """Whether it holds a sentence together rather than naming something."""
        return self.low in _FUNCTION and self.low not in _NUMBERS

    @property
    def is_mark(self) -> bool:
        return not self.raw[0].isalnum() and self.raw[0] not in "£$€"

    @property
    def is_name(self) -> bool:
        """Whether it is written with a capital."""
        return self.raw[0].isupper()

    @property
    def is_number(self) -> bool:
        return self.low in _NUMBERS or _NUMERAL.match(self.raw) is not None

    @property
    def is_year(self) -> bool:
        return _YEAR.fullmatch(self.raw) is not None

    @property
    def is_unit(self) -> bool:
        return self.low in _UNITS

    @property
    def is_month(self) -> bool:
        return self.low in _MONTHS


def tokens(text: str) -> list[Token]:
    """The words and marks of `text` in order."""
    return [
        Token(m[0], low := m[0].lower(), stem(low), m.start(), m.end())
        for m in _TOKEN.finditer(text)
    ]


def kinds(run: Sequence[Token]) -> frozenset[str]:
    """What a run of tokens may name: `num`, `date`, `cap`, `allcap` and `unit`, any of them."""
    found = set()
    if any(token.is_number for token in run):
        found.add("num")
    # "May" alone is a verb more often than not.
    months = any(token.is_month and (token.low != "may" or len(run) > 1) for token in run)
    if months or any(token.is_year or token.low in _WEEKDAYS for token in run):
        found.add("date")
    if any(_ORDINAL.fullmatch(t.low) for t in run) and any(t.low == "century" for t in run):
        found.add("date")
    if any(token.is_name for token in run):
        found.add("cap")
    content = [token for token in run if token.raw.isalnum() and not token.is_function]
    if content and all(token.is_name for token in content):
        found.add("allcap")
    if any(token.is_unit for token in run):
        found.add("unit")
    return frozenset(found)
