"""What the reader learns from: a question, passages, and where the answer stands in them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Span(NamedTuple):
    """The answer `start:end`, in code points, of passage number `passage` (from 0)."""

    passage: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Example:
    """A question over passages that are read together; without answers where they are silent."""

    question: str
    passages: tuple[str, ...]
    answers: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        for passage, start, end in self.answers:
            if not 0 <= start < end <= len(self.passages[passage]):
                raise ValueError(f"{self.question}: no text at {passage}, {start}:{end}")


@dataclass(frozen=True, slots=True)
class Row:
    """A question over one context, with its answers' spans; none if the context has no answer."""

    question: str
    context: str
    document: str
    answers: tuple[tuple[int, int], ...]

    @property
    def example(self) -> Example:
        """The row, read alone."""
        spans = tuple(Span(0, start, end) for start, end in self.answers)
        return Example(self.question, (self.context,), spans)


def read_rows(path: Path, *, silent: bool = False) -> list[Row]:
    """Read the rows of a `*.jsonl.gz` with `question`, `context`, `document` and `answers`.

    Args:
        path: the file.
        silent: whether rows without answers are kept.
    """
    rows = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            spans = {(each["start"], each["start"] + len(each["text"])) for each in row["answers"]}
            context = row["context"]
            kept = tuple(sorted({_trim(context, *span) for span in spans}))
            kept = tuple(span for span in kept if span[0] < span[1])
            if kept or silent:
                rows.append(Row(row["question"].strip(), context, row["document"], kept))
    return rows


def read_judged(folder: Path) -> list[Row]:
    """Read `corpus.jsonl` and `queries.jsonl`: answers are found in the paragraph that is named.

    A question's paragraph is its `near`, its document the paragraph's title.
    """
    corpus = {row["_id"]: row for row in _lines(folder / "corpus.jsonl")}
    rows = []
    for query in _lines(folder / "queries.jsonl"):
        paragraph = corpus[query["near"]]
        text = paragraph["text"]
        spans: set[tuple[int, int]] = set()
        for answer in query["answers"]:
            found = _occurrences(text, answer)
            # A short answer that stands in many places says little about where it is given.
            if found and len(found) <= 3:
                spans.update(found)
        if query["answerable"] and not spans:
            continue
        rows.append(Row(query["text"].strip(), text, paragraph["title"], tuple(sorted(spans))))
    return rows


def is_held_out(document: str, one_in: int) -> bool:
    """Say whether a document is one of those that nothing is trained on, by its name alone."""
    return zlib.crc32(document.encode()) % one_in == 0


def shift(answers: Iterable[tuple[int, int]], by: int) -> tuple[tuple[int, int], ...]:
    """Move spans to the right by `by` code points."""
    return tuple((start + by, end + by) for start, end in answers)


def without_answer(example: Example) -> Example:
    """Return the example without its answers."""
    return Example(example.question, example.passages)


def holds_answer(text: str, row: Row) -> bool:
    """Say whether one of a row's answers stands word for word in a text."""
    low = text.casefold()
    return any(row.context[start:end].casefold() in low for start, end in row.answers)


def _occurrences(text: str, sought: str) -> list[tuple[int, int]]:
    found = []
    at = text.find(sought)
    while at >= 0:
        end = at + len(sought)
        inside = (at and text[at - 1].isalnum() and sought[0].isalnum()) or (
            end < len(text) and text[end].isalnum() and sought[-1].isalnum()
        )
        if not inside:
            found.append((at, end))
        at = text.find(sought, at + 1)
    return found


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    quote = text[start:end]
    start += len(quote) - len(quote.lstrip())
    return start, start + len(quote.strip())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def join_sentences(sentences: Sequence[str]) -> str:
    """Sentences as one passage."""
    return " ".join(sentence.strip() for sentence in sentences)
