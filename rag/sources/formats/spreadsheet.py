"""Read what a workbook of Open XML says of its cells beside their values.

python-calamine gives values. The formats of numbers, comments, links and formulas without a value
are in the sheet's own XML, which is searched for them only: cells of no interest cost nothing.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag.sources.formats.numbers import BUILT_IN, format_number
from rag.sources.formats.rows import cell_text, column_number

Cell = tuple[int, int]
"""The row and the column of a cell, from 0."""

_PIECE = 1 << 20
_LONGEST_CELL = 1 << 16
_MOST_NOTES = 100_000
# A formula that no value follows.
_FORMULA = re.compile(
    rb"<(?:\w+:)?c\b([^<>]*)>\s*<(?:\w+:)?f\b[^<>]*(?:/>|>([^<]*)</(?:\w+:)?f>)"
    rb"\s*(?:<(?:\w+:)?v\s*(?:/>|>\s*</(?:\w+:)?v>)\s*)?</(?:\w+:)?c>"
)
_PLACE = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})")
_REFERENCE = re.compile(rb"""\sr=["']([A-Z]{1,3}\d{1,7})["']""")
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


@dataclass(slots=True)
class SheetNotes:
    """What is known of the cells of a sheet: codes of formats, formulas, comments, links."""

    codes: dict[Cell, str] = field(default_factory=dict)
    formulas: dict[Cell, str] = field(default_factory=dict)
    comments: dict[Cell, str] = field(default_factory=dict)
    links: dict[Cell, str] = field(default_factory=dict)

    def columns_by_row(self) -> dict[int, list[int]]:
        """Return the columns of the cells that are not shown as their values, by row."""
        found: dict[int, list[int]] = {}
        for row, column in {**self.codes, **self.formulas, **self.links}:
            found.setdefault(row, []).append(column)
        return found

    def show(self, place: Cell, value: object) -> str:
        """Return a cell as the sheet shows it, with its link, or its formula if it has no value."""
        text = cell_text(value)
        code = self.codes.get(place)
        if code is not None and isinstance(value, int | float) and not isinstance(value, bool):
            text = format_number(value, code) or text
        if not text and place in self.formulas:
            text = f"(={self.formulas[place]}, not computed)"
        link = self.links.get(place)
        return f"{text} ({link})".strip() if link and link not in text else text


class Notes:
    """The notes of the sheets of a checked package, by the sheets' names."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._codes = self._read_codes()
        book = _parse_part(archive, "xl/workbook.xml")
        targets = {key: path for key, path, _ in self._relations("xl/workbook.xml")}
        sheets = book.iterfind(".//{*}sheet") if book is not None else ()
        self._parts = {
            sheet.get("name", ""): targets.get(sheet.get(f"{{{_RELATIONS}}}id", ""), "")
            for sheet in sheets
        }

    def copy_without_other_sheets(self, target: Path) -> list[str]:
        """Copy the package without what is listed as a sheet and holds no cells: macros, dialogs.

        Returns their names. Some parsers give up the whole book over them.
        """
        book = _parse_part(self._archive, "xl/workbook.xml")
        kinds = {key: (path, kind) for key, path, kind in self._relations("xl/workbook.xml")}
        names: list[str] = []
        for sheet in list(book.iterfind(".//{*}sheet")) if book is not None else ():
            path, kind = kinds.get(sheet.get(f"{{{_RELATIONS}}}id", ""), ("", ""))
            if not kind.endswith("/worksheet") or path not in self._archive.NameToInfo:
                names.append(cell_text(sheet.get("name", "")))
                sheet.getparent().remove(sheet)
        if names:
            # Names count sheets by their order.
            for defined in list(book.iterfind(".//{*}definedNames")):
                defined.getparent().remove(defined)
            self._write_copy(target, {"xl/workbook.xml": book})
        return names

    def _write_copy(self, target: Path, replaced: Mapping[str, Any]) -> None:
        from lxml import etree

        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
            for name in self._archive.NameToInfo:
                if name in replaced:
                    copy.writestr(name, etree.tostring(replaced[name]))
                    continue
                with self._archive.open(name) as part, copy.open(name, "w") as written:
                    shutil.copyfileobj(part, written, _PIECE)

    def of_sheet(self, name: str) -> SheetNotes:
        """Return the notes of a sheet; none where its part is not there."""
        part, notes = self._parts.get(name, ""), SheetNotes()
        if part not in self._archive.NameToInfo:
            return notes
        self._scan_cells(part, notes)
        self._read_links(part, notes)
        for _, path, kind in self._relations(part):
            if (
                kind.endswith("/comments")
                and (root := _parse_part(self._archive, path)) is not None
            ):
                for comment in root.iterfind(".//{*}comment"):
                    text = "".join(each.text or "" for each in comment.iterfind(".//{*}t"))
                    for place in _places(comment.get("ref", "")):
                        notes.comments.setdefault(place, cell_text(text))
        return notes

    def _read_codes(self) -> Mapping[int, str]:
        """Return the codes of the styles of cells that are worth a look."""
        root = _parse_part(self._archive, "xl/styles.xml")
        if root is None:
            return {}
        own = {
            each.get("numFmtId"): each.get("formatCode") for each in root.iterfind(".//{*}numFmt")
        }
        found = {}
        for number, style in enumerate(root.iterfind(".//{*}cellXfs/{*}xf")):
            key = style.get("numFmtId", "")
            code = own.get(key) or BUILT_IN.get(int(key) if key.isdecimal() else 0)
            if code and format_number(1, code) is not None:
                found[number] = code
        return found

    def _scan_cells(self, part: str, notes: SheetNotes) -> None:
        styles = b"|".join(b"%d" % style for style in self._codes)
        styled = re.compile(
            rb"""<(?:\w+:)?c\b(?=[^<>]*\ss=["'](%s)["'])(?=[^<>]*\sr=["']([A-Z]{1,3}\d{1,7})["'])"""
            % (styles or b"$^")
        )
        rest = b""
        with self._archive.open(part) as opened:
            while True:
                piece = opened.read(_PIECE)
                text = rest + piece
                # A cell that was cut is read with the next piece.
                end = text.rfind(b"<c", 0, len(text) - 1) if piece else len(text)
                end = len(text) if end < len(text) - _LONGEST_CELL else end
                for style, reference in styled.findall(text, 0, end):
                    for where in _places(reference.decode()):
                        notes.codes[where] = self._codes[int(style)]
                for attributes, formula in _FORMULA.findall(text, 0, end):
                    found = _REFERENCE.search(attributes)
                    for where in _places(found[1].decode()) if found else ():
                        notes.formulas[where] = cell_text(formula.decode("utf-8", "replace"))[:200]
                if not piece:
                    return
                rest = text[end:]

    def _read_links(self, part: str, notes: SheetNotes) -> None:
        targets = {key: path for key, path, _ in self._relations(part)}
        if not targets:
            return
        for element in self._iterate(part, "hyperlink"):
            target = targets.get(element.get(f"{{{_RELATIONS}}}id", ""), "")
            if re.match("(?:https?|mailto|ftp):", target, re.I):
                for place in _places(element.get("ref", "")):
                    notes.links.setdefault(place, cell_text(target))

    def _iterate(self, part: str, name: str) -> Iterator[Any]:
        from lxml import etree

        with self._archive.open(part) as opened:
            for _, element in etree.iterparse(
                opened, tag=f"{{*}}{name}", resolve_entities=False, no_network=True, recover=True
            ):
                yield element

    def _relations(self, part: str) -> list[tuple[str, str, str]]:
        """Return the relations of a part: their ids, what they lead to, and their kinds."""
        folder, name = posixpath.split(part)
        root = _parse_part(self._archive, f"{folder}/_rels/{name}.rels")
        found = []
        for each in root if root is not None else ():
            target = each.get("Target", "")
            if each.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            found.append((each.get("Id", ""), target, each.get("Type", "")))
        return found[:_MOST_NOTES]


def _parse_part(archive: zipfile.ZipFile, name: str) -> Any:
    from lxml import etree

    if name not in archive.NameToInfo:
        return None
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    return etree.fromstring(archive.read(name), parser)


def _places(reference: str) -> list[Cell]:
    """Return the first cell of a reference such as `B2` or `B2:C9`, in a list; or none."""
    found = _PLACE.match(reference)
    return [(int(found[2]) - 1, column_number(found[1]) - 1)] if found else []
