"""Find the blocks of a section: paragraphs, lists, tables and code, each with its parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

Kind = Literal[
    "prose", "sentence", "words", "list", "item", "table", "row", "cells", "code", "lines"
]

# A Markdown parser's tokens take many times the memory of their text, so it is fed in portions.
_PORTION = 1 << 20

_CELLS_APART = " | "
# The share of lines that are rows: a title or a remark may stand among them.
_LEAST_ROWS = 0.75

_BLANK = re.compile(r"\n[ \t]*\n\s*")
_ITEM = re.compile(r"([ \t]*)(?:[-*+•]|\d{1,3}[.)]|#\.)[ \t]")
_LITERAL = re.compile(r"\.\. (?:code|code-block|sourcecode|parsed-literal|math|testcode)::")
_MARKDOWN_KINDS: dict[str, Kind] = {
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "list_item_open": "item",
    "fence": "code",
    "code_block": "code",
}
# Names of languages after a fence, with the splitter's name for each.
_ALIASES = {"py": "python", "javascript": "js", "typescript": "ts", "c++": "cpp", "c#": "csharp"}


@dataclass(frozen=True, slots=True)
class Block:
    """A block `text[start:end]` without surrounding white space, and the parts to cut it into.

    `words`, `cells` and `lines` are pieces of a sentence, of a row and of code, which have no
    boundaries within. `language` is the programming language of code.
    """

    start: int
    end: int
    kind: Kind
    parts: tuple[Block, ...] = ()
    language: str = ""


def find_blocks(text: str, start: int, end: int, markup: str) -> Iterator[Block]:
    """Yield the blocks of a section in order; they hold everything in it but white space."""
    if markup == "markdown":
        yield from _markdown(text, start, end)
    elif markup in ("plain", "rst"):
        yield from _paragraphs(text, start, end, rst=markup == "rst")
    elif span := strip_span(text, start, end):
        yield Block(*span, "code", language=markup)


def fill_gaps(
    text: str, start: int, end: int, blocks: Sequence[Block], between: Kind = "prose"
) -> list[Block]:
    """Return `blocks`, with further blocks for what lies between them in `text[start:end]`."""
    result = []
    at = start
    for block in (*blocks, None):
        if block and block.start < at:
            continue
        if gap := strip_span(text, at, block.start if block else end):
            result.append(Block(*gap, between))
        if block:
            result.append(block)
            at = block.end
    return result


def strip_span(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the span without the white space around it, or None if it holds nothing else."""
    body = text[start:end]
    kept = body.strip()
    if not kept:
        return None
    start += len(body) - len(body.lstrip())
    return start, start + len(kept)


def _markdown(text: str, start: int, end: int) -> Iterator[Block]:
    portion = _PORTION
    while start < end:
        stop = end if end - start <= portion else text.find("\n", start + portion, end) + 1 or end
        blocks = fill_gaps(text, start, stop, _parse_markdown(text, start, stop))
        if stop < end:
            # The last block may continue, so it begins the next portion.
            if len(blocks) < 2:
                portion *= 2
                continue
            stop = text.rfind("\n", start, blocks.pop().start) + 1
        yield from blocks
        start, portion = stop, _PORTION


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Only block rules are needed. The parser's rule for tables makes three tokens a cell and takes
    # four times as long as all other rules together, so `_table` finds tables in paragraphs.
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _parse_markdown(text: str, start: int, end: int) -> list[Block]:
    # The parser alone would take a carriage return for the end of a line.
    section = text[start:end].replace("\r", " ")
    lines = _line_starts(section, start)
    open_tokens: list[tuple[Token, list[Block]]] = []
    found: list[Block] = []
    for token in _parser().parse(section):
        if token.nesting == 1:
            open_tokens.append((token, found))
            found = []
            continue
        parts: Sequence[Block] = ()
        if token.nesting == -1:
            parts = found
            token, found = open_tokens.pop()  # noqa: PLW2901
        if token.map and token.type != "inline":
            first, last = (lines[min(line, len(lines) - 1)] for line in token.map)
            if span := strip_span(text, first, last):
                found += _block(token, text, *span, parts)
    return found


