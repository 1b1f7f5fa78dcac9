"""Bring a text into the form in which it is searched and embedded."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# About 25 tokens of English; no tokenizer makes more tokens than bytes.
PREFIX_BYTES = 100

# Soft hyphens, zero-width characters and bidirectional controls, which nobody sees or types.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
# NFKC would turn 10² into 102, and 6½ into 61⁄2.
_NUMBERS = re.compile("([²³¹¼-¾\u2070-\u208e\u2150-\u215f\u2189]+)")


def searchable(text: str) -> str:
    """Return `text` with plain characters, and without invisible ones.

    Ligatures, full-width letters and other compatibility forms become plain (Unicode's NFKC), but
    superscript digits and fractions stay. NUL and lone surrogates become U+FFFD. Line ends and
    tabs stay. Applying it twice changes nothing.
    """
    if text.isascii() and "\0" not in text:
        return text
    text = _NO_TEXT.sub("\ufffd", _INVISIBLE.sub("", text))
    if unicodedata.is_normalized("NFKC", text):
        return text
    # Every second part is a run of numbers that stays.
    parts = _NUMBERS.split(text)
    parts[::2] = [unicodedata.normalize("NFKC", part) for part in parts[::2]]
    return "".join(parts)


def prefix(titles: Sequence[str]) -> str:
    """Return the innermost titles that fit into `PREFIX_BYTES`, a line each, and a blank line."""
    lines: list[str] = []
    room = PREFIX_BYTES
    for title in reversed(titles):
        shown = searchable(" ".join(title.split()))
        room -= len(shown.encode()) + 1
        if room < 1:
            break
        lines.insert(0, shown)
    if titles and not lines:
        shown = searchable(titles[-1]).encode()[: PREFIX_BYTES - 2].decode(errors="ignore")
        lines = [shown]
    return "\n".join(lines) + "\n\n" if lines else ""
