"""question, passages -> the answer word for word, without a language model.

The answer is the shortest span where that is clear enough, and the sentence otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rag.answering.extraction.answerability import answerability
from rag.answering.extraction.candidates import Candidate, rank_sentences
from rag.answering.extraction.question import Question, parse_question
from rag.answering.extraction.spans import Span, best_span, features
from rag.answering.passages import Passages, Stretch

__all__ = [
    "Candidate",
    "Extract",
    "Question",
    "Span",
    "answerability",
    "candidates_of",
    "extract",
    "features",
    "parse_question",
]

# Below this expected overlap a span is wrong more often than not, and its sentence says more.
CLEAR = 0.3


@dataclass(frozen=True, slots=True)
class Extract(Stretch):
    """An answer word for word: `passages[number - 1].text[start:end] == text`.

    It stands in the sentence `[sentence_start:sentence_end]` of the same text. `expected` is its
    expected token F1 with the answer, and 0 where the sentence itself is the answer.
    """

    text: str
    sentence_start: int
    sentence_end: int
    expected: float


def candidates_of(question: str, passages: Passages) -> tuple[Question, list[Candidate]]:
    """Return the question taken apart, and the sentences that may answer it, best first."""
    parsed = parse_question(question)
    return parsed, rank_sentences(parsed, passages)


def extract(question: Question, sentences: Sequence[Candidate]) -> Extract | None:
    """Return the span that answers, or the best sentence where none is clear; None without any."""
    if not sentences or not (sentences[0].direct or sentences[0].around):
        return None
    # No span says yes or no, or what something is.
    whole = question.asked in ("whether", "definition")
    span = None if whole else best_span(question, sentences)
    if span is None or span.agreement < CLEAR:
        best = sentences[0]
        return Extract(best.number, best.start, best.end, best.text, best.start, best.end, 0.0)
    home = span.candidate
    return Extract(
        number=home.number,
        start=home.start + span.start,
        end=home.start + span.end,
        text=span.text,
        sentence_start=home.start,
        sentence_end=home.end,
        expected=span.agreement,
    )
