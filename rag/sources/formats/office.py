"""What office formats share: text built of blocks, Markdown tables, and a package's properties."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from rag.types import Heading

# Elements of Dublin Core, Office Open XML and OpenDocument; of two for one property the latter
# counts: to OpenDocument the `creator` is who saved the file last.
_PROPERTIES = {
    "title": "title",
    "creator": "author",
    "initial-creator": "author",
    "created": "created",
    "creation-date": "created",
    "modified": "modified",
    "date": "modified",
    "subject": "subject",
    "keywords": "keywords",
    "keyword": "keywords",
    "language": "language",
}
_LANGUAGE = re.compile(r"([a-z]{2})(?:[-_].*)?", re.IGNORECASE)


class Blocks:
    """Text under construction: blocks apart by blank lines, with the spans of its headings."""

    def __init__(self) -> None:
        self.length = 0
        self.headings: list[Heading] = []
        self._parts: list[str] = []

    def add(self, block: str, gap: str = "\n\n") -> int:
        """Append a block after a gap; where it begins."""
        if self._parts:
            self._parts.append(gap)
            self.length += len(gap)
        start = self.length
        self._parts.append(block)
        self.length += len(block)
        return start

    def add_heading(self, title: str, level: int) -> int:
        """Append a heading on a line of its own; where it begins."""
        start = self.add(title)
        self.headings.append(Heading(start, self.length, level, title))
        return start

    @property
    def text(self) -> str:
        """All blocks so far."""
        return "".join(self._parts)


def one_line(text: str) -> str:
    """A text without line breaks, and with single spaces."""
    return " ".join(text.split())


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table, the first as its header; empty rows are left out."""
    kept = [
        [one_line(cell).replace("|", "\\|") for cell in row]
        for row in rows
        if any(cell.strip() for cell in row)
    ]
    if not kept:
        return ""
    width = max(map(len, kept))
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in kept]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


def properties(path: Path) -> dict[str, str]:
    """Title, author, times, subject, keywords and language as a checked package declares them.

    The libraries' own properties are not used: where a package has none, they make some up.
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
    for element, name in _PROPERTIES.items() if root is not None else ():
        values = (one_line(node.text or "") for node in root.iterfind(f".//{{*}}{element}"))
        if value := ", ".join(filter(None, values)):
            found[name] = value
    language = _LANGUAGE.fullmatch(found.pop("language", ""))
    return found | ({"language": language[1].lower()} if language else {})
