"""texts -> float32 vectors of unit length, through sentence-transformers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rag.config import EmbeddingConfig
from rag.embedding.batching import Batcher
from rag.errors import ConfigError, EmbeddingError, ModelError, first_line
from rag.models import LocalModel
from rag.models.devices import computing, has_cuda
from rag.models.fingerprint import fingerprint, former_fingerprint, hub_commit
from rag.models.onnx.graph import TOKENS, VECTOR
from rag.models.sentence_models import (
    forward,
    has_fast_tokenizer,
    more_than_tokens,
    open_modules,
    prompts,
    window,
)
from rag.models.tokenization import cut, special_around, whole_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rag.types import Vectors

# Tokens at once where the settings leave it to the device: a GPU waits for its orders with fewer,
# a processor's caches hold no more.
_ON_GPU, _ON_CPU = 16_384, 2_048


class _Opened(NamedTuple):
    """A model, and what is put before questions and passages.

    With `plain`, tokens are all that a text's vector takes: what sentence-transformers does
    around them for each batch, in Python, is left out.
    """

    model: Any
    tokenizer: Tokenizer
    before: int
    after: int
    plain: bool
    query_prompt: str
    document_prompt: str


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
        self._questions: Batcher[str, Vectors] = Batcher(self._embed_queries)
        self._loaded: _Opened | None = None

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
        return int(self._load().model.get_embedding_dimension())

    @property
    def max_tokens(self) -> int:
        """Tokens that one text may hold, special tokens included."""
        return window(self._load().model)

    @property
    def special_tokens(self) -> int:
        """Tokens that the model adds to every text."""
        opened = self._load()
        return opened.before + opened.after

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """The code-point span of each token of `text`, special tokens not among them.

        Raises:
            ModelError: if the model has no fast tokenizer, which alone knows the spans.
        """
        tokenizer = self._load().tokenizer
        offsets: Sequence[tuple[int, int]] = tokenizer.encode(
            text, add_special_tokens=False
        ).offsets
        return offsets

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32 `[len(texts), dim]`, each row of length 1.

        Raises:
            EmbeddingError: if the model gives something that is not a number, or memory does not
                hold a single text.
        """
        opened = self._load()
        return self._rows(texts, opened.document_prompt, opened.model.encode_document)

    def embed_query(self, text: str) -> Vectors:
        """float32 `[dim]`, of length 1. Questions of several threads are embedded together.

        Raises:
            EmbeddingError: if the model gives something that is not a number.
        """
        found: Vectors = self._questions.result(text)
        return found

    def embed_tokens(self, texts: Sequence[str]) -> list[Vectors]:
        """For each text float32 `[tokens, dim]`, each row of length 1; no special tokens.

        A row is the last layer's vector of a token. No prompt of the model's is put before a text.

        Raises:
            EmbeddingError: if the model has no vectors of tokens, or gives something that is not
                a number.
        """
        import numpy as np

        opened = self._load()
        tokens = self._tokens(texts)

        def compute(batch: list[int]) -> list[dict[str, Any]]:
            if opened.plain:
                found = forward(opened.model, [tokens[at] for at in batch])
                names = (TOKENS, "attention_mask")
                return [{name: found[name][at] for name in names} for at in range(len(batch))]
            items: list[dict[str, Any]] = opened.model.encode(
                [texts[at] for at in batch],
                batch_size=len(batch),
                show_progress_bar=False,
                output_value=None,
                prompt="",
            )
            return items

        vectors: list[Vectors] = [np.empty(0, dtype=np.float32)] * len(texts)
        for batch, items in self._computed(compute, tokens):
            for at, item in zip(batch, items, strict=True):
                if TOKENS not in item:
                    raise EmbeddingError(
                        f"{self.name} has no vectors of tokens: take another embedder"
                    )
                rows = item[TOKENS][item["attention_mask"].bool()]
                vectors[at] = self._fetched(rows[opened.before : len(rows) - opened.after])
        return vectors

    def _embed_queries(self, texts: Sequence[str]) -> Vectors:
        opened = self._load()
        return self._rows(texts, opened.query_prompt, opened.model.encode_query)

    def _rows(self, texts: Sequence[str], prompt: str, encode: Callable[..., Any]) -> Vectors:
        import numpy as np
        import torch

        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        opened = self._load()
        tokens = self._tokens([prompt + text for text in texts])

        def compute(batch: list[int]) -> Any:
            if opened.plain:
                return forward(opened.model, [tokens[at] for at in batch])[VECTOR]
            return encode(
                [texts[at] for at in batch],
                batch_size=len(batch),
                show_progress_bar=False,
                convert_to_tensor=True,
            )

        computed = list(self._computed(compute, tokens))
        # Fetched once: until then the device computes while the next texts are prepared.
        rows = self._fetched(torch.cat([rows for _, rows in computed]))
        found = np.empty_like(rows)
        found[[at for batch, _ in computed for at in batch]] = rows
        return found

    def _tokens(self, texts: Sequence[str]) -> list[Sequence[int]]:
        opened = self._load()
        limit = self.max_tokens
        found = opened.tokenizer.encode_batch(list(texts))
        return [cut(each.ids, limit, opened.after) for each in found]

    def _computed(
        self, compute: Callable[[list[int]], Any], tokens: Sequence[Sequence[int]]
    ) -> Iterator[tuple[list[int], Any]]:
        """Texts by where they stand, and what `compute` makes of them, a batch at a time."""
        for batch in self._batches(tokens):
            yield from self._parts(compute, batch, self._most_tokens)

    def _parts(
        self, compute: Callable[[list[int]], Any], batch: list[int], most: int
    ) -> Iterator[tuple[list[int], Any]]:
        """A batch as a whole; in halves where memory does not hold it, as are those after it."""
        try:
            with computing():
                made = compute(batch)
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
        fewer = max(1, most // 2)
        self._most_tokens = min(self._most_tokens, fewer)
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            yield from self._parts(compute, part, fewer)

    def _batches(self, tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Texts of like length, by where they stand, of `batch_tokens` tokens with padding."""
        batch: list[int] = []
        for at in sorted(range(len(tokens)), key=lambda at: -len(tokens[at])):
            if batch and len(tokens[batch[0]]) * (len(batch) + 1) > self._most_tokens:
                yield batch
                batch = []
            batch.append(at)
        if batch:
            yield batch

    def _fetched(self, rows: Any) -> Vectors:
        """A tensor's rows from the device, each of length 1."""
        import numpy as np

        try:
            floats: Vectors = rows.float().cpu().numpy()
        # What went wrong on a GPU is told when something is fetched from it.
        except RuntimeError as error:
            raise EmbeddingError(f"{self.name} failed: {first_line(error)}") from error
        if not np.isfinite(floats).all():
            raise EmbeddingError(
                f"{self.name} gave vectors with NaN or infinite values: "
                "its weights are damaged, or do not fit this device"
            )
        # In half precision, a length that was made 1 by the model is so to three digits only.
        unit: Vectors = floats / np.maximum(np.linalg.norm(floats, axis=-1, keepdims=True), 1e-12)
        return unit

    def _load(self) -> _Opened:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._open()
            return self._loaded

    def _open(self) -> _Opened:
        device, precision = self._config.device, self._config.precision
        if precision == "auto":
            cuda = has_cuda() if device == "auto" else device.startswith("cuda")
            precision = "float16" if cuda else "float32"
        try:
            model = open_modules(self._model, device=device, dtype=precision)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            if device != "auto" and isinstance(error, RuntimeError):
                raise ConfigError(f"`embedding.device` {device}: {first_line(error)}") from error
            raise ModelError(
                f"{self._model.location}: cannot be loaded as an embedder: {first_line(error)}"
            ) from error
        if not has_fast_tokenizer(model):
            raise ModelError(f"{self.name}: has no tokenizer.json, which passages are sized by")
        tokenizer = whole_tokenizer(model)
        if not self._most_tokens:
            self._most_tokens = _ON_CPU if model.device.type == "cpu" else _ON_GPU
        plain = not more_than_tokens(model, tokenizer)
        # Where it is not, `encode_query` and `encode_document` know what to put before a text.
        around = prompts(model) if plain else ("", "")
        return _Opened(model, tokenizer, *special_around(tokenizer), plain, *around)


def _is_for_want_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the processor's memory, held no more."""
    said = str(error).lower()
    return "out of memory" in said or "allocate memory" in said
