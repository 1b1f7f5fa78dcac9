"""Read OpenDocument texts and presentations (ISO/IEC 26300): what a person sees, in order."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import TextBuilder
from rag.sources.formats.office import document_of, is_page_number, markdown_table, one_line
from rag.sources.formats.package import check_package
from rag.types import Document, Page

_NAMESPACES = {
    "office": "urn:oasis:names:tc:opendocument:xmlns:office:1.0",
    "style": "urn:oasis:names:tc:opendocument:xmlns:style:1.0",
    "text": "urn:oasis:names:tc:opendocument:xmlns:text:1.0",
    "table": "urn:oasis:names:tc:opendocument:xmlns:table:1.0",
    "draw": "urn:oasis:names:tc:opendocument:xmlns:drawing:1.0",
    "show": "urn:oasis:names:tc:opendocument:xmlns:presentation:1.0",
    "dc": "http://purl.org/dc/elements/1.1/",
}
_PREFIXES = {uri: prefix for prefix, uri in _NAMESPACES.items()}
_MEDIA_TYPE = "application/vnd.oasis.opendocument."
# What was deleted, lists of contents that repeat headings, and marks of notes.
_PASSED_OVER = frozenset(
    ("text:tracked-changes", "text:table-of-content", "text:note-citation", "office:forms")
)
# Frames of every slide that say nothing of it.
_FURNITURE = frozenset(("page-number", "footer", "header", "date-time"))
_MOST_REPEATED = 1_000
_GROUPS_OF_ROWS = ("table:table-header-rows", "table:table-rows", "table:table-row-group")


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a text or presentation as one document; headers, footers, notes and comments with it."""
    check_package(path, source, config)
    with zipfile.ZipFile(path) as archive:
        content = _parse(archive, "content.xml")
        styles = _parse(archive, "styles.xml")
    body = next(iter(content.iterfind("office:body/*", _NAMESPACES)), None)
    if body is None:
        raise SourceError(source, "holds no OpenDocument text: it is damaged")
    builder = TextBuilder()
    walk = _Walk(builder)
    slides = body.findall("draw:page", _NAMESPACES)
    pages = [_add_slide(walk, slide, number) for number, slide in enumerate(slides, start=1)]
    if not slides:
        walk.add_margins(styles, "header")
        walk.add_all(body)
        walk.add_margins(styles, "footer")
    kind = _MEDIA_TYPE + ("presentation" if slides else "text")
    yield document_of(path, source, builder, kind, pages=pages)


def _parse(archive: zipfile.ZipFile, part: str) -> Any:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    data = archive.read(part) if part in archive.NameToInfo else b""
    root = etree.fromstring(data, parser) if data else None
    return root if root is not None else etree.Element("none")


def _name(node: Any) -> str:
    """Return an element's name with the prefix that is used here."""
    if not isinstance(node.tag, str):
        return ""
    uri, _, local = node.tag.removeprefix("{").rpartition("}")
    return f"{_PREFIXES.get(uri, '')}:{local}"


def _get(node: Any, name: str, default: str = "") -> str:
    prefix, _, local = name.partition(":")
    return str(node.get(f"{{{_NAMESPACES[prefix]}}}{local}", default))


def _count(node: Any, name: str) -> int:
    value = _get(node, name, "1")
    return max(1, min(int(value), _MOST_REPEATED)) if value.isdecimal() else 1


def _add_slide(walk: _Walk, slide: Any, number: int) -> Page:
    frames = [
        frame
        for frame in slide.iterchildren()
        if _name(frame) != "show:notes" and _get(frame, "show:class") not in _FURNITURE
    ]
    titles = [frame for frame in frames if _get(frame, "show:class") == "title"]
    start = walk.builder.add_heading(walk.text_of_boxes(titles) or f"Slide {number}", 1)
    for frame in frames:
        if frame not in titles:
            walk.add(frame)
    spoken = walk.text_of_boxes(
        frame
        for frame in slide.iterfind("show:notes/*", _NAMESPACES)
        if _get(frame, "show:class") not in _FURNITURE
    )
    if spoken:
        walk.builder.add(f"Notes: {spoken}")
    return Page(start, walk.builder.length, number)


