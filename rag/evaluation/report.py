"""What a measurement found, as data and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rag.errors import SourceError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document in a ranking, by its best passage.

    `name` is what the qrels call it, else the id of its corpus file or its source. `score` and
    `location` are the passage's; `gain` is the document's relevance by the qrels, 0 if not judged.
    """

    name: str
    score: float
    gain: int
    location: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One question: the relevant documents with their relevance, what was ranked, the metrics.

    `milliseconds` is what the search took that gave the ranking.
    """

    id: str
    question: str
    relevant: Mapping[str, int]
    ranking: tuple[RankedDocument, ...]
    metrics: Mapping[str, float]
    milliseconds: float = 0.0

    @property
    def score(self) -> float:
        """What questions are sorted by: nDCG@10."""
        return self.metrics["nDCG@10"]

    @property
    def judgement(self) -> tuple[str, dict[str, int]]:
        """What must be the same of two rows that are compared."""
        return self.question, dict(self.relevant)


@dataclass(frozen=True, slots=True)
class Report:
    """How good one configuration is, with all that it takes to measure it again.

    `metrics` are means over `rows`, which hold the questions that documents are relevant to;
    `unanswerable` are the ids of the others. `missing` are relevant documents that the index does
    not hold; they count as not found. `settings` are all settings by `section.key`; `index` is its
    path with the numbers of files, documents and chunks. `timings` are `median` and `p95` of a
    search in milliseconds. A report of a run from elsewhere knows neither index nor embedder.
    """

    configuration: str
    dataset: str
    metrics: Mapping[str, float]
    rows: tuple[Row, ...]
    unanswerable: tuple[str, ...]
    missing: tuple[str, ...]
    depth: int
    version: str
    created: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    embedder: str = ""
    fingerprint: str = ""
    index: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)

    @property
    def run(self) -> dict[str, list[str]]:
        """The rankings alone: question id -> names of documents, best first."""
        return {row.id: [document.name for document in row.ranking] for row in self.rows}

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        """The judgements that the metrics rest on: question id -> name -> relevance."""
        return {row.id: dict(row.relevant) for row in self.rows}

    def failures(self, count: int) -> list[Row]:
        """The `count` questions with the lowest nDCG@10, those without a fault left out."""
        worst = sorted(self.rows, key=lambda row: row.score)
        return [row for row in worst[:count] if row.score < 1]

    def save(self, file: str | Path) -> None:
        """Write the report as JSON.

        Raises:
            SourceError: if the file cannot be written.
        """
        save(file, self)

    @classmethod
    def load(cls, file: str | Path) -> Report:
        """Read a report that `save` wrote.

        Raises:
            SourceError: if the file cannot be read, or is no report.
        """
        return load(file, _from_json)


def save(file: str | Path, report: DataclassInstance) -> None:
    """Write a report as JSON.

    Raises:
        SourceError: if the file cannot be written.
    """
    write(Path(file), json.dumps(asdict(report), ensure_ascii=False, indent=1) + "\n")


def load(file: str | Path, from_json: Callable[[dict[str, Any]], R]) -> R:
    """Read a report that `save` wrote.

    Raises:
        SourceError: if the file cannot be read, or is no such report.
    """
    try:
        return from_json(json.loads(Path(file).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise SourceError(str(file), "no such file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"is not a report that `rag eval --save` wrote: {error}"
        raise SourceError(str(file), reason) from error


def write(file: Path, text: str) -> None:
    """Write a text file, its folder made first.

    Raises:
        SourceError: if it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise SourceError(str(file), f"cannot be written: {error.strerror}") from error


def _from_json(value: dict[str, Any]) -> Report:
    rows = tuple(
        Row(**{**row, "ranking": tuple(RankedDocument(**each) for each in row["ranking"])})
        for row in value["rows"]
    )
    tuples = {name: tuple(value[name]) for name in ("unanswerable", "missing")}
    return Report(**{**value, **tuples, "rows": rows})
