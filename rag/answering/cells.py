"""question, tables in passages -> the cell that is asked for, by its row and its column.

A reader of prose guesses at a table. Where a question holds what stands in one cell of a row, word
for word ("Mill C"), and words of another column's head ("what power"), the cell where they meet is
asked for. Nothing is guessed: a question with a name or number that this row does not hold, or one
that several rows fit, is left to the reader. A cell that is empty is no other's value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag.answering.passages import Passages, Stretch
from rag.text.languages.english import PROSE_STOP_WORDS
from rag.text.words import stem

_TOKEN = re.compile(r"[^\W_]+(?:[.,:/'’-][^\W_]+)*")
# What a cell of a workbook leads to stands behind it.
_LINK = re.compile(r" \((?:https?|mailto|ftp):[^()\s]{1,2000}\)")
_MARKS = re.compile(r"\|\s*:?-{3,}")
_RECORD_CELL = re.compile(r"(?:(?<=^)|(?<= \| ))([^|:]{1,200}): ")
# Rows are compared with one another, which no single cell answers, or something is denied.
_COMPARES = re.compile(
    r"\b(?:most|least|highest|lowest|largest|smallest|biggest|longest|shortest|cheapest|more|less"
    r"|fewer|than|total|sum|altogether|average|mean|between|difference|not|no|without|except)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(r"\b(?:what|which|how (?:many|much)|who|when|where)\b", re.IGNORECASE)
_MOST_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell of a row: the words of its column's head, its own, and where it stands."""

    head: tuple[str, ...]
    words: tuple[str, ...]
    place: Stretch


@dataclass(frozen=True, slots=True)
class CellAnswer:
    """The cell that answers; None if the row has none in the column that is asked for."""

    cell: Stretch | None


@dataclass(frozen=True, slots=True)
class _Match:
    """A row that a question speaks of: its cells that stand in the question, and the words left."""

    row: tuple[_Cell, ...]
    named: tuple[_Cell, ...]
    left: tuple[str, ...]


def find_cell(question: str, passages: Passages) -> CellAnswer | None:
    """Find the cell that a question asks for; None if none is plainly asked for."""
    asks = _ASKS.search(question)
    if asks is None or _COMPARES.search(question):
        return None
    asked = _words(question)
    rows = list(_rows_of(passages))[:_MOST_ROWS]
    matches = [match for row in rows if (match := _match(asked, row)) is not None]
    most = max((len(match.named) for match in matches), default=0)
    chosen = []
    for match in _without_copies([each for each in matches if len(each.named) == most]):
        own = {cell.head for cell in match.row}
        # The columns of its table: a row has no cell in one where it is empty.
        heads = {cell.head for row in rows if own & {each.head for each in row} for cell in row}
        wanted = _wanted_head(match, heads - {()})
        if wanted is not None:
            chosen.append((match, wanted))
    if len(chosen) > 1:
        chosen = [(match, head) for match, head in chosen if _cell_below(match, head) is not None]
    if len(chosen) != 1 or _holds_more(question, chosen[0][0]):
        return None
    return CellAnswer(_cell_below(*chosen[0]))


def _cell_below(match: _Match, head: tuple[str, ...]) -> Stretch | None:
    filled = (cell.place for cell in match.row if cell.head == head and cell.words)
    return next(filled, None)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in _TOKEN.findall(_LINK.sub("", text)))


def _rows_of(passages: Passages) -> Iterator[tuple[_Cell, ...]]:
    """Yield the rows of all tables of the passages.

    They are rows of Markdown, lines of records, or, as in a PDF, lines of as many cells as the
    first one, which holds the heads.
    """
    for number, passage in enumerate(passages, start=1):
        text, at = passage.readable, 0
        head: list[tuple[str, ...]] = []
        before: list[tuple[int, int]] = []
        for line in text.split("\n"):
            cells = _split(line, at)
            is_markdown = line.startswith("|")
            if _MARKS.match(line) and before:
                head = [_words(text[start:end]) for start, end in before]
            elif records := list(_record(line, at, number)):
                head = []
                yield from records
            elif head and len(cells) == len(head):
                yield tuple(
                    _Cell(name, _words(text[start:end]), Stretch(number, start, end))
                    for name, (start, end) in zip(head, cells, strict=True)
                )
            elif is_markdown:
                # A row of a PDF's table that begins with an empty cell has no label.
                head = head if not before else []
            else:
                head = [_words(text[start:end]) for start, end in cells] if len(cells) > 1 else []
            before = cells if is_markdown else []
            at += len(line) + 1


