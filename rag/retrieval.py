"""question -> list[Hit]."""

from __future__ import annotations

from rag.errors import QuestionError
from rag.index import Index, check_embedder
from rag.normalization import searchable
from rag.types import Embedder, Hit


class DenseRetriever:
    """Exact search by the cosine of the question's vector with the passages'."""

    def __init__(self, index: Index, embedder: Embedder) -> None:
        self._index = index
        self._embedder = embedder

    def search(self, question: str, k: int) -> list[Hit]:
        """The `k` nearest passages, best first; the score is the cosine, -1 to 1.

        Raises:
            QuestionError: if the question is longer than the embedder reads.
            StoreError: if there is no index, it was built with another embedder, or is damaged.
        """
        question = searchable(question)
        manifest = self._index.manifest()
        if manifest is not None:
            check_embedder(manifest, self._embedder, self._index.directory)
        room = self._embedder.max_tokens - self._embedder.special_tokens
        length = len(self._embedder.token_offsets(question))
        if length > room:
            raise QuestionError(
                f"the question has {length} tokens, {self._embedder.name} reads at most {room}: "
                "shorten it"
            )
        return self._index.search(self._embedder.embed_query(question), k)
