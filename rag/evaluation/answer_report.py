"""What a measurement of answers found, as data and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag.evaluation import report
from rag.evaluation.answer_metrics import F1


@dataclass(frozen=True, slots=True)
class Quote:
    """A citation of an answer; `verbatim` says that the document holds the quote at its place."""

    number: int
    location: str
    document_id: str
    start: int
    end: int
    quote: str
    verbatim: bool


@dataclass(frozen=True, slots=True)
class JudgedSentence:
    """A sentence of an answer, with the verdict of our own verifier.

    `supported` says that what it cites bears it out; `precise` holds for each number in
    `citations` whether that citation is to the point.
    """

    text: str
    citations: tuple[int, ...]
    supported: bool
    precise: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One question, what was answered, and the metrics that are defined for it.

    `gold` is empty where the documents hold no answer. `tokens` are `prompt` and `written`,
    `timings` those of the answer with the `total` added, in milliseconds.
    """

    id: str
    question: str
    gold: tuple[str, ...]
    text: str
    abstained: bool
    confidence: float
    way: str
    model: str
    sentences: tuple[JudgedSentence, ...]
    citations: tuple[Quote, ...]
    metrics: Mapping[str, float]
    tokens: Mapping[str, int]
    timings: Mapping[str, float]
    interrupted: str | None = None

    @property
    def answerable(self) -> bool:
        """Whether the documents hold an answer."""
        return bool(self.gold)

    @property
    def score(self) -> float:
        """Token F1, or where there is no answer whether the reply was that there is none."""
        return self.metrics[F1] if self.gold else float(self.abstained)

    @property
    def judgement(self) -> tuple[str, tuple[str, ...]]:
        """What must be the same of two rows that are compared."""
        return self.question, self.gold


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """How good the answers of one configuration are, with all that it takes to ask again.

    `metrics` are means over those `rows` that have a value, then the metrics of all questions
    together; one that is not defined is not there. `false_quotes` counts the citations whose
    quote is not what the document holds at its place. `left_out` are questions that the dataset
    says nothing of; of the others every `every`th was asked.

    `tokens` are the means of the prompts and of the texts that a generator wrote. `timings` are
    `median` and `p95` in milliseconds, of the `first_token` and of the `total`. `generator` is
    what the answers name as their model, `verifiers` what judged the citations. `settings` are
    all settings by `section.key`; `index` is its path with the numbers of files, documents and
    chunks, and a fingerprint of the documents.
    """

    configuration: str
    dataset: str
    metrics: Mapping[str, float]
    rows: tuple[AnswerRow, ...]
    false_quotes: int
    left_out: tuple[str, ...]
    every: int
    tokens: Mapping[str, float]
    timings: Mapping[str, Mapping[str, float]]
    generator: str
    verifiers: tuple[str, ...]
    version: str
    created: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    embedder: str = ""
    fingerprint: str = ""
    index: Mapping[str, Any] = field(default_factory=dict)

    @property
    def unanswerable(self) -> tuple[str, ...]:
        """The questions that the documents hold no answer to."""
        return tuple(row.id for row in self.rows if not row.gold)

    def failures(self, count: int) -> list[AnswerRow]:
        """The `count` questions with the lowest score, those without a fault left out."""
        worst = sorted(self.rows, key=lambda row: row.score)
        return [row for row in worst[:count] if row.score < 1]

    def save(self, file: str | Path) -> None:
        """Write the report as JSON.

        Raises:
            SourceError: if the file cannot be written.
        """
        report.save(file, self)

    @classmethod
    def load(cls, file: str | Path) -> AnswerReport:
        """Read a report that `save` wrote.

        Raises:
            SourceError: if the file cannot be read, or is no report about answers.
        """
        return report.load(file, _from_json)


def _from_json(value: dict[str, Any]) -> AnswerReport:
    tuples = {name: tuple(value[name]) for name in ("left_out", "verifiers")}
    return AnswerReport(**{**value, **tuples, "rows": tuple(map(_row, value["rows"]))})


def _row(value: dict[str, Any]) -> AnswerRow:
    sentences = tuple(
        JudgedSentence(
            each["text"], tuple(each["citations"]), each["supported"], tuple(each["precise"])
        )
        for each in value["sentences"]
    )
    citations = tuple(Quote(**each) for each in value["citations"])
    parts = {"gold": tuple(value["gold"]), "sentences": sentences, "citations": citations}
    return AnswerRow(**{**value, **parts})
