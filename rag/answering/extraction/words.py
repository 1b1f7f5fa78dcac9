"""text -> tokens, and what kind of thing a run of them names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.text.languages.english import (
    FUNCTION_WORDS,
    MONTHS,
    NUMBER_WORDS,
    ORDINAL,
    UNITS,
    WEEKDAYS,
)
from rag.text.words import TOKEN, stem

_YEAR = re.compile(r"1\d{3}s?|20\d{2}s?")
_NUMERAL = re.compile(r"[£$€]?\d")
_ORDINAL = re.compile(ORDINAL)


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
        return self.low in FUNCTION_WORDS and self.low not in NUMBER_WORDS

    @property
    def is_mark(self) -> bool:
        return not self.raw[0].isalnum() and self.raw[0] not in "£$€"

    @property
    def is_name(self) -> bool:
        """Whether it is written with a capital."""
        return self.raw[0].isupper()

    @property
    def is_number(self) -> bool:
        return self.low in NUMBER_WORDS or _NUMERAL.match(self.raw) is not None

    @property
    def is_year(self) -> bool:
        return _YEAR.fullmatch(self.raw) is not None

    @property
    def is_unit(self) -> bool:
        return self.low in UNITS

    @property
    def is_month(self) -> bool:
        return self.low in MONTHS


def tokens(text: str) -> list[Token]:
    """Return the words and marks of `text` in order."""
    return [
        Token(m[0], low := m[0].lower(), stem(low), m.start(), m.end())
        for m in TOKEN.finditer(text)
    ]


def kinds(run: Sequence[Token]) -> frozenset[str]:
    """Return what a run of tokens may name: any of `num`, `date`, `cap`, `allcap` and `unit`."""
    # "May" alone is a verb more often than not.
    months = any(token.is_month and (token.low != "may" or len(run) > 1) for token in run)
    days = any(token.is_year or token.low in WEEKDAYS for token in run)
    ordinal = any(_ORDINAL.fullmatch(token.low) for token in run)
    century = ordinal and any(token.low == "century" for token in run)
    content = [token for token in run if token.raw.isalnum() and not token.is_function]
    named = {
        "num": any(token.is_number for token in run),
        "date": months or days or century,
        "cap": any(token.is_name for token in run),
        "allcap": bool(content) and all(token.is_name for token in content),
        "unit": any(token.is_unit for token in run),
    }
    return frozenset(kind for kind, holds in named.items() if holds)
