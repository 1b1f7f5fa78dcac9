"""Put the pieces of text on a page into lines in reading order.

Coordinates run right and down, in points. The page is cut recursively in the manner of the XY-cut
(Nagy & Seth, "Hierarchical representation of optically scanned documents", ICPR 1984), with one
change: a gutter need not run the whole height. What crosses it, such as a title over two columns,
divides the page into bands.
"""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

_BINS = 512
_MOST_GUTTERS = 5  # tried in one region
_DEEPEST = 4
_TABLE_ROWS = 3
_INKED = 0.7  # of a line's width

# In em:
_GUTTER = 0.8
_COLUMN = 10.0
_CELLS_APART = 1.5
_LEAST_ROWS = 3  # of a table whose columns are looked for
_BAND_APART = 2.5
_JUMP_BACK = 0.8
_PARAGRAPH = 0.3


@dataclass(slots=True)
class Piece:
    """Words that are close together on one line; `at` and `until` number the outer characters."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    base: float
    size: float
    at: int
    until: int


@dataclass(slots=True)
class Line:
    """A line of text; `gap` is what separates it from the line before.

    The gap is empty at the start of a block, such as a column: only the text shows whether a
    sentence continues there. `pieces` are what the line was joined from.
    """

    text: str
    gap: str
    size: float
    y0: float
    y1: float
    base: float
    at: int
    until: int
    bold: bool = False
    pieces: tuple[Piece, ...] = ()


def reading_order(pieces: Sequence[Piece]) -> list[Line]:
    """Return the lines of a page, column by column."""
    blocks = [_join_rows(_find_rows(block)) for block in _find_blocks(list(pieces), _DEEPEST)]
    leading = _measure_leading(blocks)
    for block in blocks:
        for above, line in pairwise(block):
            line.gap = _choose_gap(above, line, leading)
    return [line for block in blocks for line in block]


def _find_blocks(pieces: list[Piece], depth: int) -> list[list[Piece]]:
    bands = _find_bands(pieces) if depth and len(pieces) > 3 else None
    if not bands:
        return [pieces]
    blocks: list[list[Piece]] = []
    flowing: list[Piece] = []
    for band in bands:
        if isinstance(band, _Columns):
            if flowing:
                blocks += _find_blocks(flowing, depth - 1)
            blocks += _find_blocks(band.left, depth - 1) + _find_blocks(band.right, depth - 1)
            flowing = []
        else:
            flowing += band
    return blocks + (_find_blocks(flowing, depth - 1) if flowing else [])


@dataclass(slots=True)
class _Columns:
    left: list[Piece]
    right: list[Piece]


def _find_bands(pieces: list[Piece]) -> list[_Columns | list[Piece]] | None:
    """Divide a region from top to bottom along its best gutter; None if it has no columns."""
    em = statistics.median(piece.size for piece in pieces)
    best, most = None, 0
    for x in _find_gutters(pieces, em):
        bands = _cut_into_bands(pieces, x, em)
        count = sum(len(b.left) + len(b.right) for b in bands if isinstance(b, _Columns))
        if count > most:
            best, most = bands, count
    return best


def _find_gutters(pieces: list[Piece], em: float) -> list[float]:
    """Return where fewer pieces lie than to the left and to the right, the emptiest first."""
    left = min(piece.x0 for piece in pieces)
    width = max(piece.x1 for piece in pieces) - left
    if width < 2 * _COLUMN * em:
        return []
    change = [0] * (_BINS + 1)
    for piece in pieces:
        change[int((piece.x0 - left) / width * _BINS)] += 1
        change[int((piece.x1 - left) / width * _BINS)] -= 1
    runs: list[tuple[int, int, int]] = []  # pieces there, first bin, bin after the last
    for cover, group in groupby(enumerate(accumulate(change[:_BINS])), key=lambda item: item[1]):
        bins = [at for at, _ in group]
        runs.append((cover, bins[0], bins[-1] + 1))
    valleys = [
        run
        for before, run, after in zip(runs, runs[1:], runs[2:], strict=False)
        if before[0] > run[0] < after[0] and (run[2] - run[1] + 1) * width / _BINS >= _GUTTER * em
    ]
    return [left + (a + b) / 2 * width / _BINS for _, a, b in sorted(valleys)[:_MOST_GUTTERS]]


def _cut_into_bands(pieces: list[Piece], x: float, em: float) -> list[_Columns | list[Piece]]:
    crossing = [piece for piece in pieces if piece.x0 < x < piece.x1]
    beside = [piece for piece in pieces if not piece.x0 < x < piece.x1]
    bounds = [piece.y0 + piece.y1 for piece in crossing]
    # Much white space separates columns from other text, such as the names of authors.
    lowest = float("-inf")
    for piece in sorted(beside, key=lambda piece: piece.y0):
        if piece.y0 - lowest > _BAND_APART * em:
            bounds.append(piece.y0 + lowest)
        lowest = max(lowest, piece.y1)
    bounds += [2 * top for top in _table_rows(_sides(beside, x), em)]
    bounds.sort()
    beside_in: list[list[Piece]] = [[] for _ in range(len(bounds) + 1)]
    across_in: list[list[Piece]] = [[] for _ in beside_in]
    for piece in beside:
        beside_in[bisect.bisect(bounds, piece.y0 + piece.y1)].append(piece)
    for piece in crossing:
        across_in[bisect.bisect(bounds, piece.y0 + piece.y1)].append(piece)
    bands: list[_Columns | list[Piece]] = []
    run: list[_Columns] = []
    for band, across in zip(beside_in, across_in, strict=True):
        columns = _sides(band, x)
        are_columns = _are_columns(columns, em)
        if across or not are_columns:
            bands += [*_unite(run, em), across]
            run = []
        if are_columns:
            run.append(columns)
        else:
            bands.append(band)
    return [band for band in (*bands, *_unite(run, em)) if band]


def _sides(pieces: list[Piece], x: float) -> _Columns:
    return _Columns([p for p in pieces if p.x1 <= x], [p for p in pieces if p.x1 > x])


def _unite(run: list[_Columns], em: float) -> Sequence[_Columns]:
    """Unite columns that only white space divides, unless they are the rows of a table."""
    left = [piece for columns in run for piece in columns.left]
    right = [piece for columns in run for piece in columns.right]
    whole = _Columns(left, right)
    return [whole] if left and not _table_rows(whole, em) else run


def _are_columns(columns: _Columns, em: float) -> bool:
    """Whether both sides are running text, and not a table whose rows go across."""
    if not columns.left or not columns.right:
        return False
    # Pieces that are drawn row by row must look more like text than others.
    returns = bool(_find_returns(columns, em))
    fewest, filled, share = (1, 0.6, 0.5) if returns else (3, 0.85, 0.6)
    return all(
        len(side) >= fewest and _runs_on(side, em, filled, share)
        for side in (columns.left, columns.right)
    )


def _runs_on(side: list[Piece], em: float, filled: float, share: float) -> bool:
    """Whether a share of the text is in lines that fill their column to the part `filled`."""
    rows = _find_rows(side)
    widths = [row[-1].x1 - row[0].x0 for row in rows]
    column = sorted(widths)[int(0.9 * (len(widths) - 1))]
    if column < _COLUMN * em:
        return False
    running = 0
    for row, width in zip(rows, widths, strict=True):
        # The cells of a table leave more white space between them than words do.
        if width >= filled * column and sum(p.x1 - p.x0 for p in row) >= _INKED * width:
            running += sum(len(piece.text) for piece in row)
    return running >= share * sum(len(piece.text) for piece in side)


def _table_rows(columns: _Columns, em: float) -> list[float]:
    """Return where the rows of a table begin whose cells of several lines are drawn row by row."""
    returns = _find_returns(columns, em)
    tops = [top for top, began in returns if abs(top - began) < 0.3 * em]
    if len(tops) < max(_TABLE_ROWS, 0.8 * len(returns)) or tops != sorted(tops):
        return []
    return tops


def _find_returns(columns: _Columns, em: float) -> list[tuple[float, float]]:
    """Return where drawing goes from one side up again to the other side.

    Each is the top of what comes on the other side, and the top of what was drawn before it.
    """
    drawn = [(piece.at, 0, piece) for piece in columns.left]
    drawn += [(piece.at, 1, piece) for piece in columns.right]
    drawn.sort(key=lambda item: item[0])
    returns: list[tuple[float, float]] = []
    began = drawn[0][2].y0 if drawn else 0.0
    for (_, side, last), (_, other, piece) in pairwise(drawn):
        if side != other:
            if piece.y0 < last.y0 - _JUMP_BACK * em:
                returns.append((piece.y0, began))
            began = piece.y0
    return returns


def _find_rows(pieces: list[Piece]) -> list[list[Piece]]:
    """Group pieces side by side into rows, each from left to right."""
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: (piece.y0, piece.x0)):
        if rows and _are_beside(rows[-1][0], piece):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    for row in rows:
        row.sort(key=lambda piece: piece.x0)
    return rows


def _are_beside(one: Piece, other: Piece) -> bool:
    heights = sorted((one.y1 - one.y0, other.y1 - other.y0))
    overlap = min(one.y1, other.y1) - max(one.y0, other.y0)
    # A tall initial is beside several lines, and belongs to none of them more than to another.
    return overlap >= 0.5 * heights[0] and heights[1] <= 2.2 * heights[0]


def _join_rows(rows: list[list[Piece]]) -> list[Line]:
    """Join the pieces of each row to a line; in a table, an empty cell stays an empty cell."""
    cells = [_cut_into_cells(row) for row in rows]
    lines: list[Line] = []
    for is_table, group in groupby(cells, key=lambda row: len(row) > 1):
        run = list(group)
        columns = _find_columns(run) if is_table and len(run) >= _LEAST_ROWS else []
        lines += [_join_cells(row, columns) for row in run]
    return lines


def _cut_into_cells(row: list[Piece]) -> list[list[Piece]]:
    """Divide a row where there is much more white space than between words."""
    cells = [[row[0]]]
    for before, piece in pairwise(row):
        if piece.x0 - before.x1 >= _CELLS_APART * min(before.size, piece.size):
            cells.append([piece])
        else:
            cells[-1].append(piece)
    return cells


def _find_columns(rows: list[list[list[Piece]]]) -> list[tuple[float, float]]:
    """Return where the columns of a table begin and end; none if a cell lies in two of them."""
    most = max(map(len, rows))
    if min(map(len, rows)) == most:
        return []
    spans = sorted((cell[0].x0, cell[-1].x1) for row in rows for cell in row)
    columns: list[tuple[float, float]] = []
    for left, right in spans:
        if columns and left < columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], right))
        else:
            columns.append((left, right))
    # Each row would have a cell in each of them.
    return columns if len(columns) == most else []


def _join_cells(cells: list[list[Piece]], columns: list[tuple[float, float]]) -> Line:
    texts = {at: " ".join(piece.text for piece in cell) for at, cell in enumerate(cells)}
    if columns:
        starts = [left for left, _ in columns]
        texts = {
            bisect.bisect(starts, cell[0].x0) - 1: text
            for cell, text in zip(cells, texts.values(), strict=True)
        }
    row = [piece for cell in cells for piece in cell]
    main = max(row, key=lambda piece: len(piece.text))
    return Line(
        " | ".join(texts.get(at, "") for at in range(len(columns) or len(cells))),
        "",
        main.size,
        min(piece.y0 for piece in row),
        max(piece.y1 for piece in row),
        main.base,
        row[0].at,
        row[-1].until,
        pieces=tuple(row),
    )


def _measure_leading(blocks: list[list[Line]]) -> float:
    """Measure how far apart the baselines within a paragraph usually are, in em."""
    steps = sorted(
        (line.base - above.base) / line.size for block in blocks for above, line in pairwise(block)
    )
    return steps[int(0.3 * (len(steps) - 1))] if steps else 0.0


def _choose_gap(above: Line, line: Line, leading: float) -> str:
    larger, smaller = max(above.size, line.size), min(above.size, line.size)
    if larger > 1.15 * smaller and above.y1 <= line.y0 + 0.5 * smaller:
        return "\n\n"
    return "\n\n" if line.base - above.base > (leading + _PARAGRAPH) * smaller else "\n"
