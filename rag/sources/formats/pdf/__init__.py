"""Read PDF by PDFium: pages in reading order, with headings by the outline or by the fonts."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import draft
from rag.sources.formats.pdf.extraction import page_lines
from rag.sources.formats.pdf.headings import font_headings, outline_headings
from rag.sources.formats.pdf.layout import Line
from rag.sources.formats.pdf.scans import ReadPage, read_picture
from rag.sources.formats.pdf.text import compose, drop_running_lines
from rag.sources.formats.pdf.words import place_words, summarize
from rag.sources.ocr import (
    LARGEST_PIXELS,
    Engine,
    OcrError,
    engine_for,
    missing_engine,
)
from rag.types import Document, Page, Problem

# Scans are drawn so finely: more takes engines longer and shows them no more.
_SCAN_DPI = 300
_MOST_NAMED = 8
_LONGEST_LABEL = 40

# Only one thread at a time may use PDFium.
_PDFIUM = threading.Lock()

_DATE = re.compile(
    r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?\s*(?:(Z)|([+-])(\d\d)'?(\d\d)?)?"
)
# Titles that word processors write where nobody chose one.
_NO_TITLE = re.compile(
    r"untitled.*|microsoft (?:word|powerpoint|excel) - .*|.*\.(?:docx?|dvi|indd|odt|pptx?|rtf|tex)",
    re.IGNORECASE,
)


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document | Problem]:
    """Read a PDF as one document with its pages, and name the pages that could not be read."""
    with _PDFIUM:
        found = _read(path, source, config)
    yield from found


def _read(path: Path, source: str, config: SourcesConfig) -> list[Document | Problem]:
    import pypdfium2
    from pypdfium2 import raw

    try:
        pdf = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        raise SourceError(source, _describe_refusal(str(error))) from error
    with closing(pdf):
        count = len(pdf)
        if not count:
            raise SourceError(source, "is damaged: it has no pages")
        if count > config.max_pages:
            reason = f"has {count:,} pages, the limit is {config.max_pages:,} (`sources.max_pages`)"
            raise SourceError(source, reason)
        if pdf.get_formtype() != raw.FORMTYPE_NONE:
            # Nothing that a form does of itself is run: this build of PDFium knows no scripts.
            pdf.init_forms()
        laid: list[list[Line]] = []
        for index in range(count):
            try:
                laid.append(page_lines(pdf, index))
            except pypdfium2.PdfiumError as error:
                raise SourceError(
                    source,
                    f"is damaged: page {index + 1} of {count} cannot be read; repair it, for "
                    "example with qpdf",
                ) from error
        metadata = _read_metadata(pdf)
        engine = engine_for(config)
        pictures = [at for at, lines in enumerate(laid) if not lines and _is_picture(pdf, at)]
        scanned: dict[int, ReadPage] = {}
        unread: list[str] = []
        for at in pictures:
            if engine is None:
                break
            languages = [str(metadata["language"])] if metadata.get("language") else []
            try:
                scanned[at + 1] = _read_scan(pdf, at, engine, languages)
                laid[at] = scanned[at + 1].lines
            except OcrError as error:
                unread.append(f"page {at + 1} {error}")
        if pictures and engine is None:
            unread.append(f"{_name_pages(pictures)} without text: {missing_engine(config.ocr)}")
        without_text = sum(not lines for lines in laid)
        if without_text == count:
            if unread:
                raise SourceError(source, f"holds no text: {unread[0]}", lasting=False)
            raise SourceError(source, "holds no text, and no pictures in which text was found")
        text, pages, placed = compose(drop_running_lines(laid))
        pages = place_words(text, _with_labels(pdf, pages), placed, scanned)
        headings = outline_headings(pdf, text, pages) or font_headings(placed)
    document = draft(
        source,
        text,
        title=metadata.pop("title", "") or None,
        media_type="application/pdf",
        metadata={
            **metadata,
            "pages_without_text": without_text,
            **(summarize(engine.name, scanned) if engine is not None else {}),
        },
        pages=pages,
        headings=headings,
    )
    return [document, *(Problem(source, reason, kind="skipped") for reason in unread)]


def _is_picture(pdf: Any, index: int) -> bool:
    """Say whether a page without text shows more than nothing: a picture, or drawn letters."""
    from pypdfium2 import raw

    shown = (raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_SHADING)
    with closing(pdf[index]) as page:
        return next(iter(page.get_objects(filter=shown, max_depth=4)), None) is not None


def _read_scan(pdf: Any, index: int, engine: Engine, languages: list[str]) -> ReadPage:
    with closing(pdf[index]) as page:
        width, height = page.get_size()
        most = (LARGEST_PIXELS / max(1.0, width * height)) ** 0.5
        scale = min(_SCAN_DPI / 72, 0.99 * most)
        with closing(page.render(scale=scale, grayscale=True, may_draw_forms=False)) as bitmap:
            image = bitmap.to_pil().convert("L")
    return read_picture(image, engine, languages, 72 * scale)


def _name_pages(indexes: list[int]) -> str:
    """Return `page 3 is a picture`, or a few of several."""
    if len(indexes) == 1:
        return f"page {indexes[0] + 1} is a picture"
    shown = ", ".join(str(at + 1) for at in indexes[:_MOST_NAMED])
    more = f" and {len(indexes) - _MOST_NAMED:,} more" if len(indexes) > _MOST_NAMED else ""
    return f"pages {shown}{more} are pictures"


def _with_labels(pdf: Any, pages: tuple[Page, ...]) -> tuple[Page, ...]:
    """Give pages the labels that differ from their numbers (ISO 32000-1, 12.4.2)."""
    labels = (pdf.get_page_label(page.number - 1).strip()[:_LONGEST_LABEL] for page in pages)
    return tuple(
        page if label in ("", str(page.number)) else replace(page, label=label)
        for page, label in zip(pages, labels, strict=True)
    )


def _describe_refusal(error: str) -> str:
    error = error.lower()
    if "password" in error:
        return "is encrypted: save a copy without the password"
    if "security" in error:
        return "is encrypted in a way that PDFium does not know: save a copy without encryption"
    return "cannot be read as PDF: it is damaged, or not a PDF at all"


def _read_metadata(pdf: Any) -> dict[str, Any]:
    from pypdfium2 import raw

    values = {key: value.strip() for key, value in pdf.get_metadata_dict().items()}
    found = {key: values.get(key.title(), "") for key in ("title", "author", "subject", "keywords")}
    found["created"] = _iso_date(values.get("CreationDate", ""))
    found["modified"] = _iso_date(values.get("ModDate", ""))
    if _NO_TITLE.fullmatch(found["title"]):
        found["title"] = ""
    # Older builds of PDFium lack this function.
    if hasattr(raw, "FPDFCatalog_GetLanguage"):
        found["language"] = _read_language(pdf, raw)
    return found


def _read_language(pdf: Any, raw: Any) -> str:
    import ctypes

    length = raw.FPDFCatalog_GetLanguage(pdf, None, 0)
    if not 2 < length < 64:
        return ""
    buffer = ctypes.create_string_buffer(length)
    raw.FPDFCatalog_GetLanguage(pdf, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), length)
    code = buffer.raw[: length - 2].decode("utf-16-le", "replace").split("-")[0].lower()
    return code if re.fullmatch("[a-z]{2}", code) else ""


def _iso_date(written: str) -> str:
    """Turn `D:20260101120000+01'00'` (ISO 32000-1, 7.9.4) into ISO 8601; empty if it is no date."""
    match = _DATE.match(written)
    if not match:
        return ""
    year, month, day, *clock = match.groups()[:6]
    zulu, sign, hours, minutes = match.groups()[6:]
    date = f"{year}-{month or '01'}-{day or '01'}"
    if clock[0]:
        date += f"T{clock[0]}:{clock[1] or '00'}:{clock[2] or '00'}"
        date += "+00:00" if zulu else f"{sign}{hours}:{minutes or '00'}" if sign else ""
    try:
        datetime.fromisoformat(date)
    except ValueError:
        return ""
    return date
