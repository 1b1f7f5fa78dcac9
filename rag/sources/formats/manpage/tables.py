"""Render tables of tbl(1) as Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable

from rag.sources.formats.manpage.man import FONTS, MIXED
from rag.sources.formats.manpage.syntax import CONTROL, GLUE, arguments
from rag.sources.formats.office import markdown_table


def to_markdown(lines: list[str], plain: Callable[[str], str]) -> str:
    """Render the lines of a table, options and formats first; `plain` resolves escapes in cells."""
    separator = "\t"
    start = 0
    if lines and lines[0].rstrip().endswith(";"):
        option = re.search(r"tab\s*\((.)\)", lines[0])
        separator = option[1] if option else separator
        start = 1
    rows = _rows(lines[_formats_end(lines, start) :], separator, plain)
    return markdown_table([[cell.replace(GLUE, "") for cell in row] for row in rows])


def _formats_end(lines: list[str], at: int) -> int:
    """Return where a table's data begin: after a line of formats that ends with a dot."""
    ends = (line + 1 for line in range(at, len(lines)) if lines[line].rstrip().endswith("."))
    return next(ends, len(lines))


def _rows(lines: list[str], separator: str, plain: Callable[[str], str]) -> list[list[str]]:
    rows: list[list[str]] = []
    # Collects the lines of a cell that is written as a block of text, from `T{` to `T}`.
    block: list[str] | None = None
    formats_end = 0
    for at, raw in enumerate(lines):
        if raw.startswith(".T&"):
            formats_end = _formats_end(lines, at + 1)
        control = CONTROL.match(raw)
        if at < formats_end or (control and control[1] not in FONTS | MIXED):
            continue
        space = " " if control and control[1] in FONTS else ""
        line = space.join(arguments(control[2])) if control else raw
        if block is not None and not line.startswith("T}"):
            block.append(plain(line))
            continue
        if block is not None:
            rows[-1].append(" ".join(block))
            block = None
            cells = line[2:].split(separator)[1:]
        elif line.strip(" _=\t"):
            rows.append([])
            cells = line.split(separator)
        else:
            continue
        if cells and cells[-1].startswith("T{"):
            block = [plain(cells.pop()[2:])]
        rows[-1] += map(plain, cells)
    if block is not None:
        rows[-1].append(" ".join(block))
    return rows
