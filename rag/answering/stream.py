"""question, hits -> Answer: the ways in which one comes about, and when there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from rag.answering.citations import CitedText, quotation, refusal, structured
from rag.answering.extraction import (
    Candidate,
    Extract,
    Question,
    answerability,
    candidates_of,
    extract,
)
from rag.answering.grounding import Grounding
from rag.answering.passages import Passages
from rag.answering.prompt import build_prompt
from rag.config import Config
from rag.errors import ConfigError, QuestionError, RagError
from rag.protocols import LanguageModel, Loadable
from rag.types import Prompt

if TYPE_CHECKING:
    from rag.answering.prompt import Example, Templates
    from rag.protocols import Embedder, EntailmentModel
    from rag.types import Answer, Document, Hit, Message


class ExtractiveReader(Protocol):
    """A model that finds the span of a passage that answers."""

    @property
    def name(self) -> str: ...

    def best_span(
        self, question: str, passages: Sequence[str]
    ) -> tuple[int, int, int, float] | None:
        """Passage (from 1), start, end and probability; None if no passage answers."""
        ...


class Means(Protocol):
    """What an answer is made with. Models are loaded when they are first asked for."""

    @property
    def config(self) -> Config: ...

    @property
    def embedder(self) -> Embedder: ...

    @property
    def generator(self) -> LanguageModel: ...

    @property
    def entailment(self) -> EntailmentModel | None: ...

    @property
    def reader(self) -> ExtractiveReader | None: ...

    @property
    def templates(self) -> Templates: ...

    @property
    def writes(self) -> bool:
        """Whether the generator is to write, rather than the passages to be quoted."""
        ...

    def examples(self, question: str) -> Sequence[Example]: ...

    def exists(self) -> bool:
        """Whether there is an index."""
        ...

    def search(self, question: str, k: int | None, where: str | Mapping[str, Any]) -> list[Hit]: ...

    def document(self, document_id: str) -> Document: ...


class AnswerStream:
    """An answer as it is written. Iterate once; the joined pieces are `answer.text`.

    Whether the documents hold an answer is decided before anything is written, by how near the
    passages and their sentences are to the question, and afterwards by what of the text is borne
    out.
    """

    def __init__(
        self,
        means: Means,
        question: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        history: Sequence[Message] = (),
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        self._means = means
        self._question = question
        self._k = k
        self._where = where
        self._history = history
        self._schema = schema
        self._timings: dict[str, float] = {}
        self._answerability = 1.0
        self._answer: Answer | None = None
        self._pieces = self._write()

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    @property
    def answer(self) -> Answer:
        """The answer with its citations; what is left of the stream is read first."""
        for _ in self._pieces:
            pass
        if self._answer is None:
            raise QuestionError("the stream was closed before its end, or failed: ask again")
        return self._answer

    def _write(self) -> Iterator[str]:
        settings = self._means.config.answering
        if self._schema is not None:
            self._check_schema(self._schema)
        self._load_ahead()
        with self._timed("retrieval"):
            hits = self._means.search(self._question, self._k, self._where)
        self._passages = Passages(hits, self._means.embedder)
        self._question = self._question.strip()
        with self._timed("reading"):
            question, sentences = candidates_of(self._question, self._passages)
            self._answerability = answerability(question, hits, sentences)
        if not hits or self._answerability < settings.threshold:
            yield from self._refused(hits)
        elif self._schema is not None:
            yield from self._structured(hits, self._schema)
        elif not self._means.writes or not (yield from self._generated(hits)):
            with self._timed("extraction"):
                found = self._extract(question, sentences, hits)
            yield from self._refused(hits) if found is None else self._quoted(found, hits)

    def _load_ahead(self) -> None:
        """Load the generator beside the search, if it is to write and there is an index."""
        means = self._means
        writes = means.writes or self._schema is not None
        if not writes or not self._question.strip() or not means.exists():
            return
        with suppress(RagError):
            generator = means.generator
            if isinstance(generator, Loadable):
                threading.Thread(target=_loaded, args=(generator,), name="load-generator").start()

    def _generated(self, hits: Sequence[Hit]) -> Generator[str, None, bool]:
        """The generator's text; returns whether an answer came of it."""
        settings = self._means.config.answering
        verified = settings.way == "auto"
        generator = self._means.generator
        prompt = self._prompt(hits, generator)
        cited = CitedText(
            generator.stream(prompt),
            prompt,
            self._grounding(prompt.hits),
            strict=settings.strict or verified,
            first=verified,
        )
        with self._timed("generation"):
            shown = yield from self._shown(cited)
        if verified and not cited.supported and cited.interrupted is None:
            return False
        if not shown and cited.interrupted is None:
            yield cited.refuse()
        self._answer = cited.answer(
            self._means.document,
            generator.name,
            self._timings,
            answerability=self._answerability,
        )
        return True

    def _structured(self, hits: Sequence[Hit], schema: Mapping[str, Any]) -> Iterator[str]:
        from rag.answering.schema import parse

        generator = self._means.generator
        prompt = self._prompt(hits, generator)
        with self._timed("generation"):
            text = yield from self._shown(generator.stream(prompt))
        self._answer = structured(
            text,
            parse(text, schema),
            prompt,
            self._grounding(prompt.hits),
            self._means.document,
            self._timings,
            model=generator.name,
            answerability=self._answerability,
        )

    def _shown(self, pieces: Iterable[str]) -> Generator[str, None, str]:
        started = time.perf_counter()
        text = ""
        for piece in pieces:
            if piece:
                self._timings.setdefault("first_token", _milliseconds(started))
                text += piece
                yield piece
        return text

    def _extract(
        self, question: Question, sentences: Sequence[Candidate], hits: Sequence[Hit]
    ) -> Extract | None:
        reader = self._means.reader
        if reader is None:
            return extract(question, sentences)
        found = reader.best_span(self._question, [hit.text for hit in hits])
        if found is None:
            return None
        number, start, end, probability = found
        passage = self._passages[number - 1]
        text = passage.text
        around = [span for span in passage.sentences if span[0] < end and start < span[1]] or [
            (start, end)
        ]
        return Extract(
            number=number,
            start=start,
            end=end,
            text=text[start:end],
            sentence_start=min(start, around[0][0]),
            sentence_end=max(end, around[-1][1]),
            expected=probability,
        )

    def _quoted(self, found: Extract, hits: Sequence[Hit]) -> Iterator[str]:
        reader = self._means.reader
        self._answer = quotation(
            found,
            Prompt(self._question, (), tuple(hits), 0),
            self._means.document,
            self._timings,
            model=reader.name if reader else "extractive",
            answerability=self._answerability,
        )
        yield self._answer.text

    def _refused(self, hits: Sequence[Hit]) -> Iterator[str]:
        prompt = Prompt(self._question, (), tuple(hits), 0)
        self._answer = refusal(prompt, self._timings, answerability=self._answerability)
        yield self._answer.text

    def _prompt(self, hits: Sequence[Hit], generator: LanguageModel) -> Prompt:
        with self._timed("prompt"):
            return build_prompt(
                self._question,
                self._passages,
                generator,
                templates=self._means.templates,
                history=self._history,
                examples=self._means.examples(self._question),
                schema=self._schema,
            )

    def _grounding(self, hits: Sequence[Hit]) -> Grounding:
        return Grounding(self._question, self._passages.among(hits), self._means.entailment)

    def _check_schema(self, schema: Mapping[str, Any]) -> None:
        from rag.answering.schema import check_schema

        check_schema(schema)
        if self._means.config.generation.model == "extractive":
            raise ConfigError(
                "a JSON schema takes a generator that writes: set `generation.model` to one"
            )

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._timings[stage] = _milliseconds(started)


def _loaded(generator: Loadable) -> None:
    # What is wrong is told when it is to write, a moment later.
    with suppress(Exception):
        generator.load()


def _milliseconds(since: float) -> float:
    return (time.perf_counter() - since) * 1000
