"""Read Word documents: headings, lists, tables, notes, comments, charts, headers and footers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import TextBuilder
from rag.sources.formats import html
from rag.sources.formats.drawings import (
    chart_relation,
    diagram_relation,
    render_chart,
    render_diagram,
)
from rag.sources.formats.office import document_of, is_page_number, markdown_table, one_line
from rag.sources.formats.package import check_package
from rag.sources.formats.text import decode
from rag.types import Document, Problem

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_TEXTS = frozenset({f"{_W}t", f"{_M}t"})
_SIGNS = {
    f"{_W}tab": " ",
    f"{_W}ptab": " ",
    f"{_W}br": "\n",
    f"{_W}cr": "\n",
    f"{_W}noBreakHyphen": "-",
}
# Deleted or moved text, properties that are not text, and the readings above ruby text.
_PASSED_OVER = frozenset(
    f"{_W}{name}" for name in ("del", "moveFrom", "pPr", "rPr", "sdtPr", "tblPr", "rt")
)
_NOTES = {
    f"{_W}footnoteReference": "footnotes",
    f"{_W}endnoteReference": "endnotes",
    f"{_W}commentReference": "comments",
}
# What formulas show between their parts, which stand one above the other.
_FORMULAS = {
    f"{_M}f": ("num", "/", "den"),
    f"{_M}sSup": ("e", "^", "sup"),
    f"{_M}sSub": ("e", "_", "sub"),
}
# Word stores the names of its styles in English whatever its language; other programs do not.
_HEADING_STYLE = re.compile(
    r"(?:heading|(?:ü|ue)?berschrift|titre|t[ií]?tulo|titolo|kop|rubrik|overskrift|otsikko"
    r"|nag[łl]?[óo]?wek|nadpis|заголовок|标题|見出し)[ _]?([1-9])",
    re.IGNORECASE,
)
_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_BODY_LEVEL = 9
_LONGEST_HEADING = 300


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document | Problem]:
    """Read a Word file as one document, without deletions; each header and footer once.

    Comments stand below what they are about, in brackets. A part in another format that is set
    into the document is taken if it is HTML or text, and named otherwise.
    """
    from docx.package import Package

    check_package(path, source, config)
    try:
        part: Any = Package.open(str(path)).main_document_part
    except (KeyError, ValueError) as error:
        raise SourceError(
            source,
            "holds no Word document that can be read: it is damaged, or saved as `Strict Open XML` "
            "(save it as an ordinary .docx)",
        ) from error
    body = _root(part).find(f"{_W}body")
    builder = TextBuilder()
    walk = _Body(builder, part, source, config)
    walk.add_margins("header")
    if body is not None:
        walk.add_all(body)
    walk.add_margins("footer")
    yield document_of(path, source, builder, _MEDIA_TYPE)
    yield from walk.problems


def _root(part: Any) -> Any:
    """Return the XML of a part, whether the library knows its type or not."""
    from docx.oxml import parse_xml

    return part.element if hasattr(part, "element") else parse_xml(part.blob)


def _related_part(part: Any, kind: str) -> Any:
    """Return the XML of the part that `part` names as its `kind` (styles, numbering), or None."""
    for relation in part.rels.values():
        if relation.reltype.endswith(f"/{kind}") and not relation.is_external:
            return _root(relation.target_part)
    return None


def _value(node: Any, path: str) -> str | None:
    """Return the `w:val` of the element at a path of `w:` names below a node."""
    found = node.find("/".join(f"{_W}{name}" for name in path.split("/")))
    return None if found is None else found.get(f"{_W}val")


def _number(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdecimal() else None


def _columns(value: str | None) -> int:
    """Return a number of columns, limited to the 63 that a table in Word may have."""
    return min(_number(value) or 0, 63)


class _Body:
    """A walk over a document's body that adds what it finds to blocks of text."""

    def __init__(self, builder: TextBuilder, part: Any, source: str, config: SourcesConfig) -> None:
        self.problems: list[Problem] = []
        self._builder = builder
        self._part = part
        self._source, self._config = source, config
        self._styles = _Styles(_related_part(part, "styles"))
        self._lists = _Lists(_related_part(part, "numbering"))
        self._notes = {
            (kind, note.get(f"{_W}id")): note
            for kind in _NOTES.values()
            for note in _children(_related_part(part, kind))
        }
        self._after: list[Any] = []
        self._in_list = False

    def add_all(self, parent: Any) -> None:
        """Add the paragraphs and tables within an element, in order."""
        for node in _children(parent):
            if node.tag == f"{_W}p":
                self._add_paragraph(node)
            elif node.tag == f"{_W}tbl":
                self._add_table(node)
            elif node.tag == f"{_W}altChunk":
                self._add_foreign(node)
            elif node.tag not in _PASSED_OVER:
                self.add_all(node)

    def add_margins(self, kind: str) -> None:
        """Add the texts of all headers, or footers, each once."""
        taken = set()
        for relation in self._part.rels.values():
            if not relation.reltype.endswith(f"/{kind}") or relation.is_external:
                continue
            root = _root(relation.target_part)
            text = one_line(self._text(root))
            if text and text not in taken and not is_page_number(text):
                taken.add(text)
                self.add_all(root)
            self._after.clear()
            self._in_list = False

    def _add_foreign(self, node: Any) -> None:
        """Add a part in another format that is set into the document."""
        part = self._related(node.get(f"{_R}id", ""))
        if part is None:
            return
        kind = str(part.content_type)
        if "html" in kind:
            self._builder.add(html.render(part.blob, self._source, self._config).text)
        elif kind == "text/plain":
            self._builder.add(decode(part.blob, self._source, self._config))
        else:
            reason = f"holds a part that is left out: {kind}"
            self.problems.append(Problem(f"{self._source}{part.partname}", reason, "skipped"))
        self._in_list = False

    def _related(self, relation: str) -> Any:
        """Return the part that a relation of the document leads to, or None."""
        found = self._part.rels.get(relation)
        return None if found is None or found.is_external else found.target_part

    def _add_paragraph(self, node: Any) -> None:
        after, self._after = self._after, []
        text = "\n".join(filter(None, (one_line(line) for line in self._text(node).split("\n"))))
        style = self._styles.of_paragraph(node)
        title = one_line(text)
        if title and style.level and len(title) <= _LONGEST_HEADING:
            self._builder.add_heading(title, style.level)
            self._in_list = False
        elif text:
            marker = self._lists.marker(style.list_id, style.list_level) if style.list_id else ""
            gap = "\n" if marker and self._in_list else "\n\n"
            self._builder.add(f"{marker}{title}" if marker else text, gap)
            self._in_list = bool(marker)
        self._add_asides()
        self._after = after

    def _add_table(self, table: Any) -> None:
        rows = [row for row in _within(table, "tr") if row.find(f"{_W}trPr/{_W}del") is None]
        cells = [list(_within(row, "tc")) for row in rows]
        if len(cells) == 1 and len(cells[0]) == 1:
            # A table of one cell is a frame around text.
            self.add_all(cells[0][0])
            return
        shown: list[list[str]] = []
        for row, within in zip(rows, cells, strict=True):
            above = shown[-1] if shown else []
            texts = [""] * _columns(_value(row, "trPr/gridBefore"))
            for cell in within:
                # What spans the whole table is its title.
                texts += self._cell(cell, above[len(texts) :], alone=len(within) == 1)
            shown.append(texts)
        text = markdown_table(shown)
        if text:
            self._builder.add(text)
            self._in_list = False
        self._add_asides()

    def _cell(self, cell: Any, above: list[str], *, alone: bool) -> list[str]:
        """Return a cell's text for each column that it covers; a merged one's for each row."""
        merged = cell.find(f"{_W}tcPr/{_W}vMerge")
        continues = merged is not None and merged.get(f"{_W}val") != "restart"
        further = max(_columns(_value(cell, "tcPr/gridSpan")) - 1, 0)
        text = (above[0] if above else "") if continues else self._text(cell)
        return [text] + ["" if alone else text] * further

    def _add_asides(self) -> None:
        """Add the text boxes and notes that belong to what was just added."""
        asides, self._after = self._after, []
        for aside in asides:
            if isinstance(aside, str):
                self._builder.add(aside)
                self._in_list = False
            elif aside.tag == f"{_W}txbxContent":
                self.add_all(aside)
            elif aside.tag == f"{_W}comment" and (text := one_line(self._text(aside))):
                author = one_line(aside.get(f"{_W}author", ""))
                self._builder.add(f"[Comment{f' by {author}' if author else ''}: {text}]")
                self._in_list = False
            elif text := one_line(self._text(aside)):
                self._builder.add(f"[{text}]")
                self._in_list = False

    def _text(self, node: Any) -> str:
        """Return all text within a node; text boxes and notes are put aside for later."""
        parts: list[str] = []
        stack = [node]
        while stack:
            node = stack.pop()
            if node.tag in _TEXTS:
                parts.append(node.text or "")
            elif node.tag in _SIGNS:
                parts.append(_SIGNS[node.tag])
            elif node.tag in _NOTES:
                note = self._notes.get((_NOTES[node.tag], node.get(f"{_W}id")))
                if note is not None:
                    self._after.append(note)
            elif node.tag == f"{_W}txbxContent":
                self._after.append(node)
            elif node.tag == f"{_W}drawing":
                self._put_drawing_aside(node)
                stack.extend(reversed(list(_children(node))))
            elif node.tag in _FORMULAS:
                upper, sign, lower = _FORMULAS[node.tag]
                parts += [self._text_of(node, upper), sign, self._text_of(node, lower)]
            elif node.tag not in _PASSED_OVER:
                if node.tag == f"{_W}p":
                    parts.append(" ")
                stack.extend(reversed(list(_children(node))))
        return "".join(parts)

    def _text_of(self, formula: Any, name: str) -> str:
        """Return a part of a formula, in parentheses if it is more than one sign or number."""
        part = formula.find(f"{_M}{name}")
        text = one_line(self._text(part)) if part is not None else ""
        return text if re.fullmatch(r"\w*|.", text) else f"({text})"

    def _put_drawing_aside(self, drawing: Any) -> None:
        for relation, render in (
            (chart_relation(drawing), render_chart),
            (diagram_relation(drawing), render_diagram),
        ):
            part = self._related(relation) if relation else None
            if part is not None and (text := render(_root(part))):
                self._after.append(text)


