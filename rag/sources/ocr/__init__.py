"""Read the words in a picture: an engine turns the picture of a page into words with their boxes.

Two engines stand behind one protocol: the program tesseract, which the owner of the reading
processes starts, since those may start nothing, and the models of the package rapidocr, which run
within the reading process. Neither is imported or looked for before a picture has to be read.
"""

from rag.sources.ocr.asking import AskedEngine, TimedEngine, answer
from rag.sources.ocr.engines import (
    choose_engine,
    engine_for,
    install_engine,
    missing_engine,
    open_rapid,
)
from rag.sources.ocr.picture import LARGEST_PIXELS, Engine, OcrError, Picture, Word
from rag.sources.ocr.places import Box, WordPlace, pack_words, unpack_words

__all__ = [
    "LARGEST_PIXELS",
    "AskedEngine",
    "Box",
    "Engine",
    "OcrError",
    "Picture",
    "TimedEngine",
    "Word",
    "WordPlace",
    "answer",
    "choose_engine",
    "engine_for",
    "install_engine",
    "missing_engine",
    "open_rapid",
    "pack_words",
    "unpack_words",
]
