"""question, passages -> Answer: the ways in which one comes about, and when there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rag.answering.citations import CitedText, Draft, cite_json, refuse
from rag.answering.evidence import Evidence, find_evidence
from rag.answering.grounding import Grounding
from rag.answering.passages import Passages
from rag.answering.prompt import build_prompt
from rag.answering.silence import describe_gap
from rag.errors import GenerationError, IncompleteError, RagError, RetractedError
from rag.protocols import LanguageModel, Loadable
from rag.stopwatch import Stopwatch
from rag.types import NO_ANSWER, NO_MATCH, Prompt

if TYPE_CHECKING:
    from rag.answering.tools import Query, Tools
    from rag.types import Answer, Message

_SILENT = "{}: the model gave no answer: its text is empty"


def write(
    query: Query,
    tools: Tools,
    *,
    history: Sequence[Message] = (),
    schema: Mapping[str, Any] | None = None,
) -> Generator[str, None, Answer]:
    """Yield the text of an answer as it is written, and return the Answer.

    Whether the documents hold an answer is decided before anything is written, by what a reader
    finds in the passages, and afterwards by what of the text passages support.
    """
    if tools.exists():
        _load_ahead(tools.reader)
        if tools.writes or schema is not None:
            _load_ahead(tools.generator)
    clock = Stopwatch()
    with clock("retrieval"):
        hits = query.find()
    with clock("reading"):
        passages = Passages(hits, tools.embedder(), tools.document)
        evidence = find_evidence(query.question, passages, tools.reader())
    work = _Work(query.question, passages, tools, clock, history, schema, evidence, query.asked)
    if not hits and not query.passes():
        return (yield from work.refuse(NO_MATCH))
    if not hits or evidence.probability < tools.settings.threshold:
        return (yield from work.refuse())
    if schema is not None:
        return (yield from work.fill(schema))
    if tools.writes:
        answer = yield from work.generate()
        if answer is not None:
            return answer
    return (yield from work.quote())


def _record(pieces: Iterable[str], written: list[str]) -> Generator[str]:
    """Yield pieces of text, and keep them."""
    for piece in pieces:
        written.append(piece)
        yield piece


def _load_ahead(model: Callable[[], object]) -> None:
    """Load a model beside the search."""
    # Whatever is wrong with it is raised again when it is used, a moment later.
    with suppress(RagError):
        loadable = model()
        if isinstance(loadable, Loadable):
            threading.Thread(target=_load, args=(loadable,), name="load-model").start()


def _load(model: Loadable) -> None:
    with suppress(Exception):
        model.load()


@dataclass(frozen=True, slots=True)
class _Work:
    """One question with its passages, on the way to an Answer."""

    question: str
    passages: Passages
    tools: Tools
    clock: Stopwatch
    history: Sequence[Message]
    schema: Mapping[str, Any] | None
    evidence: Evidence
    asked: str

    def refuse(self, reason: str = NO_ANSWER) -> Generator[str, None, Answer]:
        """Say that the documents hold no answer, or why none was looked for."""
        prompt, matched = self._bare_prompt(), reason != NO_MATCH
        answer = replace(self._finish(refuse(reason), prompt), filter_matched=matched)
        yield answer.text
        return answer

    def generate(self) -> Generator[str, None, Answer | None]:
        """Let the generator write; return None if passages are to be quoted instead."""
        settings = self.tools.settings
        is_verified = settings.way == "auto"
        generator = self.tools.generator()
        prompt = self._build_prompt(generator)
        grounding = self._grounding(prompt)

        def cite() -> CitedText:
            return CitedText(
                generator.stream(prompt),
                prompt,
                grounding,
                strict=settings.strict or is_verified,
                first=is_verified,
            )

        cited = cite()
        with self.clock("generation"):
            try:
                shown = yield from self._relay(cited)
            except RetractedError:
                # What nobody has seen is taken back without a word.
                if cited.shown:
                    raise
                cited = cite()
                shown = yield from self._relay(cited)
        if not cited.wrote:
            # The documents may well hold the answer.
            raise GenerationError(_SILENT.format(generator.name))
        if is_verified and not cited.supported and not cited.failed:
            return None
        if not shown and not cited.failed:
            yield cited.refuse()
        return self._finish(cited.draft(generator.name), prompt)

    def fill(self, schema: Mapping[str, Any]) -> Generator[str, None, Answer]:
        """Let the generator write JSON that follows a schema."""
        from rag.answering.schema import parse

        generator = self.tools.generator()
        prompt = self._build_prompt(generator)
        cut: IncompleteError | None = None
        written: list[str] = []
        with self.clock("generation"):
            try:
                yield from self._relay(_record(generator.stream(prompt), written))
            except IncompleteError as error:
                cut = error
        text = "".join(written)
        if not text.strip():
            raise GenerationError(_SILENT.format(generator.name))
        try:
            data = parse(text, schema)
        except GenerationError as error:
            if cut is None:
                raise
            raise GenerationError(f"the answer was cut off before its JSON ended: {cut}") from error
        draft = cite_json(text, data, self._grounding(prompt), generator.name)
        return self._finish(replace(draft, interrupted=str(cut) if cut else None), prompt)

    def quote(self) -> Generator[str, None, Answer]:
        """Quote the passages, or refuse if nothing in them answers."""
        with self.clock("extraction"):
            draft = self.evidence.quote()
        if draft is None:
            return (yield from self.refuse())
        answer = self._finish(draft, self._bare_prompt())
        yield answer.text
        return answer

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
        probability = self.evidence.probability
        answer = draft.finish(prompt, self.tools.document, self.clock.times, probability)
        read_as = self.question if self.question != self.asked else ""
        lacks = draft.abstains and draft.text != NO_MATCH
        missing = describe_gap(self.question, self.passages) if lacks else ""
        return replace(answer, question=self.asked, read_as=read_as, missing=missing)
