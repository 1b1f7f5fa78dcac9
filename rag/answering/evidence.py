"""question, passages -> how probably they hold the answer, and the answer word for word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from rag.answering.cells import CellAnswer, find_cell
from rag.answering.citations import Draft, quote, quote_stretches
from rag.answering.extraction import (
    Candidate,
    Question,
    answerability,
    candidates_of,
    extract,
)
from rag.answering.logistic import regression
from rag.answering.passages import Passages
from rag.answering.quoting import Layouts, quote_answer
from rag.answering.reader import SHIPPED
from rag.answering.reader.reading import Span
from rag.answering.silence import find_signs

if TYPE_CHECKING:
    from rag.answering.reader.reading import Reading
    from rag.answering.tools import Reader

# A name of a program: with an underscore or a dot within, or an option.
_IDENTIFIER = re.compile(r"(?<!\S)--?[A-Za-z][\w-]*|\b\w+(?:[_.]\w+)+\b")
MEASURED = (
    *("names_missing_in_sentence", "words_missing_in_sentence", "numbers_missing_in_sentence"),
    "kind_differs",
)
"""The signs that are weighed: the others gained nothing on the article they were not fitted on."""
# So many spans are weighed, the best by the reader.
_WEIGHED = 5
# What did somebody ask?
_ASKS_FOR_QUESTION = re.compile(r"(?i)\b(?:ask|question|quer)")
# A question that names a row and a column is plain; it may still mean another table.
_SURE_OF_CELL = 0.9
# Stands for the cosine of a passage that was found by its words alone.
_NO_COSINE = 0.4


class Evidence(Protocol):
    """What passages hold for a question.

    `probability` is that they hold the answer.
    """

    @property
    def probability(self) -> float: ...

    def quote(self) -> Draft | None:
        """Draft the answer word for word; None if nothing in the passages answers."""
        ...


def find_evidence(question: str, passages: Passages, reader: Reader | None) -> Evidence:
    """Read the passages with a reader, or compare their words with the question without one.

    Raises:
        GenerationError: if the reader fails.
    """
    if reader is None:
        parsed, sentences = candidates_of(question, passages)
        probability = answerability(parsed, passages.hits, sentences)
        return _ByWords(parsed, sentences, probability)
    reading = reader.read(question, [passage.readable for passage in passages])
    # The regression was fitted to the reader of this package; others have their own scale.
    if reader.name != SHIPPED or not reading.spans:
        return _ByReader(question, passages, reading, reader.name, reading.probability)
    asked = find_cell(question, passages)
    if asked is not None:
        return _take_cell(question, passages, reading, asked)
    reading, probability = weigh_spans(question, passages, reading)
    return _ByReader(question, passages, reading, reader.name, probability)


def _take_cell(question: str, passages: Passages, reading: Reading, asked: CellAnswer) -> _ByReader:
    """Put the cell of a table first that a question plainly asks for, or say that it is empty."""
    if asked.cell is None:
        return _ByReader(question, passages, reading, SHIPPED, 0.0)
    cell = asked.cell
    first = Span(cell.number, cell.start, cell.end, reading.log_odds, _SURE_OF_CELL)
    others = tuple(
        span
        for span in reading.spans
        if span.number != cell.number or span.end <= cell.start or cell.end <= span.start
    )
    reading = replace(reading, spans=(first, *others))
    return _ByReader(question, passages, reading, SHIPPED, _SURE_OF_CELL)


def weigh_spans(question: str, passages: Passages, reading: Reading) -> tuple[Reading, float]:
    """Put the span first that most probably answers; return its probability too.

    In a manual, the entry of what is asked for excludes all others: the default of
    `max_connections` stands in no other entry. A question answers none. A list of references ("See
    Also") comes after all that tells something. A reader overlooks that a sentence is about another
    setting or year than the question, which `measures` shows: of its best five spans, another is
    better than the first now and then. On two articles of SQuAD 2.0, each by a regression fitted
    on the other, F1 is 0.593 for 0.562.
    """
    weighed = regression("reading")
    layouts = Layouts(passages)
    told = [span for span in reading.spans if not layouts.refers(span)] or list(reading.spans)
    if not _ASKS_FOR_QUESTION.search(question):
        held = list(passages)
        answering = [
            span for span in told if not held[span.number - 1].is_asked(span.start, span.end)
        ]
        if not answering:
            return replace(reading, spans=tuple(told)), 0.0
        told = answering
    named = _in_named_entry(question, layouts, told)
    spans = named or told
    chances = [
        weighed.probability(
            measures(question, passages, span, reading.log_odds, names_its_entry=bool(named))
        )
        for span in spans[:_WEIGHED]
    ]
    probability = max(chances)
    at = chances.index(probability)
    return replace(reading, spans=(spans[at], *spans[:at], *spans[at + 1 :])), probability


def _in_named_entry(question: str, layouts: Layouts, spans: Sequence[Span]) -> list[Span]:
    """Return the spans in a definition whose term has an identifier of the question."""
    asked = _identifiers(question)
    if not asked:
        return []
    return [span for span in spans if _identifiers(layouts.entry_of(span)) & asked]


def _identifiers(text: str) -> frozenset[str]:
    return frozenset(match[0] for match in _IDENTIFIER.finditer(text))


def measures(
    question: str,
    passages: Passages,
    span: Span,
    log_odds: float,
    *,
    names_its_entry: bool = False,
) -> dict[str, float]:
    """Return what distinguishes a span that answers from one that is merely near.

    `reader` are the log-odds that the passages answer, `span` those of the span in its own passage,
    `home` is the cosine of its passage to the question and `place` one over its rank. The signs of
    `silence` come beside them.

    Args:
        question: what was asked.
        passages: those that the span was read in.
        span: what may answer.
        log_odds: those of the whole reading.
        names_its_entry: whether the question names the entry that the span lies in, and so what its
            sentences are about.
    """
    cosine = passages[span.number - 1].hit.cosine
    signs = find_signs(question, passages, span, MEASURED)
    if names_its_entry:
        signs["names_missing_in_sentence"] = 0.0
    return {
        "reader": log_odds,
        "span": span.log_odds,
        "home": _NO_COSINE if cosine is None else cosine,
        "place": 1 / span.number,
        **signs,
    }


@dataclass(frozen=True, slots=True)
class _ByWords:
    """Sentences that share words and meaning with the question."""

    question: Question
    sentences: list[Candidate]
    probability: float

    def quote(self) -> Draft | None:
        found = extract(self.question, self.sentences)
        return None if found is None else quote(found, "extractive")


@dataclass(frozen=True, slots=True)
class _ByReader:
    """Spans that a reader found."""

    question: str
    passages: Passages
    reading: Reading
    model: str
    probability: float

    def quote(self) -> Draft | None:
        if not self.reading.spans:
            return None
        found = quote_answer(self.question, self.passages, self.reading.spans)
        if not found.stretches:
            return None
        opening = f"{found.verdict.capitalize()}." if found.verdict else ""
        return quote_stretches(self.passages, found.stretches, found.marks, self.model, opening)
