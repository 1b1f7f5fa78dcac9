"""Lengths of spans in tokens, each part of a text tokenized once."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence

TokenOffsets = Callable[[str], Sequence[tuple[int, int]]]

# WordPiece reads a word of any length as one unknown token; a passage is still to be readable.
CHARACTERS_PER_TOKEN = 16

# A tokenizer's memory is many times its text: it is fed in parts.
_PORTION = 1 << 14
_REMEMBERED = 1024


class Ruler:
    """How many tokens begin within a span, by arithmetic over the token starts of the whole text.

    Cut out of its text, a span may be read otherwise: what must hold is measured with `count`.
    """

    def __init__(self, text: str, token_offsets: TokenOffsets) -> None:
        self.text = text
        self._token_offsets = token_offsets
        self._starts = array("L")
        self._read = 0
        self._lengths: dict[str, int] = {}

    def length(self, start: int, end: int) -> int:
        """The tokens of `text[start:end]`, and more where they are uncommonly long."""
        self._read_to(end)
        tokens = bisect_left(self._starts, end) - bisect_left(self._starts, start)
        return max(tokens, -(-(end - start) // CHARACTERS_PER_TOKEN))

    def count(self, text: str) -> int:
        """The tokens of a text by itself, and more where they are uncommonly long."""
        least = -(-len(text) // CHARACTERS_PER_TOKEN)
        return max(len(self._token_offsets(text)), least)

    def starts(self, start: int, end: int) -> Sequence[int]:
        """Where the tokens begin that begin in `text[start:end]`."""
        self._read_to(end)
        return self._starts[bisect_left(self._starts, start) : bisect_left(self._starts, end)]

    def before(self, end: int, tokens: int) -> int:
        """Where the last `tokens` tokens before `end` begin."""
        self._read_to(end)
        at = bisect_left(self._starts, end) - tokens
        return max(self._starts[at] if at >= 0 else 0, end - tokens * CHARACTERS_PER_TOKEN)

    def tokens_of(self, text: str) -> int:
        """The tokens of a short text that is asked for again and again."""
        if text not in self._lengths:
            if len(self._lengths) >= _REMEMBERED:
                self._lengths.clear()
            self._lengths[text] = len(self._token_offsets(text))
        return self._lengths[text]

    def _read_to(self, end: int) -> None:
        while self._read < end:
            start = self._read
            self._read = portion_end(self.text, start, len(self.text), _PORTION)
            offsets = self._token_offsets(self.text[start : self._read])
            # Sorted: a normalizer may change the order of combining marks.
            self._starts.extend(sorted(start + first for first, _ in offsets))


def portion_end(text: str, start: int, end: int, width: int) -> int:
    """Where a part of `text[start:end]` ends that is `width` long, at a line or word if it can."""
    most = start + width
    if most >= end:
        return end
    for separator in ("\n", " "):
        at = text.rfind(separator, start + width // 2, most)
        if at >= 0:
            return at + 1
    return most
