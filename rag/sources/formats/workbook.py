"""Read workbooks of Excel and OpenDocument: a line a row, each with the names of its columns."""

from __future__ import annotations

import re
import zipfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import TextBuilder, draft, is_fault
from rag.sources.formats.office import read_properties
from rag.sources.formats.package import check_package
from rag.sources.formats.rows import cell_text, column_letters, column_number, rows_text
from rag.sources.formats.spreadsheet import Notes, SheetNotes
from rag.sources.unpacking import temporary_file, temporary_folder
from rag.types import Document, Problem

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

_OPEN_XML = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_MEDIA_TYPES = {
    ".xls": "application/vnd.ms-excel",
    ".xlsb": "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
    ".xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
}
_OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# The memory that the library takes for each cell in the extent of a sheet, empty ones included.
_CELL_BYTES = 32
_REFERENCE = re.compile(rb"""\sr=["']([A-Z]{1,3})(\d{1,7})["']""")
_PIECE = 1 << 20
_LONGEST_REFERENCE = 16
_MOST_RANGES = 100_000


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document | Problem]:
    """Read a workbook as one document, a heading a sheet, with formulas as last computed.

    A sheet that cannot be read is named, and the others are taken.
    """
    from python_calamine import PasswordError, SheetTypeEnum

    with path.open("rb") as file:
        packaged = file.read(len(_OLD_EXCEL)) != _OLD_EXCEL
    if packaged:
        check_package(path, source, config)
        _check_extent(path, source, config)
    known = read_properties(path) if packaged else {}
    builder = TextBuilder()
    problems: list[Problem] = []
    try:
        with ExitStack() as opened:
            notes = Notes(opened.enter_context(zipfile.ZipFile(path))) if packaged else None
            workbook, left_out = _open_workbook(path, notes, opened)
            reason = "is a sheet without cells, such as macros: it is left out"
            problems += [Problem(f"{source}/{name}", reason, "skipped") for name in left_out]
            sheets = workbook.sheets_metadata
            for sheet in sheets:
                if sheet.typ != SheetTypeEnum.WorkSheet:
                    continue
                try:
                    noted = notes.of_sheet(sheet.name) if notes else SheetNotes()
                    rows = _show_rows(workbook.get_sheet_by_name(sheet.name), noted)
                    text = rows_text(rows, source, config, before=builder.length)
                except BaseException as error:
                    if not is_fault(error) or isinstance(error, PasswordError):
                        raise
                    reason = "is a sheet that cannot be read: it is damaged; the others are taken"
                    problems.append(Problem(f"{source}/{cell_text(sheet.name)}", reason))
                    continue
                comments = _show_comments(noted)
                if text or comments:
                    builder.add_heading(cell_text(sheet.name), 1)
                    builder.add("\n\n".join(filter(None, (text, comments))))
    except PasswordError as error:
        raise SourceError(source, "is encrypted: save a copy without the password") from error
    yield draft(
        source,
        builder.text,
        title=known.pop("title", ""),
        media_type=_MEDIA_TYPES.get(path.suffix.lower(), _OPEN_XML),
        metadata={**known, "sheets": len(sheets), "sheet_names": [sheet.name for sheet in sheets]},
        headings=builder.headings,
    )
    yield from problems


def _open_workbook(
    path: Path, notes: Notes | None, opened: ExitStack
) -> tuple[CalamineWorkbook, list[str]]:
    """Open a workbook, without sheets that hold no cells if the library fails over them.

    Returns it with the names of those sheets.
    """
    from python_calamine import CalamineWorkbook, PasswordError

    try:
        return opened.enter_context(closing(CalamineWorkbook.from_path(path))), []
    except PasswordError:
        raise
    except BaseException as error:
        if notes is None or not is_fault(error):
            raise
        copy = opened.enter_context(
            temporary_file("copy.xlsx", opened.enter_context(temporary_folder()))
        )
        names = notes.copy_without_other_sheets(copy)
        if not names:
            raise
        return opened.enter_context(closing(CalamineWorkbook.from_path(copy))), names


def _show_rows(sheet: CalamineSheet, notes: SheetNotes) -> Iterator[list[object]]:
    """Yield the rows as the sheet shows them, with what merged cells hold in each that they span.

    A row of one merged cell is a title, and stays one cell.
    """
    left = sheet.start[1] if sheet.start else 0
    ranges = deque(sorted(sheet.merged_cell_ranges or ())[:_MOST_RANGES])
    # What is to be filled in, by the last row of each range.
    open_ranges: list[tuple[int, int, int, object]] = []
    noted = notes.columns_by_row()
    for at, row in enumerate(sheet.iter_rows()):
        cells: list[object] = list(row)
        for column in noted.get(at, ()):
            if 0 <= column - left < len(cells):
                cells[column - left] = notes.show((at, column), cells[column - left])
        open_ranges = [each for each in open_ranges if each[0] >= at]
        while ranges and ranges[0][0][0] <= at:
            (top, first), (bottom, last) = ranges.popleft()
            first, last = first - left, min(last - left, len(cells) - 1)
            if top == at and 0 <= first < len(cells) and cells[first] != "":
                width = last - first + 1
                # What spans all that the table uses is its title.
                last = first if width > 1 and width >= len(cells) else last
                open_ranges.append((bottom, first, last, cells[first]))
        for _, first, last, value in open_ranges:
            for column in range(first, min(last + 1, len(cells))):
                cells[column] = value if cells[column] == "" else cells[column]
        yield cells


def _show_comments(notes: SheetNotes) -> str:
    return "\n".join(
        f"Comment on {column_letters(column)}{row + 1}: {text}"
        for (row, column), text in sorted(notes.comments.items())
        if text
    )


def _check_extent(path: Path, source: str, config: SourcesConfig) -> None:
    """Refuse a sheet that a stray cell makes so large that the library would run out of memory."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not re.fullmatch(r"xl/worksheets/[^/]+\.xml", name):
                continue
            rows, columns = _measure_extent(archive, name)
            if rows * columns * _CELL_BYTES > config.memory_mb << 20:
                raise SourceError(
                    source,
                    f"has a sheet of {rows:,} rows and {columns:,} columns, more than "
                    f"{config.memory_mb:,} MB hold (`sources.memory_mb`): delete the stray cells "
                    "at its end",
                )


def _measure_extent(archive: zipfile.ZipFile, name: str) -> tuple[int, int]:
    """Return the last row and the last column that a sheet's cells lie in."""
    rows, columns, rest = 0, 0, b""
    with archive.open(name) as part:
        while piece := part.read(_PIECE):
            text = rest + piece
            if found := _REFERENCE.findall(text):
                letters, numbers = zip(*found, strict=True)
                columns = max(columns, *(column_number(name.decode()) for name in set(letters)))
                rows = max(rows, *map(int, numbers))
            # A reference may be split between two pieces.
            rest = text[-_LONGEST_REFERENCE:]
    return rows, columns
