"""Write questions about an index with a generator, for users who have no judgements.

Half of them are near misses: the same questions, asked without the sentence or the document that
answers them.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from rag.config import check_argument
from rag.engine import RAG
from rag.errors import ConfigError, StoreError
from rag.evaluation.answer_metrics import contains, shares_words
from rag.evaluation.dataset import HiddenPart
from rag.evaluation.report import write_text
from rag.evaluation.retrieval import share_models
from rag.index import Index
from rag.protocols import LanguageModel, generate_text
from rag.text.languages.english import POINTS_AT_TEXT
from rag.text.sentences import split_sentences
from rag.text.words import content_words
from rag.types import Chunk, Message, Progress, ProgressCallback, no_progress


@dataclass(frozen=True, slots=True)
class MadeQuestion:
    """A question that a generator wrote about the passage `text[start:end]` of a source.

    `answer` is empty unless the generator gave one that the sentence holds. A near miss is not
    `answerable`: it is asked without what is `hidden`, as `SOURCE:START-END`.
    """

    question: str
    source: str
    start: int
    end: int
    answer: str = ""
    answerable: bool = True
    hidden: str = ""


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions that a generator wrote, each near miss after its own, and how many were dropped.

    `dropped` counts replies by reason.
    """

    questions: tuple[MadeQuestion, ...]
    dropped: Mapping[str, int]

    @property
    def near_misses(self) -> tuple[MadeQuestion, ...]:
        """The questions whose answer is hidden."""
        return tuple(each for each in self.questions if not each.answerable)


# A small model follows the examples; with fewer than two it continues the text and asks nothing.
_EXAMPLES = (
    (
        "The Eiffel Tower was built for the World's Fair of 1889 and is 330 metres high.",
        "How high is the Eiffel Tower?",
        "330 metres",
    ),
    (
        "Honey bees live in colonies of up to 80,000 workers; only the queen lays eggs.",
        "How many workers live in a colony of honey bees?",
        "up to 80,000",
    ),
)
_POINTS_AT_TEXT = re.compile(POINTS_AT_TEXT, re.IGNORECASE)
_LABEL = re.compile(r"^\s*(?:\W*\bquestion\b\s*\d*\s*[:.\-]|\d+[.)]|[-*•])\s*", re.IGNORECASE)
_FEWEST_PASSAGE_WORDS = 25
_FEWEST_WORDS, _MOST_WORDS = 4, 40
_FEWEST_CONTENT_WORDS = 2
# A question that shares so many words in a row with its sentence is copied from it.
_MOST_COPIED = 10
_TRIES = 5
# A sentence that stands alone: long enough to tell something, short enough to be searched for.
_FEWEST_SENTENCE_WORDS, _MOST_SENTENCE_WORDS = 8, 60
_LEANS_ON_ANOTHER = re.compile(
    r"\W*(?:he|she|it|they|this|that|these|those|its|their|his|her|such|there|here)\b",
    re.IGNORECASE,
)
# An answer of more words is a sentence.
_MOST_ANSWER_WORDS = 10
# In so many passages a sentence is looked for again before it is hidden.
_LOOKED_THROUGH = 10
_SAID_ELSEWHERE = "near misses, as their answer is said elsewhere"


