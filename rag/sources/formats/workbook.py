"""Read workbooks of Excel and OpenDocument: a line a row, each with the names of its columns."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import TextBuilder, draft
from rag.sources.formats.office import read_properties
from rag.sources.formats.package import check_package
from rag.sources.formats.rows import cell_text, column_number, rows_text
from rag.types import Document

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


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a workbook as one document, a heading a sheet, with formulas as last computed."""
    from python_calamine import CalamineWorkbook, PasswordError, SheetTypeEnum

    with path.open("rb") as file:
        packaged = file.read(len(_OLD_EXCEL)) != _OLD_EXCEL
    if packaged:
        check_package(path, source, config)
        _check_extent(path, source, config)
    known = read_properties(path) if packaged else {}
    builder = TextBuilder()
    try:
        with closing(CalamineWorkbook.from_path(path)) as workbook:
            sheets = workbook.sheets_metadata
            for sheet in sheets:
                if sheet.typ != SheetTypeEnum.WorkSheet:
                    continue
                rows = workbook.get_sheet_by_name(sheet.name).iter_rows()
                text = rows_text(rows, source, config, before=builder.length)
                if text:
                    builder.add_heading(cell_text(sheet.name), 1)
                    builder.add(text)
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
