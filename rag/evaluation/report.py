"""The results of a measurement of retrieval, and how reports are saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar, cast

import msgspec

from rag.errors import SourceError


class Scored(Protocol):
    """A row of a report: one question, with what questions are sorted by."""

    @property
    def score(self) -> float: ...


RowType = TypeVar("RowType", bound=Scored)


class SavedReport(Generic[RowType]):
    """A report on one configuration, which can be saved as JSON."""

    __slots__ = ()
    rows: tuple[RowType, ...]

    def failures(self, count: int) -> list[RowType]:
        """Return the `count` questions with the lowest score, without those of full score."""
        worst = sorted(self.rows, key=lambda row: row.score)
        return [row for row in worst[:count] if row.score < 1]

    def save(self, file: str | Path) -> None:
        """Write the report as JSON.

        Raises:
            SourceError: if the file cannot be written.
        """
        write_text(
            Path(file), json.dumps(asdict(cast(Any, self)), ensure_ascii=False, indent=1) + "\n"
        )

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Read a report that `save` wrote.

        Raises:
            SourceError: if the file cannot be read, or holds no such report.
        """
        try:
            return msgspec.json.decode(Path(file).read_bytes(), type=cls)
        except FileNotFoundError:
            raise SourceError(str(file), "no such file") from None
        except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
            reason = f"is not a report that `rag eval --save` wrote: {error}"
            raise SourceError(str(file), reason) from error


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document in a ranking, which its best passage stands for.

    `name` is the document's name in the qrels, else its id in a corpus file, or its source. `score`
    and `location` are the passage's; `gain` is the relevance by the qrels, 0 if not judged.
    """

    name: str
    score: float
    gain: int
    location: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One question: the relevant documents with their relevance, the ranking and its metrics.

    `milliseconds` is how long the search for the ranking took.
    """

    id: str
    question: str
    relevant: Mapping[str, int]
    ranking: tuple[RankedDocument, ...]
    metrics: Mapping[str, float]
    milliseconds: float = 0.0

    @property
    def score(self) -> float:
        """The value that questions are sorted by: nDCG@10."""
        return self.metrics["nDCG@10"]

    @property
    def judgement(self) -> tuple[str, dict[str, int]]:
        """The question and its qrels: rows that are compared must agree on them."""
        return self.question, dict(self.relevant)


@dataclass(frozen=True, slots=True)
class Report(SavedReport[Row]):
    """How good one configuration is, with everything needed to measure it again.

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
        """The qrels that the metrics rest on: question id -> name -> relevance."""
        return {row.id: dict(row.relevant) for row in self.rows}


def write_text(file: Path, text: str) -> None:
    """Write a text file, and make its folder first.

    Raises:
        SourceError: if it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise SourceError(str(file), f"cannot be written: {error.strerror}") from error
