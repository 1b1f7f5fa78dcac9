"""What passes between a reader and an engine: a grey picture of a page, and words with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

# A page of A3 at 400 dots per inch has 31 million.
LARGEST_PIXELS = 40_000_000


class OcrError(Exception):
    """An engine could not read a picture; the words of the error finish "the page …"."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A grey picture, a byte for each pixel, row by row from the top."""

    width: int
    height: int
    pixels: bytes

    def __post_init__(self) -> None:
        size = self.width * self.height
        if min(self.width, self.height) < 1 or size != len(self.pixels) or size > LARGEST_PIXELS:
            raise ValueError(f"no picture of {self.width} x {self.height} pixels")


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its box in pixels; `confidence` is between 0 and 1.

    `line` numbers the lines in the engine's order; `line_top` and `line_bottom` are those of the
    line that the word stands on.
    """

    text: str
    left: float
    top: float
    right: float
    bottom: float
    confidence: float
    line: int
    line_top: float
    line_bottom: float


class Engine(Protocol):
    """Whatever reads words in pictures."""

    @property
    def name(self) -> str:
        """What the metadata of a document call the engine."""

    def recognize(self, picture: Picture, languages: Sequence[str]) -> list[Word]:
        """Return the words of an upright picture; `languages` are ISO 639-1 (none: any).

        Raises:
            OcrError: if the picture cannot be read.
        """
