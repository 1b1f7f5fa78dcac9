"""A comparison, a reason, two facts -> the sentences that answer together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.answering.quoting.asking import Request
from rag.answering.quoting.layout import Layout
from rag.answering.quoting.pieces import MOST, Draft, Layouts, Place, print_fact, stems
from rag.answering.reader import Span
from rag.text.languages.english import GIVES_REASON, LEANING_REASON

_MOST_SENTENCES = 3
# So much less probable than the best may a span be that answers together with it.
_SHARE = 0.25
_REASON = re.compile(GIVES_REASON, re.IGNORECASE)
_LEANING_REASON = re.compile(LEANING_REASON, re.IGNORECASE)


def quote_together(request: Request, layouts: Layouts, spans: Sequence[Span]) -> Draft:
    """Return the best span's sentence, and those of others that add what it does not say.

    For a comparison that is the other side, near the first or in another passage; for a reason, the
    sentence that "that is why" points back to, or the one that begins with "because"; and always
    spans of other sentences that are nearly as probable.
    """
    best = spans[0]
    layout = layouts[best.number]
    draft = print_fact(request, layout, (best.start, best.end))
    seen = {_sentence(layout, best)}
    for number, place in _others(request, layouts, spans, seen):
        if len(seen) == _MOST_SENTENCES:
            break
        other = print_fact(request, layouts[number], place)
        if draft.length + other.length <= MOST + MOST // 2:
            draft.pieces += other.pieces
            draft.marks += other.marks
            seen.add((number, *place))
    return draft


def _others(
    request: Request, layouts: Layouts, spans: Sequence[Span], seen: set[tuple[int, int, int]]
) -> list[tuple[int, Place]]:
    best = spans[0]
    found: list[tuple[int, Place]] = []
    if request.sides:
        found += _other_side(request, layouts, spans)
    if request.manner == "reason":
        found += _reason_beside(layouts[best.number], best)
    for span in spans[1:]:
        sentence = _sentence(layouts[span.number], span)
        taken = {*seen, *((number, *place) for number, place in found)}
        if span.probability >= _SHARE * best.probability and sentence not in taken:
            found.append((span.number, (span.start, span.end)))
    return [
        (number, place) for number, place in found if not layouts[number].passage.withholds(*place)
    ]


def _sentence(layout: Layout, span: Span) -> tuple[int, int, int]:
    place = layout.sentence_at(span.start, span.end) or (span.start, span.end)
    return (layout.number, *place)


def _other_side(
    request: Request, layouts: Layouts, spans: Sequence[Span]
) -> list[tuple[int, Place]]:
    """Return a sentence about each side of a comparison that the best span's does not name."""
    first = _sentence(layouts[spans[0].number], spans[0])
    said = stems(layouts[first[0]].text[first[1] : first[2]])
    found: list[tuple[int, Place]] = []
    for at, side in enumerate(request.sides):
        # What both sides share ("git fetch", "git pull") tells neither apart.
        shared = stems(request.sides[1 - at])
        own = stems(side) - shared or stems(side)
        if own <= said:
            continue
        for number in dict.fromkeys(span.number for span in spans):
            layout = layouts[number]
            near = [
                place
                for block in layout.blocks
                if block.kind in ("prose", "item", "definition")
                for place in layout.sentences(block)
                if own <= stems(layout.text[slice(*place)]) and (number, *place) != first
            ]
            if near:
                anchor = first[1] if number == first[0] else 0
                found.append((number, min(near, key=lambda place: abs(place[0] - anchor))))
                break
    return found


def _reason_beside(layout: Layout, span: Span) -> list[tuple[int, Place]]:
    at = layout.index_at(span.start, span.end)
    if at is None:
        return []
    sentences = layout.sentences(layout.blocks[at])
    sentence = layout.sentence_at(span.start, span.end)
    place = sentences.index(sentence) if sentence in sentences else -1
    if place < 0 or sentence is None:
        return []
    text = layout.text[slice(*sentence)]
    if place > 0 and _LEANING_REASON.match(text):
        return [(layout.number, sentences[place - 1])]
    if _REASON.search(text) or place + 1 >= len(sentences):
        return []
    after = sentences[place + 1]
    gives = _REASON.search(layout.text, after[0], after[1])
    return [(layout.number, after)] if gives else []
