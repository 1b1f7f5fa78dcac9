"""Measure spans in tokens, while each portion of the text is tokenized only once."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence

TokenOffsets = Callable[[str], Sequence[tuple[int, int]]]

# WordPiece reads a word of any length as one unknown token, but a chunk must stay readable.
CHARACTERS_PER_TOKEN = 16

# A tokenizer takes many times the memory of its text, so it is fed in portions.
_PORTION = 1 << 14
_REMEMBERED = 1024


class Ruler:
    """A measure of spans by the token starts of the whole text.

    Cut out of its text, a span may be tokenized differently: `count` measures it exactly.
    """

    def __init__(self, text: str, token_offsets: TokenOffsets) -> None:
        self.text = text
        self._token_offsets = token_offsets
        self._starts = array("L")
        self._read = 0
        self._lengths: dict[str, int] = {}

    def length(self, start: int, end: int) -> int:
        """Count the tokens that begin in `text[start:end]`; long ones count as several."""
        self._read_to(end)
        tokens = bisect_left(self._starts, end) - bisect_left(self._starts, start)
        return max(tokens, -(-(end - start) // CHARACTERS_PER_TOKEN))

    def count(self, text: str) -> int:
        """Count the tokens of a text by itself; long ones count as several."""
        least = -(-len(text) // CHARACTERS_PER_TOKEN)
        return max(len(self._token_offsets(text)), least)

    def starts(self, start: int, end: int) -> Sequence[int]:
        """Return where the tokens in `text[start:end]` begin."""
        self._read_to(end)
        return self._starts[bisect_left(self._starts, start) : bisect_left(self._starts, end)]

    def before(self, end: int, tokens: int) -> int:
        """Return where the last `tokens` tokens before `end` begin."""
        self._read_to(end)
        at = bisect_left(self._starts, end) - tokens
        return max(self._starts[at] if at >= 0 else 0, end - tokens * CHARACTERS_PER_TOKEN)

    def tokens_of(self, text: str) -> int:
        """Count the tokens of a short text, and remember the result."""
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
            # Starts are sorted, since a normalizer may change the order of combining marks.
            self._starts.extend(sorted(start + first for first, _ in offsets))


def portion_end(text: str, start: int, end: int, width: int) -> int:
    """Return where a portion of `width` ends in `text[start:end]`, at a line or word if it can."""
    most = start + width
    if most >= end:
        return end
    for separator in ("\n", " "):
        at = text.rfind(separator, start + width // 2, most)
        if at >= 0:
            return at + 1
    return most
