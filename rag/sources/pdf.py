"""PDF through PDFium: text page by page, headings from the outline or by font size."""

from __future__ import annotations

import ctypes
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import SourceError
from rag.sources.identity import file_document, title_of
from rag.types import Document, Heading, Page

# PDFium may be used by one thread at a time.
_PDFIUM = threading.Lock()

_LARGER = 1.15
_LONGEST_HEADING = 150
_FURTHEST_FONT_LOOK = 400  # pages


def read(path: Path, source: str) -> Iterator[Document]:
    """A PDF as one document with its pages."""
    with _PDFIUM:
        document = _read(path, source)
    yield document


def _read(path: Path, source: str) -> Document:
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise SourceError(source, "is encrypted: save a copy without the password") from error
        raise SourceError(
            source, "cannot be read as PDF: it is damaged, or is no PDF at all"
        ) from error
    with closing(pdf):
        parts: list[str] = []
        pages: list[Page] = []
        lines: list[_Line] = []
        length = 0
        for number in range(1, len(pdf) + 1):
            text, sizes = _page_text(pdf, number - 1)
            pages.append(Page(length, length + len(text), number))
            lines += _lines(text, sizes, length)
            parts.append(text)
            length += len(text) + 2
        if not any(part.strip() for part in parts):
            raise SourceError(source, "holds no text (scanned pages?): run OCR on it first")
        whole = "\n\n".join(parts)
        headings = _outline_headings(pdf, whole, pages) or _font_headings(lines)
        metadata = {
            key.lower(): value
            for key, value in pdf.get_metadata_dict(skip_empty=True).items()
            if key in ("Author", "Subject", "Keywords", "CreationDate")
        }
        title = pdf.get_metadata_value("Title").strip()
    return file_document(
        path,
        source,
        whole,
        title=title or title_of(headings),
        media_type="application/pdf",
        metadata=metadata,
        pages=tuple(pages),
        headings=headings,
    )


def _page_text(pdf: Any, index: int) -> tuple[str, list[float]]:
    """The text of a page, and the font size of each of its characters (0 where not known)."""
    from pypdfium2 import raw

    with closing(pdf[index]) as page, closing(page.get_textpage()) as textpage:
        # `get_text_range` leaves out what `count_chars` counts, so characters are read singly
        # to keep text and sizes in step.
        characters: list[str] = []
        sizes: list[float] = []
        for at in range(textpage.count_chars()):
            character = _character(raw.FPDFText_GetUnicode(textpage, at))
            if not character:
                continue
            characters.append(character)
            size = raw.FPDFText_GetFontSize(textpage, at) if index < _FURTHEST_FONT_LOOK else 0.0
            sizes.append(size * _scale(textpage, at, raw) if size else 0.0)
    text = "".join(characters)
    joined = re.search(r"\S", text)
    if not joined:
        return "", []
    start, end = joined.start(), len(text.rstrip())
    return text[start:end], sizes[start:end]


def _character(code: int) -> str:
    # PDFium marks a hyphen at a line's end by U+FFFE or U+0002, and ends lines with \r\n.
    if code in (0x02, 0xFFFE):
        return "-"
    if code < 0x20 and code not in (0x09, 0x0A):
        return ""
    if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
        return "\ufffd"
    return chr(code)


def _scale(textpage: Any, at: int, raw: Any) -> float:
    """How much the text matrix enlarges the font: many writers set size 1 and scale."""
    matrix = raw.FS_MATRIX()
    if not raw.FPDFText_GetMatrix(textpage, at, ctypes.byref(matrix)):
        return 1.0
    return float(abs(matrix.d) or abs(matrix.b) or 1.0)


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    text: str
    size: float


def _lines(text: str, sizes: list[float], offset: int) -> list[_Line]:
    lines = []
    for match in re.finditer(r"[^\n]+", text):
        kept = match[0].strip()
        known = [round(size, 1) for size in sizes[match.start() : match.end()] if size]
        if kept and known:
            start = offset + match.start() + match[0].index(kept)
            size = Counter(known).most_common(1)[0][0]
            lines.append(_Line(start, start + len(kept), kept, size))
    return lines


def _font_headings(lines: list[_Line]) -> tuple[Heading, ...]:
    """Short lines set clearly larger than the body; levels by size."""
    by_size: Counter[float] = Counter()
    for line in lines:
        by_size[line.size] += len(line.text)
    if not by_size:
        return ()
    body = by_size.most_common(1)[0][0]
    large = [
        line
        for line in lines
        if line.size >= body * _LARGER
        and len(line.text) <= _LONGEST_HEADING
        and any(character.isalpha() for character in line.text)
    ]
    levels = {
        size: min(level, 6)
        for level, size in enumerate(sorted({line.size for line in large}, reverse=True), start=1)
    }
    headings: list[Heading] = []
    for line in large:
        level = levels[line.size]
        last = headings[-1] if headings else None
        # A title over several lines is one heading.
        if last and last.level == level and line.start - last.end <= 2:
            headings[-1] = Heading(last.start, line.end, level, f"{last.title} {line.text}")
        else:
            headings.append(Heading(line.start, line.end, level, line.text))
    return tuple(headings)


def _outline_headings(pdf: Any, text: str, pages: list[Page]) -> tuple[Heading, ...]:
    """The outline's entries, where their titles are found on the pages they point to."""
    headings: list[Heading] = []
    after = 0
    for item in pdf.get_toc():
        destination = item.get_dest()
        index = destination.get_index() if destination else None
        title = " ".join((item.get_title() or "").split())
        if index is None or not title or not 0 <= index < len(pages):
            continue
        page = pages[index]
        pattern = r"\s+".join(re.escape(word) for word in title.split())
        found = re.compile(pattern, re.IGNORECASE).search(text, max(after, page.start), page.end)
        if found:
            headings.append(Heading(found.start(), found.end(), item.level + 1, title))
            after = found.end()
    return tuple(headings)
