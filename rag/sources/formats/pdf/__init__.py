"""Read PDF by PDFium: pages in reading order, with headings by the outline or by the fonts."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import draft
from rag.sources.formats.pdf.extraction import page_lines
from rag.sources.formats.pdf.headings import font_headings, outline_headings
from rag.sources.formats.pdf.layout import Line
from rag.sources.formats.pdf.text import compose, drop_running_lines
from rag.types import Document

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


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a PDF as one document with its pages."""
    with _PDFIUM:
        document = _read(path, source, config)
    yield document


def _read(path: Path, source: str, config: SourcesConfig) -> Document:
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
        without_text = sum(not lines for lines in laid)
        if without_text == count:
            raise SourceError(source, "holds no text (scanned pages?): run OCR on it first")
        text, pages, placed = compose(drop_running_lines(laid))
        headings = outline_headings(pdf, text, pages) or font_headings(placed)
        metadata = _read_metadata(pdf)
    return draft(
        source,
        text,
        title=metadata.pop("title", "") or None,
        media_type="application/pdf",
        metadata={**metadata, "pages_without_text": without_text},
        pages=pages,
        headings=headings,
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
