"""The vectors' cache: a FAISS file, immutable, replaced as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.index import files
from rag.index.caches import CacheRow, Digests

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.types import Vectors

    Ids = NDArray[np.int64]


_WRITE_BYTES = 1 << 20


def build(dim: int, count: int, blocks: Iterable[tuple[Ids, Vectors]]) -> Any:
    """An exact inner-product FAISS index over blocks of ids and float32 `[n, dim]` vectors.

    Room is made for `count` vectors at once: growing step by step takes three times the memory.

    It holds float16, which is what the vectors are stored as: the same scores as in float32, in
    half the memory and a quarter of the time.
    """
    import faiss

    kind, metric = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    halves = faiss.IndexScalarQuantizer(dim, kind, metric)
    halves.codes.resize(count * halves.code_size)
    halves.codes.resize(0)
    flat = faiss.IndexIDMap2(halves)
    for ids, vectors in blocks:
        flat.add_with_ids(vectors, ids)
    return flat


def write(directory: Path, generation: int, faiss_index: Any, newest: int) -> CacheRow:
    """Write a cache durably under a new name.

    Written by Python, piece by piece: `faiss.write_index` can report success on a full disk.
    """
    import faiss

    digest = hashlib.sha256()
    name = f"vectors-{generation}.faiss"

    def fill(write_piece: Callable[[bytes], object]) -> None:
        def take(data: bytes) -> None:
            digest.update(data)
            write_piece(data)

        writer = faiss.PyCallbackIOWriter(take, _WRITE_BYTES)  # type: ignore[attr-defined]
        faiss.write_index(faiss_index, writer)

    files.write(directory / name, fill)
    return CacheRow(generation, name, digest.hexdigest(), newest, faiss_index.ntotal)


def load(directory: Path, row: CacheRow, digests: Digests) -> Any | None:
    """The cache that `row` points to, or None if it is missing or not what was written.

    FAISS itself has no checksum: a flipped byte would load without a word.
    """
    import faiss
    import numpy as np

    try:
        data = (directory / row.name).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != row.sha256:
        return None
    return faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))


def is_intact(directory: Path, row: CacheRow, digests: Digests) -> bool:
    """Whether the cache that `row` points to is there, and what was written."""
    try:
        return digests.of(directory / row.name) == row.sha256
    except OSError:
        return False


def search(
    faiss_index: Any, query: Vectors, k: int, *, without: Ids, within: Ids | None = None
) -> list[tuple[int, float]]:
    """The `k` best (chunk id, inner product), best first, of ids `within`, `without` others."""
    import faiss
    import numpy as np

    if faiss_index.ntotal == 0:
        return []
    kept: Any = None
    if within is not None:
        kept = faiss.IDSelectorBatch(np.setdiff1d(within, without))
    elif len(without):
        kept = faiss.IDSelectorNot(faiss.IDSelectorBatch(without))
    parameters = faiss.SearchParameters(sel=kept) if kept else None  # type: ignore[call-arg]
    scores, ids = faiss_index.search(query[None, :], min(k, faiss_index.ntotal), params=parameters)
    return [(int(i), float(s)) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0]
