"""Tidy lines that a model or a person wrote, and compare the shapes of words."""

from __future__ import annotations

import re

_LIST_MARK = re.compile(
    r"^(?:\(?\d{1,2}[.):]\s+|[a-z]\)\s+|[-*+•–]\s+"
    r"|(?:\w+ )?(?:question|query|wording|version|rewrit\w+|paraphrase) ?\d*:\s+)+",
    re.IGNORECASE,
)
_QUOTES = "\"'“”‘’«»*`"
PUNCTUATION = ".,;:!?()[]{}" + _QUOTES


def strip_marks(line: str) -> str:
    """Return a line without its number or bullet, and without quotation marks around it."""
    bare = _LIST_MARK.sub("", line.strip()).strip(" ,")
    while len(bare) > 1 and bare[0] in _QUOTES and bare[-1] in _QUOTES:
        bare = bare[1:-1].strip()
    return bare


def join_lines(text: str) -> str:
    """Return a text on one line, with single spaces."""
    return " ".join(text.split())


def shape(word: str) -> str:
    """Return a word with each digit replaced by 0, so that numbers of one form look alike."""
    return re.sub(r"\d", "0", word)


def has_digit(word: str) -> bool:
    """Return whether a word holds a digit."""
    return any(character.isdigit() for character in word)
