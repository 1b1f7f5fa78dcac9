"""Load questions with their judgements: BEIR's layout, or a CSV of questions and sources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rag.errors import SourceError
from rag.parsing import parse_json, parse_table, read_whole

_QRELS = ("qrels.tsv", "qrels/test.tsv")
_CORPORA = ("corpus.jsonl", "corpus")
_WHOLE = re.compile("-?[0-9]{1,9}")
_PLACE = re.compile(r"(?P<source>.+):(?P<start>\d+)-(?P<end>\d+)")


@dataclass(frozen=True, slots=True)
class HiddenPart:
    """The part `text[start:end]` of a document, in code points; `source` is a name as in qrels."""

    source: str
    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `SOURCE:START-END`, as `rag show` takes it.

        Raises:
            ValueError: if it is something else, or ends where it starts or before.
        """
        place = _PLACE.fullmatch(text.strip())
        if place is None:
            raise ValueError(f"{text[:200]!r} is not SOURCE:START-END")
        start, end = read_whole(place["start"]), read_whole(place["end"])
        if start >= end:
            raise ValueError(f"{text[:200]!r} is not SOURCE:START-END")
        return cls(place["source"], start, end)

    def __str__(self) -> str:
        return f"{self.source}:{self.start}-{self.end}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Questions by id, and their qrels: question id -> name of a document -> relevance (0: none).

    A name is a document's id, its source, or the end of its source after a `/`; for files in a
    `corpus` folder, the path below it. `corpus` is None if the set brings no documents.

    `answers` are the gold answers by question; an empty tuple says that the documents hold none.
    Questions without either are left out of it. `hidden` are, by question, the parts of documents
    that it is asked without.
    """

    path: Path
    questions: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    corpus: Path | None = None
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hidden: Mapping[str, tuple[HiddenPart, ...]] = field(default_factory=dict)

    @property
    def unanswerable(self) -> tuple[str, ...]:
        """The questions without a relevant document; ranking metrics leave them out."""
        return tuple(each for each in self.questions if each not in self.relevant)

    @property
    def relevant(self) -> dict[str, dict[str, int]]:
        """The qrels above 0, in the order of the questions."""
        judged = {
            question: {
                name: gain for name, gain in self.qrels.get(question, {}).items() if gain > 0
            }
            for question in self.questions
        }
        return {question: gains for question, gains in judged.items() if gains}


def load_dataset(path: str | Path) -> Dataset:
    """Load a folder in BEIR's layout, or a CSV file with the columns `question` and `source`.

    BEIR: `queries.jsonl` (`_id`, `text`), `qrels.tsv` or `qrels/test.tsv` (question, document and
    a whole number, tab-separated), and `corpus.jsonl` or a folder `corpus` if the set has its own
    documents. CSV: several sources of a question are separated by `;`; a column `id` is optional,
    other columns are ignored.

    Gold answers are optional: `answers` (a list) and `answerable` (true or false) in
    `queries.jsonl`, columns `answer` (several separated by `;`) and `answerable` in a CSV. So is
    `hidden`, the parts of documents that a question is asked without, as `SOURCE:START-END`: a
    list, or a column (several separated by `;`). No document is relevant to a row of a CSV that
    hides one.

    Raises:
        SourceError: if a file is missing, or a line cannot be used; it names them.
    """
    path = Path(path)
    if not path.is_dir() and not path.is_file():
        raise SourceError(str(path), "no such file or folder")
    dataset = _load_beir(path) if path.is_dir() else _load_table(path)
    if not dataset.relevant:
        raise SourceError(str(path), "names no relevant document for any question")
    return dataset


def _load_beir(folder: Path) -> Dataset:
    questions: dict[str, str] = {}
    answers: dict[str, tuple[str, ...]] = {}
    hidden: dict[str, tuple[HiddenPart, ...]] = {}
    queries = folder / "queries.jsonl"
    for line, record in _read_records(queries):
        identity, text = str(record.get("_id", "")), str(record.get("text", "")).strip()
        if not identity or not text:
            raise SourceError(str(queries), f"line {line} lacks `_id` or `text`")
        if identity in questions:
            raise SourceError(str(queries), f"line {line}: {identity!r} again")
        questions[identity] = text
        gold, answerable = record.get("answers", []), record.get("answerable", True)
        places = record.get("hidden", [])
        for name, texts in (("answers", gold), ("hidden", places)):
            if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
                raise SourceError(str(queries), f"line {line}: `{name}` is not a list of texts")
        answers |= _answers(identity, gold, answerable, queries, f"line {line}")
        hidden |= _hidden(identity, places, queries, f"line {line}")
    file = next((folder / name for name in _QRELS if (folder / name).is_file()), None)
    if file is None:
        raise SourceError(str(folder), f"holds neither {' nor '.join(_QRELS)}")
    qrels = _read_qrels(file)
    unknown = next((each for each in qrels if each not in questions), None)
    if unknown is not None:
        raise SourceError(str(file), f"judges {unknown!r}, which queries.jsonl does not hold")
    corpus = next((folder / name for name in _CORPORA if (folder / name).exists()), None)
    return Dataset(folder, questions, qrels, corpus, answers, hidden)


def _read_records(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except ValueError as error:
            raise SourceError(str(file), f"line {number} is not JSON: {error}") from None
        if not isinstance(record, dict):
            raise SourceError(str(file), f"line {number} is not a JSON object")
        yield number, record


def _read_qrels(file: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(_read_text(file).split("\n"), start=1):
        fields = line.rstrip("\r").split("\t")
        if not line.strip() or (number == 1 and not _is_whole(fields[-1])):
            continue
        if len(fields) != 3 or not _is_whole(fields[2]):
            raise SourceError(
                str(file),
                f"line {number} is not question, document and a whole number, tab-separated",
            )
        question, document, gain = fields[0], fields[1], int(fields[2])
        if qrels.setdefault(question, {}).setdefault(document, gain) != gain:
            raise SourceError(str(file), f"line {number} judges {document!r} again, otherwise")
    return qrels


def _load_table(file: Path) -> Dataset:
    try:
        rows = [row for _, row in parse_table(_read_text(file), {"question", "source"})]
    except ValueError as error:
        raise SourceError(str(file), str(error)) from error
    questions: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    answers: dict[str, tuple[str, ...]] = {}
    hidden: dict[str, tuple[HiddenPart, ...]] = {}
    for number, row in enumerate(rows, start=1):
        text = (row["question"] or "").strip()
        if not text:
            raise SourceError(str(file), f"row {number} has no question")
        identity = (row.get("id") or "").strip() or f"q{number}"
        if identity in questions:
            raise SourceError(str(file), f"row {number}: the id {identity!r} again")
        questions[identity] = text
        places = (row.get("hidden") or "").split(";")
        hidden |= _hidden(identity, places, file, f"row {number}")
        # What made a document relevant is what is hidden of it.
        sources = [] if identity in hidden else (row["source"] or "").split(";")
        qrels[identity] = {source.strip(): 1 for source in sources if source.strip()}
        gold = (row.get("answer") or "").split(";")
        answerable = (row.get("answerable") or "").strip() or "true"
        answers |= _answers(identity, gold, answerable, file, f"row {number}")
    return Dataset(file, questions, qrels, None, answers, hidden)


def _answers(
    question: str, gold: Sequence[str], answerable: object, file: Path, place: str
) -> dict[str, tuple[str, ...]]:
    """Return a question's entry in the answers; none if the set does not say whether it has any."""
    flag = str(answerable).lower()
    if flag not in {"true", "false"}:
        raise SourceError(str(file), f"{place}: `answerable` is {answerable!r}, not true or false")
    if flag == "false":
        return {question: ()}
    texts = tuple(answer.strip() for answer in gold if answer.strip())
    return {question: texts} if texts else {}


def _hidden(
    question: str, places: Sequence[str], file: Path, place: str
) -> dict[str, tuple[HiddenPart, ...]]:
    """Return what a question hides, if anything."""
    try:
        parts = tuple(HiddenPart.parse(each) for each in places if each.strip())
    except ValueError as error:
        raise SourceError(str(file), f"{place}: `hidden`: {error}") from None
    return {question: parts} if parts else {}


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SourceError(str(file), "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(str(file), f"cannot be read as UTF-8 text: {error}") from error


def _is_whole(text: str) -> bool:
    return _WHOLE.fullmatch(text.strip()) is not None
