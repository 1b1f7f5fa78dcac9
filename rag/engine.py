"""class RAG: the rooms wired together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.config import Config, load_config
from rag.errors import ConfigError, QuestionError, StoreError
from rag.index import Index
from rag.types import Prompt

if TYPE_CHECKING:
    from rag.types import (
        Answer,
        Document,
        Embedder,
        Explanation,
        Generator,
        Hit,
        IndexStatus,
        IngestionReport,
        ProgressCallback,
        Reranker,
        Retriever,
    )


class RAG:
    """Index documents, search them, and ask them questions.

    One object may be used from several threads. Models are loaded when first needed and kept.

    Args:
        path: the index folder; None takes `index.path` of the settings.
        config: all settings; None reads `rag.toml` and the environment.
        embedder: an Embedder of your own in place of the configured one.
        generator: a Generator of your own in place of the configured one.
        reranker: a Reranker of your own in place of the configured one.
        retriever: a Retriever of your own in place of all that finds passages.
        progress: called with signs of life of long work (fetching a model).
        settings: single settings by `section.key`, above `rag.toml` and the environment, e.g.
            `{"retrieval.top_k": 8}`; not together with `config`.

    Raises:
        ConfigError: if a setting cannot be used.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        config: Config | None = None,
        embedder: Embedder | None = None,
        generator: Generator | None = None,
        reranker: Reranker | None = None,
        retriever: Retriever | None = None,
        progress: ProgressCallback | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.config = config or load_config(arguments=settings)
        self.path = Path(path if path is not None else self.config.index.path)
        self._index = Index(self.path)
        self._progress = progress
        self._lock = threading.RLock()
        self._given_embedder = embedder
        self._given_generator = generator
        self._given_reranker = reranker
        self._given_retriever = retriever

    def index(
        self,
        paths: str | Path | Sequence[str | Path] = (),
        *,
        rebuild: bool = False,
        retry: bool = False,
        progress: ProgressCallback | None = None,
    ) -> IngestionReport:
        """Bring the index to the state of files and folders; unchanged ones cost nothing.

        Without paths: of all that the index keeps to, which is what was given before. `retry`
        reads again what could not be read, `rebuild` forgets everything first.

        Raises:
            SourceError: if a path does not exist, or the index holds nothing and nothing that is
                given can be read.
            StoreError: if the index was built with another embedder or chunking (unless
                `rebuild`), is being written by another process, or cannot be written.
        """
        from rag.ingestion import ingest

        return ingest(
            self._index,
            self.embedder,
            self.config,
            _listed(paths),
            rebuild=rebuild,
            retry=retry,
            progress=progress or self._progress,
        )

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        retry: bool = False,
        progress: ProgressCallback | None = None,
    ) -> IngestionReport:
        """Like `index`, but nothing is removed: files that are gone keep their documents."""
        from rag.ingestion import add

        return add(
            self._index,
            self.embedder,
            self.config,
            _listed(paths),
            retry=retry,
            progress=progress or self._progress,
        )

    def remove(self, paths: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
        """Take files and folders out of the index; returns the sources that went.

        Raises:
            SourceError: if the index holds nothing of a path.
            StoreError: if there is no index, or it cannot be written.
        """
        from rag.ingestion import remove

        self._index.check()
        return remove(self._index, _listed(paths))

    def status(self, paths: str | Path | Sequence[str | Path] = ()) -> IndexStatus:
        """Which files are new, changed or gone since they were indexed, and which failed.

        Raises:
            SourceError: if a path does not exist, or the index keeps to no folder.
            StoreError: if there is no index.
        """
        from rag.ingestion import status

        return status(self._index, self.config, _listed(paths))

    def watch(
        self, *, stop: threading.Event | None = None, progress: ProgressCallback | None = None
    ) -> Iterator[IngestionReport]:
        """Bring the index up to date, then again whenever a file of its folders changes.

        One report at first and for each set of changes, until `stop` is set.

        Raises:
            ConfigError: if watchfiles is not installed.
            StoreError: if there is no index.
        """
        from rag.ingestion import watch

        return watch(
            self._index,
            self.embedder,
            self.config,
            stop=stop,
            progress=progress or self._progress,
        )

    def search(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> list[Hit]:
        """The `k` best passages for a question, best first (default: `retrieval.top_k`).

        `where` takes only passages of documents that are so: `type:pdf after:2024`, or the same
        as a mapping, `{"type": "pdf", "after": "2024"}`.

        Raises:
            QuestionError: if the question is empty or too long, or `where` cannot be understood.
            StoreError: if there is no index, or it was built with another embedder.
        """
        return self.retriever.search(*self._checked(question, k), where)

    def explain(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> Explanation:
        """What `search` finds, with what was looked for and the time of each stage.

        Raises:
            ConfigError: if the retriever is one of your own that has no `explain`.
        """
        explain = getattr(self.retriever, "explain", None)
        if explain is None:
            raise ConfigError(f"{type(self.retriever).__name__}: has no `explain`")
        explanation: Explanation = explain(*self._checked(question, k), where)
        return explanation

    def _checked(self, question: str, k: int | None) -> tuple[str, int]:
        if not question.strip():
            raise QuestionError("the question is empty")
        wanted = self.config.retrieval.top_k if k is None else k
        if wanted < 1:
            raise QuestionError(f"k must be at least 1, not {wanted}")
        return question.strip(), wanted

    def ask(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> Answer:
        """Answer a question from the documents, with citations.

        A generator that stops in the middle leaves `answer.interrupted` set and the text so far.

        Raises:
            QuestionError: if the question is empty or too long.
            StoreError: if there is no index, or it was built with another embedder.
            GenerationError: if the generator cannot be reached at all.
        """
        stream = self.stream(question, k, where)
        for _ in stream:
            pass
        return stream.answer

    def stream(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> AnswerStream:
        """Like `ask`, piece by piece: iterate for the text, then read `.answer`."""
        return AnswerStream(self, question, k, where)

    def document(self, document_id: str) -> Document:
        """A stored document, whose text citations point into.

        Raises:
            StoreError: if the index holds no such document.
        """
        found = self._index.document(document_id)
        if found is None:
            raise StoreError(f"{self.path}: holds no document {document_id!r}")
        return found

    def find(self, name: str) -> Document:
        """The one stored document whose id or source is `name`, or whose source ends with it.

        Raises:
            StoreError: if there is none, or more than one.
        """
        found = self._index.find(name)
        if len(found) == 1:
            return found[0]
        if not found:
            raise StoreError(f"{self.path}: holds no document {name!r}")
        shown = ", ".join(document.source for document in found[:5])
        raise StoreError(f"{name!r} may mean several documents: {shown}: say more of the path")

    def documents(self) -> Iterator[Document]:
        """All stored documents, by source."""
        return self._index.documents()

    def info(self) -> dict[str, Any]:
        """What the index holds, with what it was built, and how large it is on disk (bytes).

        Raises:
            StoreError: if there is no index.
        """
        manifest = self._index.manifest()
        files = [file.stat() for file in self.path.rglob("*") if file.is_file()]
        # Generations of a cache share what has not changed.
        size = sum({(file.st_dev, file.st_ino): file.st_size for file in files}.values())
        return {
            "path": str(self.path),
            **self._index.counts(),
            "bytes": size,
            "embedder": manifest.embedder if manifest else None,
            "dim": manifest.dim if manifest else None,
            "chunk_size": manifest.chunk_size if manifest else None,
            "chunk_overlap": manifest.chunk_overlap if manifest else None,
        }

    def exists(self) -> bool:
        """Whether there is an index at `path`."""
        return self._index.exists()

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder in use."""
        with self._lock:
            if self._given_embedder is not None:
                return self._given_embedder
            from rag.embedding import load_embedder

            return load_embedder(self.config.embedding, self._progress)

    @cached_property
    def generator(self) -> Generator:
        """The generator in use."""
        with self._lock:
            if self._given_generator is not None:
                return self._given_generator
            from rag.generation import load_generator

            return load_generator(self.config.generation, progress=self._progress)

    @cached_property
    def reranker(self) -> Reranker | None:
        """The reranker in use, if there is one."""
        with self._lock:
            if self._given_reranker is not None or self.config.retrieval.rerank == "none":
                return self._given_reranker
            from rag.rerank import load_reranker

            return load_reranker(self.config, self.embedder, lambda: self.generator, self._progress)

    @cached_property
    def retriever(self) -> Retriever:
        """The retriever in use."""
        with self._lock:
            if self._given_retriever is not None:
                return self._given_retriever
            from rag.retrieval import PassageRetriever

            return PassageRetriever(
                self._index,
                self.embedder,
                self.config.retrieval,
                reranker=lambda: self.reranker,
                generator=lambda: self.generator,
            )


class AnswerStream:
    """An answer as it is written. Iterate once; the joined pieces are `answer.text`."""

    def __init__(
        self, rag: RAG, question: str, k: int | None, where: str | Mapping[str, Any]
    ) -> None:
        self._rag = rag
        self._question = question
        self._k = k
        self._where = where
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
        from rag.citations import CitedText, refusal
        from rag.prompt import build_prompt

        timings: dict[str, float] = {}
        started = time.perf_counter()
        hits = self._rag.search(self._question, self._k, self._where)
        timings["retrieval"] = _milliseconds(started)
        question = self._question.strip()
        if not _nearest(hits, self._rag.config.retrieval.min_score):
            self._answer = refusal(Prompt(question, (), tuple(hits), 0), timings)
            yield self._answer.text
            return
        started = time.perf_counter()
        generator = self._rag.generator
        prompt = build_prompt(question, hits, generator)
        timings["prompt"] = _milliseconds(started)
        started = time.perf_counter()
        cited = CitedText(generator.stream(prompt), prompt)
        for piece in cited:
            if piece:
                timings.setdefault("first_token", _milliseconds(started))
                yield piece
        timings["generation"] = _milliseconds(started)
        self._answer = cited.answer(self._rag.document, generator.name, timings)


def _nearest(hits: Sequence[Hit], least: float) -> bool:
    """Whether any hit is as near as `least`, by the cosine, where one was taken."""
    cosines = [stage.score for hit in hits for stage in hit.trace if stage.name == "dense"]
    return bool(hits) and max(cosines, default=1.0) >= least


def _milliseconds(since: float) -> float:
    return (time.perf_counter() - since) * 1000


def _listed(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)
