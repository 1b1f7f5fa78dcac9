"""The retriever: the stages in order, as the settings say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rag.config import RetrievalConfig
from rag.filters import parse_filter
from rag.index import Index, Reading, check_embedder
from rag.lexical import parse_question
from rag.retrieval.search import Search
from rag.types import Embedder, Explanation, Generator, Hit, Reranker


class PassageRetriever:
    """Finds passages as the settings say: see `RetrievalConfig`.

    `reranker` and `generator` are called when the settings need one.
    """

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        config: RetrievalConfig,
        *,
        reranker: Callable[[], Reranker | None],
        generator: Callable[[], Generator],
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._config = config
        self._reranker = reranker
        self._generator = generator

    def search(self, question: str, k: int, where: str | Mapping[str, Any] = "") -> list[Hit]:
        """The `k` best of the passages that pass the filter `where`, best first.

        Raises:
            QuestionError: if the question is longer than the embedder reads, or `where` cannot be
                understood.
            StoreError: if there is no index, it was built with another embedder, or is damaged.
        """
        with self._index.reading() as reading:
            _, hits = self._searched(reading, question, k, where)
            return hits

    def explain(self, question: str, k: int, where: str | Mapping[str, Any] = "") -> Explanation:
        """What `search` finds, with what was looked for and the time of each stage."""
        with self._index.reading() as reading:
            search, hits = self._searched(reading, question, k, where)
            return Explanation(
                question=question,
                hits=tuple(search.matched(hits)),
                words=tuple(stems[0] for stems in search.asked.words),
                related=search.related,
                wordings=search.wordings,
                loosened=search.loosened,
                timings=search.timings,
            )

    def _searched(
        self, reading: Reading, question: str, k: int, where: str | Mapping[str, Any]
    ) -> tuple[Search, list[Hit]]:
        wanted = parse_filter(where)
        check_embedder(reading.manifest, self._embedder, self._index.directory)
        search = Search(reading, self._embedder, self._config)
        search.ask(parse_question(question, reading.languages), k, wanted)
        if "hyde" in self._config.expansion:
            search.imagine(self._generator())
        search.rank()
        if "multi-query" in self._config.expansion:
            search.reword(self._generator())
        reranker = self._reranker()
        count = k if reranker is None else max(k, self._config.rerank_depth)
        search.feed_back(count)
        hits = search.hits(count)
        if reranker is not None:
            with search.timed("rerank"):
                hits = reranker.rerank(search.asked.text, hits, len(hits))
        return search, search.shown(hits, k)
