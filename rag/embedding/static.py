"""texts -> float32 vectors of unit length, by a table of one vector a token, without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rag.embedding.local import LocalEmbedder
from rag.errors import ModelError, first_line
from rag.models import LocalModel
from rag.once import once

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rag.types import Vectors

TENSOR = "embeddings"
"""The table's name in `model.safetensors`: the one of two that model2vec reads too."""

MAX_TOKENS = 512
"""The tokens of a text where a model names no limit, as in model2vec."""

_TENSORS = (TENSOR, "embedding.weight")
_TYPES = {"F16": "<f2", "F32": "<f4"}
_TEXTS_AT_ONCE = 64


class _Weights(NamedTuple):
    table: Any
    tokenizer: Tokenizer
    max_tokens: int


def is_static(model: LocalModel) -> bool:
    """Tell whether a directory holds a StaticEmbedding of sentence-transformers."""
    return model.origin == "directory" and _module(Path(model.location)) is not None


class StaticEmbedder(LocalEmbedder):
    """A model that is a table of vectors: a text's vector is the mean of its tokens' rows.

    It reads the directories that sentence-transformers writes for its StaticEmbedding, those of
    model2vec among them, with `tokenizers` and NumPy alone. The table is mapped, not read:
    processes share it. A text of any length is embedded whole; `max_tokens` is for those who cut
    passages.

    A text without tokens, or whose tokens have no vector, gets the last axis for its vector.
    """

    special_tokens = 0

    @property
    def dim(self) -> int:
        """Return the number of dimensions of a vector."""
        return int(self._weights.table.shape[1])

    @property
    def max_tokens(self) -> int:
        """Return how many tokens a passage is to hold: what the model it was made from takes."""
        return self._weights.max_tokens

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed passages, whatever their length: float32 `[len(texts), dim]`."""
        import numpy as np

        opened = self._weights
        sums = np.zeros((len(texts), self.dim), dtype=np.float32)
        for at in range(0, len(texts), _TEXTS_AT_ONCE):
            part = list(texts[at : at + _TEXTS_AT_ONCE])
            encoded = opened.tokenizer.encode_batch_fast(part, add_special_tokens=False)
            for row, encoding in enumerate(encoded, start=at):
                # The vector is scaled to length 1, so a sum does as well as a mean.
                rows = opened.table.take(encoding.ids, axis=0)
                np.add.reduce(rows, axis=0, dtype=np.float32, out=sums[row])
        sums[np.linalg.norm(sums, axis=1) == 0, -1] = 1.0
        return self._unit(sums)

    def _tokenizer(self) -> Tokenizer:
        return self._weights.tokenizer

    @once
    def _weights(self) -> _Weights:
        return _open(self._model)


def _module(directory: Path) -> Path | None:
    """Return the folder of the table, if the first module is a StaticEmbedding."""
    try:
        modules = json.loads((directory / "modules.json").read_text(encoding="utf-8"))
        first = modules[0]
        static = str(first["type"]).rpartition(".")[2] == "StaticEmbedding"
        return directory / first["path"] if static else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _open(model: LocalModel) -> _Weights:
    from tokenizers import Tokenizer

    directory = Path(model.location)
    folder = _module(directory) or directory
    try:
        table = _map_table(folder / "model.safetensors")
        # Whatever is wrong with the file, tokenizers raises a bare Exception.
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
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
    return _Weights(table, tokenizer, _max_tokens(directory / "config.json"))


def _map_table(file: Path) -> Any:
    """Map the table `[tokens, dim]` of a safetensors file into memory, in its own precision."""
    import numpy as np

    # The library would copy it. A file begins with eight bytes that hold the length of a header in
    # JSON, which says where each tensor lies after it.
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError("model.safetensors is damaged")
        header = json.loads(opened.read(length))
    names = header.keys() - {"__metadata__"}
    name = next((each for each in _TENSORS if each in header), None)
    if name is None or len(names) > 1:
        raise ValueError(f"model.safetensors holds {', '.join(sorted(names))}, not one table")
    entry = header[name]
    if entry["dtype"] not in _TYPES or len(entry["shape"]) != 2:
        raise ValueError(f"its table is of {entry['dtype']}, not F16 or F32")
    start = 8 + length + entry["data_offsets"][0]
    mapped = np.memmap(file, _TYPES[entry["dtype"]], "r", start, tuple(entry["shape"]))
    # A memmap does bookkeeping for each row that is taken; a plain view of it does not.
    return np.asarray(mapped)


def _max_tokens(file: Path) -> int:
    try:
        limit = json.loads(file.read_text(encoding="utf-8")).get("max_length")
    except (OSError, ValueError, AttributeError):
        limit = None
    return limit if isinstance(limit, int) and limit > 0 else MAX_TOKENS
