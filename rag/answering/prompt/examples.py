"""Load a user's own questions with their answers, and choose examples for a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError
from rag.parsing import parse_json, parse_table
from rag.protocols import Embedder
from rag.text.normalization import searchable

if TYPE_CHECKING:
    from rag.types import Vectors


@dataclass(frozen=True, slots=True)
class Example:
    """A question with the answer it should get, and the passages that hold it, if any."""

    question: str
    answer: str
    passages: tuple[str, ...] = ()


def load_examples(file: str | Path) -> tuple[Example, ...]:
    """Load the examples in a JSONL or CSV file.

    A line of JSONL is an object with `question`, `answer` and optionally `passages` (a list of
    texts); a CSV file has the columns question and answer.

    Raises:
        ConfigError: if it cannot be read (it names the line), or holds no example.
    """
    path = Path(file)
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{file}: examples are read from .jsonl or .csv files")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file with examples") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text: {error}") from error
    examples = tuple(
        _make_example(fields, f"{file}:{line}") for line, fields in reader(text, str(file))
    )
    if not examples:
        raise ConfigError(f"{file}: holds no example")
    return examples


def nearest_examples(
    question: str, examples: Sequence[Example], embedder: Embedder, shots: int
) -> tuple[Example, ...]:
    """Choose the `shots` examples whose questions are most similar by cosine, the best one last.

    The last one is nearest to the user's question in the prompt (Liu et al., DeeLIO 2022). The
    examples are embedded once.
    """
    import numpy as np

    if not examples or shots < 1:
        return ()
    similarities = _embed(tuple(examples), embedder) @ embedder.embed_query(question)
    # Of equally similar examples, the first in the file counts as better.
    best = np.argsort(-similarities, kind="stable")[:shots]
    return tuple(examples[at] for at in reversed(best))


# The vectors of the last file of examples, by the embedder's fingerprint.
_embedded: dict[tuple[str, tuple[Example, ...]], Vectors] = {}


def _embed(examples: tuple[Example, ...], embedder: Embedder) -> Vectors:
    key = (embedder.fingerprint, examples)
    vectors = _embedded.get(key)
    if vectors is None:
        vectors = embedder.embed_documents([searchable(each.question) for each in examples])
        _embedded.clear()
        _embedded[key] = vectors
    return vectors


def _read_jsonl(text: str, file: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, parse_json(line)
            except ValueError as error:
                raise ConfigError(f"{file}:{number}: is not JSON: {error}") from error


def _read_csv(text: str, file: str) -> Iterator[tuple[int, Any]]:
    try:
        for line, row in parse_table(text, {"question", "answer"}):
            yield line, {"question": row["question"], "answer": row["answer"]}
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error


def _make_example(fields: Any, where: str) -> Example:
    if not isinstance(fields, dict):
        raise ConfigError(f"{where}: an example is an object with `question` and `answer`")
    for name in ("question", "answer"):
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise ConfigError(f"{where}: `{name}` must be a text that is not empty")
    unknown = sorted(set(fields) - {"question", "answer", "passages"})
    if unknown:
        raise ConfigError(
            f"{where}: unknown field `{unknown[0]}`; an example has question, answer and passages"
        )
    passages = fields.get("passages", [])
    if not isinstance(passages, list) or not all(isinstance(each, str) for each in passages):
        raise ConfigError(f"{where}: `passages` must be a list of texts")
    return Example(fields["question"].strip(), fields["answer"].strip(), tuple(passages))
