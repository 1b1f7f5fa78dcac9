"""question, passages -> how probably they hold the answer, and the answer word for word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rag.answering.citations import Draft, quote, quote_stretches
from rag.answering.extraction import (
    Candidate,
    Question,
    answerability,
    candidates_of,
    extract,
)
from rag.answering.passages import Passages, Stretch

if TYPE_CHECKING:
    from rag.answering.reader.reading import Reading
    from rag.answering.tools import Reader


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
    reading = reader.read(question, [passage.text for passage in passages])
    return _ByReader(question, passages, reading, reader.name, reading.probability)


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
        span = self.reading.spans[0]
        around = [
            each
            for each in self.passages[span.number - 1].sentences
            if each[0] < span.end and span.start < each[1]
        ]
        start = min([span.start, *(each[0] for each in around)])
        end = max([span.end, *(each[1] for each in around)])
        stretch = Stretch(span.number, start, end)
        return quote_stretches(self.passages, [stretch], [span], self.model)
