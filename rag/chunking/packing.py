"""Pack blocks into chunks, block by block, and larger blocks part by part."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rag.chunking.blocks import Block
from rag.chunking.parts import split_block
from rag.chunking.ruler import Ruler
from rag.text.sentences import split_sentences

# A chunk that is less than a third full takes the beginning of a block that would not fit whole.
_TOO_EMPTY = 3

_LINE = re.compile(r"(?:\A|(?<=\n))[ \t]*\S")

_PROSE = ("prose", "list", "item", "sentence")


@dataclass(slots=True)
class Packer:
    """A packer for the chunks of one section; `whole` decides whether a chunk is short enough."""

    ruler: Ruler
    whole: Callable[[int, int], bool]
    size: int
    overlap: int
    language: str
    _ahead: deque[Block] = field(default_factory=deque)
    _placed: list[Block] = field(default_factory=list)
    _start: int = 0

    def pack(self, blocks: Iterator[Block]) -> Iterator[tuple[int, int]]:
        """Yield the spans of the chunks that `blocks` make, in order."""
        while True:
            block = self._ahead.popleft() if self._ahead else next(blocks, None)
            if block is None and not self._placed:
                return
            if block is None:
                yield from self._close(None)
            elif self._placed and self._fits(self._start, block.end):
                self._placed.append(block)
            elif not self._fits(block.start, block.end) or self._starts_early(block):
                self._open(block)
            elif self._placed:
                yield from self._close(block)
            else:
                self._start, self._placed = block.start, [block]

    def _fits(self, start: int, end: int) -> bool:
        return end - start == 1 or self.ruler.length(start, end) <= self.size

    def _starts_early(self, block: Block) -> bool:
        if not self._placed or block.kind not in ("prose", "list", "table"):
            return False
        filled = self.ruler.length(self._start, self._placed[-1].end)
        return filled * _TOO_EMPTY < self.size

    def _open(self, block: Block) -> None:
        # Parts are cut so small that the overlap still has room before them.
        size = max(1, self.size - self.overlap)
        self._ahead.extendleft(reversed(split_block(block, self.ruler, size, self.language)))

    def _close(self, following: Block | None) -> Iterator[tuple[int, int]]:
        """End the chunk before `following`, which begins the next chunk.

        Cut out of its text, a chunk may have more tokens than within it. It then leaves its last
        block to the next chunk, or gives up its overlap, or is cut in two.
        """
        if following:
            self._ahead.appendleft(following)
        while (end := self._placed[-1].end) > self._start + 1 and not self.whole(self._start, end):
            if len(self._placed) > 1:
                self._ahead.appendleft(self._placed.pop())
            elif self._start < self._placed[0].start:
                self._start = self._placed[0].start
            else:
                self._open(self._placed.pop())
                return
        yield self._start, end
        if not self._ahead:
            self._placed = []
            return
        following = self._ahead[0]
        start = self._overlap_start(following)
        self._placed = []
        if self._fits(following.start, following.end):
            self._ahead.popleft()
            self._start, self._placed = start, [following]

    def _overlap_start(self, following: Block) -> int:
        """Return where the chunk of `following` begins to overlap the end of the one before."""
        if not self.overlap:
            return following.start
        end = self._placed[-1].end
        floor = max(self.ruler.before(end, self.overlap), self._start + 1)
        starts: list[int] = []
        for block in reversed(self._placed):
            if block.end <= floor:
                break
            starts += [at for at in self._openings(block) if at >= floor]
        # Prose without a sentence there may begin at a word.
        words = self._words(max(floor, self._placed[-1].start), end)
        for at in (*sorted(starts), *words):
            if self._fits(at, following.end):
                return at
        return following.start

    def _openings(self, block: Block) -> list[int]:
        text = self.ruler.text[block.start : block.end]
        if block.kind in _PROSE:
            return [block.start + start for start, _ in split_sentences(text, self.language)]
        if block.kind in ("words", "cells"):
            return []
        if block.kind != "lines":
            return [block.start]
        lines = [block.start + line.end() - 1 for line in _LINE.finditer(text)]
        return lines if _opens_line(self.ruler.text, block.start) else lines[1:]

    def _words(self, start: int, end: int) -> Iterator[int]:
        if self._placed[-1].kind not in (*_PROSE, "words"):
            return
        text = self.ruler.text
        for at in self.ruler.starts(start, end):
            in_word = text[at - 1].isalnum() and text[at].isalnum()
            if not in_word and not text[at].isspace():
                yield at


def _opens_line(text: str, at: int) -> bool:
    before = text[max(0, at - 200) : at].rstrip(" \t")
    return not before or before.endswith("\n")
