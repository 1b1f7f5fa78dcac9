"""Cut a text to the part worth showing and wrap it to lines, never inside a word."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

Span = tuple[int, int]

# Chinese, Japanese and Thai, Lao, Khmer and Burmese put no spaces between words: any of their
# characters may begin a line.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\uff01-\uff60"
_PIECE = re.compile(rf"[{_UNSPACED}][\u0300-\u036f]*|[^\s{_UNSPACED}]+")
_STRETCH = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"""[.!?。！？]["'”’)\]]*$""")
_CUT = "…"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a text on one line, with `…` where it was cut; `marks` are spans of `text`."""

    text: str
    marks: tuple[Span, ...] = ()


def excerpt(text: str, marks: Sequence[Span] = (), *, columns: int = 240) -> Excerpt:
    """Return the part of `text` that holds most of the different marked words, in order.

    It has single spaces, begins and ends between words, and takes at most so many columns of a
    terminal unless a single word takes more. Among parts that hold as many marks it is the one at
    the beginning of a sentence, or with some words before its first mark. Without marks it is the
    beginning.

    Args:
        marks: spans of `text`, in order and not overlapping.
    """
    joined, marks = join_lines(text, marks)
    if width(joined) <= columns:
        return Excerpt(joined, tuple(marks))
    first, last = _choose(joined, marks, columns)
    before = f"{_CUT} " if first else ""
    after = f" {_CUT}" if last < len(joined) else ""
    moved = tuple(
        (start - first + len(before), end - first + len(before))
        for start, end in marks
        if first <= start and end <= last
    )
    return Excerpt(before + joined[first:last] + after, moved)


def wrap(text: str, columns: int) -> list[Span]:
    """Return the spans of the lines that `text` makes on a terminal of so many columns.

    Line breaks of `text` stay. A word that is longer than a line gets a line of its own.
    """
    lines: list[Span] = []
    at = 0
    for line in text.split("\n"):
        lines += [(at + start, at + end) for start, end in _wrap_line(line, columns)]
        at += len(line) + 1
    return lines


def width(text: str) -> int:
    """Return how many columns `text` takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _wrap_line(line: str, columns: int) -> list[Span]:
    found: list[Span] = []
    start = end = 0
    for piece in _PIECE.finditer(line):
        if end > start and width(line[start : piece.end()]) > columns:
            found.append((start, end))
            start = piece.start()
        end = piece.end()
    return [*found, (start, end)]


def join_lines(
    text: str, marks: Sequence[Span], line_break: re.Pattern[str] | None = None
) -> tuple[str, list[Span]]:
    """Return `text` with single spaces, and where the marks are then.

    Args:
        text: what is joined; white space around it is dropped.
        marks: spans of `text`.
        line_break: matches white space that stays a line break.
    """
    stretches = [match.span() for match in _STRETCH.finditer(text)]
    breaks = [match.end() for match in line_break.finditer(text)] if line_break else []
    starts = [start for start, _ in stretches]
    moved = [0]
    for start, end in stretches:
        moved.append(moved[-1] + end - start + 1)

    def place(offset: int) -> int:
        at = max(0, bisect_right(starts, offset) - 1)
        start, end = stretches[at]
        return moved[at] + min(max(0, offset - start), end - start)

    joined = text[slice(*stretches[0])] if stretches else ""
    for (_, before), (start, end) in pairwise(stretches):
        is_kept = any(before < each <= start for each in breaks)
        joined += ("\n" if is_kept else " ") + text[start:end]
    # A mark ends after its last character, which is in a stretch.
    return joined, [(place(start), place(end - 1) + 1) for start, end in marks]


def _choose(text: str, marks: Sequence[Span], columns: int) -> Span:
    """Return the span of the part of `text`, with room for the signs that it was cut."""
    pieces = [match.span() for match in _PIECE.finditer(text)]
    # At which column each piece begins and ends, if all of the text were on one line.
    columns_to = [0, *accumulate(map(width, text))]
    begins = [columns_to[start] for start, _ in pieces]
    ends = [columns_to[end] for _, end in pieces]
    words = [text[start:end].casefold() for start, end in marks]

    def last_of(at: int) -> int:
        room = columns - 2 - (2 if at else 0)
        return max(at + 1, bisect_right(ends, begins[at] + room))

    def worth(at: int) -> tuple[int, int, bool, int]:
        start, end = pieces[at][0], pieces[last_of(at) - 1][1]
        held = [i for i, (first, last) in enumerate(marks) if start <= first and last <= end]
        lead = marks[held[0]][0] - start if held else 0
        opens = at == 0 or bool(_SENTENCE_END.search(text[slice(*pieces[at - 1])]))
        return len({words[i] for i in held}), len(held), opens, -abs(lead - columns // 4)

    best = max(range(len(pieces)), key=worth) if marks else 0
    return pieces[best][0], pieces[last_of(best) - 1][1]