class _Walk:
    """A walk over elements that adds what it finds to blocks of text."""

    def __init__(self, builder: TextBuilder) -> None:
        self.builder = builder
        self._asides: list[Any] = []

    def add_margins(self, styles: Any, kind: str) -> None:
        """Add the texts of all headers, or footers, each once."""
        taken = set()
        for margin in styles.iterfind(f".//style:master-page/style:{kind}", _NAMESPACES):
            text = one_line(self.text_of(margin))
            if text and text not in taken and not is_page_number(text):
                taken.add(text)
                self.builder.add(text)

    def add_all(self, parent: Any) -> None:
        """Add what stands within an element, in order."""
        for node in parent.iterchildren():
            self.add(node)

    def add(self, node: Any) -> None:
        """Add an element."""
        name = _name(node)
        if name == "text:h":
            level = _get(node, "text:outline-level", "1")
            title = one_line(self.text_of(node))
            if title:
                self.builder.add_heading(title, min(int(level), 6) if level.isdecimal() else 1)
        elif name == "text:p":
            text = "\n".join(filter(None, map(one_line, self.text_of(node).split("\n"))))
            if text:
                self.builder.add(text)
        elif name == "text:list":
            lines = list(self._list_lines(node, 0))
            if lines:
                self.builder.add("\n".join(lines))
        elif name == "table:table":
            if text := markdown_table(self._rows(node)):
                self.builder.add(text)
        elif name and name not in _PASSED_OVER:
            self.add_all(node)
        self._add_asides()

    def text_of(self, parent: Any) -> str:
        """Return the text within an element; notes, comments and frames are put aside."""
        parts: list[str] = []
        stack: list[Any] = [parent]
        while stack:
            node = stack.pop()
            if isinstance(node, str):
                parts.append(node)
                continue
            name = _name(node)
            if node is not parent and node.tail:
                stack.append(node.tail)
            if name in ("text:s", "text:tab"):
                parts.append(" ")
            elif name == "text:line-break":
                parts.append("\n")
            elif name in ("text:note", "office:annotation", "draw:text-box"):
                self._asides.append(node)
            elif name and name not in _PASSED_OVER:
                stack += [*node.iterchildren(reversed=True)]
                if name in ("text:p", "text:h") and node is not parent:
                    parts.append(" ")
                if node.text and name.startswith("text:"):
                    parts.append(node.text)
        return "".join(parts)

    def _add_asides(self) -> None:
        asides, self._asides = self._asides, []
        for aside in asides:
            name = _name(aside)
            if name == "draw:text-box":
                self.add_all(aside)
                continue
            bodies = aside.findall("text:note-body", _NAMESPACES) or [aside]
            text = one_line(" ".join(self.text_of_block(body) for body in bodies))
            author = one_line(aside.findtext("dc:creator", "", _NAMESPACES))
            by = f" by {author}" if author else ""
            if text:
                self.builder.add(f"[Comment{by}: {text}]" if name != "text:note" else f"[{text}]")

    def text_of_boxes(self, frames: Iterable[Any]) -> str:
        """Return the text of the boxes within frames, on one line."""
        boxes = [box for frame in frames for box in frame.iterfind(".//draw:text-box", _NAMESPACES)]
        return one_line(" ".join(map(self.text_of_block, boxes)))

    def text_of_block(self, block: Any) -> str:
        """Return the text of the paragraphs and lists within a note."""
        return " ".join(
            self.text_of(each) for each in block.iterchildren() if _name(each).startswith("text:")
        )

    def _list_lines(self, node: Any, depth: int) -> Iterator[str]:
        for item in node.iterchildren():
            for child in item.iterchildren():
                if _name(child) == "text:list":
                    yield from self._list_lines(child, depth + 1)
                elif text := one_line(self.text_of(child)):
                    yield f"{'    ' * depth}- {text}"

    def _rows(self, table: Any) -> list[list[str]]:
        rows: list[list[str]] = []
        # What a cell that spans rows says in those below, by column: rows left, and the text.
        spanning: dict[int, tuple[int, str]] = {}
        for row in _within(table, "table:table-row"):
            cells: list[str] = []
            for cell in row.iterchildren():
                covered = _name(cell) == "table:covered-table-cell"
                text = "" if covered else one_line(self.text_of_block(cell))
                spanned = _count(cell, "table:number-rows-spanned")
                columns = _count(cell, "table:number-columns-spanned")
                for number in range(_count(cell, "table:number-columns-repeated")):
                    at = len(cells)
                    left, above = spanning.get(at, (0, ""))
                    if covered and left:
                        spanning[at] = (left - 1, above)
                        cells.append(above)
                    else:
                        cells.append(text)
                        for column in range(at, at + columns if not number else at + 1):
                            spanning[column] = (spanned - 1 + (column > at), text)
            while cells and not cells[-1]:
                cells.pop()
            rows += [cells] if cells else []
        return rows


def _within(parent: Any, name: str) -> Iterator[Any]:
    """Yield the elements of a name below one, also in groups and headers of rows."""
    for node in parent.iterchildren():
        if _name(node) == name:
            yield node
        elif _name(node) in (
            "table:table-header-rows",
            "table:table-rows",
            "table:table-row-group",
        ):
            yield from _within(node, name)
