"""Read a page's picture: upright and straight first, then its words in reading order."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rag.sources.formats.pdf.layout import Line, Piece, reading_order
from rag.sources.ocr import Box, Engine, Picture, Word

if TYPE_CHECKING:
    from PIL.Image import Image

# A page that is read with a lower mean confidence is tried turned, too. Chosen, not fitted.
_SURE = 0.75
_TURNS = (90, 180, 270)
# Below this a word is as likely a spot, a stamp or a line of a drawing.
_LEAST_CONFIDENCE = 0.3
_MOST_SKEW = 5.0
_LEAST_SKEW = 0.2
_SKEW_SIDE = 800
_APART = 1.2  # em between the words of two pieces
_TITLE = 1.4  # of the page's usual line
_EM = 0.8  # of a line's height from ascender to descender


@dataclass(frozen=True, slots=True)
class ReadPage:
    """The lines of a page in reading order; their pieces number `words`, which have `boxes`.

    Boxes are (left, top, right, bottom) in shares of the picture as it was given. `confidence` is
    the mean of the words', weighted by their length.
    """

    lines: list[Line]
    words: list[Word]
    boxes: list[Box]
    confidence: float


def read_picture(
    image: Image, engine: Engine, languages: Sequence[str], dots_per_inch: float
) -> ReadPage:
    """Read a grey picture of a page, however it is turned.

    Raises:
        OcrError: if the engine cannot read it.
    """
    from PIL.Image import Resampling

    grey = image.convert("L")
    best: tuple[float, list[Word], int, float, tuple[int, int]] | None = None
    for turn in (0, *_TURNS):
        turned = grey.rotate(turn, expand=True, fillcolor=255) if turn else grey
        skew = measure_skew(turned)
        if skew:
            turned = turned.rotate(skew, resample=Resampling.BICUBIC, fillcolor=255)
        picture = Picture(turned.width, turned.height, turned.tobytes())
        found = engine.recognize(picture, languages)
        words = [word for word in found if word.confidence >= _LEAST_CONFIDENCE]
        # What is upside down is read as few short words of low confidence; what lies on its side
        # tesseract may read, in no order.
        score = sum(word.confidence**2 * len(word.text) for word in words if not _lies(word))
        if best is None or score > best[0]:
            best = (score, words, turn, skew, turned.size)
        lying = sum(_lies(word) for word in words)
        if not turn and (not found or (_mean(found) >= _SURE and 2 * lying <= len(words))):
            break
    if best is None:
        raise AssertionError("no turn was tried")
    _, words, turn, skew, size = best
    words.sort(key=lambda word: (word.line, word.left))
    boxes = [_box_before(word, size, turn, skew) for word in words]
    lines = reading_order(_make_pieces(words, 72 / dots_per_inch)) if words else []
    return ReadPage(lines, words, boxes, _mean(words))


def measure_skew(image: Image) -> float:
    """Return by how many degrees, counter-clockwise, a picture is to be turned to be straight.

    The rows of a straight page are either inked or white: the sum of squared differences of
    neighbouring rows is largest (Postl, "Detection of linear oblique structures", ICPR 1986).
    """
    import numpy as np
    from PIL.Image import Resampling

    small = image.copy()
    small.thumbnail((_SKEW_SIDE, _SKEW_SIDE))

    def sharpness(angle: float) -> float:
        turned = small.rotate(angle, resample=Resampling.BILINEAR, fillcolor=255)
        rows = 255.0 - np.asarray(turned, dtype=np.float32).mean(axis=1)
        return float(np.square(np.diff(rows)).sum())

    steps = np.arange(-_MOST_SKEW, _MOST_SKEW + 0.1, 0.5)
    rough = max(steps, key=lambda angle: sharpness(float(angle)))
    fine = max(
        (float(rough + each) for each in np.arange(-0.4, 0.41, 0.1)),
        key=sharpness,
    )
    if abs(fine) < _LEAST_SKEW or sharpness(fine) < 1.1 * sharpness(0.0):
        return 0.0
    return fine


def _lies(word: Word) -> bool:
    return len(word.text) > 2 and word.bottom - word.top > 1.5 * (word.right - word.left)


def _mean(words: Sequence[Word]) -> float:
    weight = sum(len(word.text) for word in words)
    return sum(word.confidence * len(word.text) for word in words) / weight if weight else 0.0


def _make_pieces(words: Sequence[Word], points: float) -> list[Piece]:
    """Join words of one line that stand close together; `points` are those of a pixel.

    Heights of lines differ by their letters: only a much higher line is set in a larger size.
    """
    heights = [word.line_bottom - word.line_top for word in words]
    usual = statistics.median(heights)
    pieces: list[Piece] = []
    numbered = list(enumerate(words))
    for _, group in groupby(numbered, key=lambda each: each[1].line):
        piece: Piece | None = None
        for at, word in group:
            height = word.line_bottom - word.line_top
            size = _EM * (height if height > _TITLE * usual else usual) * points
            top, bottom = word.line_top * points, word.line_bottom * points
            left, right = word.left * points, word.right * points
            if piece is not None and left - piece.x1 < _APART * size:
                piece.text += f" {word.text}"
                piece.x1, piece.until = max(piece.x1, right), at
                continue
            piece = Piece(word.text, left, top, right, bottom, bottom, size, at, at)
            pieces.append(piece)
    return pieces


def _box_before(word: Word, size: tuple[int, int], turn: int, skew: float) -> Box:
    """Return the box of a word in shares of the picture before it was turned."""
    width, height = size
    across, down = [], []
    sine, cosine = math.sin(math.radians(skew)), math.cos(math.radians(skew))
    for x, y in (
        (word.left, word.top), (word.right, word.top),
        (word.left, word.bottom), (word.right, word.bottom),
    ):  # fmt: skip
        # Pillow turns counter-clockwise about the middle, with `y` downwards.
        dx, dy = x - width / 2, y - height / 2
        sx = (dx * cosine - dy * sine + width / 2) / width
        sy = (dx * sine + dy * cosine + height / 2) / height
        sx, sy = {0: (sx, sy), 90: (1 - sy, sx), 180: (1 - sx, 1 - sy), 270: (sy, 1 - sx)}[turn]
        across.append(min(1.0, max(0.0, sx)))
        down.append(min(1.0, max(0.0, sy)))
    return min(across), min(down), max(across), max(down)
