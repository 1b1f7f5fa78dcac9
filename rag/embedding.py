"""texts -> float32 vectors of unit length, through sentence-transformers."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.config import EmbeddingConfig
from rag.errors import ConfigError, EmbeddingError, ModelError, first_line
from rag.models import CATALOGUE, LocalModel, resolve, without_progress_bars
from rag.types import Embedder, ProgressCallback

if TYPE_CHECKING:
    from rag.types import Vectors

_EDGE_BYTES = 1 << 20
_SAMPLES = 512
_SAMPLE_BYTES = 4096


def load_embedder(config: EmbeddingConfig, progress: ProgressCallback | None = None) -> Embedder:
    """The configured embedder; its weights are fetched here if need be, and loaded at first use.

    `config.model` is a name of the entry-point group `rag.embedders`, a catalogued name, a model
    directory, or a hub name with an optional `@revision`.

    Raises:
        ModelError: if there is no such model, or it cannot be fetched.
    """
    from importlib.metadata import entry_points

    for entry in entry_points(group="rag.embedders", name=config.model):
        embedder: Embedder = entry.load()(config)
        return embedder
    return SentenceTransformerEmbedder(
        resolve(config.model, kind="embedder", progress=progress), config
    )


class SentenceTransformerEmbedder:
    """Any model that sentence-transformers loads; CUDA or MPS where there is one, else the CPU.

    `fingerprint` tells other weights under the same name: the pinned hash of a catalogued model,
    a hash over the files of a directory, the revision of a hub name (empty where not pinned).
    """

    def __init__(self, model: LocalModel, config: EmbeddingConfig) -> None:
        self.name = model.name
        self.fingerprint = _fingerprint(model)
        self._model = model
        self._config = config
        self._lock = threading.Lock()
        self._loaded: Any = None
        self._tokenizer: Any = None

    @property
    def revision(self) -> str:
        """The commit of a hub's model that is here; empty before it is, and for other models."""
        if self._model.origin != "hub":
            return ""
        from huggingface_hub import try_to_load_from_cache

        for file in ("modules.json", "config.json"):
            found = try_to_load_from_cache(
                self._model.location, file, revision=self._model.revision
            )
            if isinstance(found, str):
                return Path(found).parent.name
        return ""

    @property
    def former_fingerprint(self) -> str:
        """The fingerprint that these weights have in an index of format 3."""
        if self._model.origin != "directory":
            return self.fingerprint
        return _directory_fingerprint(Path(self._model.location), samples=0)

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
            EmbeddingError: if the model gives something that is not a number.
        """
        model = self._load()
        return self._checked(
            model.encode_document(
                list(texts),
                batch_size=self._config.batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
        )

    def embed_query(self, text: str) -> Vectors:
        """float32 `[dim]`, of length 1.

        Raises:
            EmbeddingError: if the model gives something that is not a number.
        """
        return self._checked(
            self._load().encode_query(
                text, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
            )
        )

    def embed_tokens(self, texts: Sequence[str]) -> list[Vectors]:
        """For each text float32 `[tokens, dim]`, each row of length 1; no special tokens.

        A row is the last layer's vector of a token. No prompt of the model's is put before a text.

        Raises:
            EmbeddingError: if the model has no vectors of tokens, or gives something that is not
                a number.
        """
        import torch

        items = self._load().encode(
            list(texts),
            batch_size=self._config.batch_size,
            show_progress_bar=False,
            output_value=None,
            prompt="",
        )
        before, after = self._special_around()
        vectors = []
        for item in items:
            if "token_embeddings" not in item:
                raise EmbeddingError(f"{self.name} has no vectors of tokens: take another embedder")
            rows = item["token_embeddings"][item["attention_mask"].bool()]
            rows = torch.nn.functional.normalize(rows[before : len(rows) - after].float(), dim=-1)
            vectors.append(self._checked(rows.cpu()))
        return vectors

    def _special_around(self) -> tuple[int, int]:
        """How many special tokens the model puts before and after a text."""
        special = self._tokenizer.encode("a").special_tokens_mask
        return special.index(0), special[::-1].index(0)

    def _checked(self, vectors: Any) -> Vectors:
        import numpy as np

        floats: Vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if not np.isfinite(floats).all():
            raise EmbeddingError(
                f"{self.name} gave vectors with NaN or infinite values: "
                "its weights are damaged, or do not fit this device"
            )
        return floats

    def _load(self) -> Any:
        with self._lock:
            if self._loaded is None:
                loaded = self._open()
                self._tokenizer = self._measuring_tokenizer(loaded)
                self._loaded = loaded
        return self._loaded

    def _measuring_tokenizer(self, loaded: Any) -> Any:
        from tokenizers import Tokenizer

        if not getattr(loaded.tokenizer, "is_fast", False):
            raise ModelError(f"{self.name}: has no tokenizer.json, which passages are sized by")
        # A copy: the model's own cuts and pads, by settings that change with every batch.
        tokenizer = Tokenizer.from_str(loaded.tokenizer.backend_tokenizer.to_str())
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _open(self) -> Any:
        from sentence_transformers import SentenceTransformer

        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        device = None if self._config.device == "auto" else self._config.device
        try:
            with without_progress_bars():
                return SentenceTransformer(
                    self._model.location,
                    device=device,
                    revision=self._model.revision,
                    # A local model must not ask the network for what it does not need.
                    local_files_only=self._model.origin != "hub",
                )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            if device and isinstance(error, RuntimeError):
                raise ConfigError(f"`embedding.device` {device}: {first_line(error)}") from error
            raise ModelError(
                f"{self._model.location}: cannot be loaded as an embedder: {first_line(error)}"
            ) from error


def _fingerprint(model: LocalModel) -> str:
    if model.origin == "catalogue":
        entry = CATALOGUE[model.name]
        sums = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(entry.files.items()))
        return hashlib.sha256(sums.encode()).hexdigest()[:16]
    if model.origin == "hub":
        return model.revision or ""
    return _directory_fingerprint(Path(model.location))


def _directory_fingerprint(directory: Path, samples: int = _SAMPLES) -> str:
    """A hash over names, sizes, the first and last MiB, and samples between them, of all files.

    Weights of many gigabytes are told apart at every start without being read whole: whatever
    trains or merges a model changes whole matrices of it.
    """
    total = hashlib.sha256()
    kept = {".safetensors", ".bin", ".json", ".txt", ".model", ".onnx"}
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or path.suffix not in kept:
            continue
        size = path.stat().st_size
        total.update(f"{path.relative_to(directory).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            total.update(file.read(_EDGE_BYTES))
            file.seek(max(0, size - _EDGE_BYTES))
            total.update(file.read(_EDGE_BYTES))
            for at in range(samples if size > 2 * _EDGE_BYTES else 0):
                file.seek(_EDGE_BYTES + (size - 2 * _EDGE_BYTES) * at // samples)
                total.update(file.read(_SAMPLE_BYTES))
    return total.hexdigest()[:16]
