"""question, passages -> Answer: the ways in which one comes about, and when there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.answering.citations import CitedText, Draft, cite_json, quote, refuse
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
from rag.errors import RagError
from rag.protocols import LanguageModel, Loadable
from rag.stopwatch import Stopwatch
from rag.types import Prompt

if TYPE_CHECKING:
    from rag.answering.tools import Find, Reader, Tools
    from rag.types import Answer, Message


def write(
    question: str,
    find: Find,
    tools: Tools,
    *,
    history: Sequence[Message] = (),
    schema: Mapping[str, Any] | None = None,
) -> Generator[str, None, Answer]:
    """Yield the text of an answer as it is written, and return the Answer.

    Whether the documents hold an answer is decided before anything is written, by how near the
    passages and their sentences are to the question, and afterwards by what of the text passages
    support.
    """
    if tools.writes or schema is not None:
        _load_ahead(tools)
    clock = Stopwatch()
    with clock("retrieval"):
        hits = find()
    with clock("reading"):
        passages = Passages(hits, tools.embedder())
        parsed, sentences = candidates_of(question, passages)
        probability = answerability(parsed, hits, sentences)
    work = _Work(question, passages, tools, clock, history, schema, probability)
    if not hits or probability < tools.settings.threshold:
        return (yield from work.refuse())
    if schema is not None:
        return (yield from work.fill(schema))
    if tools.writes:
        answer = yield from work.generate()
        if answer is not None:
            return answer
    return (yield from work.quote(parsed, sentences))


def _load_ahead(tools: Tools) -> None:
    """Load the generator beside the search, if there is an index to search."""
    if not tools.exists():
        return
    with suppress(RagError):
        generator = tools.generator()
        if isinstance(generator, Loadable):
            threading.Thread(target=_load, args=(generator,), name="load-generator").start()


def _load(generator: Loadable) -> None:
    # Whatever is wrong with it is raised again when it is to write, a moment later.
    with suppress(Exception):
        generator.load()


@dataclass(frozen=True, slots=True)
class _Work:
    """One question with its passages, on the way to an Answer."""

    question: str
    passages: Passages
    tools: Tools
    clock: Stopwatch
    history: Sequence[Message]
    schema: Mapping[str, Any] | None
    answerability: float

    def refuse(self) -> Generator[str, None, Answer]:
        """Say that the documents hold no answer."""
        answer = self._finish(refuse(), self._bare_prompt())
        yield answer.text
        return answer

    def generate(self) -> Generator[str, None, Answer | None]:
        """Let the generator write; return None if passages are to be quoted instead."""
        settings = self.tools.settings
        is_verified = settings.way == "auto"
        generator = self.tools.generator()
        prompt = self._build_prompt(generator)
        cited = CitedText(
            generator.stream(prompt),
            prompt,
            self._grounding(prompt),
            strict=settings.strict or is_verified,
            first=is_verified,
        )
        with self.clock("generation"):
            shown = yield from self._relay(cited)
        if is_verified and not cited.supported and cited.interrupted is None:
            return None
        if not shown and cited.interrupted is None:
            yield cited.refuse()
        return self._finish(cited.draft(generator.name), prompt)

    def fill(self, schema: Mapping[str, Any]) -> Generator[str, None, Answer]:
        """Let the generator write JSON that follows a schema."""
        from rag.answering.schema import parse

        generator = self.tools.generator()
        prompt = self._build_prompt(generator)
        with self.clock("generation"):
            text = yield from self._relay(generator.stream(prompt))
        draft = cite_json(text, parse(text, schema), self._grounding(prompt), generator.name)
        return self._finish(draft, prompt)

    def quote(
        self, question: Question, sentences: Sequence[Candidate]
    ) -> Generator[str, None, Answer]:
        """Quote the passages, or refuse if nothing in them answers."""
        reader = self.tools.reader()
        with self.clock("extraction"):
            found = extract(question, sentences) if reader is None else self._read(reader)
        if found is None:
            return (yield from self.refuse())
        draft = quote(found, reader.name if reader else "extractive")
        answer = self._finish(draft, self._bare_prompt())
        yield answer.text
        return answer

    def _read(self, reader: Reader) -> Extract | None:
        """Find the answer with a model for question answering."""
        reading = reader.read(self.question, [passage.text for passage in self.passages], most=1)
        if reading.log_odds <= 0:
            return None
        found = reading.spans[0]
        number, start, end = found.number, found.start, found.end
        passage = self.passages[number - 1]
        around = [span for span in passage.sentences if span[0] < end and start < span[1]] or [
            (start, end)
        ]
        return Extract(
            number=number,
            start=start,
            end=end,
            text=passage.text[start:end],
            sentence_start=min(start, around[0][0]),
            sentence_end=max(end, around[-1][1]),
            expected=found.probability,
        )

    def _relay(self, pieces: Iterable[str]) -> Generator[str, None, str]:
        """Yield the pieces that hold text, and return them joined."""
        started = time.perf_counter()
        text = ""
        for piece in pieces:
            if piece:
                if not text:
                    self.clock.add("first_token", time.perf_counter() - started)
                text += piece
                yield piece
        return text

    def _build_prompt(self, generator: LanguageModel) -> Prompt:
        with self.clock("prompt"):
            return build_prompt(
                self.question,
                self.passages,
                generator,
                templates=self.tools.templates(),
                history=self.history,
                examples=self.tools.examples(self.question),
                schema=self.schema,
            )

    def _bare_prompt(self) -> Prompt:
        return Prompt(self.question, (), self.passages.hits, 0)

    def _grounding(self, prompt: Prompt) -> Grounding:
        passages = self.passages.among(prompt.hits)
        return Grounding(self.question, passages, self.tools.entailment())

    def _finish(self, draft: Draft, prompt: Prompt) -> Answer:
        return draft.finish(prompt, self.tools.document, self.clock.times, self.answerability)
