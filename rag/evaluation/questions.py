"""Write questions about an index with a generator, for users who have no judgements."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from rag.engine import RAG
from rag.errors import ConfigError, StoreError
from rag.evaluation.report import write_text
from rag.index import Index
from rag.protocols import LanguageModel, generate_text
from rag.text.languages.english import POINTS_AT_TEXT
from rag.text.words import content_words
from rag.types import Chunk, Message, Progress, ProgressCallback, no_progress


@dataclass(frozen=True, slots=True)
class MadeQuestion:
    """A question that a generator wrote for the passage `text[start:end]` of a source."""

    question: str
    source: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions that a generator wrote, and how many were dropped by reason."""

    questions: tuple[MadeQuestion, ...]
    dropped: Mapping[str, int]


# A small model follows the examples; with fewer than two it continues the text and asks nothing.
_EXAMPLES = (
    (
        "The Eiffel Tower was built for the World's Fair of 1889 and is 330 metres high.",
        "How high is the Eiffel Tower?",
    ),
    (
        "Honey bees live in colonies of up to 80,000 workers; only the queen lays eggs.",
        "How many workers live in a colony of honey bees?",
    ),
)
_POINTS_AT_TEXT = re.compile(POINTS_AT_TEXT, re.IGNORECASE)
_LABEL = re.compile(r"^\s*(?:\W*\bquestion\b\s*\d*\s*[:.\-]|\d+[.)]|[-*•])\s*", re.IGNORECASE)
_FEWEST_PASSAGE_WORDS = 25
_FEWEST_WORDS, _MOST_WORDS = 4, 40
_FEWEST_CONTENT_WORDS = 2
# A question that shares so many words in a row with its passage is copied from it.
_MOST_COPIED = 10
_TRIES = 5


def make_questions(
    rag: RAG, count: int = 50, *, seed: int = 0, progress: ProgressCallback = no_progress
) -> QuestionSet:
    """Let the generator write a question for each of `count` passages.

    Passages are drawn at random, one of each document before a second of any; the same index,
    seed and generator give the same questions. There are up to five tries for each question. One
    is dropped if it is too short or too long, points at its text, copies it, shares no word with it
    or repeats another question. None is dropped for not being found: that would keep what today's
    retrieval finds already (as round-trip filters do; Dai et al., Promptagator, ICLR 2023,
    section 3.2), and measure every other configuration against it.

    A warning is issued for a generator that `auto` would not let answer.

    Raises:
        ConfigError: if the generator cannot write.
        StoreError: if the index holds no passage that is long enough.
        GenerationError: if the generator fails.
    """
    if rag.generator.name == "extractive":
        raise ConfigError(
            "`extractive` quotes and cannot write questions: name another with --generator, such "
            "as smollm2-135m-instruct or the URL of a server"
        )
    if rag.config.answering.way == "auto" and not rag.writes:
        warnings.warn(
            f"{rag.generator.name} was not measured to answer better than a quotation, and its "
            "questions may be wrong, too: read them before you measure by them, or name a larger "
            "model with --generator",
            stacklevel=2,
        )
    made: dict[str, MadeQuestion] = {}
    dropped: Counter[str] = Counter()
    for tried, (source, chunk) in enumerate(_draw_passages(rag, seed)):
        progress(Progress("writing questions", len(made), count, "questions", source))
        if len(made) == count or tried == _TRIES * count:
            break
        question = _clean(_write_question(rag.generator, chunk.text))
        fault = "the same again" if question.casefold() in made else _fault(question, chunk.text)
        if fault:
            dropped[fault] += 1
        else:
            made[question.casefold()] = MadeQuestion(question, source, chunk.start, chunk.end)
    if not made and not dropped:
        raise StoreError(f"{rag.path}: holds no passage of {_FEWEST_PASSAGE_WORDS} words or more")
    return QuestionSet(tuple(made.values()), dict(dropped))


def write_questions(file: str | Path, questions: QuestionSet) -> None:
    """Write questions as a CSV that `load_dataset` reads.

    Raises:
        SourceError: if the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(MadeQuestion))
    writer.writerows(astuple(each) for each in questions.questions)
    write_text(Path(file), text.getvalue())


def _draw_passages(rag: RAG, seed: int) -> Iterator[tuple[str, Chunk]]:
    """Yield chunks with their sources in random order, spread over the documents evenly."""
    import numpy as np

    index = Index(rag.path)
    documents = [(document.id, document.source) for document in rag.documents()]
    order = np.random.default_rng(seed).permutation(len(documents)).tolist()
    turn = 0
    while order:
        left = []
        for at in order:
            document_id, source = documents[at]
            chunks = [
                chunk
                for chunk in index.chunks(document_id)
                if len(chunk.text.split()) >= _FEWEST_PASSAGE_WORDS
            ]
            shuffled = np.random.default_rng((seed, at)).permutation(len(chunks))
            if turn < len(chunks):
                yield source, chunks[shuffled[turn]]
            if turn + 1 < len(chunks):
                left.append(at)
        order = left
        turn += 1


def _write_question(generator: LanguageModel, passage: str) -> str:
    messages = [Message("system", "You write questions that can be understood by themselves.")]
    for example, question in _EXAMPLES:
        messages += [Message("user", _instruction(example)), Message("assistant", question)]
    messages.append(Message("user", _instruction(passage)))
    return generate_text("", messages, generator, stop=_is_whole)


def _is_whole(text: str) -> bool:
    """Tell whether a question has been written, so that nothing after it is waited for."""
    return "?" in text or "\n" in text.strip() or len(text.split()) > _MOST_WORDS


def _instruction(passage: str) -> str:
    return f"Text: {passage}\n\nAsk a question about the text."


def _clean(text: str) -> str:
    """Return the first line up to its question mark, without a label, a number or quotes."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = _LABEL.sub("", line).strip().strip("\"'“”*")
    question, mark, _ = line.partition("?")
    return " ".join(question.split()) + mark


def _fault(question: str, passage: str) -> str:
    """Return why a question is useless, or an empty string."""
    words = question.split()
    content = content_words(question)
    if not question.endswith("?"):
        return "no question"
    if not _FEWEST_WORDS <= len(words) <= _MOST_WORDS or len(content) < _FEWEST_CONTENT_WORDS:
        return "too short or too long"
    if _POINTS_AT_TEXT.search(question):
        return "points at its text"
    if not content & content_words(passage):
        return "shares no word with its passage"
    if _is_copied(question, passage):
        return "copies its passage"
    return ""


def _is_copied(question: str, passage: str) -> bool:
    words, text = _words(question), f" {' '.join(_words(passage))} "
    runs = (words[at : at + _MOST_COPIED] for at in range(len(words) - _MOST_COPIED + 1))
    return any(f" {' '.join(run)} " in text for run in runs)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
