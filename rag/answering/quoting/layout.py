"""passage -> its blocks, as a person sees them: headings, sentences, items, rows, terms, code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, takewhile
from typing import Literal

from rag.answering.passages import Passage
from rag.text.sentences import split_sentences

Kind = Literal[
    "heading",
    "footer",
    "prose",
    "item",
    "term",
    "definition",
    "names",
    "row",
    "record",
    "field",
    "note",
    "code",
]

_FENCE = re.compile(r"[ \t]*(?:(?::|[-*+•]|\d{1,3}[.)])[ \t]+)?(?:`{3,}|~{3,})")
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]+(?=\S)")
_ITEM = re.compile(r"([ \t]*)([-*+•–]|\d{1,3}[.)]|[a-z]\)|\((?:\d{1,2}|[a-z])\))[ \t]+(?=\S)")
_DEFINITION = re.compile(r"([ \t]*):[ \t]+(?=\S)")
_NOTE = re.compile(r"[ \t]*\[\^([\w-]+)\]:[ \t]+(?=\S)")
_ROW = re.compile(r"[ \t]*\|.*\|[ \t]*")
_ROW_RULE = re.compile(r"[ \t]*\|?[ \t:|-]*-[ \t:|-]*\|[ \t:|-]*")
_RULE = re.compile(r"[ \t]*(?:-{3,}|={3,}|\*{3,}|_{3,}|~{3,})[ \t]*")
_FIELD = re.compile(r"[^\s:|][^:|]{0,79}:[ \t]+\S")
# What stands on a line of its own below or above a page, and answers nothing.
_FOOTER = re.compile(
    r"(?:<?(?:https?://|www\.)\S+>?"
    r"|(?:page|p\.|seite)?\s*\d{1,5}(?:\s*(?:/|of|von)\s*\d{1,5})?"
    r"|(?:version|release|revision|rev\.?)\s*:?\s*v?\d[\w.-]*(?:\s*[,(|·–].{0,40})?"
    r"|last (?:updated?|modified|changed|edited|reviewed)\b.{0,60}"
    r"|(?:©|\(c\)|copyright\b).{0,120}"
    r"|(?:table|figure|listing|example) [\w.-]+[.:]? .{0,100}[^.!?:]"
    r"|\[\d{1,3}\]|next|previous|prev|up|home|contents|table of contents|back to top)",
    re.IGNORECASE,
)
_SHORT_SPAN = 60
_SPLIT_CELLS = re.compile(r"(?<!\\)\|")
_NOTE_MARK = re.compile(r"\[\^([\w-]+)\]\s*")


@dataclass(frozen=True, slots=True)
class Block:
    """A block whose body is `text[start:end]`; its marker, if it has one, begins at `outer`.

    `definition` is what a `term` above it means, as HTML's `dd`; `names` are the columns of a
    table, `row` is one of its rows between bars, `record` a row that names the column of each cell,
    `field` a line of a file's front matter, `note` a footnote, `footer` what stands on each page.
    """

    kind: Kind
    start: int
    end: int
    outer: int
    indent: int = 0
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """The cell `text[start:end]` of a table, under the column called `name`."""

    start: int
    end: int
    column: int
    name: str


class Layout:
    """A passage with its blocks, sentences and tables; `number` is the passage's, from 1."""

    def __init__(self, number: int, passage: Passage) -> None:
        self.number = number
        self.passage = passage
        self.text = passage.text
        self._sentences: dict[int, list[tuple[int, int]]] = {}

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks in order; none overlaps another."""
        hit = self.passage.hit
        titles = frozenset(title.strip() for title in (hit.title, *hit.chunk.heading))
        return tuple(_Scanner(self.text, titles).scan())

    def index_at(self, start: int, end: int) -> int | None:
        """Return the place of the block that shares most with a span; None if none does."""
        shares = [min(end, b.end) - max(start, b.outer) for b in self.blocks]
        best = max(range(len(shares)), key=lambda at: shares[at], default=None)
        return best if best is not None and shares[best] > 0 else None

    def sentences(self, block: Block) -> list[tuple[int, int]]:
        """Return the sentences of a block; those of code are its lines, of a row the row."""
        if block.start not in self._sentences:
            self._sentences[block.start] = list(self._split(block))
        return self._sentences[block.start]

    def _split(self, block: Block) -> Iterator[tuple[int, int]]:
        if block.kind == "code":
            yield from lines_of(self.text, block.start, block.end)
        elif block.kind in ("row", "record", "names", "field", "term", "heading", "footer"):
            yield block.start, block.end
        else:
            for first, last in split_sentences(self.text[block.start : block.end]):
                start, end = block.start + first, block.start + last
                # The mark of a footnote belongs to the sentence before it.
                mark = _NOTE_MARK.match(self.text, start, end)
                start = mark.end() if mark else start
                if start < end:
                    yield start, end

    def sentence_at(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the sentence that shares most with a span.

        A short span over an end of a sentence tells that it is none ("Trinity-St. Paul's"): the two
        are one.
        """
        at = self.index_at(start, end)
        if at is None:
            return None
        found = self.sentences(self.blocks[at])
        touched = [s for s in found if s[0] < end and start < s[1]]
        prose = self.blocks[at].kind not in ("code", "term")
        if prose and len(touched) == 2 and end - start <= _SHORT_SPAN:
            return touched[0][0], touched[1][1]
        return max(found, key=lambda s: min(end, s[1]) - max(start, s[0]), default=None)

    def note_of(self, start: int, end: int) -> Block | None:
        """Return the footnote that a sentence, or the mark right after it, points to."""
        after = _NOTE_MARK.match(self.text, end)
        mark = after or _NOTE_MARK.search(self.text, start, end)
        if mark is None:
            return None
        named = (b for b in self.blocks if b.kind == "note" and b.marker == mark[1])
        return next(named, None)

    def terms_of(self, at: int) -> list[Block]:
        """Return the terms that the block at a place defines, itself or above its definition."""
        indent = self.blocks[at].indent
        before = list(self.blocks[: at + 1])
        while before and before[-1].kind not in ("definition", "term"):
            if before[-1].indent <= 0 or before[-1].kind == "heading":
                return []
            before.pop()
        if not before or before[-1].indent > indent:
            return []
        while before and before[-1].kind == "definition":
            before.pop()
        return list(takewhile(lambda b: b.kind == "term", reversed(before)))[::-1]

    def heading_above(self, at: int) -> Block | None:
        """Return the nearest heading above the block at a place."""
        return next((b for b in reversed(self.blocks[:at]) if b.kind == "heading"), None)

    def table_at(self, at: int) -> tuple[list[Block], list[Block]]:
        """Return the rows that name the columns, if they are there, and the rows around a row.

        A table out of a PDF has no rule below its header: the first row is one if it has no number.
        """
        first, last = at, at + 1
        while first > 0 and self._belong(first - 1, first):
            first -= 1
        while last < len(self.blocks) and self._belong(last - 1, last):
            last += 1
        rows = list(self.blocks[first:last])
        names: list[Block] = []
        if len(rows) > 1 and rows[0].kind == "names" and not self._has_number(rows[0]):
            names.append(rows.pop(0))
        # A header of two lines repeats what spans both of them.
        while names and len(rows) > 1 and self._first_cell(rows[0]) == self._first_cell(names[0]):
            names.append(rows.pop(0))
        return names, rows

    def _belong(self, above: int, below: int) -> bool:
        """Return whether two blocks are rows of one table: no blank line lies between them."""
        one, other = self.blocks[above], self.blocks[below]
        kinds = ("row", "record", "names")
        return (
            one.kind in kinds
            and other.kind in kinds
            and not re.search(r"\n[ \t]*\n", self.text[one.end : other.start])
        )

    def _has_number(self, row: Block) -> bool:
        return any(self.text[a:b].replace(".", "").isdecimal() for a, b in _cut_row(self.text, row))

    def _first_cell(self, row: Block) -> str:
        return self.text[slice(*_cut_row(self.text, row)[0])]

    def cells(self, row: Block, names: Sequence[Block]) -> list[Cell]:
        """Return the cells of a row that hold anything, each with its column's name."""
        if row.kind in ("record", "field"):
            return list(self._fields(row))
        titles: dict[int, str] = {}
        for name in names:
            for column, (start, end) in enumerate(_cut_row(self.text, name)):
                titles[column] = f"{titles.get(column, '')} {self.text[start:end]}".strip()
        return [
            Cell(start, end, column, titles.get(column, ""))
            for column, (start, end) in enumerate(_cut_row(self.text, row))
            if start < end
        ]

    def _fields(self, row: Block) -> Iterator[Cell]:
        for column, (start, end) in enumerate(_cut_row(self.text, row)):
            name, colon, _ = self.text[start:end].partition(":")
            at = start + len(name) + 1 if colon else start
            body = strip(self.text, at, end)
            if body[0] < body[1]:
                yield Cell(*body, column, name if colon else "")


