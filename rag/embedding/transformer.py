"""texts -> float32 vectors of unit length, through sentence-transformers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rag.config import EmbeddingConfig
from rag.embedding.batching import Together
from rag.embedding.fingerprint import fingerprint, former_fingerprint, hub_commit
from rag.embedding.tokenization import special_around, whole_tokenizer
from rag.errors import ConfigError, EmbeddingError, ModelError, first_line
from rag.machine import has_cuda
from rag.models import LocalModel, without_progress_bars

if TYPE_CHECKING:
    from rag.types import Vectors


class SentenceTransformerEmbedder:
    """Any model that sentence-transformers loads; on CUDA or MPS where there is one, else the CPU.

    `fingerprint` tells other weights under the same name: the pinned hash of a catalogued model,
    a hash over the files of a directory, the revision of a hub name (empty where not pinned).
    """

    def __init__(self, model: LocalModel, config: EmbeddingConfig) -> None:
        self.name = model.name
        self.fingerprint = fingerprint(model)
        self._model = model
        self._config = config
        self._lock = threading.Lock()
        self._most_tokens = config.batch_tokens
        self._questions: Together[str, Vectors] = Together(self._embed_queries)
        self._loaded: Any = None
        self._tokenizer: Any = None

    @property
    def revision(self) -> str:
        """The commit of a hub's model that is here; empty before it is, and for other models."""
        return hub_commit(self._model)

    @property
    def former_fingerprint(self) -> str:
        """The fingerprint that these weights have in an index of format 3."""
        return former_fingerprint(self._model)

    def load(self) -> None:
        """Load what the first text would have to wait for.

        Raises:
            ModelError: if the model cannot be loaded.
        """
        self._load()

    @property
    def dim(self) -> int:
        """The number of dimensions of a vector."""
        loaded = self._load()
        return int(loaded.get_embedding_dimension())

    @property
    def max_tokens(self) -> int:
        """Tokens that one text may hold, special tokens included."""
        loaded = self._load()
        return int(loaded.max_seq_length or loaded.tokenizer.model_max_length)

    @property
    def special_tokens(self) -> int:
        """Tokens that the model adds to every text."""
        return int(self._load().tokenizer.num_special_tokens_to_add(pair=False))

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """The code-point span of each token of `text`, special tokens not among them.

        Raises:
            ModelError: if the model has no fast tokenizer, which alone knows the spans.
        """
        self._load()
        offsets: Sequence[tuple[int, int]] = self._tokenizer.encode(
            text, add_special_tokens=False
        ).offsets
        return offsets

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32 `[len(texts), dim]`, each row of length 1.

        Raises:
            EmbeddingError: if the model gives something that is not a number, or memory does not
                hold a single text.
        """
        return self._rows(self._load().encode_document, texts)

    def embed_query(self, text: str) -> Vectors:
        """float32 `[dim]`, of length 1. Questions of several threads are embedded together.

        Raises:
            EmbeddingError: if the model gives something that is not a number.
        """
        found: Vectors = self._questions.result(text)
        return found

    def _embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._rows(self._load().encode_query, texts)

    def _rows(self, encode: Callable[..., Any], texts: Sequence[str]) -> Vectors:
        import numpy as np

        found = np.empty((len(texts), self.dim), dtype=np.float32)
        for batch, rows in self._computed(encode, texts, convert_to_numpy=True):
            found[batch] = rows
        return self._unit(found)

    def _computed(
        self, encode: Callable[..., Any], texts: Sequence[str], **options: Any
    ) -> Iterator[tuple[list[int], Any]]:
        """Texts by where they stand, and what `encode` makes of them, a batch at a time."""
        for batch in self._batches(texts):
            yield from self._parts(partial(encode, **options), texts, batch, self._most_tokens)

    def _parts(
        self, encode: Callable[..., Any], texts: Sequence[str], batch: list[int], tokens: int
    ) -> Iterator[tuple[list[int], Any]]:
        """A batch as a whole; in halves where memory does not hold it, as are those after it."""
        try:
            made = encode(
                [texts[at] for at in batch], batch_size=len(batch), show_progress_bar=False
            )
        except RuntimeError as error:
            if not _is_for_want_of_memory(error):
                raise EmbeddingError(f"{self.name} failed: {first_line(error)}") from error
            if len(batch) == 1:
                raise EmbeddingError(
                    f"{self.name}: there is not enough memory to embed a text "
                    f"({first_line(error)}): set `embedding.device` to cpu"
                ) from error
        else:
            yield batch, made
            return
        # Out of the handler: the error holds on to what had been computed.
        fewer = max(1, tokens // 2)
        self._most_tokens = min(self._most_tokens, fewer)
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            yield from self._parts(encode, texts, part, fewer)

    def _batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Texts of like length, by where they stand, of `batch_tokens` tokens with padding."""
        self._load()
        tokens = [
            min(len(each), self.max_tokens) for each in self._tokenizer.encode_batch(list(texts))
        ]
        batch: list[int] = []
        for at in sorted(range(len(texts)), key=lambda at: -tokens[at]):
            if batch and tokens[batch[0]] * (len(batch) + 1) > self._most_tokens:
                yield batch
                batch = []
            batch.append(at)
        if batch:
            yield batch

    def embed_tokens(self, texts: Sequence[str]) -> list[Vectors]:
        """For each text float32 `[tokens, dim]`, each row of length 1; no special tokens.

        A row is the last layer's vector of a token. No prompt of the model's is put before a text.

        Raises:
            EmbeddingError: if the model has no vectors of tokens, or gives something that is not
                a number.
        """
        import numpy as np

        model = self._load()
        before, after = special_around(self._tokenizer)
        vectors: list[Vectors] = [np.empty(0, dtype=np.float32)] * len(texts)
        items = (
            (at, item)
            for batch, made in self._computed(model.encode, texts, output_value=None, prompt="")
            for at, item in zip(batch, made, strict=True)
        )
        for at, item in items:
            if "token_embeddings" not in item:
                raise EmbeddingError(f"{self.name} has no vectors of tokens: take another embedder")
            rows = item["token_embeddings"][item["attention_mask"].bool()]
            vectors[at] = self._unit(rows[before : len(rows) - after].float().cpu())
        return vectors

    def _unit(self, vectors: Any) -> Vectors:
        import numpy as np

        floats: Vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if not np.isfinite(floats).all():
            raise EmbeddingError(
                f"{self.name} gave vectors with NaN or infinite values: "
                "its weights are damaged, or do not fit this device"
            )
        # In half precision, a length that was made 1 by the model is so to three digits only.
        unit: Vectors = floats / np.maximum(np.linalg.norm(floats, axis=-1, keepdims=True), 1e-12)
        return unit

    def _load(self) -> Any:
        with self._lock:
            if self._loaded is None:
                loaded = self._open()
                self._tokenizer = self._measuring_tokenizer(loaded)
                self._loaded = loaded
        return self._loaded

    def _measuring_tokenizer(self, loaded: Any) -> Any:
        if not getattr(loaded.tokenizer, "is_fast", False):
            raise ModelError(f"{self.name}: has no tokenizer.json, which passages are sized by")
        return whole_tokenizer(loaded)

    def _open(self) -> Any:
        from sentence_transformers import SentenceTransformer

        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        device = None if self._config.device == "auto" else self._config.device
        precision = self._config.precision
        if precision == "auto":
            cuda = device.startswith("cuda") if device else has_cuda()
            precision = "float16" if cuda else "float32"
        try:
            with without_progress_bars():
                return SentenceTransformer(
                    self._model.location,
                    device=device,
                    revision=self._model.revision,
                    # A local model must not ask the network for what it does not need.
                    local_files_only=self._model.origin != "hub",
                    model_kwargs={"dtype": precision},
                )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            if device and isinstance(error, RuntimeError):
                raise ConfigError(f"`embedding.device` {device}: {first_line(error)}") from error
            raise ModelError(
                f"{self._model.location}: cannot be loaded as an embedder: {first_line(error)}"
            ) from error


def _is_for_want_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the processor's memory, held no more."""
    said = str(error).lower()
    return "out of memory" in said or "allocate memory" in said
