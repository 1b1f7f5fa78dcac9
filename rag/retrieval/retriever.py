"""Search in stages, in the order and with the options of the settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rag.config import RetrievalConfig
from rag.index import Index, Snapshot, check_embedder
from rag.protocols import Embedder, LanguageModel, Loadable, Reranker
from rag.query import parse_question
from rag.retrieval.search import Search
from rag.retrieval.spelling import correct
from rag.types import Explanation, Hit

if TYPE_CHECKING:
    from rag.query.filters import Filter


class PassageRetriever:
    """A retriever that finds passages as `RetrievalConfig` says.

    It calls `reranker` and `generator` when the settings need one. An embedder with a method `load`
    is loaded in a thread while the index is opened for the first question.
    """

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        config: RetrievalConfig,
        *,
        reranker: Callable[[], Reranker | None],
        generator: Callable[[], LanguageModel],
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._config = config
        self._reranker = reranker
        self._generator = generator
        self._begun = threading.Event()

    def search(self, question: str, k: int, where: str | Mapping[str, Any] = "") -> list[Hit]:
        """Return the `k` best passages that pass the filter `where`, best first.

        Raises:
            QuestionError: if the question is longer than the embedder reads, or `where` cannot be
                understood.
            StoreError: if there is no index, it was built with another embedder, or is damaged.
        """
        wanted = _filter(where)
        with self._index.snapshot(self._begin) as snapshot:
            _, hits = self._run_stages(snapshot, question, k, wanted)
            return hits

    def explain(self, question: str, k: int, where: str | Mapping[str, Any] = "") -> Explanation:
        """Return what `search` finds, with what was looked for and the time of each stage."""
        wanted = _filter(where)
        with self._index.snapshot(self._begin) as snapshot:
            search, hits = self._run_stages(snapshot, question, k, wanted)
            return Explanation(
                question=question,
                hits=tuple(search.with_matches(hits)),
                words=tuple(stems[0] for stems in search.asked.words),
                related=search.related,
                wordings=search.wordings,
                loosened=search.loosened,
                timings=search.clock.times,
                filter_matched=bool(hits) or wanted is None or len(snapshot.passing(wanted)) > 0,
            )

    def correct(self, question: str) -> str:
        """Return the question without its typing errors; itself, if the settings say so.

        Raises:
            StoreError: as `search`.
        """
        if not self._config.correct:
            return question
        with self._index.snapshot(self._begin) as snapshot:
            return correct(question, snapshot, self._is_known)

    def _is_known(self, word: str) -> bool:
        """Return whether a word is so common that the embedder has a token for it."""
        return len(self._embedder.token_offsets(word)) == 1

    def passes(self, where: str | Mapping[str, Any]) -> bool:
        """Return whether the filter `where` lets any passage of the index pass.

        Raises:
            QuestionError, StoreError: as `search`.
        """
        wanted = _filter(where)
        with self._index.snapshot(self._begin) as snapshot:
            return wanted is None or len(snapshot.passing(wanted)) > 0

    def _begin(self, snapshot: Snapshot) -> None:
        """Check the embedder, and load it while the caches are opened."""
        check_embedder(snapshot.manifest, self._embedder, self._index.directory)
        embedder = self._embedder
        unused = self._config.mode == "lexical" or self._begun.is_set()
        if unused or not isinstance(embedder, Loadable):
            return
        self._begun.set()

        def load() -> None:
            # If this fails, embedding the question fails a moment later, and says why.
            with suppress(Exception):
                embedder.load()

        threading.Thread(target=load, name="rag-embedder").start()

    def _run_stages(
        self, snapshot: Snapshot, question: str, k: int, wanted: Filter | None
    ) -> tuple[Search, list[Hit]]:
        if self._config.mode != "lexical":
            # For the first question, this goes on while the embedder is loaded.
            snapshot.open_vectors()
        reranker = self._reranker()
        count = k if reranker is None else max(k, self._config.rerank_depth)
        search = Search(snapshot, self._embedder, self._config)
        search.ask(parse_question(question, snapshot.languages), count, wanted)
        if "hyde" in self._config.expansion:
            search.imagine(self._generator())
        search.rank()
        if "multi-query" in self._config.expansion:
            search.reword(self._generator())
        search.feed_back(count)
        hits = search.hits(count)
        if reranker is not None:
            with search.clock("rerank"):
                hits = reranker.rerank(search.asked.text, hits, len(hits))
        return search, search.select(hits, k)


def _filter(where: str | Mapping[str, Any]) -> Filter | None:
    if not where:
        return None
    # Most searches have no filter, and need not import what parses one.
    from rag.query.filters import parse_filter

    return parse_filter(where)
