"""class RAG: wires the rooms together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.characters import replace_surrogates
from rag.config import Config, check_argument, load_config
from rag.errors import ConfigError, QuestionError, RetractedError, StoreError, check_text
from rag.index import CacheSettings, Index
from rag.once import once
from rag.stopwatch import Stopwatch
from rag.types import Compaction, IndexInfo, Progress, no_progress

if TYPE_CHECKING:
    from rag.answering.asynchronous import AsyncAnswerStream
    from rag.answering.conversation import Conversation
    from rag.answering.prompt import Example, Templates
    from rag.answering.stream import AnswerStream
    from rag.answering.tools import Find, Query, Reader, Tools
    from rag.protocols import Embedder, EntailmentModel, LanguageModel, Reranker, Retriever
    from rag.sources import DrawnPage
    from rag.types import (
        Answer,
        CopyReport,
        Document,
        Examination,
        Explanation,
        Hits,
        IndexStatus,
        IngestionReport,
        Listing,
        Message,
        Place,
        ProgressCallback,
        VectorSearch,
        Verdict,
        Verification,
    )
    from rag.viewing.proof import Proof


# In so many passages evidence is looked for, unless another number is asked for.
_EVIDENCE = 10
_MOST_SENTENCES = 1_000


class RAG:
    """Index documents, search them, and ask them questions.

    Several threads may use one object. Models are loaded when first needed, and stay loaded.

    Args:
        path: the index folder; None takes `index.path` of the settings.
        config: all settings; None reads files and the environment, as `load_config` does.
        embedder: an Embedder of your own in place of the configured one.
        generator: a LanguageModel of your own in place of the configured one.
        reranker: a Reranker of your own in place of the configured one.
        retriever: a Retriever of your own in place of all that finds passages.
        progress: called with events of long work, such as fetching a model.
        settings: single settings by `section.key`, which overrule `rag.toml` and the environment:
            `{"retrieval.top_k": 8}`; not together with `config`.

    Raises:
        TrustError: if the `rag.toml` of the working directory sets what only one may set that the
            user trusts.
        ConfigError: if a setting cannot be used.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        config: Config | None = None,
        embedder: Embedder | None = None,
        generator: LanguageModel | None = None,
        reranker: Reranker | None = None,
        retriever: Retriever | None = None,
        progress: ProgressCallback | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.config = config or load_config(arguments=settings)
        self.path = _check_path(Path(path if path is not None else self.config.index.path))
        chosen = self.config.index
        caches = CacheSettings(kind=chosen.kind, memory_mb=chosen.memory_mb, recall=chosen.recall)
        self._index = Index(self.path, wait=chosen.wait, caches=caches)
        self._progress = progress
        self._lock = threading.RLock()
        self._own_embedder = embedder
        self._own_generator = generator
        self._own_reranker = reranker
        self._own_retriever = retriever

    def index(
        self,
        paths: str | Path | Sequence[str | Path] = (),
        *,
        rebuild: bool = False,
        retry: bool = False,
        allow_empty: bool = False,
        progress: ProgressCallback | None = None,
    ) -> IngestionReport:
        """Bring the index to the state of files and folders; unchanged ones cost nothing.

        Without paths, all files and folders that were indexed before are meant. `retry` reads again
        what could not be read; `rebuild` forgets everything first; `allow_empty` follows folders
        in which there is nothing yet.

        Raises:
            SourceError: if a path does not exist, there is no file at any of them (unless
                `allow_empty`), or the index is empty and no file can be read.
            StoreError: if the index was built with another embedder or chunking (unless
                `rebuild`), is being written by another process, or cannot be written.
        """
        return self._ingest(paths, progress, rebuild=rebuild, retry=retry, allow_empty=allow_empty)

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        retry: bool = False,
        base: str | Path = "",
        progress: ProgressCallback | None = None,
    ) -> IngestionReport:
        """Index files and folders, but keep the documents of files that are gone.

        Relative paths start from the folder `base` (empty: the working directory), and are what
        documents are called by.
        """
        return self._ingest(paths, progress, prune=False, retry=retry, base=base)

    def _ingest(
        self,
        paths: str | Path | Sequence[str | Path],
        progress: ProgressCallback | None,
        **options: Any,
    ) -> IngestionReport:
        from rag.ingestion import ingest

        return ingest(
            self._index,
            self.embedder,
            self.config,
            _as_list(paths),
            progress=progress or self._progress,
            **options,
        )

    def add_texts(
        self,
        texts: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        titles: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        progress: ProgressCallback | None = None,
    ) -> tuple[str, ...]:
        """Index texts that are in no file, all of them or none, and return their ids.

        A text takes the place of an earlier one of its id; without `ids`, the same text with the
        same title and metadata is one document. Its source is `text:ID`. It stays until
        `remove_texts` or `remove("text:ID")`, whatever folders are indexed, with `rebuild` too.

        Raises:
            ConfigError: if there are more or fewer ids, titles or metadata than texts.
            SourceError: if a text is blank or too long, an id or metadata cannot be stored, or an
                id is given twice.
            StoreError: if an id is that of a document from a file, the index was built with
                another embedder or chunking, or it cannot be written.
        """
        from rag.ingestion import add_texts

        return add_texts(
            self._index,
            self.embedder,
            self.config,
            texts,
            ids=ids,
            titles=titles,
            metadata=metadata,
            progress=progress or self._progress,
        )

    def remove_texts(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Take texts out of the index by their ids, and return the ids that were there.

        Raises:
            StoreError: if an id is that of a document from a file, there is no index, or it cannot
                be written.
        """
        from rag.ingestion import remove_texts

        self._index.check()
        return remove_texts(self._index, ids)

    def remove(self, paths: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
        """Take files, folders and texts out of the index; return the sources that were removed.

        A text is named as it is cited, `text:ID`.

        Raises:
            SourceError: if the index holds nothing of a path.
            StoreError: if there is no index, or it cannot be written.
        """
        from rag.ingestion import remove

        self._index.check()
        return remove(self._index, _as_list(paths))

    def optimize(
        self, *, wait: float = float("inf"), progress: ProgressCallback | None = None
    ) -> VectorSearch:
        """Rebuild the index of vectors, of the kind `index.kind`, and measure it.

        Searches and other writers go on meanwhile, and lose nothing; this waits for a writer only
        at its end.

        Raises:
            LockedError: if another writer is at work for longer than `wait` seconds then, or
                another process rebuilds the index of vectors already.
            StoreError: if there is no index, it was built anew meanwhile, or cannot be written.
        """
        show = progress or self._progress or no_progress

        def report(stage: str, done: int, total: int) -> None:
            show(Progress(stage, done, total, "vectors"))

        seconds = check_argument("wait", wait)
        self._index.check()
        return self._index.optimize(wait=seconds, progress=report)

    def compact(self, *, wait: float | None = None) -> Compaction:
        """Rewrite the index so that no byte of removed documents remains.

        Raises:
            LockedError: if another writer is at work, for longer than `wait` seconds
                (default: `index.wait`).
            StoreError: if there is no index, or it cannot be written.
        """
        before = self._index.size()
        cleared = self._index.compact(wait=_check_wait(wait))
        return Compaction(before, self._index.size(), cleared)

    def export_to(
        self, path: str | Path, *, force: bool = False, progress: ProgressCallback | None = None
    ) -> CopyReport:
        """Write the whole index into one file, for `import_from` and for other programs.

        The same contents give the same bytes. Without `force` no file is replaced.

        Raises:
            StoreError: if there is no index or it is damaged, or the file cannot be written.
        """
        from rag.index.upkeep import export_index

        report = progress or self._progress
        return export_index(self._index, Path(path), force=force, progress=report)

    def import_from(
        self,
        path: str | Path,
        *,
        wait: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> CopyReport:
        """Make an index of a file that `export_to` wrote: all of it, or nothing.

        Raises:
            LockedError: as `compact`.
            StoreError: if there is an index, the file is damaged or was not exported, or the index
                cannot be written.
        """
        from rag.index.upkeep import import_index

        report = progress or self._progress
        return import_index(self._index, Path(path), wait=_check_wait(wait), progress=report)

    def backup(
        self, folder: str | Path, *, force: bool = False, progress: ProgressCallback | None = None
    ) -> CopyReport:
        """Copy the index as it is into a new folder, while others read and write it.

        `force` replaces an index that is there already.

        Raises:
            StoreError: if there is no index or it is damaged, or the folder cannot be written.
        """
        from rag.index.upkeep import back_up

        report = progress or self._progress
        return back_up(self._index, _check_path(Path(folder)), force=force, progress=report)

    def doctor(self, *, repair: bool = False, wait: float | None = None) -> Examination:
        """Check every part of the index; with `repair`, mend what can be mended.

        Raises:
            LockedError: as `compact`, with `repair`.
            StoreError: if there is no index, or the folder cannot be written.
        """
        from rag.index import upkeep

        if repair:
            given = _check_wait(wait)
            seconds = self.config.index.wait if given is None else given
            return upkeep.repair(self._index, wait=seconds)
        return upkeep.examine(self.path)

    def status(self, paths: str | Path | Sequence[str | Path] = ()) -> IndexStatus:
        """Return which files are new, changed or gone since they were indexed, and which failed.

        Raises:
            SourceError: if a path does not exist, or the index follows no folder.
            StoreError: if there is no index.
        """
        from rag.ingestion import status

        return status(self._index, self.config, _as_list(paths))

    def watch(
        self, *, stop: threading.Event | None = None, progress: ProgressCallback | None = None
    ) -> Iterator[IngestionReport]:
        """Bring the index up to date, then again whenever a file of its folders changes.

        Yields one report at first and one for each set of changes, until `stop` is set.

        Raises:
            ConfigError: if watchfiles is not installed.
            StoreError: if there is no index.
        """
        from rag.ingestion import watch

        return watch(
            self._index, self.embedder, self.config, stop=stop, progress=progress or self._progress
        )

    def search(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> Hits:
        """Find the `k` best passages for a question, best first (default: `retrieval.top_k`).

        `where` selects the documents to search: `type:pdf after:2024`, or the same as a mapping,
        `{"type": "pdf", "after": "2024"}`.

        Raises:
            QuestionError: if the question is empty or too long, or `where` cannot be understood.
            StoreError: if there is no index, or it was built with another embedder.
        """
        from rag.types import Hits

        return Hits(self.query(question, k, where).find())

    def query(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> Query:
        """Check a question; return how it is read, and what finds its passages.

        Raises:
            QuestionError: if the question is empty or no text, or `k` is not within its range.
        """
        from rag.answering.tools import Query

        asked, wanted = self._check_question(question, k)
        read_as = self._correct(asked)
        return Query(
            asked,
            read_as,
            find=lambda: self.retriever.search(read_as, wanted, where),
            passes=lambda: self._passes(where),
        )

    def _correct(self, question: str) -> str:
        """Return a question without typing errors, where the retriever can tell."""
        correct: Callable[[str], str] | None = getattr(self.retriever, "correct", None)
        return question if correct is None else correct(question)

    def _passes(self, where: str | Mapping[str, Any]) -> bool:
        """Return whether a document passes a filter; a retriever that cannot tell is believed."""
        passes: Callable[[str | Mapping[str, Any]], bool] | None = getattr(
            self.retriever, "passes", None
        )
        return not where or passes is None or passes(where)

    def explain(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> Explanation:
        """Return what `search` finds, with the words it searched for and the time of each stage.

        Raises:
            ConfigError: if the retriever is one of your own that has no `explain`.
        """
        explain = getattr(self.retriever, "explain", None)
        if explain is None:
            raise ConfigError(f"{type(self.retriever).__name__}: has no `explain`")
        asked, wanted = self._check_question(question, k)
        question = self._correct(asked)
        explanation: Explanation = explain(question, wanted, where)
        if question == asked:
            return explanation
        return replace(explanation, question=asked, read_as=question)

    def _check_question(self, question: str, k: int | None) -> tuple[str, int]:
        """Return the question without white space around, and how many passages to find."""
        question = check_text(question, "question")
        if k is None:
            return question, self.config.retrieval.top_k
        return question, check_argument("k", k, QuestionError)

    def ask(
        self,
        question: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        history: Sequence[Message] = (),
        schema: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Answer a question from the documents, with citations.

        A generator that stops in the middle, or at its limit of tokens, leaves `answer.interrupted`
        set and the text so far. `history` is what was said before; the question itself has to stand
        alone. With a JSON `schema` the text is JSON that follows it.

        Raises:
            QuestionError, StoreError: as `search`.
            GenerationError: if the generator cannot be reached at all, or gives no answer.
        """
        try:
            return self.stream(question, k, where, history=history, schema=schema).answer
        except RetractedError:
            # Nobody saw the thoughts that were taken for an answer.
            return self.stream(question, k, where, history=history, schema=schema).answer

    def stream(
        self,
        question: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        history: Sequence[Message] = (),
        schema: Mapping[str, Any] | None = None,
        tools: Tools | None = None,
        find: Find | None = None,
    ) -> AnswerStream:
        """Answer like `ask`, piece by piece: iterate for the text, then read `.answer`.

        `tools` are others than `RAG.tools` to make this answer with; `find` finds the passages to
        answer from, in place of `search`.
        """
        from rag.answering.stream import AnswerStream
        from rag.answering.writing import write

        self._check_schema(schema)
        query = self.query(question, k, where)
        if find is not None:
            query = replace(query, find=find)
        pieces = write(query, tools or self.tools, history=history, schema=schema)
        return AnswerStream(pieces, query.asked, query.question)

    def _check_schema(self, schema: Mapping[str, Any] | None) -> None:
        if schema is None:
            return
        from rag.answering.schema import check_schema

        check_schema(schema)
        if self.config.generation.model == "extractive":
            raise ConfigError(
                "a JSON schema takes a generator that writes: set `generation.model` to one"
            )

    def reply(
        self,
        messages: Sequence[Message],
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        schema: Mapping[str, Any] | None = None,
        tools: Tools | None = None,
    ) -> AnswerStream:
        """Answer the last of `messages`, a user's, which may lean on those before it.

        Messages of the role `system` instruct the generator, where one writes.

        Raises:
            QuestionError, StoreError, GenerationError: as `ask`; the last message must be a user's.
        """
        from rag.answering.conversation import reply

        self._check_schema(schema)
        return reply(self, messages, k, where, schema=schema, tools=tools)

    async def aask(
        self,
        question: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        history: Sequence[Message] = (),
        schema: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Answer like `ask`, in a thread; it stops writing when the task is cancelled."""
        try:
            return await self.astream(question, k, where, history=history, schema=schema).answer()
        except RetractedError:
            # Nobody saw the thoughts that were taken for an answer.
            return await self.astream(question, k, where, history=history, schema=schema).answer()

    def astream(
        self,
        question: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        history: Sequence[Message] = (),
        schema: Mapping[str, Any] | None = None,
    ) -> AsyncAnswerStream:
        """Answer like `stream`: `async for piece in stream`, then `await stream.answer()`."""
        from rag.answering.asynchronous import AsyncAnswerStream
        from rag.answering.stopping import stop_when

        def begin(is_over: Callable[[], bool]) -> AnswerStream:
            tools = stop_when(self.tools, is_over)
            return self.stream(question, k, where, history=history, schema=schema, tools=tools)

        return AsyncAnswerStream(begin)

    def areply(
        self,
        messages: Sequence[Message],
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> AsyncAnswerStream:
        """Answer like `reply`: `async for piece in stream`, then `await stream.answer()`."""
        from rag.answering.asynchronous import AsyncAnswerStream
        from rag.answering.stopping import stop_when

        def begin(is_over: Callable[[], bool]) -> AnswerStream:
            tools = stop_when(self.tools, is_over)
            return self.reply(messages, k, where, schema=schema, tools=tools)

        return AsyncAnswerStream(begin)

    def chat(self) -> Conversation:
        """Begin a conversation, which understands follow-up questions from those before."""
        from rag.answering.conversation import Conversation

        return Conversation(self)

    def check(
        self,
        claim: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        by_generator: bool = False,
    ) -> Verdict:
        """Decide whether the documents support a claim, refute it, or do not say enough.

        The generator decides if `by_generator` is set, else the model of `answering.entailment`,
        and without one a comparison of words, numbers and negations. Evidence is looked for in
        `k` passages, 10 by default.

        Raises:
            QuestionError, StoreError: as `search`.
        """
        from rag.answering.claims import check, search_text

        claim, clock = check_text(claim, "claim"), Stopwatch()
        with clock("retrieval"):
            wanted = _EVIDENCE if k is None else k
            text = check_text(search_text(claim), "claim")
            hits = self.retriever.search(*self._check_question(text, wanted), where)
            filter_matched = bool(hits) or self._passes(where)
        verdict = check(
            claim,
            hits,
            self.document,
            entailment=None if by_generator else self.entailment,
            generator=self.generator if by_generator else None,
            embedder=self.embedder,
        )
        timings = {**clock.times, **verdict.timings}
        return replace(verdict, timings=timings, filter_matched=filter_matched)

    def verify(
        self,
        text: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        is_over: Callable[[], bool] = lambda: False,
    ) -> Verification:
        """Check each sentence of a text, whoever wrote it, as `check` does a claim.

        Questions, headings and other sentences that claim nothing are left out; marks such as
        `[1]` are no part of what is checked.

        Raises:
            QuestionError: as `search`, or if the text has more sentences than are checked at once.
            StoreError: as `search`.
            StoppedError: once `is_over()`, between two sentences.
        """
        from rag.answering.stopping import StoppedError
        from rag.answering.verification import find_claims
        from rag.types import CheckedSentence, Verification

        # Spans are of the text as it was given, with the white space around it.
        check_text(text, "text")
        found = find_claims(text)
        if len(found) > _MOST_SENTENCES:
            raise QuestionError(
                f"the text has {len(found):,} sentences: check {_MOST_SENTENCES:,} at a time"
            )
        checked = []
        for start, end, claim in found:
            if is_over():
                raise StoppedError
            verdict = self.check(claim, k, where) if claim else None
            checked.append(CheckedSentence(text[start:end], start, end, verdict))
        return Verification(text, tuple(checked))

    def list_documents(
        self, where: str | Mapping[str, Any] = "", limit: int = 100, offset: int = 0
    ) -> Listing:
        """List documents by source, from number `offset` on, without their texts.

        Raises:
            QuestionError: if `where` cannot be understood, or asks for pages or headings.
            StoreError: if there is no index.
        """
        limit = check_argument("limit", limit, QuestionError)
        offset = check_argument("offset", offset, QuestionError)
        wanted = None
        if where:
            from rag.query.filters import parse_filter

            wanted = parse_filter(where)
        self._index.check()
        return self._index.entries(wanted, limit, offset)

    def document(self, document_id: str) -> Document:
        """Return a stored document, whose text citations point into.

        Raises:
            StoreError: if the index holds no such document.
        """
        found = self._index.document(document_id)
        if found is None:
            raise StoreError(f"{self.path}: holds no document {document_id!r}")
        return found

    def file_of(self, document_id: str) -> str:
        """Return the path, or the address, of the file that a document came from; empty if none."""
        return self._index.path_of(document_id)

    def find_all(self, name: str) -> list[Document]:
        """Return the stored documents whose id or source is `name`, or else whose source ends so.

        There are 20 at most, by source.
        """
        return self._index.find(replace_surrogates(name))

    def find(self, name: str) -> Document:
        """Return the one stored document whose id or source is `name`, or whose source ends so.

        Raises:
            StoreError: if there is none, or more than one.
        """
        found = self.find_all(name)
        if len(found) == 1:
            return found[0]
        if not found:
            raise StoreError(f"{self.path}: holds no document {name!r}")
        shown = ", ".join(document.source for document in found[:5])
        raise StoreError(f"{name!r} may mean several documents: {shown}: say more of the path")

    def locate(self, place: str) -> Place:
        """Return the place that a citation names, in any form in which one is printed.

        That is a document's id or source, or the end of its source, and after it a line (`:12`), a
        page (`:p3`, `#page=3`), a span of characters (`:120-260`) or a heading (` › Results`).

        Raises:
            StoreError: if there is no such document, line, page or heading, or several documents.
        """
        from rag.viewing.finding import find_place

        return find_place(replace_surrogates(place), self.find_all, str(self.path))

    def view(self, place: Place) -> str:
        """Return an address at which a browser shows a place with its words marked.

        For a page of the web that the user named for this index it is the page's own; otherwise a
        file is written that shows the stored text, or the page of a PDF.

        Raises:
            StoreError: if it cannot be written.
        """
        from rag.models import cache_dir
        from rag.viewing.links import view_on_the_web
        from rag.viewing.pages import view

        path = self._index.path_of(place.document.id)
        if on_the_web := view_on_the_web(place, path, self.path):
            return on_the_web
        file = self._find_readable(place.document, path)
        return view(place, file, cache_dir() / "opened", self.config.sources)

    def prove(self, answer: Answer) -> Proof:
        """Return the proof of an answer, which `rag verify` checks without index or model.

        Raises:
            StoreError: if a document that it cites has left the index meanwhile.
        """
        from rag.viewing.proof import prove

        return prove(answer, self.document)

    def draw(self, place: Place) -> DrawnPage:
        """Draw the page of a PDF or picture that a place begins on, with boxes around its words.

        Raises:
            StoreError: if the document has no pages that can be drawn.
            SourceError: if the file is gone or cannot be drawn.
        """
        from rag.sources import draw_page
        from rag.viewing.pages import boxes_of, can_be_drawn

        document = place.document
        number = document.page_at(place.start)
        if not can_be_drawn(document) or number is None:
            raise StoreError(f"{document.source}: has no pages to draw")
        file = self._find_readable(document, self._index.path_of(document.id))
        if not file:
            raise StoreError(
                f"{document.source}: is not drawn: you did not name its folder for this index "
                "here: `rag index PATH` does"
            )
        words = document.text[place.start : place.end]
        return draw_page(file, number, words, self.config.sources, boxes_of(place))

    def _find_readable(self, document: Document, path: str) -> str:
        """Return the file of a document whose path the index holds; empty if it may not be read.

        That is a file that the user did not name for this index, nor a folder above it.
        """
        from rag.trust import is_named, named_roots
        from rag.viewing.pages import find_file

        file = find_file(path, document.source, self.path, self._index.roots())
        # What differs from the path that the index holds is a copy of what was fetched for it.
        return file if file != path or is_named(file, named_roots(self.path)) else ""

    def documents(self, ids: Iterable[str] | None = None) -> Iterator[Document]:
        """Iterate over all stored documents by source, or over those of `ids` in their order.

        An id that no document has is passed over.
        """
        return self._index.documents(ids)

    def info(self) -> IndexInfo:
        """Return what the index holds, what it was built with, and its size on disk.

        Raises:
            StoreError: if there is no index.
        """
        manifest = self._index.manifest()
        return IndexInfo(
            path=str(self.path),
            **self._index.counts(),
            bytes=self._index.size(),
            embedder=manifest.embedder if manifest else None,
            revision=manifest.revision if manifest else None,
            fingerprint=manifest.fingerprint if manifest else None,
            dim=manifest.dim if manifest else None,
            chunk_size=manifest.chunk_size if manifest else None,
            chunk_overlap=manifest.chunk_overlap if manifest else None,
            search=self._index.vector_search(),
        )

    def exists(self) -> bool:
        """Return whether there is an index at `path`."""
        return self._index.exists()

    @once
    def embedder(self) -> Embedder:
        """The embedder in use."""
        if self._own_embedder is not None:
            return self._own_embedder
        from rag.embedding import load_embedder

        return load_embedder(self.config.embedding, self._progress)

    @once
    def generator(self) -> LanguageModel:
        """The generator in use."""
        if self._own_generator is not None:
            return self._own_generator
        if self.config.generation.model == "extractive":
            from rag.answering.extractive import ExtractiveGenerator

            return ExtractiveGenerator(self.config.generation)
        from rag.generation import load_generator

        return load_generator(self.config.generation, progress=self._progress)

    @once
    def writes(self) -> bool:
        """Whether answers are written by the generator, rather than quoted.

        With `auto`, a generator writes that was measured to answer better than a quotation, that
        `answering.writers` names, or that was handed in as an object.

        Raises:
            ModelError: if there is no such generator.
        """
        way, model = self.config.answering.way, self.config.generation.model
        if self._own_generator is not None:
            return way != "extract"
        if way == "auto":
            return model != "extractive" and self._auto_writes()
        return way == "generate" and model != "extractive"

    def _auto_writes(self) -> bool:
        from rag.models import answers_better

        generation, trusted = self.config.generation, self.config.answering.writers
        if answers_better(generation.served_model or generation.model, trusted):
            return True
        from rag.generation import check_generator

        # A generator that is never loaded would hide that its name is wrong.
        check_generator(generation.model)
        return False

    @once
    def entailment(self) -> EntailmentModel | None:
        """The model for natural language inference in use, if there is one."""
        from rag.answering.entailment import NONE, load_entailment

        if self.config.answering.entailment in {"", NONE}:
            return None

        return load_entailment(
            self.config.answering.entailment,
            device=self.config.generation.device,
            progress=self._progress,
        )

    @once
    def reader(self) -> Reader | None:
        """The model for question answering in use, if there is one."""
        if not self.config.answering.reader:
            return None
        from rag.answering.reader import load_reader

        return load_reader(
            self.config.answering, device=self.config.generation.device, progress=self._progress
        )

    @once
    def tools(self) -> Tools:
        """What answers are made with; each model is loaded when it is first needed."""
        from rag.answering.tools import Tools

        return Tools(
            settings=self.config.answering,
            writes=self.writes,
            exists=self.exists,
            embedder=lambda: self.embedder,
            generator=lambda: self.generator,
            entailment=lambda: self.entailment,
            reader=lambda: self.reader,
            templates=lambda: self.templates,
            examples=self.examples,
            document=self.document,
        )

    @once
    def templates(self) -> Templates:
        """The templates of prompts in use."""
        from rag.answering.prompt import load_templates

        return load_templates(self.config.prompt.templates)

    def examples(self, question: str) -> Sequence[Example]:
        """Return the examples to show a generator with a question, the nearest one last."""
        if not self.config.prompt.examples or not self.config.prompt.shots:
            return ()
        from rag.answering.prompt import nearest_examples

        return nearest_examples(question, self._examples, self.embedder, self.config.prompt.shots)

    @once
    def _examples(self) -> tuple[Example, ...]:
        from rag.answering.prompt import load_examples

        return load_examples(self.config.prompt.examples)

    @once
    def reranker(self) -> Reranker | None:
        """The reranker in use, if there is one."""
        if self._own_reranker is not None or self.config.retrieval.rerank == "none":
            return self._own_reranker
        from rag.retrieval.rerank import load_reranker

        embedder = self._rerank_embedder()
        return load_reranker(self.config, embedder, lambda: self.generator, self._progress)

    def _rerank_embedder(self) -> Embedder:
        """Return the embedder that reranks: that of `retrieval.rerank_model`, if it names one."""
        retrieval = self.config.retrieval
        if not retrieval.rerank_model or retrieval.rerank not in ("embedder", "late-interaction"):
            return self.embedder
        from rag.embedding import load_embedder

        settings = replace(self.config.embedding, model=retrieval.rerank_model)
        return load_embedder(settings, self._progress)

    @once
    def retriever(self) -> Retriever:
        """The retriever in use."""
        if self._own_retriever is not None:
            return self._own_retriever
        from rag.retrieval import PassageRetriever

        return PassageRetriever(
            self._index,
            self.embedder,
            self.config.retrieval,
            reranker=lambda: self.reranker,
            generator=lambda: self.generator,
        )


def _check_path(path: Path) -> Path:
    # SQLite, FAISS and tantivy take a path as text in UTF-8, and no zero byte.
    text = str(path)
    if "\0" in text or replace_surrogates(text) != text:
        raise ConfigError(
            f"{text!a}: is not a path in UTF-8, which an index must have: take another folder"
        )
    return path


def _check_wait(wait: float | None) -> float | None:
    return None if wait is None else float(check_argument("wait", wait))


def _as_list(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)
