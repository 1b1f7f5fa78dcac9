"""FAISS files: immutable caches of the vectors in SQLite, replaced as a whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.types import Vectors

    Ids = NDArray[np.int64]


_WRITE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """The row that points to the cache: it holds every chunk up to `max_id` that then lived."""

    generation: int
    file: str
    sha256: str
    max_id: int
    count: int


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


def write(directory: Path, generation: int, faiss_index: Any) -> tuple[str, str]:
    """Write a cache durably under a new name; returns its file name and SHA-256.

    Written by Python, piece by piece: `faiss.write_index` can report success on a full disk.
    """
    import faiss

    digest = hashlib.sha256()
    name = f"vectors-{generation}.faiss"
    temporary = directory / f"{name}.tmp"
    with temporary.open("wb") as file:

        def take(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        faiss.write_index(faiss_index, faiss.PyCallbackIOWriter(take, _WRITE_BYTES))  # type: ignore[attr-defined]
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / name)
    sync_directory(directory)
    return name, digest.hexdigest()


def load(directory: Path, row: SnapshotRow) -> Any | None:
    """The cache that `row` points to, or None if it is missing or not what was written.

    FAISS itself has no checksum: a flipped byte would load without a word.
    """
    import faiss
    import numpy as np

    try:
        data = (directory / row.file).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != row.sha256:
        return None
    return faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))


def is_intact(directory: Path, row: SnapshotRow) -> bool:
    """Whether the cache that `row` points to is there, and what was written."""
    try:
        with (directory / row.file).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == row.sha256
    except OSError:
        return False


def search(faiss_index: Any, query: Vectors, k: int, buried: Ids) -> list[tuple[int, float]]:
    """The `k` best (chunk id, inner product), best first, `buried` ids left out."""
    import faiss

    if faiss_index.ntotal == 0:
        return []
    parameters = None
    if len(buried):
        kept = faiss.IDSelectorNot(faiss.IDSelectorBatch(buried))
        parameters = faiss.SearchParameters(sel=kept)  # type: ignore[call-arg]
    scores, ids = faiss_index.search(query[None, :], min(k, faiss_index.ntotal), params=parameters)
    return [(int(i), float(s)) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0]


def remove_others(directory: Path, keep: str) -> None:
    """Delete the caches that nothing points to any more.

    Readers hold a cache in memory; one that comes too late for its file reads SQLite instead.
    """
    for path in directory.glob("vectors-*.faiss*"):
        if path.name != keep:
            path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` durable, where the system can open directories."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
