"""texts -> float32 vectors of unit length, through sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rag.config import EmbeddingConfig
from rag.embedding.batching import Batcher
from rag.embedding.local import LocalEmbedder
from rag.errors import EmbeddingError, first_line
from rag.models import LocalModel
from rag.models.devices import has_cuda, short_switch_interval
from rag.models.onnx.graph import TOKENS, VECTOR
from rag.models.sentence_models import SentenceModel, open_sentence_model
from rag.once import once

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rag.types import Vectors

# Tokens in a batch where the settings leave it to the device: with fewer, a GPU waits for its next
# batch; with more, a processor's caches overflow.
_GPU_BATCH_TOKENS, _CPU_BATCH_TOKENS = 16_384, 2_048


class SentenceTransformerEmbedder(LocalEmbedder):
    """Any model that sentence-transformers loads, on CUDA or MPS if there is one, else the CPU."""

    def __init__(self, model: LocalModel, config: EmbeddingConfig) -> None:
        super().__init__(model)
        self._config = config
        self._batch_tokens = config.batch_tokens
        self._questions: Batcher[str, Vectors] = Batcher(self._embed_queries)
        self._plain = False

    @property
    def dim(self) -> int:
        """Return the number of dimensions of a vector."""
        return int(self._sentence_model.model.get_embedding_dimension())

    @property
    def max_tokens(self) -> int:
        """Return how many tokens one text may hold, special tokens included."""
        return self._sentence_model.max_tokens

    @property
    def special_tokens(self) -> int:
        """Return how many tokens the model adds to every text."""
        opened = self._sentence_model
        return opened.before + opened.after

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed passages, texts of like length together: float32 `[len(texts), dim]`."""
        opened = self._sentence_model
        return self._rows(texts, opened.document_prompt, opened.model.encode_document)

    def embed_query(self, text: str) -> Vectors:
        """Embed a question, together with those of other threads: float32 `[dim]`."""
        return self._questions.result(text)

    def embed_tokens(self, texts: Sequence[str]) -> list[Vectors]:
        """Embed the tokens of each text: float32 `[tokens, dim]`, each row of length 1.

        A row is the last layer's vector of a token. Special tokens are left out, and the model's
        prompts are not put before a text.

        Raises:
            EmbeddingError: if the model has no vectors of tokens, or one is NaN or infinite.
        """
        import numpy as np

        opened = self._sentence_model
        tokens = opened.token_ids(texts)

        def compute(batch: list[int]) -> list[dict[str, Any]]:
            if self._plain:
                outputs = opened.forward([tokens[at] for at in batch])
                names = (TOKENS, "attention_mask")
                return [{name: outputs[name][at] for name in names} for at in range(len(batch))]
            items: list[dict[str, Any]] = opened.model.encode(
                [texts[at] for at in batch],
                batch_size=len(batch),
                show_progress_bar=False,
                output_value=None,
                prompt="",
            )
            return items

        vectors: list[Vectors] = [np.empty(0, dtype=np.float32)] * len(texts)
        for batch, items in self._compute_all(compute, tokens):
            for at, item in zip(batch, items, strict=True):
                if TOKENS not in item:
                    raise EmbeddingError(
                        f"{self.name} has no vectors of tokens: take another embedder"
                    )
                rows = item[TOKENS][item["attention_mask"].bool()]
                vectors[at] = self._fetch(rows[opened.before : len(rows) - opened.after])
        return vectors

    def _embed_queries(self, texts: Sequence[str]) -> Vectors:
        opened = self._sentence_model
        return self._rows(texts, opened.query_prompt, opened.model.encode_query)

    def _rows(self, texts: Sequence[str], prompt: str, encode: Callable[..., Any]) -> Vectors:
        import numpy as np
        import torch

        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        opened = self._sentence_model
        put_before = prompt if self._plain else ""
        tokens = opened.token_ids([put_before + text for text in texts])

        def compute(batch: list[int]) -> Any:
            if self._plain:
                return opened.forward([tokens[at] for at in batch])[VECTOR]
            # `encode` puts the prompt before each text itself.
            return encode(
                [texts[at] for at in batch],
                batch_size=len(batch),
                show_progress_bar=False,
                convert_to_tensor=True,
            )

        computed = list(self._compute_all(compute, tokens))
        # Rows are fetched once at the end: the device computes while the next texts are prepared.
        rows = self._fetch(torch.cat([rows for _, rows in computed]))
        vectors = np.empty_like(rows)
        vectors[[at for batch, _ in computed for at in batch]] = rows
        return vectors

    def _tokenizer(self) -> Tokenizer:
        return self._sentence_model.tokenizer

    def _compute_all(
        self, compute: Callable[[list[int]], Any], tokens: Sequence[Sequence[int]]
    ) -> Iterator[tuple[list[int], Any]]:
        """Yield batches of texts' positions, each with what `compute` makes of them."""
        for batch in self._batches(tokens):
            yield from self._compute_batch(compute, batch, self._batch_tokens)

    def _compute_batch(
        self, compute: Callable[[list[int]], Any], batch: list[int], most: int
    ) -> Iterator[tuple[list[int], Any]]:
        """Compute a batch whole; in halves if memory does not hold it, and so those after it."""
        try:
            with short_switch_interval:
                result = compute(batch)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise EmbeddingError(f"{self.name} failed: {first_line(error)}") from error
            if len(batch) == 1:
                raise EmbeddingError(
                    f"{self.name}: there is not enough memory to embed a text "
                    f"({first_line(error)}): set `embedding.device` to cpu"
                ) from error
        else:
            yield batch, result
            return
        # This is outside the handler, since the error holds on to what had been computed.
        fewer = max(1, most // 2)
        self._batch_tokens = min(self._batch_tokens, fewer)
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            yield from self._compute_batch(compute, part, fewer)

    def _batches(self, tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Yield the positions of texts of like length, `batch_tokens` tokens with padding."""
        batch: list[int] = []
        for at in sorted(range(len(tokens)), key=lambda at: -len(tokens[at])):
            if batch and len(tokens[batch[0]]) * (len(batch) + 1) > self._batch_tokens:
                yield batch
                batch = []
            batch.append(at)
        if batch:
            yield batch

    def _fetch(self, rows: Any) -> Vectors:
        """Copy a tensor's rows from the device, each scaled to length 1.

        In half precision, the model's own scaling is right to three digits only.
        """
        try:
            floats: Vectors = rows.float().cpu().numpy()
        # A GPU reports what went wrong only when results are fetched from it.
        except RuntimeError as error:
            raise EmbeddingError(f"{self.name} failed: {first_line(error)}") from error
        return self._unit(floats)

    @once
    def _sentence_model(self) -> SentenceModel:
        opened = open_sentence_model(
            self._model, device=self._config.device, dtype=self._precision()
        )
        if not self._batch_tokens:
            on_cpu = opened.model.device.type == "cpu"
            self._batch_tokens = _CPU_BATCH_TOKENS if on_cpu else _GPU_BATCH_TOKENS
        # What sentence-transformers does around the tokens in Python for each batch can be left out
        # where a text's vector follows from its tokens alone.
        self._plain = not opened.why_not_tokens_alone()
        return opened

    def _precision(self) -> str:
        device, precision = self._config.device, self._config.precision
        if precision != "auto":
            return precision
        cuda = has_cuda() if device == "auto" else device.startswith("cuda")
        return "float16" if cuda else "float32"


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether a device, or the processor's memory, was full."""
    message = str(error).lower()
    return "out of memory" in message or "allocate memory" in message
