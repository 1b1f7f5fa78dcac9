"""The results of a measurement of answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.evaluation.answer_metrics import F1, RiskPoint
from rag.evaluation.report import SavedReport


@dataclass(frozen=True, slots=True)
class JudgedCitation:
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
    """A sentence that a generator wrote, with the verdict of our own verifier.

    `supported` says that its citations support it; `precise` says for each number in `citations`
    whether that citation is needed.
    """

    text: str
    citations: tuple[int, ...]
    supported: bool
    precise: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One question, its answer, and the metrics that are defined for it.

    `gold` is empty where the documents hold no answer. `answer` are the parts of `text` that
    answer, without marks, which EM and F1 are computed on; it is empty if the reply `abstained`.
    `confidence` is the answer's, from 0 to 1. `sentences` are judged only of a text that a
    generator wrote: a quotation always bears itself out. `hidden` are the parts of documents that
    the question was asked without, as `SOURCE:START-END`. `tokens` are `prompt` and `written`,
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
    citations: tuple[JudgedCitation, ...]
    metrics: Mapping[str, float]
    tokens: Mapping[str, int]
    timings: Mapping[str, float]
    interrupted: str | None = None
    answer: str = ""
    hidden: tuple[str, ...] = ()

    @property
    def answerable(self) -> bool:
        """Whether the documents hold an answer."""
        return bool(self.gold)

    @property
    def score(self) -> float:
        """Token F1, or where there is no answer whether the reply was that there is none."""
        return self.metrics[F1] if self.gold else float(self.abstained)

    @property
    def loss(self) -> float | None:
        """1 - F1 of an answer, 1 where there is none to give, and None if the reply abstained."""
        return None if self.abstained else 1 - self.score

    @property
    def judgement(self) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """The question, its gold answers and what was hidden: compared rows must agree on them."""
        return self.question, self.gold, self.hidden


@dataclass(frozen=True, slots=True)
class AnswerReport(SavedReport[AnswerRow]):
    """How good the answers of one configuration are, with everything needed to measure again.

    `metrics` are means over those `rows` that have a value, then the metrics of all questions
    together; an undefined metric is left out. `risk_coverage` is the curve whose area is `AURC`,
    the surest answers first. `false_quotes` counts the citations whose quote is not in the document
    at its place. `left_out` are questions for which the dataset does not say whether they have an
    answer, or which another system cannot be asked; of the others every `every`th was asked.

    `tokens` are the means of the prompts and of the texts that a generator wrote. `timings` are
    `median` and `p95` in milliseconds, of the `first_token` and of the `total`. `generator` names
    the models of the answers, `verifiers` what judged the citations. `settings` are all settings by
    `section.key`; `index` is its path with the numbers of files, documents and chunks, and a
    fingerprint of the documents.
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
    risk_coverage: tuple[RiskPoint, ...] = ()

    def failures(self, count: int) -> list[AnswerRow]:
        """Return the `count` worst questions: answered wrong, the surest first, then refused."""
        worst = sorted(self.rows, key=lambda row: (row.score, row.abstained, -row.confidence))
        return [row for row in worst[:count] if row.score < 1]

    @property
    def unanswerable(self) -> tuple[str, ...]:
        """The questions to which the documents hold no answer."""
        return tuple(row.id for row in self.rows if not row.gold)
