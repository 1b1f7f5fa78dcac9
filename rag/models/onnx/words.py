"""The word vectors of a model, mapped from a file, for graphs that are given them.

They are float32 in a base's own file, or packed: 4 bits a value, 32 values of a row share a scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rag.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK = 32
# Codes are 0 to 15 and mean -8 to 7 times the scale.
_MIDDLE = 8
# The scales that are tried for a block, as shares of the one that its largest value asks for.
_SHARES = (0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05)


class _Tensor(msgspec.Struct):
    dtype: str
    shape: tuple[int, int]
    data_offsets: tuple[int, int]


# Of 100 million bytes in the format's own rule; no model here has a thousandth of it.
_LONGEST_HEADER = 1 << 24
# The names that safetensors has for types of numbers, and theirs in NumPy.
_TYPES = {"F32": "<f4", "F16": "<f2", "U8": "u1"}


@dataclass(frozen=True, slots=True)
class PackedWords:
    """Word vectors in 4 bits a value.

    Attributes:
        codes: two values a byte, the earlier one in the low half, `[words, dim / 2]`, uint8.
        scales: of each 32 values of a row, `[words, dim / 32]`, float16.
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]

    def __getitem__(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the vectors of some words, `[len(rows), dim]`."""
        import numpy as np

        codes = self.codes[rows]
        values = np.stack([codes & 15, codes >> 4], axis=-1).astype(np.float32) - _MIDDLE
        blocks = values.reshape(len(codes), -1, _BLOCK)
        scaled: NDArray[np.float32] = blocks * self.scales[rows].astype(np.float32)[:, :, None]
        return scaled.reshape(len(codes), -1)

    def unpack(self) -> NDArray[np.float32]:
        """Return all vectors, `[words, dim]`."""
        import numpy as np

        return self[np.arange(len(self.codes))]


def pack_words(vectors: NDArray[np.float32]) -> PackedWords:
    """Pack word vectors, `[words, dim]`, into 4 bits a value with the least squared error.

    The value farthest from 0 of each 32 is the code 0, -8 times the scale, or nearly: of several
    scales the one is taken that loses least.

    Raises:
        ValueError: if `dim` is no multiple of 32.
    """
    import numpy as np

    words, width = vectors.shape
    if width % _BLOCK:
        raise ValueError(f"vectors of {width} values do not divide into blocks of {_BLOCK}")
    blocks = vectors.reshape(words, -1, _BLOCK).astype(np.float32)
    farthest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)[..., 0]
    best = np.full(farthest.shape, np.inf, np.float32)
    codes, scales = np.zeros(blocks.shape, np.uint8), np.zeros(farthest.shape, np.float16)
    for share in _SHARES:
        tried = (-farthest / _MIDDLE * share).astype(np.float16)
        wide = tried.astype(np.float32)[..., None]
        steps = np.divide(blocks, wide, out=np.zeros_like(blocks), where=wide != 0)
        coded = np.clip(np.round(steps), -_MIDDLE, _MIDDLE - 1)
        error = np.square(coded * wide - blocks).sum(-1)
        better = error < best
        best = np.where(better, error, best)
        scales = np.where(better, tried, scales)
        codes = np.where(better[..., None], (coded + _MIDDLE).astype(np.uint8), codes)
    flat = codes.reshape(words, width)
    pairs: NDArray[np.uint8] = (flat[:, 0::2] | flat[:, 1::2] << 4).astype(np.uint8)
    return PackedWords(pairs, scales)


def map_word_vectors(file: Path) -> NDArray[np.float32] | PackedWords:
    """Map the word embeddings of a safetensors file into memory.

    The form: eight bytes with the length of a JSON header, the header, the tensors. Either one of
    them is `…word_embeddings.weight`, or there are the `codes` and `scales` of packed words.

    Raises:
        ModelError: if the file holds no word embeddings of these forms, or is cut.
    """
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            if size > _LONGEST_HEADER:
                raise ValueError("its header is too long")
            header = msgspec.json.decode(opened.read(size), type=dict[str, Any])
        if "codes" in header:
            codes = _map(file, 8 + size, header["codes"], "U8")
            scales = _map(file, 8 + size, header["scales"], "F16")
            if (len(codes), 2 * codes.shape[1]) != (len(scales), _BLOCK * scales.shape[1]):
                raise ValueError("its codes and scales do not belong together")
            return PackedWords(codes, scales)
        name = next(each for each in header if each.endswith("word_embeddings.weight"))
        found: NDArray[np.float32] = _map(file, 8 + size, header[name], "F32")
    except (OSError, ValueError, KeyError, StopIteration, msgspec.MsgspecError) as error:
        raise ModelError(
            f"{file}: its word embeddings cannot be read ({error or 'it holds none'}): "
            "fetch the model again"
        ) from error
    return found


def _map(file: Path, offset: int, described: object, dtype: str) -> NDArray[Any]:
    import numpy as np

    tensor = msgspec.convert(described, _Tensor)
    begin, end = tensor.data_offsets
    rows, width = tensor.shape
    form = np.dtype(_TYPES[dtype])
    if tensor.dtype != dtype or end - begin != form.itemsize * rows * width or begin < 0:
        raise ValueError(f"it holds {tensor.dtype} of {end - begin} bytes, not {dtype}")
    return np.memmap(file, dtype=form, mode="r", offset=offset + begin, shape=(rows, width))
