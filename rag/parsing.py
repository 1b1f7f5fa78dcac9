"""Parse JSON and CSV from outside, where whatever cannot be parsed is a ValueError.

Python's own parsers also raise RecursionError, for what is nested deep, and `csv.Error`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: if it is none, or is nested too deep, or holds a number of too many digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deep") from None


def parse_table(text: str, columns: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each line of a CSV table after the first, with its cells by column.

    A cell that is not there is empty, and one without a column is left out.

    Raises:
        ValueError: if it lacks one of `columns`, or is no CSV; names the line.
    """
    rows = csv.DictReader(text.splitlines(keepends=True), restkey="", restval="")
    try:
        missing = columns - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f"has no column {' and no column '.join(sorted(missing))}")
        for row in rows:
            row.pop("", None)
            yield rows.line_num, row
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num + 1} is not CSV: {error}") from None


_MOST_DIGITS = 15


def read_whole(text: str) -> int:
    """Return the whole number that a text is, or one that is above all others if it is too long.

    Raises:
        ValueError: if it holds anything but decimal digits.
    """
    if not text.isdecimal():
        raise ValueError(f"{text[:20]!r} is no whole number")
    return int(text) if len(text) <= _MOST_DIGITS else 10**_MOST_DIGITS