def _split(line: str, at: int) -> list[tuple[int, int]]:
    """Return where the cells of a row stand, without the space and the strokes around them."""
    inner = line.removeprefix("|")
    start = len(line) - len(inner)
    cells = []
    for cell in (inner[:-1] if line.startswith("|") and line.endswith("|") else inner).split("|"):
        first = start + len(cell) - len(cell.lstrip())
        cells.append((at + first, at + max(first, start + len(cell.rstrip()))))
        start += len(cell) + 1
    return cells


def _record(line: str, at: int, number: int) -> Iterator[tuple[_Cell, ...]]:
    """Yield the row that a line such as `Name: Ada | Born: 1815` is."""
    names = list(_RECORD_CELL.finditer(line))
    if len(names) < 2:
        return
    cells = []
    for name, following in zip(names, [*names[1:], None], strict=True):
        end = following.start() - len(" | ") if following else len(line)
        place = Stretch(number, at + name.end(), at + end)
        cells.append(_Cell(_words(name[1]), _words(line[name.end() : end]), place))
    yield tuple(cells)


def _match(asked: Sequence[str], row: tuple[_Cell, ...]) -> _Match | None:
    """Find the cells of a row that stand in the question; None if there are none."""
    taken: set[int] = set()
    named = []
    for cell in sorted(row, key=lambda cell: -len(cell.words)):
        at = _find(asked, cell, taken)
        if at is not None:
            taken |= set(range(at, at + len(cell.words)))
            named.append(cell)
    left = tuple(word for at, word in enumerate(asked) if at not in taken)
    return _Match(row, tuple(named), left) if named else None


def _find(asked: Sequence[str], cell: _Cell, taken: set[int]) -> int | None:
    """Return where a cell's words stand in the question, if they say which row is meant."""
    size = len(cell.words)
    if (
        not size
        or cell.words == cell.head
        or all(word in PROSE_STOP_WORDS and len(word) > 1 for word in cell.words)
    ):
        return None
    heads = {stem(word) for word in cell.head}
    for at in range(len(asked) - size + 1):
        if tuple(asked[at : at + size]) == cell.words and not taken & set(range(at, at + size)):
            # A single letter or digit stands for a row only after the name of its column.
            known = at > 0 and stem(asked[at - 1]) in heads
            if known or sum(map(len, cell.words)) > 1:
                return at
    return None


def _without_copies(matches: Sequence[_Match]) -> list[_Match]:
    """Leave out rows that another says, too: passages overlap, and tables are repeated."""
    kept: list[tuple[frozenset[tuple[object, object]], _Match]] = []
    for match in sorted(matches, key=lambda match: -len(match.row)):
        told = frozenset((cell.head, cell.words) for cell in match.row if cell.words)
        if not any(told <= other for other, _ in kept):
            kept.append((told, match))
    return [match for _, match in kept]


def _holds_more(question: str, match: _Match) -> bool:
    """Say whether a question has a name or a number that the row does not hold."""
    known = {word for cell in match.row for word in (*cell.head, *cell.words)}
    first, *words = [each[0] for each in _TOKEN.finditer(question)] or [""]
    del first
    facts = [word for word in words if any(map(str.isdigit, word)) or word[0].isupper()]
    return any(word.casefold() not in known and word.casefold() in match.left for word in facts)


def _wanted_head(match: _Match, heads: set[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the head of the column that the words that are left speak of; None if none plainly."""
    left = {stem(word) for word in match.left if word not in PROSE_STOP_WORDS}
    named = {cell.head for cell in match.named}
    shares = {}
    for head in heads - named:
        share = len(left & {stem(word) for word in head})
        shares[head] = (share, share / len(head))
    most = max(shares.values(), default=(0, 0.0))
    best = [head for head, share in shares.items() if share == most and share[0]]
    return best[0] if len(best) == 1 else None
