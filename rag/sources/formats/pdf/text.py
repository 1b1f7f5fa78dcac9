"""Compose one text of the lines of all pages, without running headers and footers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

from rag.sources.document import TextBuilder
from rag.sources.formats.pdf.layout import Line, Piece
from rag.types import Page

_FEWEST_PAGES = 3
_SHARE_OF_PAGES = 0.4  # some books have their title on left pages only
_MARGIN_LINES = 3
_TOLERANCE = 6  # points by which the position of a running line may differ
_MARGIN_WHITE = 0.75  # em
_LONGEST_RUNNING = 150
_PAGE_NUMBER = re.compile(
    r"(?:^|[|\u00b7\u2022\u2013\u2014-])\W*(?:(?:page|p\.|pg\.|seite|p[aá]gina)\s*)?(\d{1,5})"
    r"(?:\s*(?:/|of|von|de|di|sur)\s*\d+)?\W*(?:$|\|)",
    re.IGNORECASE,
)
_LONGEST_WORD = 60
_HYPHENATED = re.compile(r"(?<![\w-])[^\W\d_]{2,}-$")
_GOES_ON = re.compile(r"[^\W\d_]{2}")
_ENDED = re.compile("[.!?:;\u3002][\"')\u00bb\u201d\u2019\\]]*$")

_Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """A line with its span in the document's text; `gap` is as in `Line`."""

    start: int
    end: int
    text: str
    gap: str
    size: float
    bold: bool
    pieces: tuple[Piece, ...] = ()


def drop_running_lines(pages: list[list[Line]]) -> list[list[Line]]:
    """Leave out headers, footers and page numbers: lines at the same position on most pages.

    Page numbers count as the same line if they grow with the pages. Lines larger than the body's
    text stay, and so do lines that the text follows without white space between.
    """
    body = body_size(chain.from_iterable(pages))
    margins = [_margin_lines(page, body) for page in pages]
    counts = Counter(
        key
        for number, margin in enumerate(margins)
        for key in {key for line in margin for key in _keys(line, number)}
    )
    fewest = max(_FEWEST_PAGES, _SHARE_OF_PAGES * sum(map(bool, pages)))
    running = {
        id(line)
        for number, margin in enumerate(margins)
        for line in margin
        if any(counts[key] + _nearby(counts, key) >= fewest for key in _keys(line, number))
    }
    # A page that holds nothing else keeps its running lines.
    return [[line for line in page if id(line) not in running] or page for page in pages]


def body_size(lines: Iterable[Line | PlacedLine]) -> float:
    """Return the size that most characters have, to a tenth of a point; 0 for no lines."""
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[round(line.size, 1)] += len(line.text)
    return max(sizes, key=sizes.__getitem__, default=0.0)


def _margin_lines(page: list[Line], body: float) -> list[Line]:
    """Return the outermost lines at the top and foot that white space separates from the rest."""
    found: list[Line] = []
    upright = [line for line in page if line.y1 > line.y0]
    for downwards in (True, False):
        upright.sort(key=lambda line: line.y0 if downwards else -line.y1)
        pending: list[Line] = []
        for line, inner in list(pairwise(upright))[:_MARGIN_LINES]:
            if line.size > 1.15 * body or len(line.text) > _LONGEST_RUNNING:
                break
            pending.append(line)
            white = inner.y0 - line.y1 if downwards else line.y0 - inner.y1
            if white >= _MARGIN_WHITE * line.size:
                found += pending
                pending = []
    return found


def _keys(line: Line, number: int) -> Iterator[_Key]:
    place = round(line.y0 / _TOLERANCE)
    yield place, line.text
    match = _PAGE_NUMBER.search(line.text)
    if match:
        start, end = match.span(1)
        yield place, f"{line.text[:start]}\0{int(match[1]) - number}\0{line.text[end:]}"


def _nearby(counts: Counter[_Key], key: _Key) -> int:
    place, text = key
    return max(counts[place - 1, text], counts[place + 1, text])


def compose(pages: list[list[Line]]) -> tuple[str, tuple[Page, ...], list[PlacedLine]]:
    """Return the text of the document, its pages, and the span of each line."""
    builder = TextBuilder()
    spans: list[Page] = []
    placed: list[PlacedLine] = []
    for number, page in enumerate(pages, start=1):
        # A page without text has its place, too.
        start = builder.add("")
        for line in _join_lines(page):
            at = builder.add(line.text, line.gap)
            span = at, builder.length
            placed.append(PlacedLine(*span, line.text, line.gap, line.size, line.bold, line.pieces))
        spans.append(Page(start, builder.length, number))
    return builder.text, tuple(spans), placed


def _join_lines(page: list[Line]) -> list[Line]:
    """Join words hyphenated at line ends, and sentences that continue in the next block."""
    joined: list[Line] = []
    for line in page:
        last = joined[-1] if joined else None
        if last is None:
            line.gap = ""
        elif not line.gap:
            goes_on = line.text[:1].islower() and not _ENDED.search(last.text)
            line.gap = "\n" if goes_on else "\n\n"
        if last and line.gap == "\n" and _is_hyphenated(last.text, line.text):
            last.text = last.text[:-1] + line.text
            last.pieces += line.pieces
        else:
            joined.append(line)
    return joined


def _is_hyphenated(above: str, below: str) -> bool:
    """Whether a word continues on the next line; a possible compound (`state-of-the-`) does not."""
    if not above.endswith("-") or not _HYPHENATED.search(above[-_LONGEST_WORD:]):
        return False
    return above[-2].islower() and below[:1].islower() and bool(_GOES_ON.match(below))
