"""Short texts that a model or a person wrote: without marks and quotes, and the shape of a word."""

from __future__ import annotations

import re

_LIST_MARK = re.compile(
    r"^(?:\(?\d{1,2}[.):]\s+|[a-z]\)\s+|[-*+•–]\s+"
    r"|(?:\w+ )?(?:question|query|wording|version|rewrit\w+|paraphrase) ?\d*:\s+)+",
    re.IGNORECASE,
)
_QUOTES = "\"'“”‘’«»*`"
PUNCTUATION = ".,;:!?()[]{}" + _QUOTES


def unmarked(line: str) -> str:
    """A line without its number or bullet, and without the quotation marks around it."""
    bare = _LIST_MARK.sub("", line.strip()).strip(" ,")
    while len(bare) > 1 and bare[0] in _QUOTES and bare[-1] in _QUOTES:
        bare = bare[1:-1].strip()
    return bare


def folded(text: str) -> str:
    """Put a text on one line, with single spaces."""
    return " ".join(text.split())


def shape(word: str) -> str:
    """Replace each digit by 0, so that numbers of one form look alike."""
    return re.sub(r"\d", "0", word)


def has_digit(word: str) -> bool:
    """Tell whether a word holds a digit."""
    return any(character.isdigit() for character in word)
