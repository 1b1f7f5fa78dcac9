"""Render the rows of a table as lines that can each be understood alone."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise, zip_longest

from rag.config import SourcesConfig
from rag.errors import SourceError

_FIRST_ROWS = 20
_LONGEST_LABEL = 200
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]")
_YEAR = re.compile(r"(?:19|20)\d\d")


def rows_text(
    rows: Iterable[Sequence[object]], source: str, config: SourcesConfig, *, before: int = 0
) -> str:
    """Join the lines of `row_lines` into one text, for a document of `before` characters so far.

    Raises:
        SourceError: as soon as the document would exceed `sources.max_text_mb`.
    """
    lines = []
    length = before
    for line in row_lines(rows):
        length += len(line) + 1
        if length > config.max_text_mb << 20:
            raise SourceError(
                source,
                f"holds more than {config.max_text_mb} million characters of text, the limit "
                "(`sources.max_text_mb`)",
            )
        lines.append(line)
    return "\n".join(lines)


def row_lines(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield a line a row, `Header: value | Header: value`, without empty cells and rows.

    The header is the first row, among the first 20 that are not empty, with labels in more than
    half of the columns that these rows use. A label is a text of at most 200 characters with a
    letter in it that is neither a time nor a truth value, or a year, since many tables have years
    as columns. The header and the rows above it (titles, remarks) are rendered as their values. A
    column without a header is named by its letters. A table of one column is rendered as its
    values.
    """
    filled = (cells for row in rows if any(cells := [cell_text(value) for value in row]))
    first = list(islice(filled, _FIRST_ROWS))
    used = {column for cells in first for column, cell in enumerate(cells) if cell}
    if len(used) == 1:
        yield from (_join_values(cells) for cells in chain(first, filled))
        return
    labels = [sum(map(_is_label, cells)) for cells in first]
    after = next((at for at, count in enumerate(labels, start=1) if count * 2 > len(used)), 0)
    names = first[after - 1] if after else []
    if after and after < len(first) and _continues_header(names, first[after]):
        names = [_join_labels(*each) for each in zip_longest(names, first[after], fillvalue="")]
        after += 1
    yield from map(_join_values, first[:after])
    for cells in chain(first[after:], filled):
        names += [""] * (len(cells) - len(names))
        for column, cell in enumerate(cells):
            if cell and not names[column]:
                names[column] = column_letters(column)
        yield " | ".join(
            f"{name}: {cell}" for name, cell in zip(names, cells, strict=False) if cell
        )


def _continues_header(names: Sequence[str], cells: Sequence[str]) -> bool:
    """Say whether a row of labels goes on below a header some of whose labels are merged cells."""
    pairs = list(zip(names, cells, strict=False))
    spans = any(one and one == other for one, other in pairs)
    spans = spans or any(one and one == other for one, other in pairwise(names))
    return spans and all(_is_label(cell) for cell in cells if cell)


def _join_labels(above: str, below: str) -> str:
    return below if above in ("", below) else f"{above} {below}".strip()


def cell_text(value: object) -> str:
    """Render a cell on one line: times as ISO 8601, numbers with 15 digits as spreadsheets do."""
    if isinstance(value, str | None):
        return " ".join((value or "").split())
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return format(value, ".15g") if abs(value) >= 1e15 or value % 1 else str(int(value))
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return str(value)


def column_letters(column: int) -> str:
    """Return the name that spreadsheets give a column (from 0): A to Z, then AA, AB and so on."""
    letters = ""
    column += 1
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def column_number(letters: str) -> int:
    """Return the number, from 1, of the column that spreadsheets call by these letters."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _join_values(cells: list[str]) -> str:
    return " | ".join(filter(None, cells))


def _is_label(cell: str) -> bool:
    if _YEAR.fullmatch(cell):
        return True
    return (
        any(character.isalpha() for character in cell)
        and len(cell) <= _LONGEST_LABEL
        and not _MOMENT.match(cell)
        and cell.casefold() not in ("true", "false")
    )
