"""question, a reader's spans -> what a person should read of the passages, word for word.

A reader gives a short span that mostly lies at the right place, but may be too short, too long, or
in the wrong item of a list. How an answer has to be read depends on what is asked: `asking` tells,
and each kind has a module that turns the span into sentences, items, rows or steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rag.answering.passages import Passages, Stretch
from rag.answering.quoting.asking import Manner, Request, parse_request
from rag.answering.quoting.cells import TABLES, quote_cell
from rag.answering.quoting.definitions import quote_definition
from rag.answering.quoting.facts import quote_fact
from rag.answering.quoting.layout import Layout
from rag.answering.quoting.lists import quote_list
from rag.answering.quoting.pieces import Draft, Layouts, choose_span, usable_spans
from rag.answering.quoting.steps import quote_steps
from rag.answering.quoting.together import quote_together
from rag.answering.quoting.verdicts import quote_verdict
from rag.answering.reader import Span

__all__ = ["Layouts", "Quotation", "quote_answer"]

_QUOTE: dict[Manner, Callable[[Request, Layouts, Sequence[Span]], Draft]] = {
    "fact": quote_fact,
    "list": quote_list,
    "definition": quote_definition,
    "whether": quote_verdict,
    "steps": quote_steps,
    "comparison": quote_together,
    "reason": quote_together,
    "facts": quote_together,
}
# What may lie between two pieces that are printed as one: blanks, and the marker of an item.
_BETWEEN = re.compile(r"\s*(?:(?:[-*+•–:]|\d{1,3}[.)])\s+)?")


@dataclass(frozen=True, slots=True)
class Quotation:
    """What is printed of the passages, word for word.

    Attributes:
        stretches: stretches that do not overlap, in the documents' order: documents in the order of
            their best passage, and each from its beginning to its end. Empty where every span lies
            in instructions to a model, or in passages that hold nothing but rules and fences.
        marks: the parts of them that answer; each lies within one of `stretches`.
        verdict: what a question for yes or no is answered with; None for any other, and where what
            is printed holds too little of the question to decide it.
    """

    stretches: tuple[Stretch, ...]
    marks: tuple[Stretch, ...]
    verdict: Literal["yes", "no"] | None = None


def quote_answer(question: str, passages: Passages, spans: Sequence[Span]) -> Quotation:
    """Return what a person should read of the passages, given a reader's spans.

    Args:
        question: what was asked.
        passages: those that the spans were read in.
        spans: the best spans, the best first, at least one.

    Raises:
        ValueError: if there is no span.
    """
    if not spans:
        raise ValueError("a quotation needs at least one span of a reader")
    request = parse_request(question)
    layouts = Layouts(passages)
    usable = usable_spans(layouts, spans)
    if not usable:
        return Quotation((), ())
    best = choose_span(request, layouts, usable)
    ordered = [best, *(span for span in usable if span is not best)]
    layout = layouts[best.number]
    at = layout.index_at(best.start, best.end)
    if at is not None and layout.blocks[at].kind in TABLES and request.manner in ("fact", "facts"):
        draft = quote_cell(request, layout, at, (best.start, best.end))
    else:
        draft = _QUOTE[request.manner](request, layouts, ordered)
    return _assemble(draft, layouts, passages)


def _assemble(draft: Draft, layouts: Layouts, passages: Passages) -> Quotation:
    """Order the pieces as their documents are, and join those with nothing between them."""
    first_of: dict[str, int] = {}
    for number, passage in passages.with_numbers():
        first_of.setdefault(passage.hit.chunk.document_id, number)

    def order(piece: Stretch) -> tuple[int, int, int]:
        hit = passages[piece.number - 1].hit
        return first_of[hit.chunk.document_id], hit.start + piece.start, -piece.end

    stretches: list[Stretch] = []
    for piece in sorted(set(draft.pieces), key=order):
        layout = layouts[piece.number]
        if piece.start >= piece.end or layout.passage.withholds(piece.start, piece.end):
            continue
        last = stretches[-1] if stretches else None
        if last and last.number == piece.number and _joins(layout, last, piece):
            end = max(last.end, piece.end)
            stretches[-1] = Stretch(last.number, last.start, end)
        elif not last or not _repeats(passages, last, piece):
            stretches.append(piece)
    marks = {mark for mark in draft.marks if any(_holds(piece, mark) for piece in stretches)}
    return Quotation(tuple(stretches), tuple(sorted(marks, key=order)), draft.verdict)


def _joins(layout: Layout, last: Stretch, piece: Stretch) -> bool:
    if piece.start <= last.end:
        return True
    between = _BETWEEN.fullmatch(layout.text, last.end, piece.start)
    return bool(between) and not layout.passage.withholds(last.start, piece.end)


def _repeats(passages: Passages, last: Stretch, piece: Stretch) -> bool:
    """Return whether two passages of a document that overlap both hold a piece."""
    one, other = passages[last.number - 1].hit, passages[piece.number - 1].hit
    same = one.chunk.document_id == other.chunk.document_id
    return same and other.start + piece.start < one.start + last.end


def _holds(piece: Stretch, mark: Stretch) -> bool:
    return piece.number == mark.number and piece.start <= mark.start and mark.end <= piece.end
