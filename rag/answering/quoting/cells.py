"""A table -> the cell that is asked for, with its row and its column's name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.answering.quoting.asking import Request
from rag.answering.quoting.layout import Block, Cell, Layout
from rag.answering.quoting.pieces import MOST, MOST_OF_A_LIST, Draft, Place, stems
from rag.text.languages.english import COLUMN_NAMES
from rag.text.words import WORD, stem

TABLES = ("row", "record", "names")
# More rows than these that hold as much of the question tell that it means none of them.
_MOST_ALIKE = 3


def quote_cell(request: Request, layout: Layout, at: int, span: Place) -> Draft:
    """Return the row that is asked for with the names of its columns, and mark the cell.

    The row is the one whose cells hold most of the question's words, which the reader may have
    missed by a line; rows that hold as many answer together. The column is the one whose name the
    question uses, or else the reader's, unless that cell is what the question names itself. A cell
    that several rows share stands in the first of them.
    """
    names, rows = layout.table_at(at)
    rows = rows or [layout.blocks[at]]
    own = next((row for row in rows if row.start <= span[0] < row.end), None)
    scores = [_match(request, layout, row, names) for row in rows]
    best = rows[max(range(len(rows)), key=lambda i: (scores[i], rows[i] is own))]
    mine = _cell_at(layout.cells(own, names), span) if own else None
    column = mine.column if mine else None
    alike = [row for row, score in zip(rows, scores, strict=True) if score == max(scores) > 0]
    draft = Draft()
    for row in alike if 1 < len(alike) <= _MOST_ALIKE else [best]:
        cells = layout.cells(row, names)
        shared = _shared_cell(request, layout, rows, names, row)
        if shared:
            draft.add(layout, [(shared[0].start, shared[0].end), (row.start, row.end)])
            draft.add(layout, [], [(shared[1].start, shared[1].end)])
        elif cell := _choose_cell(request, layout, cells, column):
            draft.add(layout, _print_row(request, layout, row, cells, cell))
            draft.add(layout, [], [(cell.start, cell.end)])
        else:
            draft.add(layout, [(row.start, row.end)], [(row.start, row.end)])
    draft.add(layout, [(n.start, n.end) for n in names if best.kind != "record"])
    return draft


def quote_column(request: Request, layout: Layout, at: int, span: Place) -> Draft | None:
    """Return the cells of the column that a list is asked of, from the rows that are meant.

    Rows are chosen by the question's words that some cells hold and others do not ("which articles
    are red"); without such words all rows are meant.
    """
    names, rows = layout.table_at(at)
    columns = [
        cell.column
        for row in rows
        for cell in layout.cells(row, names)
        if request.head and request.head in stems(cell.name)
    ]
    own = next((row for row in rows if row.start <= span[0] < row.end), None)
    if columns:
        column = columns[0]
    elif own and (cell := _cell_at(layout.cells(own, names), span)):
        column = cell.column
    else:
        return None
    scores = [_match(request, layout, row, names, but=column) for row in rows]
    meant = [row for row, score in zip(rows, scores, strict=True) if score == max(scores)]
    draft = Draft()
    draft.add(layout, [(n.start, n.end) for n in names if rows[0].kind != "record"])
    for row in meant:
        found = [cell for cell in layout.cells(row, names) if cell.column == column]
        if found and draft.length + row.end - row.start <= MOST_OF_A_LIST:
            draft.add(layout, [(row.start, row.end)], [(found[0].start, found[0].end)])
    return draft if draft.marks else None


def _shared_cell(
    request: Request, layout: Layout, rows: list[Block], names: Sequence[Block], row: Block
) -> tuple[Block, Cell] | None:
    """Return the cell that is asked for where a row leaves it to a row above, and that row."""

    def find_cell(each: Block) -> Cell | None:
        cells = layout.cells(each, names)
        return next((c for c in cells if request.head and request.head in stems(c.name)), None)

    if find_cell(row) is not None:
        return None
    for above in reversed(rows[: rows.index(row)]):
        if cell := find_cell(above):
            return above, cell
    return None


def _match(
    request: Request, layout: Layout, row: Block, names: Sequence[Block], but: int = -1
) -> float:
    """Return how much of the question the cells of a row hold.

    A cell that stands in the question word for word counts more than one that shares a word.
    """
    written = f" {' '.join(WORD.findall(request.text))} "
    asked = stems(request.text)
    total = 0.0
    for cell in layout.cells(row, names):
        value = layout.text[cell.start : cell.end].lower()
        held = stems(value) & asked & (request.words | _numbers(request.text))
        words = " ".join(WORD.findall(value))
        if cell.column != but and words:
            # "A" of "zone A" is no word of its own.
            if f" {words} " in written.lower() and (held or f" {words.upper()} " in written):
                total += 2.0 * max(1, len(held))
            elif held:
                total += len(held) / (1 + len(stems(value)))
    return total


def _numbers(text: str) -> frozenset[str]:
    return frozenset(stem(word) for word in WORD.findall(text.lower()) if word[0].isdigit())


def _choose_cell(
    request: Request, layout: Layout, cells: list[Cell], column: int | None
) -> Cell | None:
    """Return the cell that is asked for; `column` is the one of the reader's span.

    None if several cells may be meant, and neither their names nor the reader tell which.
    """
    asked = stems(request.text)
    keys = [
        cell
        for cell in cells
        if (held := stems(layout.text[cell.start : cell.end])) and held <= asked
    ]
    free = [cell for cell in cells if cell not in keys]
    if not free:
        return cells[0] if cells else None
    hints = frozenset(
        word
        for pattern, words in COLUMN_NAMES
        if re.search(pattern, request.text.lower())
        for word in words
    )

    def score(cell: Cell) -> float:
        named = stems(cell.name)
        head = 3.0 * (bool(request.head) and request.head in named)
        return head + 2.0 * len(named & asked) + 1.0 * bool(hints & named)

    best = max(free, key=lambda cell: (score(cell), cell.column == column))
    mine = next((cell for cell in free if cell.column == column), None)
    if mine is not None and score(best) <= score(mine):
        return mine
    return best if score(best) > 0 or len(free) == 1 else None


def _cell_at(cells: list[Cell], span: Place) -> Cell | None:
    return next((c for c in cells if c.start < span[1] and span[0] < c.end), None)


def _print_row(
    request: Request, layout: Layout, row: Block, cells: list[Cell], cell: Cell
) -> list[Place]:
    """Return a row, or of a long record the fields that say which row it is."""
    if row.kind == "record" and row.end - row.start > MOST:
        asked = stems(request.text)
        kept = [
            each
            for each in cells
            if each in (cell, cells[0]) or stems(layout.text[each.start : each.end]) & asked
        ]
        return [_widen_to_field(layout.text, row, each) for each in kept]
    return [(row.start, row.end)]


def _widen_to_field(text: str, row: Block, cell: Cell) -> Place:
    bar = text.rfind(" | ", row.start, cell.start)
    return (bar + 3 if bar >= 0 else row.start), cell.end
