"""What the embedders have in common whose weights are files on this machine."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.errors import EmbeddingError
from rag.models import LocalModel, unit
from rag.models.fingerprint import fingerprint, former_fingerprint, hub_commit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from tokenizers import Tokenizer

    from rag.types import Vectors


class LocalEmbedder(ABC):
    """An embedder with a tokenizer of its own, loaded from files at first use.

    `fingerprint` differs for other weights under the same name: it is the pinned hash of a
    catalogued model, a hash over the files of a directory, or the revision of a hub name (empty
    where it is not pinned).

    A subclass sets `dim`, `max_tokens` and `special_tokens`, as attributes or properties, gives its
    tokenizer, and embeds documents; a question is embedded as a document, and loading is loading
    the tokenizer, unless it says otherwise.
    """

    def __init__(self, model: LocalModel) -> None:
        self.name = model.name
        self.fingerprint = fingerprint(model)
        self._model = model
        self._lock = threading.RLock()

    @abstractmethod
    def _tokenizer(self) -> Tokenizer:
        """Return the tokenizer, which neither truncates nor pads; load it at the first call."""

    @abstractmethod
    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed passages: float32 `[len(texts), dim]`, each row of length 1.

        Raises:
            EmbeddingError: if the model gives a value that is NaN or infinite, or memory does not
                hold a single text.
        """

    def embed_query(self, text: str) -> Vectors:
        """Embed a question: float32 `[dim]`, of length 1.

        Raises:
            EmbeddingError: if the model gives a value that is NaN or infinite.
        """
        vector: Vectors = self.embed_documents([text])[0]
        return vector

    @property
    def revision(self) -> str:
        """Return the downloaded commit of a hub's model; empty before that and for others."""
        return hub_commit(self._model)

    @property
    def former_fingerprint(self) -> str:
        """Return the fingerprint that these weights have in an index of format 3."""
        return former_fingerprint(self._model)

    def load(self) -> None:
        """Load what the first question would have to wait for.

        Raises:
            ModelError: if the model cannot be loaded.
        """
        self._tokenizer()

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the code-point span of each token of `text`, without special tokens.

        Raises:
            ModelError: if the model cannot be loaded, or has no fast tokenizer.
        """
        encoding = self._tokenizer().encode(text, add_special_tokens=False)
        offsets: Sequence[tuple[int, int]] = encoding.offsets
        return offsets

    def _unit(self, rows: ArrayLike) -> Vectors:
        """Scale each row to length 1; raise EmbeddingError if one holds NaN or infinity."""
        return unit(rows, self.name, EmbeddingError)
