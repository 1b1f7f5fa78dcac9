"""Checks and arithmetic on what models compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.errors import ModelError, RagError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rag.types import Vectors


def check_finite(values: ArrayLike, source: str, error: type[RagError] = ModelError) -> None:
    """Raise `error` if a model computed NaN or an infinite value.

    `source` is the beginning of the message: "tiny-nli gave probabilities".
    """
    import numpy as np

    if not np.isfinite(values).all():
        raise error(
            f"{source} with NaN or infinite values: "
            "its weights are damaged, or do not fit this device"
        )


def unit(rows: ArrayLike, name: str, error: type[RagError] = ModelError) -> Vectors:
    """Scale the last axis of what the model `name` gave to length 1, in float32; 0 stays 0.

    Raises:
        RagError: of the class `error`, if there is a value that is NaN or infinite.
    """
    import numpy as np

    vectors: Vectors = np.ascontiguousarray(rows, dtype=np.float32)
    check_finite(vectors, f"{name} gave vectors", error)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    lengths[lengths == 0] = 1
    scaled: Vectors = vectors / lengths
    return scaled
