"""Extract pieces of text and their positions from PDFium's characters.

A call through ctypes costs about half a microsecond, so the text is fetched by the page, the font
by the line, and boxes only for the first and the last character of each word.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import closing
from itertools import repeat
from typing import TYPE_CHECKING, Any

from rag.sources.formats.pdf.annotations import read_annotations
from rag.sources.formats.pdf.layout import Line, Piece, reading_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_APART = 1.2  # em between the words of two pieces
_LEAST_OVERLAP = 0.3  # of the lower word's height, within a piece
_LONGEST_HEADING = 150
# PDFium writes U+FFFE for a hyphen at the end of a line, and no line end after it.
_WORD = re.compile("[^\\s\ufffe]+\ufffe?|\ufffe")
_CONTROL = re.compile("[\0-\x1f\x7f]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LETTER = re.compile(r"[^\W\d_]")
_BOLD = re.compile(rb"bold|black|heavy|cmbx|sfbx|[-,]medi(?!um)|demi", re.IGNORECASE)


def page_lines(pdf: Any, index: int) -> list[Line]:
    """Return the lines of a page in reading order, or none if it holds no text.

    Values of form fields and notes follow: where they lie says little of what they belong to.
    """
    with closing(pdf[index]) as page, closing(page.get_textpage()) as textpage:
        characters = _Characters(textpage)
        upright, turned = _make_pieces(characters)
        lines = reading_order(upright) if upright else []
        # Text that runs along the margin has no position in the page's text, so it comes last.
        lines += [
            Line(piece.text, "\n\n", piece.size, 0.0, 0.0, 0.0, piece.at, piece.until)
            for piece in turned
        ]
        _mark_bold(lines, characters)
        for line in lines:
            # Of thousands of pages they would take much memory.
            line.pieces = ()
        lines += [
            Line(text, "\n\n", 0.0, 0.0, 0.0, 0.0, 0, 0) for text in read_annotations(pdf, page)
        ]
    return lines


class _Characters:
    """The characters of a page, by their positions in the text that PDFium returns."""

    def __init__(self, textpage: Any) -> None:
        from pypdfium2 import raw

        self._raw = raw
        self._page = textpage.raw
        count = textpage.count_chars()
        buffer = ctypes.create_string_buffer((2 * count + 2) * 2)
        written = raw.FPDFText_GetText(
            self._page, 0, count, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort))
        )
        units = buffer.raw[: max(written - 1, 0) * 2]
        self.text = units.decode("utf-16-le", "surrogatepass")
        self._numbers = None if len(self.text) == count else self._number_characters()

    def _number_characters(self) -> list[int]:
        """Return PDFium's number of each character, where these differ from their positions.

        They do where characters have no text, or take two units of UTF-16.
        """
        numbers, unit = [], 0
        for character in self.text:
            numbers.append(self._raw.FPDFText_GetCharIndexFromTextIndex(self._page, unit))
            unit += 1 + (ord(character) > 0xFFFF)
        return numbers

    def _number(self, at: int) -> int:
        return self._numbers[at] if self._numbers else at

    def boxes(self, places: Sequence[int]) -> NDArray[np.float32]:
        """Return left, top, right and bottom of characters (n, 4), by the font's height."""
        import numpy as np

        numbers = [self._numbers[at] for at in places] if self._numbers else places
        rects = (self._raw.FS_RECTF * len(places))()
        deque(map(self._raw.FPDFText_GetLooseCharBox, repeat(self._page), numbers, rects), 0)
        # A broken matrix gives characters infinite or undefined positions.
        return np.nan_to_num(np.frombuffer(rects, np.float32), posinf=0, neginf=0).reshape(-1, 4)

    def turn(self, at: int) -> int:
        """Return by how many quarters a character is turned clockwise."""
        angle = self._raw.FPDFText_GetCharAngle(self._page, self._number(at))
        return round(angle / (math.pi / 2)) % 4 if angle >= 0 else 0

    def size(self, at: int) -> float:
        """Return a character's visible size: many writers set size 1 and scale by a matrix."""
        number = self._number(at)
        size = float(self._raw.FPDFText_GetFontSize(self._page, number))
        matrix = self._raw.FS_MATRIX()
        if self._raw.FPDFText_GetMatrix(self._page, number, ctypes.byref(matrix)):
            size *= math.hypot(matrix.c, matrix.d) or 1.0
        return abs(size)

    def baseline(self, at: int, turn: int) -> float:
        """Return how far down a character's baseline is, as seen by a reader of the turned text."""
        x, y = ctypes.c_double(), ctypes.c_double()
        number = self._number(at)
        self._raw.FPDFText_GetCharOrigin(self._page, number, ctypes.byref(x), ctypes.byref(y))
        return (-y.value, -x.value, y.value, x.value)[turn]

    def is_bold(self, at: int) -> bool:
        name = ctypes.create_string_buffer(128)
        flags = ctypes.c_int()
        self._raw.FPDFText_GetFontInfo(
            self._page, self._number(at), name, len(name), ctypes.byref(flags)
        )
        return bool(flags.value & 1 << 18 or _BOLD.search(name.value))


