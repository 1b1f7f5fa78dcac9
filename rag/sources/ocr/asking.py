"""Let a process that may start no program have its owner start tesseract for it.

What passes between them is pixels one way and words the other. The owner believes none of it: a
picture is as large as it says, and the program is given nothing but its pixels.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO

from rag.sources.ocr.picture import Engine, OcrError, Picture, Word
from rag.sources.ocr.tesseract import Tesseract


class AskedEngine:
    """Tesseract, as a confined process sees it; `restart_clock` is called before each picture."""

    name = "tesseract"

    def __init__(
        self, answers: BinaryIO, questions: BinaryIO, restart_clock: Callable[[], None]
    ) -> None:
        self._answers, self._questions = answers, questions
        self._restart_clock = restart_clock

    def recognize(self, picture: Picture, languages: Sequence[str]) -> list[Word]:
        """Return the words of a picture that the owner of this process had read.

        Raises:
            OcrError: if it could not be read.
        """
        asked = {
            "width": picture.width,
            "height": picture.height,
            "pixels": base64.b64encode(picture.pixels).decode(),
            "languages": list(languages),
        }
        self._restart_clock()
        self._questions.write(json.dumps({"recognize": asked}).encode() + b"\n")
        self._questions.flush()
        told = json.loads(self._answers.readline())
        self._restart_clock()
        if "error" in told:
            raise OcrError(told["error"])
        return [Word(*cells) for cells in told["words"]]


class TimedEngine:
    """An engine in this process; its owner is told before each picture that work goes on."""

    def __init__(self, engine: Engine, tell: Callable[[], None]) -> None:
        self._engine, self._tell = engine, tell

    @property
    def name(self) -> str:
        """The engine's own name."""
        return self._engine.name

    def recognize(self, picture: Picture, languages: Sequence[str]) -> list[Word]:
        """Return what the engine itself returns.

        Raises:
            OcrError: if it cannot read the picture.
        """
        self._tell()
        return self._engine.recognize(picture, languages)


def answer(asked: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the words that tesseract reads in the picture that was sent, or what is wrong.

    Raises:
        ValueError: if what was sent is no picture.
    """
    try:
        pixels = base64.b64decode(asked["pixels"], validate=True)
    except binascii.Error as error:
        raise ValueError("no pixels") from error
    picture = Picture(int(asked["width"]), int(asked["height"]), pixels)
    languages = [str(each) for each in asked["languages"]][:8]
    try:
        words = Tesseract(seconds).recognize(picture, languages)
    except OcrError as error:
        return {"error": str(error)}
    return {"words": [list(asdict(word).values()) for word in words]}
