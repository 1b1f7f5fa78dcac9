"""How something is done -> its steps in order, or the command with its explanation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.answering.quoting.asking import Request
from rag.answering.quoting.layout import Block, Layout, lines_of
from rag.answering.quoting.lists import find_lists
from rag.answering.quoting.pieces import (
    MOST,
    MOST_OF_A_LIST,
    Draft,
    Layouts,
    Place,
    explaining,
    print_fact,
    stems,
)
from rag.answering.reader import Span
from rag.text.languages.english import SEQUENCE_WORDS
from rag.text.words import WORD

_NUMBERED = re.compile(r"\(?\d")


def quote_steps(request: Request, layouts: Layouts, spans: Sequence[Span]) -> Draft:
    """Return the steps around a span with what leads to them, or the command and what explains it.

    A span in a sentence that leads to steps or to a command brings them along. Of steps that are
    too long together each is read by its first sentence. Steps that a paragraph tells one after
    another ("First …, then …") are read together.
    """
    span = spans[0]
    layout = layouts[span.number]
    place = (span.start, span.end)
    at = layout.index_at(*place)
    if at is None:
        return print_fact(request, layout, place)
    return (
        _items(layout, at, place)
        or _command(request, layout, at, place)
        or _told_in_order(layout, layout.blocks[at], place)
        or print_fact(request, layout, place)
    )


def _items(layout: Layout, at: int, span: Place) -> Draft | None:
    lists = [each for each in find_lists(layout) if len(each.items) > 1]
    holding = [each for each in lists if each.first <= at < each.last]
    numbered = [each for each in holding if _NUMBERED.match(each.items[0].marker)]
    led = [
        each
        for each in lists
        if any(a <= span[0] and span[1] <= b and layout.text[b - 1] == ":" for a, b in each.lead)
    ]
    # The outermost numbered list holds the steps; bullets are steps only where they are led to.
    chosen = max(numbered, key=lambda each: each.last - each.first, default=None)
    chosen = chosen or next(
        (e for e in (*holding, *led) if e.lead and e.items[0].kind == "item"), None
    )
    if chosen is None:
        return None
    draft = Draft()
    draft.add(layout, chosen.lead)
    blocks = layout.blocks[chosen.first : chosen.last]
    if sum(block.end - block.outer for block in blocks) <= MOST_OF_A_LIST:
        for block in blocks:
            marks = [(block.start, block.end)] if block in chosen.items else []
            draft.add(layout, [(block.outer, block.end)], marks)
        return draft
    # Of long steps the first sentence says what to do.
    for item in chosen.items:
        start, end = layout.sentences(item)[0]
        if draft.length + end - item.outer > MOST_OF_A_LIST:
            break
        draft.add(layout, [(item.outer, end)], [(start, end)])
    return draft if draft.marks else None


def _command(request: Request, layout: Layout, at: int, span: Place) -> Draft | None:
    blocks = layout.blocks
    block = blocks[at]
    draft = Draft()
    if block.kind == "code":
        lines = _lines_around(layout, block, span)
        draft.add(layout, [(lines[0][0], lines[-1][1])], [_line_of(lines, span)])
        for extra in explaining(layout, at):
            if draft.length + extra[1] - extra[0] <= MOST:
                draft.add(layout, [extra])
        return draft
    if block.kind in ("term", "definition") or layout.terms_of(at):
        terms = layout.terms_of(at) if block.kind != "term" else [block]
        return print_fact(request, layout, span, None) if terms else None
    below = blocks[at + 1] if at + 1 < len(blocks) else None
    last = layout.sentences(block)[-1:]
    if below and below.kind == "code" and last and last[0][0] < span[1]:
        draft = print_fact(request, layout, span)
        lines = _best_lines(request, layout, below)
        if draft.length + lines[-1][1] - lines[0][0] <= 2 * MOST:
            draft.add(layout, [(lines[0][0], lines[-1][1])], [(lines[0][0], lines[-1][1])])
        return draft
    return None


def _lines_around(layout: Layout, block: Block, span: Place) -> list[Place]:
    """Return a code block's lines, or of a long one those around a span that fit."""
    lines = list(lines_of(layout.text, block.start, block.end))
    if block.end - block.start <= MOST:
        return lines
    at = lines.index(_line_of(lines, span))
    first = last = at
    while first > 0 and layout.text[lines[first - 1][0]] == "#":
        first -= 1
    while last + 1 < len(lines) and layout.text[lines[last][1] - 1] == "\\":
        last += 1
    return lines[first : last + 1]


def _best_lines(request: Request, layout: Layout, block: Block) -> list[Place]:
    lines = list(lines_of(layout.text, block.start, block.end))
    asked = stems(request.text) & request.words
    best = max(lines, key=lambda line: len(stems(layout.text[slice(*line)]) & asked))
    return _lines_around(layout, block, best)


def _line_of(lines: Sequence[Place], span: Place) -> Place:
    return max(lines, key=lambda line: min(line[1], span[1]) - max(line[0], span[0]))


def _told_in_order(layout: Layout, block: Block, span: Place) -> Draft | None:
    """Return the sentences around a span that tell steps one after another."""
    sentences = layout.sentences(block)

    def goes_on(sentence: Place) -> bool:
        words = WORD.findall(layout.text[slice(*sentence)].lower())[:1]
        return bool(words) and words[0] in SEQUENCE_WORDS

    at = next((i for i, s in enumerate(sentences) if s[0] < span[1] and span[0] < s[1]), None)
    if at is None:
        return None
    first, last = at, at
    while first > 0 and goes_on(sentences[first]) and not _is_first(layout, sentences[first]):
        first -= 1
    while last + 1 < len(sentences) and goes_on(sentences[last + 1]):
        last += 1
    if first == last:
        return None
    chosen = sentences[first : last + 1]
    while chosen[-1][1] - chosen[0][0] > MOST_OF_A_LIST:
        chosen.pop()
    draft = Draft()
    draft.add(layout, [(chosen[0][0], chosen[-1][1])], chosen)
    return draft


def _is_first(layout: Layout, sentence: Place) -> bool:
    return layout.text[slice(*sentence)].lower().startswith("first")
