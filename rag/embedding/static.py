"""texts -> float32 vectors of unit length, by a table of one vector a token, without torch."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rag.errors import EmbeddingError, ModelError, first_line
from rag.models import LocalModel
from rag.models.fingerprint import fingerprint, former_fingerprint

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rag.types import Vectors

TENSOR = "embeddings"
"""The table in `model.safetensors`; of two names, the one that model2vec reads too."""

MAX_TOKENS = 512
"""Of a text, where a model does not say; what model2vec takes then."""

_TENSORS = (TENSOR, "embedding.weight")
_TYPES = {"F16": "<f2", "F32": "<f4"}
_TEXTS_AT_ONCE = 64


class _Opened(NamedTuple):
    table: Any
    tokenizer: Tokenizer
    max_tokens: int


def is_static(model: LocalModel) -> bool:
    """Whether it is a directory whose model is sentence-transformers' StaticEmbedding."""
    return model.origin == "directory" and _module(Path(model.location)) is not None


class StaticEmbedder:
    """A model that is a table of vectors: a text has the mean of its tokens' rows.

    It reads the directories that sentence-transformers writes for its StaticEmbedding, those of
    model2vec among them, by `tokenizers` and NumPy alone. The table is mapped, not read: processes
    share it. A text of any length is embedded whole; `max_tokens` is for those who cut passages.

    The text that has no token, or tokens without a vector, has the last axis for its vector.
    """

    special_tokens = 0

    def __init__(self, model: LocalModel) -> None:
        self.name = model.name
        self.fingerprint = fingerprint(model)
        self._model = model
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    @property
    def former_fingerprint(self) -> str:
        """The fingerprint that these weights have in an index of format 3."""
        return former_fingerprint(self._model)

    @property
    def dim(self) -> int:
        """The number of dimensions of a vector."""
        return int(self._open().table.shape[1])

    @property
    def max_tokens(self) -> int:
        """Tokens that a passage is to hold: as many as the model read that it was made from."""
        return self._open().max_tokens

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """The code-point span of each token of `text`."""
        offsets: Sequence[tuple[int, int]] = (
            self._open().tokenizer.encode(text, add_special_tokens=False).offsets
        )
        return offsets

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32 `[len(texts), dim]`, each row of length 1.

        Raises:
            EmbeddingError: if the table holds something that is not a number.
        """
        import numpy as np

        opened = self._open()
        sums = np.zeros((len(texts), self.dim), dtype=np.float32)
        for at in range(0, len(texts), _TEXTS_AT_ONCE):
            part = list(texts[at : at + _TEXTS_AT_ONCE])
            encoded = opened.tokenizer.encode_batch_fast(part, add_special_tokens=False)
            for row, encoding in enumerate(encoded, start=at):
                # Of length 1 in the end, a sum is as good as a mean.
                rows = opened.table.take(encoding.ids, axis=0)
                np.add.reduce(rows, axis=0, dtype=np.float32, out=sums[row])
        return self._unit(sums)

    def embed_query(self, text: str) -> Vectors:
        """float32 `[dim]`, of length 1.

        Raises:
            EmbeddingError: if the table holds something that is not a number.
        """
        found: Vectors = self.embed_documents([text])[0]
        return found

    def _unit(self, sums: Vectors) -> Vectors:
        import numpy as np

        if not np.isfinite(sums).all():
            raise EmbeddingError(
                f"{self.name} gave vectors with NaN or infinite values: its weights are damaged"
            )
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        sums[lengths[:, 0] == 0, -1] = 1.0
        lengths[lengths == 0] = 1.0
        unit: Vectors = sums / lengths
        return unit

    def _open(self) -> _Opened:
        with self._lock:
            if self._opened is None:
                self._opened = _open(self._model)
        return self._opened


def _module(directory: Path) -> Path | None:
    """The folder of the table, if the first module is a StaticEmbedding."""
    try:
        modules = json.loads((directory / "modules.json").read_text(encoding="utf-8"))
        first = modules[0]
        static = str(first["type"]).rpartition(".")[2] == "StaticEmbedding"
        return directory / first["path"] if static else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _open(model: LocalModel) -> _Opened:
    from tokenizers import Tokenizer

    directory = Path(model.location)
    folder = _module(directory) or directory
    try:
        table = _mapped(folder / "model.safetensors")
        # Whatever is wrong with the file, tokenizers says in a bare Exception.
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{directory}: cannot be loaded as a static embedder: {first_line(error)}"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if tokenizer.get_vocab_size() > len(table):
        raise ModelError(
            f"{directory}: cannot be loaded as a static embedder: it has "
            f"{tokenizer.get_vocab_size()} tokens and vectors for {len(table)}"
        )
    return _Opened(table, tokenizer, _max_tokens(directory / "config.json"))


def _mapped(file: Path) -> Any:
    """The table `[tokens, dim]` of a safetensors file, in its own precision."""
    import numpy as np

    # Eight bytes with the length of a header in JSON, which says where each tensor lies after it:
    # the library copies what it gives to NumPy.
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError("model.safetensors is damaged")
        header = json.loads(opened.read(length))
    held = header.keys() - {"__metadata__"}
    name = next((each for each in _TENSORS if each in header), None)
    if name is None or len(held) > 1:
        raise ValueError(f"model.safetensors holds {', '.join(sorted(held))}, not one table")
    entry = header[name]
    if entry["dtype"] not in _TYPES or len(entry["shape"]) != 2:
        raise ValueError(f"its table is of {entry['dtype']}, not F16 or F32")
    start = 8 + length + entry["data_offsets"][0]
    mapped = np.memmap(file, _TYPES[entry["dtype"]], "r", start, tuple(entry["shape"]))
    # A plain view of it, without the bookkeeping that a memmap does for each part that is taken.
    return np.asarray(mapped)


def _max_tokens(file: Path) -> int:
    try:
        given = json.loads(file.read_text(encoding="utf-8")).get("max_length")
    except (OSError, ValueError, AttributeError):
        given = None
    return given if isinstance(given, int) and given > 0 else MAX_TOKENS