def make_questions(
    rag: RAG,
    count: int = 50,
    *,
    near_misses: bool = True,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> QuestionSet:
    """Let the generator write a question about a sentence of each of `count` passages.

    Passages are drawn at random, one of each document before a second of any; the same index,
    seed and generator give the same questions. There are up to five tries for each question. One
    is dropped if it is too short or too long, points at its text, copies it, shares no word with it
    or repeats another question. None is dropped for not being found: that would keep what today's
    retrieval finds already (as round-trip filters do; Dai et al., Promptagator, ICLR 2023,
    section 3.2), and measure every other configuration against it.

    A warning is issued for a generator that `auto` would not let answer.

    With `near_misses`, each question is followed by itself, to be asked without its sentence, and
    every other time without its whole document, so that what is left is on the subject at most. A
    near miss is dropped if another sentence shares the numbers and half of the words of what is
    hidden: that may be an answer, too.

    Raises:
        ConfigError: if the generator cannot write.
        StoreError: if the index holds no passage that is long enough.
        GenerationError: if the generator fails.
    """
    count, seed = check_argument("questions", count), check_argument("seed", seed)
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
    # What is said elsewhere may be said in a copy.
    bare = replace(rag.config.retrieval, collapse=0.0, context="passage")
    searched = share_models(rag, replace(rag.config, retrieval=bare), generator=False)
    made: dict[str, MadeQuestion] = {}
    hiding: dict[str, MadeQuestion] = {}
    dropped: Counter[str] = Counter()
    for tried, (source, chunk, (start, end)) in enumerate(_draw_sentences(rag, seed)):
        progress(Progress("writing questions", len(made), count, "questions", source))
        if len(made) == count or tried == _TRIES * count:
            break
        sentence = chunk.text[start:end]
        question = _clean(_write_question(rag.generator, sentence))
        fault = "the same again" if question.casefold() in made else _fault(question, sentence)
        if fault:
            dropped[fault] += 1
            continue
        answer = _answer(rag.generator, sentence, question)
        own = MadeQuestion(question, source, chunk.start, chunk.end, answer)
        made[question.casefold()] = own
        if near_misses:
            whole = rag.document(chunk.document_id)
            place = HiddenPart(source, chunk.start + start, chunk.start + end)
            if len(made) % 2 == 0 and rag.info().documents > 1:
                place = HiddenPart(source, 0, len(whole.text))
            if _is_said_elsewhere(searched, sentence, whole.id, place):
                dropped[_SAID_ELSEWHERE] += 1
            else:
                hiding[question.casefold()] = replace(
                    own, answer="", answerable=False, hidden=str(place)
                )
    if not made and not dropped:
        raise StoreError(
            f"{rag.path}: holds no passage of {_FEWEST_PASSAGE_WORDS} words or more with a "
            "sentence to ask about"
        )
    both = [each for key in made for each in (made[key], hiding.get(key)) if each is not None]
    return QuestionSet(tuple(both), dict(dropped))


def write_questions(file: str | Path, questions: QuestionSet) -> None:
    """Write questions as a CSV that `load_dataset` reads.

    Raises:
        SourceError: if the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(MadeQuestion))
    for each in questions.questions:
        *values, answer, answerable, hidden = astuple(each)
        writer.writerow((*values, answer, str(answerable).lower(), hidden))
    write_text(Path(file), text.getvalue())


def _draw_sentences(rag: RAG, seed: int) -> Iterator[tuple[str, Chunk, tuple[int, int]]]:
    """Yield drawn passages with their sources and one of their sentences, if any stands alone."""
    import numpy as np

    random = np.random.default_rng(seed)
    for source, chunk in _draw_passages(rag, seed):
        spans = [span for span in split_sentences(chunk.text) if _stands_alone(chunk.text, *span)]
        if spans:
            yield source, chunk, spans[random.integers(len(spans))]


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Tell whether a sentence can be asked about without what stands around it."""
    sentence = text[start:end]
    words = len(sentence.split())
    return (
        _FEWEST_SENTENCE_WORDS <= words <= _MOST_SENTENCE_WORDS
        and sentence[0] not in "#|"
        and not _LEANS_ON_ANOTHER.match(sentence)
    )


def _is_said_elsewhere(rag: RAG, sentence: str, document_id: str, place: HiddenPart) -> bool:
    """Tell whether a sentence that is not hidden says so much of the same that it may answer."""
    # The syntax of searches has no place here: quotes and hyphens of the sentence are its own.
    for hit in rag.search(" ".join(_words(sentence)), _LOOKED_THROUGH):
        for start, end in split_sentences(hit.text):
            hides = hit.chunk.document_id == document_id and (
                hit.start + start < place.end and place.start < hit.start + end
            )
            if not hides and shares_words(hit.text[start:end], sentence):
                return True
    return False


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


def _write_question(generator: LanguageModel, sentence: str) -> str:
    messages = [Message("system", "You write questions that can be understood by themselves.")]
    for example, question, _ in _EXAMPLES:
        messages += [Message("user", _instruction(example)), Message("assistant", question)]
    messages.append(Message("user", _instruction(sentence)))
    return generate_text("", messages, generator, stop=_is_whole)


def _answer(generator: LanguageModel, sentence: str, question: str) -> str:
    """Let the generator answer its question; an answer that the sentence lacks is none."""
    messages = [Message("system", "You answer in a few words of the text.")]
    for example, asked, answer in _EXAMPLES:
        messages += [Message("user", _task(example, asked)), Message("assistant", answer)]
    messages.append(Message("user", _task(sentence, question)))
    written = generate_text(question, messages, generator, stop=_is_answered)
    answer = " ".join(written.strip().splitlines()[:1]).strip(" .\"'“”*")
    # A semicolon parts several answers in the file.
    if not answer or ";" in answer or len(answer.split()) > _MOST_ANSWER_WORDS:
        return ""
    return answer if contains(sentence, [answer]) else ""


def _is_answered(text: str) -> bool:
    return "\n" in text.strip() or len(text.split()) > _MOST_ANSWER_WORDS


def _task(text: str, question: str) -> str:
    return f"Text: {text}\n\nQuestion: {question}"


def _is_whole(text: str) -> bool:
    """Tell whether a question has been written, so that nothing after it is waited for."""
    return "?" in text or "\n" in text.strip() or len(text.split()) > _MOST_WORDS


def _instruction(text: str) -> str:
    return f"Text: {text}\n\nAsk a question about the text."


def _clean(text: str) -> str:
    """Return the first line up to its question mark, without a label, a number or quotes."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = _LABEL.sub("", line).strip().strip("\"'“”*")
    question, mark, _ = line.partition("?")
    return " ".join(question.split()) + mark


def _fault(question: str, sentence: str) -> str:
    """Return why a question is useless, or an empty string."""
    words = question.split()
    content = content_words(question)
    if not question.endswith("?"):
        return "no question"
    if not _FEWEST_WORDS <= len(words) <= _MOST_WORDS or len(content) < _FEWEST_CONTENT_WORDS:
        return "too short or too long"
    if _POINTS_AT_TEXT.search(question):
        return "points at its text"
    if not content & content_words(sentence):
        return "shares no word with its sentence"
    if _is_copied(question, sentence):
        return "copies its sentence"
    return ""


def _is_copied(question: str, sentence: str) -> bool:
    words, whole = _words(question), _words(sentence)
    text, most = f" {' '.join(whole)} ", min(_MOST_COPIED, len(whole))
    runs = (words[at : at + most] for at in range(len(words) - most + 1))
    return any(f" {' '.join(run)} " in text for run in runs)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