def strip(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without the white space around it."""
    body = text[start:end]
    start += len(body) - len(body.lstrip())
    return start, max(start, start + len(body.strip()))


def lines_of(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the lines of a span that hold anything, without the white space around them."""
    at = start
    while at < end:
        stop = text.find("\n", at, end)
        stop = end if stop < 0 else stop
        span = strip(text, at, stop)
        if span[0] < span[1]:
            yield span
        at = stop + 1


def _cut_row(text: str, row: Block) -> list[tuple[int, int]]:
    start, end = row.start, row.end
    if text[start] == "|":
        start, end = start + 1, end - 1
    bars = [bar.start() for bar in _SPLIT_CELLS.finditer(text, start, end)]
    cuts = [start - 1, *bars, end]
    return [strip(text, a + 1, b) for a, b in pairwise(cuts)]


class _Scanner:
    """One walk over the lines of a passage."""

    def __init__(self, text: str, titles: frozenset[str]) -> None:
        self._text = text
        self._titles = titles
        self._blocks: list[Block] = []
        # Whether the last block may go on in the next line.
        self._open = False
        self._code: int | None = None

    def scan(self) -> Sequence[Block]:
        """Return the blocks."""
        text = self._text
        at = self._skip_front_matter()
        while at < len(text):
            stop = text.find("\n", at)
            stop = len(text) if stop < 0 else stop
            self._read_line(at, stop)
            at = stop + 1
        if self._code is not None:
            self._add("code", self._code, len(text), self._code)
        self._restore_indent()
        return self._blocks

    def _restore_indent(self) -> None:
        """Indent terms that a passage begins with as their definition: a passage is stripped."""
        terms = list(takewhile(lambda block: block.kind == "term", self._blocks))
        if terms and len(terms) < len(self._blocks):
            below = self._blocks[len(terms)]
            if below.kind == "definition":
                self._blocks[: len(terms)] = [replace(t, indent=below.indent) for t in terms]

    def _skip_front_matter(self) -> int:
        text = self._text
        close = re.compile(r"\n---[ \t]*(?:\n|\Z)").search(text) if text[:4] == "---\n" else None
        if close is None:
            return 0
        for start, end in lines_of(text, 4, close.start()):
            self._add("field", start, end, start)
        return close.end()

    def _read_line(self, start: int, end: int) -> None:
        text = self._text
        if _FENCE.match(text, start, end):
            self._read_fence(start, end)
        elif self._code is not None:
            return
        elif not text[start:end].strip():
            self._open = False
        elif _ROW_RULE.fullmatch(text, start, end):
            self._name_columns()
        elif _RULE.fullmatch(text, start, end):
            self._underline()
        elif not self._read_marked(start, end):
            self._read_plain(start, end)

    def _read_fence(self, start: int, end: int) -> None:
        text = self._text
        after = text[end + 1 : text.find("\n", end + 1) if "\n" in text[end + 1 :] else len(text)]
        if self._code is not None:
            self._add("code", self._code, start, self._code)
            self._code = None
        elif after.strip():
            if self._open and text[start:end].lstrip().startswith(":"):
                self._make_terms()
            self._code = end + 1
        else:
            # The fence was opened in the passage before: all so far is code.
            self._blocks.clear()
            self._add("code", 0, start, 0)
        self._open = False

    def _read_marked(self, start: int, end: int) -> bool:
        """Read a line that its first characters tell apart; return False for any other."""
        text = self._text
        if mark := _HEADING.match(text, start, end):
            self._add("heading", mark.end(), end, start)
        elif mark := _NOTE.match(text, start, end):
            self._add("note", mark.end(), end, start, marker=mark[1])
            self._open = True
        elif _ROW.fullmatch(text, start, end):
            self._add("row", start, end, start)
        elif " | " in text[start:end]:
            cells = text[start:end].split(" | ")
            named = sum(bool(_FIELD.match(cell.strip())) for cell in cells)
            self._add("record" if named * 2 >= len(cells) else "names", start, end, start)
        elif (mark := _DEFINITION.match(text, start, end)) and self._follows_term(len(mark[1])):
            self._make_terms()
            self._add("definition", mark.end(), end, start, len(mark[1]))
            self._open = True
        elif mark := _ITEM.match(text, start, end):
            self._add("item", mark.end(), end, start, len(mark[1].expandtabs()), mark[2])
            self._open = True
        else:
            return False
        return True

    def _follows_term(self, indent: int) -> bool:
        if not self._blocks:
            return True
        last = self._blocks[-1]
        return (self._open and last.kind in ("prose", "item")) or (
            last.kind in ("definition", "code", "prose", "item") and last.indent >= indent
        )

    def _read_plain(self, start: int, end: int) -> None:
        text = self._text
        line = text[start:end]
        if self._open and self._blocks[-1].kind in ("prose", "item", "definition", "note"):
            self._blocks[-1] = replace(self._blocks[-1], end=strip(text, start, end)[1])
            return
        alone = not self._open and not text[end : end + 2].strip()
        indent = len(line.expandtabs()) - len(line.expandtabs().lstrip())
        if alone and line.strip() in self._titles:
            self._add("heading", start, end, start)
        elif alone and _FOOTER.fullmatch(line.strip()):
            self._add("footer", start, end, start)
        else:
            self._add("prose", start, end, start, indent)
            self._open = True

    def _make_terms(self) -> None:
        """Turn the lines right above a definition into the terms that it defines."""
        if not (self._open and self._blocks and self._blocks[-1].kind in ("prose", "item")):
            return
        last = self._blocks.pop()
        for start, end in lines_of(self._text, last.start, last.end):
            self._blocks.append(Block("term", start, end, start, last.indent))

    def _name_columns(self) -> None:
        if self._blocks and self._blocks[-1].kind in ("row", "names"):
            self._blocks[-1] = replace(self._blocks[-1], kind="names")
        self._open = False

    def _underline(self) -> None:
        """Make a heading of the line above a rule."""
        if self._open and self._blocks and self._blocks[-1].kind == "prose":
            last = self._blocks[-1]
            if "\n" not in self._text[last.start : last.end]:
                self._blocks[-1] = replace(last, kind="heading")
        self._open = False

    def _add(
        self, kind: Kind, start: int, end: int, outer: int, indent: int = 0, marker: str = ""
    ) -> None:
        span = strip(self._text, start, end)
        if span[0] < span[1]:
            outer = strip(self._text, outer, end)[0]
            self._blocks.append(Block(kind, *span, outer, indent, marker))
        self._open = False