def _children(parent: Any) -> Iterator[Any]:
    """Yield child elements; of alternatives only the first, since the others repeat it."""
    for node in parent if parent is not None else ():
        if node.tag == f"{_MC}AlternateContent":
            yield from node[:1]
        elif isinstance(node.tag, str):
            yield node


def _within(parent: Any, name: str) -> Iterator[Any]:
    """Yield the elements of a `w:` name below a node, also in content controls and insertions."""
    for node in _children(parent):
        if node.tag == f"{_W}{name}":
            yield node
        elif node.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}customXml"):
            yield from _within(node, name)


class _Style(NamedTuple):
    """The role of a paragraph: a heading of a level from 1, an item of a list, or neither."""

    level: int | None = None
    list_id: str | None = None
    list_level: int | None = None


class _Styles:
    """The paragraph styles of a document, each with what it inherits from its base styles."""

    def __init__(self, root: Any) -> None:
        self._nodes = {node.get(f"{_W}styleId"): node for node in _children(root)}
        self._known: dict[str, _Style] = {}

    def of_paragraph(self, paragraph: Any) -> _Style:
        """Return a paragraph's own settings, completed by those of its style."""
        name = _value(paragraph, "pPr/pStyle")
        style = self._find_style(name) if name else _Style()
        return _merge_styles(_read_style(paragraph), style)

    def _find_style(self, name: str) -> _Style:
        if name not in self._known:
            # This entry ends the recursion where styles are based on each other.
            self._known[name] = _Style()
            styles = [_Style(_level_of_name(name))]
            node = self._nodes.get(name)
            if node is not None:
                by_name = _Style(_level_of_name(_value(node, "name")))
                styles = [_read_style(node), by_name, *styles]
                if based_on := _value(node, "basedOn"):
                    styles.append(self._find_style(based_on))
            self._known[name] = _merge_styles(*styles)
        return self._known[name]


