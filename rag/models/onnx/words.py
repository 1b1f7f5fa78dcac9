"""The word vectors of a model, mapped from its own file, for graphs that are given them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rag.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _Tensor(msgspec.Struct):
    dtype: str
    shape: tuple[int, int]
    data_offsets: tuple[int, int]


# Of 100 million bytes in the format's own rule; no model here has a thousandth of it.
_LONGEST_HEADER = 1 << 24


def map_word_vectors(file: Path) -> NDArray[np.float32]:
    """Map the word embeddings of a safetensors file into memory, `[words, dim]`.

    The form: eight bytes with the length of a JSON header, the header, the tensors.

    Raises:
        ModelError: if the file holds no word embeddings of float32, or is cut.
    """
    import numpy as np

    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            if size > _LONGEST_HEADER:
                raise ValueError("its header is too long")
            header = msgspec.json.decode(opened.read(size), type=dict[str, Any])
        name = next(each for each in header if each.endswith("word_embeddings.weight"))
        tensor = msgspec.convert(header[name], _Tensor)
        begin, end = tensor.data_offsets
        rows, width = tensor.shape
        if tensor.dtype != "F32" or end - begin != 4 * rows * width or begin < 0:
            raise ValueError(f"{name} is {tensor.dtype} of {end - begin} bytes, not F32")
        return np.memmap(
            file, dtype=np.float32, mode="r", offset=8 + size + begin, shape=(rows, width)
        )
    except (OSError, ValueError, StopIteration, msgspec.MsgspecError) as error:
        raise ModelError(
            f"{file}: its word embeddings cannot be read ({error or 'it holds none'}): "
            "fetch the model again"
        ) from error
