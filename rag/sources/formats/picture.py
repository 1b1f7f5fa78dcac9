"""Read the text in pictures: PNG, JPEG, TIFF with all its pages, and WebP."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import draft
from rag.sources.formats.pdf.scans import ReadPage, read_picture
from rag.sources.formats.pdf.text import compose
from rag.sources.formats.pdf.words import place_words, summarize
from rag.sources.ocr import (
    LARGEST_PIXELS,
    Engine,
    OcrError,
    engine_for,
    missing_engine,
)
from rag.types import Document, Problem

if TYPE_CHECKING:
    from PIL.Image import Image

# Pictures of the screen and of cameras say 72, or nothing, whatever they show.
_USUAL_DPI, _LEAST_DPI, _MOST_DPI = 200.0, 100.0, 1200.0
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
# What a compressed picture may become before it is made smaller.
_MOST_PIXELS = 4 * LARGEST_PIXELS


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document | Problem]:
    """Read a picture as a document with a page for each picture in the file."""
    engine = engine_for(config)
    if engine is None:
        reason = f"is a picture without text: {missing_engine(config.ocr)}"
        raise SourceError(source, reason, kind="skipped", lasting=False)
    try:
        kind, read_pages = _read_pages(path, source, config, engine)
    # What Pillow raises on what it cannot read, syntax errors of PNG among it.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise SourceError(source, "is a picture that is damaged", kind="skipped") from error
    pages = [read_pages[number] for number in sorted(read_pages)]
    text, spans, placed = compose([page.lines for page in pages])
    if not text.strip():
        raise SourceError(source, "is a picture in which no text was found", kind="skipped")
    yield draft(
        source,
        text,
        title="",
        media_type=f"image/{kind}",
        metadata=summarize(engine.name, read_pages),
        pages=place_words(text, spans, placed, read_pages),
    )


def _read_pages(
    path: Path, source: str, config: SourcesConfig, engine: Engine
) -> tuple[str, dict[int, ReadPage]]:
    from PIL import Image, ImageSequence

    read_pages: dict[int, ReadPage] = {}
    with warnings.catch_warnings(), Image.open(path, formats=_FORMATS) as file:
        warnings.simplefilter("ignore")
        kind = (file.format or "").lower()
        count = getattr(file, "n_frames", 1) if kind == "tiff" else 1
        if count > config.max_pages:
            reason = f"has {count:,} pages, the limit is {config.max_pages:,} (`sources.max_pages`)"
            raise SourceError(source, reason)
        for number, frame in enumerate(ImageSequence.Iterator(file), start=1):
            if number > count:
                break
            if frame.width * frame.height > _MOST_PIXELS:
                reason = f"has {frame.width * frame.height:,} pixels, the limit is {_MOST_PIXELS:,}"
                raise SourceError(source, reason)
            try:
                upright, dpi = _prepare(frame)
                read_pages[number] = read_picture(upright, engine, (), dpi)
            except OcrError as error:
                raise SourceError(source, f"page {number} {error}", lasting=False) from error
    return kind, read_pages


def _prepare(frame: Image) -> tuple[Image, float]:
    """Return a grey picture on white, turned as its camera says, and its dots per inch."""
    from PIL import Image, ImageOps

    dpi = float(frame.info.get("dpi", (0.0,))[0] or 0.0)
    dpi = dpi if _LEAST_DPI <= dpi <= _MOST_DPI else _USUAL_DPI
    upright = ImageOps.exif_transpose(frame)
    if upright.has_transparency_data:
        layered = upright.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        upright = Image.alpha_composite(white, layered)
    grey = upright.convert("L")
    pixels = grey.width * grey.height
    if pixels > LARGEST_PIXELS:
        share = (LARGEST_PIXELS / pixels) ** 0.5
        grey = grey.resize((int(grey.width * share), int(grey.height * share)))
        dpi *= share
    return grey, dpi