def _read_style(node: Any) -> _Style:
    level = _number(_value(node, "pPr/outlineLvl"))
    if level is not None:
        level = 0 if level >= _BODY_LEVEL else level + 1
    list_level = _number(_value(node, "pPr/numPr/ilvl"))
    return _Style(level, _value(node, "pPr/numPr/numId"), list_level)


def _merge_styles(*styles: _Style) -> _Style:
    """Return the first setting of each kind."""
    settings = zip(*styles, strict=True)
    return _Style(*(next((v for v in values if v is not None), None) for values in settings))


def _level_of_name(name: str | None) -> int | None:
    if name is not None and name.lower() == "title":
        return 1
    found = _HEADING_STYLE.fullmatch(name or "")
    return int(found[1]) if found else None


class _Lists:
    """The counters of numbered lists."""

    def __init__(self, root: Any) -> None:
        self._formats: dict[tuple[str | None, int], tuple[str, int]] = {}
        self._abstract: dict[str | None, str | None] = {}
        self._restarts: dict[tuple[str, int], int] = {}
        self._counts: dict[str, dict[int, int]] = {}
        for node in _children(root):
            if node.tag == f"{_W}abstractNum":
                for level in node.iterfind(f"{_W}lvl"):
                    at = (node.get(f"{_W}abstractNumId"), _number(level.get(f"{_W}ilvl")) or 0)
                    start = _number(_value(level, "start"))
                    format_name = _value(level, "numFmt") or "decimal"
                    self._formats[at] = (format_name, 1 if start is None else start)
            elif node.tag == f"{_W}num":
                number = node.get(f"{_W}numId") or ""
                self._abstract[number] = _value(node, "abstractNumId")
                for override in node.iterfind(f"{_W}lvlOverride"):
                    start = _number(_value(override, "startOverride"))
                    if start is not None:
                        level = _number(override.get(f"{_W}ilvl")) or 0
                        self._restarts[number, level] = start

    def marker(self, list_id: str, list_level: int | None) -> str:
        """Return the bullet or number of a list's next item, or an empty string for no list."""
        level = min(list_level or 0, 8)
        abstract = self._abstract.get(list_id)
        format_name, start = self._formats.get((abstract, level), ("bullet", 1))
        if list_id == "0" or format_name == "none":
            return ""
        indent = "    " * level
        if format_name == "bullet":
            return f"{indent}- "
        # Lists of one kind continue counting unless one of them says where it starts.
        own = any((list_id, above) in self._restarts for above in range(9))
        counts = self._counts.setdefault(list_id if own else f"abstract {abstract}", {})
        start = self._restarts.get((list_id, level), start)
        counts[level] = counts.get(level, start - 1) + 1
        for deeper in [deeper for deeper in counts if deeper > level]:
            del counts[deeper]
        return f"{indent}{counts[level]}. "
