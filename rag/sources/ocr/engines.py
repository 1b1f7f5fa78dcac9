"""Choose the engine that reads pictures by the settings and by what is installed."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from rag.config import Ocr, SourcesConfig
from rag.sources.ocr.picture import Engine
from rag.sources.ocr.rapid import Rapid
from rag.sources.ocr.tesseract import Tesseract, find_program

# The engine of a reading process, which cannot start the program itself.
_installed: dict[str, Engine] = {}


def choose_engine(setting: Ocr) -> Ocr:
    """Return which engine `sources.ocr` stands for here: its name, or `off` if there is none."""
    if setting in ("auto", "tesseract") and find_program():
        return "tesseract"
    if setting in ("auto", "rapidocr") and find_spec("rapidocr"):
        return "rapidocr"
    return "off"


def install_engine(engine: Engine) -> None:
    """Let this process read pictures by an engine of its own under the engine's name."""
    _installed[engine.name] = engine


def engine_for(config: SourcesConfig) -> Engine | None:
    """Return the engine that reads pictures in this process, or None if there is none."""
    if (given := _installed.get(config.ocr)) is not None:
        return given
    name = choose_engine(config.ocr)
    if name == "tesseract":
        return Tesseract(config.seconds)
    return open_rapid() if name == "rapidocr" else None


@cache
def open_rapid() -> Engine:
    """Return the one engine of models in this process."""
    return Rapid()


def missing_engine(setting: str) -> str:
    """Return what to do where no engine reads pictures."""
    if setting == "off":
        return "install `tesseract` or `checkable-rag[ocr]` and set `sources.ocr` to `auto`"
    return "install `tesseract` (its language packages, too) or `pip install 'checkable-rag[ocr]'`"