def _block(
    token: Token, text: str, start: int, end: int, parts: Sequence[Block]
) -> Iterator[Block]:
    kind = _MARKDOWN_KINDS.get(token.type, "prose")
    if token.type == "paragraph_open":
        yield from _table(text, start, end)
    elif kind == "code":
        name = (token.info.split() or [""])[0].lower()
        yield Block(start, end, kind, language=_ALIASES.get(name, name))
    else:
        yield Block(start, end, kind, tuple(parts))


def _table(text: str, start: int, end: int) -> Iterator[Block]:
    """Yield a paragraph, or the table in it and the lines before the table."""
    body = text[start:end]
    rows = body.split("\n") if "|" in body else []
    for index, row in enumerate(rows):
        if index and "|" in row and "-" in row and not set(row) - set("|-: \t>"):
            lines = [*_line_starts(body, start)[:-1], end]
            # The line below the names of the columns belongs to their row.
            cuts = [lines[index - 1], *lines[index + 1 :]]
            if above := strip_span(text, start, cuts[0]):
                yield Block(*above, "prose")
            yield _of_parts(text, cuts, "table", "row")
            return
    yield Block(start, end, "prose")


def _paragraphs(text: str, start: int, end: int, *, rst: bool) -> Iterator[Block]:
    """Yield the blocks between blank lines; in reStructuredText also literal blocks and tables."""
    literal: tuple[int, int] | None = None
    literal_indent = -1
    for first, last in _between_blanks(text, start, end):
        indent = first - (text.rfind("\n", 0, first) + 1)
        if literal_indent >= 0 and indent > literal_indent:
            literal = (literal[0] if literal else first), last
            continue
        if literal:
            yield Block(*literal, "code")
        literal, literal_indent = None, -1
        if rst and _introduces_literal(text, first, last):
            literal_indent = indent
        yield _paragraph(text, first, last, rst=rst)
    if literal:
        yield Block(*literal, "code")


def _between_blanks(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    blanks = (blank.span() for blank in _BLANK.finditer(text, start, end))
    for first, after in (*blanks, (end, end)):
        if span := strip_span(text, start, first):
            yield span
        start = after


def _introduces_literal(text: str, start: int, end: int) -> bool:
    if text.startswith(".. ", start):
        return bool(_LITERAL.match(text, start, end))
    return text.endswith("::", start, end)


def _paragraph(text: str, start: int, end: int, *, rst: bool) -> Block:
    lines = [*_line_starts(text[start:end], start)[:-1], end]
    first = text[start : lines[1]].strip()
    if rst and first.startswith("+-") and not set(first) - set("+-"):
        indent = start - (text.rfind("\n", 0, start) + 1)
        rules = [at for at in lines[1:-1] if text.startswith("+", at + indent)]
        return _of_parts(text, [start, *rules, end], "table", "row")
    if rst and first.startswith("==") and " " in first and not set(first) - set("= "):
        return _of_parts(text, lines, "table", "row")
    if _ITEM.match(text, start, end):
        indent = start - (text.rfind("\n", 0, start) + 1)
        marks = [_ITEM.match(text, at, end) for at in lines[1:-1]]
        # An item within an item is indented further.
        outer = [mark.start() for mark in marks if mark and len(mark[1]) <= indent]
        return _of_parts(text, [start, *outer, end], "list", "item")
    if not rst and _holds_rows(text, lines):
        return _of_parts(text, lines, "table", "row")
    return Block(start, end, "prose")


def _holds_rows(text: str, lines: Sequence[int]) -> bool:
    """Say whether most lines are rows of a table, as readers of tables and PDF write them."""
    if len(lines) < 3 or text.find(_CELLS_APART, lines[0], lines[-1]) < 0:
        return False
    rows = sum(text.find(_CELLS_APART, first, last) >= 0 for first, last in pairwise(lines))
    return rows >= _LEAST_ROWS * (len(lines) - 1)


def _of_parts(text: str, cuts: Sequence[int], kind: Kind, part: Kind) -> Block:
    spans = [strip_span(text, start, end) for start, end in pairwise(cuts)]
    parts = tuple(Block(*span, part) for span in spans if span)
    return Block(parts[0].start, parts[-1].end, kind, parts)


def _line_starts(text: str, start: int) -> list[int]:
    """Return where the lines of a text at `start` begin, and where a line after it would."""
    lengths = (len(line) + 1 for line in text.split("\n"))
    return list(accumulate(lengths, initial=start))