def _make_pieces(characters: _Characters) -> tuple[list[Piece], list[Piece]]:
    """Return the pieces that are turned as most of the page is, and those turned otherwise."""
    import numpy as np

    text = characters.text
    words = [match.span() for match in _WORD.finditer(text)]
    if not words:
        return [], []
    # A line of PDFium's may reach over two columns, but has one direction.
    firsts = [0]
    firsts += [at for at in range(1, len(words)) if "\n" in text[words[at - 1][1] : words[at][0]]]
    lasts = [*firsts[1:], len(words)]
    middles = [words[(first + last) // 2][0] for first, last in zip(firsts, lasts, strict=True)]
    turns = [characters.turn(at) for at in middles]
    # The word in the middle may be an index or exponent, which is smaller.
    sizes = [
        max(characters.size(middle), characters.size(words[first][0]))
        for first, middle in zip(firsts, middles, strict=True)
    ]
    lengths = np.diff([*firsts, len(words)])
    em = np.repeat(sizes, lengths)
    x0, y0, x1, y1 = _boxes_as_read(characters, words, np.repeat(turns, lengths))
    begins = np.zeros(len(words), bool)
    begins[firsts] = True
    apart = np.maximum(x0[1:] - x1[:-1], x0[:-1] - x1[1:])
    overlap = np.minimum(y1[1:], y1[:-1]) - np.maximum(y0[1:], y0[:-1])
    heights = y1 - y0
    begins[1:] |= apart > _APART * em[1:]
    begins[1:] |= overlap < _LEAST_OVERLAP * np.minimum(heights[1:], heights[:-1])
    starts = np.flatnonzero(begins)
    left, right = np.minimum.reduceat(x0, starts).tolist(), np.maximum.reduceat(x1, starts).tolist()
    line_of = (np.searchsorted(firsts, starts, "right") - 1).tolist()
    tops, bottoms, tall = y0.tolist(), y1.tolist(), heights.tolist()
    ends = [*starts[1:].tolist(), len(words)]
    weights: Counter[int] = Counter()
    for turn, length in zip(turns, lengths.tolist(), strict=True):
        weights[turn] += length
    most = weights.most_common(1)[0][0]
    upright: list[Piece] = []
    turned: list[Piece] = []
    for at, (first, end) in enumerate(zip(starts.tolist(), ends, strict=True)):
        written = " ".join([text[a:b] for a, b in words[first:end]]).replace("\ufffe", "-")
        written = _CONTROL.sub("", written)
        if not written:
            continue
        # The tallest word shows where the line is: smaller ones may be indices and exponents.
        main = max(range(first, end), key=tall.__getitem__)
        turn, size = turns[line_of[at]], sizes[line_of[at]]
        piece = Piece(
            written,
            left[at],
            tops[main],
            right[at],
            bottoms[main],
            characters.baseline(words[main][0], turn),
            size or tall[main] or 1.0,
            words[first][0],
            words[end - 1][1] - 1,
        )
        (upright if turn == most else turned).append(piece)
    return upright, turned


def _boxes_as_read(
    characters: _Characters, words: list[tuple[int, int]], turns: NDArray[np.int64]
) -> tuple[NDArray[np.float32], ...]:
    """Return left, top, right and bottom of words as a reader sees them, running right and down.

    Pages that are written from right to left are mirrored, and are then like any other.
    """
    import numpy as np

    boxes = characters.boxes([at for start, end in words for at in (start, end - 1)])
    first, last = boxes[::2], boxes[1::2]
    left, right = np.minimum(first[:, 0], last[:, 0]), np.maximum(first[:, 2], last[:, 2])
    bottom, top = np.minimum(first[:, 3], last[:, 3]), np.maximum(first[:, 1], last[:, 1])
    if turns.any():
        x0 = np.choose(turns, (left, -top, -right, bottom))
        x1 = np.choose(turns, (right, -bottom, -left, top))
        y0 = np.choose(turns, (-top, -right, bottom, left))
        y1 = np.choose(turns, (-bottom, -left, top, right))
    else:
        x0, y0, x1, y1 = left, -top, right, -bottom
    rtl = len(_RIGHT_TO_LEFT.findall(characters.text))
    if rtl and 2 * rtl > len(_LETTER.findall(characters.text)):
        x0, x1 = -x1, -x0
    return x0, y0, x1, y1


def _mark_bold(lines: list[Line], characters: _Characters) -> None:
    """Mark the bold lines among those that may be headings."""
    above = False
    for line in lines:
        line.bold = (
            (above or line.gap != "\n")
            and len(line.text) <= _LONGEST_HEADING
            and characters.is_bold(line.at)
            and characters.is_bold(line.until)
        )
        above = line.bold
