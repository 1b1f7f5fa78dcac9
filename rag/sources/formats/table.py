"""Read comma-separated values and the like: a line a row, each with the names of its columns.

One file is one document. Documents for blocks of rows would change when a row is inserted above
them. Since every row names its columns, nothing is lost by keeping all rows in one text.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import draft
from rag.sources.encodings import find_wide_encoding
from rag.sources.formats.rows import rows_text
from rag.sources.formats.text import SAY_ENCODING, naming_encoding
from rag.types import Document

_DELIMITERS = (",", ";", "\t", "|")
_DECIMAL = re.compile(r"\s*[-+]?[\d.]*,\d+\s*%?\s*")
_SAMPLE_LINES = 200
_LONGEST_FIELD = 4 << 20
_LONGEST_LINE = 16 << 20


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a table as one document, with the delimiter that divides its rows most evenly."""
    mark = _read_byte_order_mark(path)
    try:
        text = _read_rows(path, mark or "utf-8", source, config)
    except UnicodeDecodeError as error:
        if mark or not config.encoding:
            raise SourceError(
                source,
                f"is not valid {(mark or 'utf-8').removesuffix('-sig').upper()} "
                f"(byte 0x{error.object[error.start]:02x}): convert it to UTF-8, or {SAY_ENCODING}",
            ) from error
        with naming_encoding(config.encoding, source):
            text = _read_rows(path, config.encoding, source, config)
    tabs = path.suffix.lower() in (".tsv", ".tab")
    yield draft(source, text, media_type="text/tab-separated-values" if tabs else "text/csv")


def _read_byte_order_mark(path: Path) -> str | None:
    """Return the encoding of wide characters, or that a mark declares, by the name without it."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else find_wide_encoding(head) or None


def _read_rows(path: Path, encoding: str, source: str, config: SourcesConfig) -> str:
    # The limit belongs to the whole interpreter, so it is set back afterwards.
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(encoding=encoding, newline="") as file:
            lines = _read_lines(file, source)
            sample = list(islice(lines, _SAMPLE_LINES))
            rows = csv.reader(chain(sample, lines), delimiter=_find_delimiter(sample))
            return rows_text(rows, source, config)
    except csv.Error as error:
        raise SourceError(
            source,
            f"is not a table that can be read ({error}): look for a quotation mark that lacks its "
            "other half",
        ) from error
    finally:
        csv.field_size_limit(limit)


def _read_lines(file: TextIO, source: str) -> Iterator[str]:
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if "\0" in line:
            raise SourceError(source, "holds NUL characters: it is binary, or in another encoding")
        if len(line) == _LONGEST_LINE:
            reason = f"has more than {_LONGEST_LINE:,} characters in line {number}: is it a table?"
            raise SourceError(source, reason)
        yield line


def _find_delimiter(sample: list[str]) -> str:
    """Find the delimiter by which most rows have the same number of cells, and cells look whole.

    `csv.Sniffer` takes letters for delimiters, and guesses at quoting in a way that breaks rows
    which the default reads well.
    """
    return max(_DELIMITERS, key=lambda delimiter: _evenness(sample, delimiter))


def _evenness(sample: list[str], delimiter: str) -> tuple[float, float]:
    try:
        rows = [row for row in csv.reader(sample, delimiter=delimiter) if row]
    except csv.Error:
        return 0.0, 0.0
    # The sample may end within a quoted cell.
    if len(sample) == _SAMPLE_LINES and len(rows) > 1:
        rows.pop()
    widths = Counter(len(row) for row in rows if len(row) > 1)
    if not widths:
        return 0.0, 0.0
    cells = [cell for row in rows for cell in row]
    others = [other for other in _DELIMITERS if other != delimiter]
    whole = sum(
        bool(_DECIMAL.fullmatch(cell)) or not any(other in cell for other in others)
        for cell in cells
    )
    return round(max(widths.values()) / len(rows), 1), whole / len(cells)
