"""What office formats share: Markdown tables, and the properties that a package declares."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from rag.sources.document import TextBuilder, draft
from rag.types import Document, Page

# Elements of Dublin Core, Office Open XML and OpenDocument. Where two stand for one property, the
# first counts: in OpenDocument `creator` is the person who saved the file last.
_PROPERTIES = {
    "title": ("title",),
    "author": ("initial-creator", "creator"),
    "created": ("creation-date", "created"),
    "modified": ("date", "modified"),
    "subject": ("subject",),
    "keywords": ("keyword", "keywords"),
    "language": ("language",),
}
_LANGUAGE = re.compile(r"([a-z]{2})(?:[-_].*)?", re.IGNORECASE)


# "Page 3 of 7", "- 3 -", "Seite 3/7".
_PAGE_NUMBER = re.compile(
    r"\W*(?:(?:page|seite|página|pagina|pág|side|sida|sivu|strona|страница|стр|p|s)\W*)?\d+"
    r"(?:\s*(?:/|of|von|de|av|af|di|sur|z|из)\s*\d+)?\W*",
    re.IGNORECASE,
)


def is_page_number(text: str) -> bool:
    """Say whether a header or footer tells no more than the number of its page."""
    return _PAGE_NUMBER.fullmatch(text) is not None


def one_line(text: str) -> str:
    """Return a text without line breaks and with single spaces."""
    return " ".join(text.split())


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Render rows as a Markdown table, the first as its header; empty rows are left out."""
    filled = [
        [one_line(cell).replace("|", "\\|") for cell in row]
        for row in rows
        if any(cell.strip() for cell in row)
    ]
    if not filled:
        return ""
    width = max(map(len, filled))
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in filled]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


def document_of(
    path: Path, source: str, builder: TextBuilder, media_type: str, *, pages: Sequence[Page] = ()
) -> Document:
    """Draft a document of Markdown with the properties that the package at `path` declares."""
    known = read_properties(path)
    return draft(
        source,
        builder.text,
        title=known.pop("title", "") or None,
        media_type=media_type,
        markup="markdown",
        metadata=known,
        pages=pages,
        headings=builder.headings,
    )


def read_properties(path: Path) -> dict[str, str]:
    """Return the title, author, times and so on that a checked package declares.

    The libraries' own properties are not used, because they make some up where a package has none.
    """
    from lxml import etree

    with zipfile.ZipFile(path) as archive:
        part = next(
            (part for part in ("docProps/core.xml", "meta.xml") if part in archive.NameToInfo), None
        )
        if part is None:
            return {}
        parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
        root = etree.fromstring(archive.read(part), parser)
    found: dict[str, str] = {}
    for name, elements in _PROPERTIES.items() if root is not None else ():
        for element in elements:
            values = (one_line(node.text or "") for node in root.iterfind(f".//{{*}}{element}"))
            if value := ", ".join(filter(None, values)):
                found.setdefault(name, value)
    language = _LANGUAGE.fullmatch(found.pop("language", ""))
    return found | ({"language": language[1].lower()} if language else {})
