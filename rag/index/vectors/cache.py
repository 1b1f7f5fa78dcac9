"""The vectors' caches: FAISS files, immutable, replaced as a whole."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import apsw

from rag.errors import LockedError, StoreError
from rag.index import rows
from rag.index.caches import CacheRow, Digests, has_like_size
from rag.index.disk import files, steps
from rag.index.vectors.kinds import (
    MOST_EF,
    Shape,
    Truth,
    effort,
    make_index,
    parameters,
    sample_size,
    shape_of,
    tune,
)
from rag.index.vectors.verifying import has_layout

if TYPE_CHECKING:
    from rag.index.rows import Ids
    from rag.types import Vectors

Connect = Callable[[], AbstractContextManager[apsw.Connection]]
"""Opens a connection for one short look; between two looks the log can be cleared."""

BuildProgress = Callable[[str, int, int], None]
"""Called with a stage, how many vectors are done, and how many there are."""

_WRITE_BYTES = 1 << 20
# So many vectors are in memory as float32 at once.
_BLOCK_ROWS = 16_384
# SQLite takes 32,766 values in one statement.
_MOST_VALUES = 10_000
_QUERIES = 256
OPTIMIZED = "optimized.faiss"
_OPTIMIZE_LOCK = "optimize.lock"
_TIMED = 64


@dataclass(frozen=True, slots=True)
class OpenCache:
    """A cache of vectors that is ready to be searched; `scan` searches all vectors of a graph."""

    index: Any
    shape: Shape
    mapped: bool = False
    scan: Any = None


def no_progress(_stage: str, _done: int, _total: int) -> None:
    """Report to nobody."""


def build(
    connect: Connect,
    dim: int,
    ids: Ids,
    kind: str,
    recall: float,
    progress: BuildProgress = no_progress,
) -> tuple[Any, Shape, Ids]:
    """Build a FAISS index of stored chunks; returns it, its shape, and the ids that it holds.

    `ids` are those of all chunks up to the last of them; chunks that are removed meanwhile are
    left out. An approximate kind is measured against an exact search, with some of the vectors as
    queries; its shape is the least effort that reaches `recall`.
    """
    import numpy as np

    held: list[Ids] = []
    if kind == "flat":
        faiss_index = make_index(kind, dim, len(ids), np.empty((0, dim), np.float32))
        for own, vectors in _report(progress, len(ids), blocks(connect, dim, ids)):
            faiss_index.add_with_ids(vectors, own)
            held.append(own)
        return faiss_index, Shape(trained=faiss_index.ntotal), _join(held)
    progress("train", 0, len(ids))
    random = np.random.default_rng(0)
    picked = np.sort(random.choice(ids, sample_size(kind, len(ids)), replace=False))
    sample_ids, sample = _fetch(connect, dim, picked)
    faiss_index = make_index(kind, dim, len(ids), sample)
    some = random.choice(len(sample), min(_QUERIES, len(sample)), replace=False)
    truth = Truth(sample_ids[some], sample[some])
    del sample
    for own, vectors in _report(progress, len(ids), blocks(connect, dim, ids)):
        faiss_index.add_with_ids(vectors, own)
        truth.take(own, vectors)
        held.append(own)
    progress("measure", 0, len(ids))
    shape = replace(tune(kind, faiss_index, truth, recall), trained=faiss_index.ntotal)
    taken = _time_searches(connect, prepare(faiss_index, shape), truth)
    return faiss_index, replace(shape, milliseconds=taken), _join(held)


def extend(connect: Connect, faiss_index: Any, dim: int, ids: Ids, removed: Ids) -> None:
    """Add chunks to an index in memory, and remove others from it."""
    import faiss

    if len(removed):
        faiss_index.remove_ids(faiss.IDSelectorBatch(removed))
    for own, vectors in blocks(connect, dim, ids):
        faiss_index.add_with_ids(vectors, own)


def write(path: Path, faiss_index: Any) -> str:
    """Write an index durably; returns the sha256 of the file.

    Python writes it piece by piece, since `faiss.write_index` can report success on a full disk.
    """
    import faiss

    digest = hashlib.sha256()

    def fill(write_piece: Callable[[bytes], object]) -> None:
        def take(data: bytes) -> None:
            digest.update(data)
            write_piece(data)

        writer = faiss.PyCallbackIOWriter(take, _WRITE_BYTES)  # type: ignore[attr-defined]
        faiss.write_index(faiss_index, writer)

    steps.write(path, fill)
    return digest.hexdigest()


def load(
    directory: Path, row: CacheRow, digests: Digests, *, dim: int, mapped_bytes: int
) -> OpenCache | None:
    """Open the cache that `row` names; None if it is missing or not what was written.

    FAISS has no checksum: it would load a flipped byte without a word. Nor does it doubt a file
    whose checksum somebody made to agree, so that the layout is checked first. A large file is
    mapped: all processes share its pages, and the system takes them back where memory is short.
    """
    import faiss

    path, shape = directory / row.name, shape_of(row.details)
    try:
        if not has_like_size(directory, path):
            return None
        if path.lstat().st_size < mapped_bytes:
            found = _read(path, row, shape, dim)
            return None if found is None else prepare(found, shape)
        if not digests.agree(directory, row) or not has_layout_of(directory, row, dim):
            return None
        # FAISS lays out product quantization for fast scans anew when it reads it.
        if shape.kind != "ivf-pq" and hasattr(faiss, "IO_FLAG_MMAP_IFC"):
            return prepare(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), shape, mapped=True)
        return prepare(faiss.read_index(str(path)), shape)
    except (OSError, RuntimeError, MemoryError):
        # A writer has removed it between two looks, or FAISS cannot read it.
        return None


def _read(path: Path, row: CacheRow, shape: Shape, dim: int) -> Any | None:
    """Read a file at once, and make an index of it; None if it is not what a row says."""
    import faiss
    import numpy as np

    with files.open_to_read(path) as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != row.sha256:
        return None
    if not has_layout(io.BytesIO(data), shape, dim, row.count):
        return None
    return faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))


def has_layout_of(directory: Path, row: CacheRow, dim: int) -> bool:
    """Return whether a file is laid out as its row says.

    Raises:
        OSError: if it cannot be read.
    """
    with files.open_to_read(directory / row.name) as file:
        return has_layout(file, shape_of(row.details), dim, row.count)


def prepare(faiss_index: Any, shape: Shape, *, mapped: bool = False) -> OpenCache:
    """Make a FAISS index ready to be searched as its shape says."""
    import faiss

    if shape.kind != "hnsw":
        return OpenCache(faiss_index, shape, mapped)
    graph: Any = faiss.downcast_index(faiss_index.index)
    # The index it is made with stays empty; it scans the graph's own vectors.
    scan = faiss.IndexIDMap(faiss.IndexFlatIP(graph.d))
    scan.index, scan.id_map = graph.storage, faiss_index.id_map
    scan.ntotal, scan.own_fields = graph.ntotal, False
    return OpenCache(faiss_index, shape, mapped, scan)


def read_whole(directory: Path, row: CacheRow, digests: Digests, dim: int) -> Any | None:
    """Read the index that `row` names into memory, to be changed; None if it is not intact."""
    import faiss

    try:
        if not digests.agree(directory, row) or not has_layout_of(directory, row, dim):
            return None
        return faiss.read_index(str(directory / row.name))
    except (OSError, RuntimeError, MemoryError):
        return None


def ids_of(faiss_index: Any) -> Ids:
    """Return the ids of the chunks that an index of any kind holds, in no order."""
    import faiss

    inner: Any = faiss.downcast_index(faiss_index)
    if hasattr(inner, "id_map"):
        return faiss.vector_to_array(inner.id_map)
    lists = inner.invlists
    return _join(
        [
            faiss.rev_swig_ptr(lists.get_ids(each), lists.list_size(each)).copy()
            for each in range(lists.nlist)
            if lists.list_size(each)
        ]
    )


def make_selector(ids: Ids, newest: int) -> Any:
    """Make FAISS's selector of ids: a bitmap where that is smaller than a hash table."""
    import faiss
    import numpy as np

    if not len(ids) or newest > 64 * len(ids):
        return faiss.IDSelectorBatch(ids)
    bits = np.zeros(newest + 1, dtype=bool)
    bits[ids] = True
    packed = np.packbits(bits, bitorder="little")
    return faiss.IDSelectorBitmap(packed)  # type: ignore[call-arg, arg-type]


def candidates(
    found: OpenCache,
    query: Vectors,
    wanted: int,
    *,
    selector: Any = None,
    passing: int | None = None,
    thorough: bool = False,
) -> tuple[Ids, Vectors]:
    """Find ids and scores of the likely nearest of the `passing` ones that a selector keeps.

    Best first. There are fewer than `wanted` if the probed lists hold no more; a `thorough` search
    probes all lists.
    """
    shape, index = found.shape, found.index
    much = 0
    if shape.kind != "flat":
        much = effort(shape, wanted, index.ntotal if passing is None else passing, index.ntotal)
        much = shape.lists if thorough and shape.lists else much
    if found.scan is not None and (thorough or much > MOST_EF):
        how = parameters("flat", selector, 0)
        scores, ids = found.scan.search(query[None, :], wanted, params=how)
    else:
        how = parameters(shape.kind, selector, much)
        scores, ids = index.search(query[None, :], wanted, params=how)
    return ids[0][ids[0] >= 0], scores[0][ids[0] >= 0]


def vectors_of(connection: apsw.Connection, dim: int, ids: Ids) -> Iterator[tuple[Ids, Vectors]]:
    """Yield ids and float32 vectors of those of some chunks that are there, by id, in blocks."""
    for at in range(0, len(ids), _MOST_VALUES):
        part = ids[at : at + _MOST_VALUES].tolist()
        places = ",".join("?" * len(part))
        yield from rows.vector_blocks(connection, dim, f"id IN ({places})", part)


def blocks(connect: Connect, dim: int, ids: Ids) -> Iterator[tuple[Ids, Vectors]]:
    """Yield the vectors of all chunks from the first to the last of `ids` that are still there."""
    import numpy as np

    for at in range(0, len(ids), _BLOCK_ROWS):
        part = ids[at : at + _BLOCK_ROWS]
        with connect() as connection:
            where, bounds = "id BETWEEN ? AND ?", (int(part[0]), int(part[-1]))
            read = list(rows.vector_blocks(connection, dim, where, bounds))
        if read:
            yield np.concatenate([own for own, _ in read]), np.concatenate([v for _, v in read])


def score(parts: Iterator[tuple[Ids, Vectors]], query: Vectors, k: int) -> list[tuple[int, float]]:
    """Return the `k` best of each part as (chunk id, inner product), equal ones by id."""
    import numpy as np

    found: list[tuple[int, float]] = []
    for ids, block in parts:
        scores = block @ query
        best = np.argsort(-scores, kind="stable")[:k]
        found += zip(ids[best].tolist(), scores[best].tolist(), strict=True)
    return found


def _fetch(connect: Connect, dim: int, ids: Ids) -> tuple[Ids, Vectors]:
    import numpy as np

    with connect() as connection:
        read = list(vectors_of(connection, dim, ids))
    if not read:
        return np.empty(0, np.int64), np.empty((0, dim), np.float32)
    return np.concatenate([own for own, _ in read]), np.concatenate([v for _, v in read])


def _join(parts: list[Ids]) -> Ids:
    import numpy as np

    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _report(
    progress: BuildProgress, total: int, parts: Iterator[tuple[Ids, Vectors]]
) -> Iterator[tuple[Ids, Vectors]]:
    done = 0
    for own, vectors in parts:
        yield own, vectors
        done += len(own)
        progress("build", done, total)


def _time_searches(connect: Connect, found: OpenCache, truth: Truth) -> float:
    """Measure the median milliseconds of a search for ten that compares stored vectors."""
    taken = []
    with connect() as connection:
        for query in truth.queries[:_TIMED]:
            started = time.perf_counter()
            ids, _ = candidates(found, query, 10 * found.shape.depth)
            score(vectors_of(connection, found.index.d, ids), query, 10)
            taken.append((time.perf_counter() - started) * 1000)
    return round(median(taken), 3) if taken else 0.0


def remove_leftovers(directory: Path) -> None:
    """Remove what an interrupted `optimize` left; a file that is being built stays."""
    if any(directory.glob(f"{OPTIMIZED}*")):
        with suppress(LockedError, StoreError), hold_optimize_lock(directory):
            remove_unfinished(directory)


def rebuilt_error(directory: Path) -> StoreError:
    """Make the error that says that the index was built anew while `optimize` read it."""
    return StoreError(
        f"{directory}: was built anew meanwhile, and is as that left it: run "
        "`rag index --optimize` again"
    )


def remove_unfinished(directory: Path) -> None:
    """Remove the file that `optimize` was building."""
    for path in directory.glob(f"{OPTIMIZED}*"):
        steps.remove(path)


@contextmanager
def hold_optimize_lock(directory: Path) -> Iterator[None]:
    """Hold the lock of `optimize`, or raise LockedError if another process holds it."""
    from filelock import FileLock, Timeout

    files.check_names(directory)
    lock = FileLock(directory / _OPTIMIZE_LOCK, mode=files.file_mode(directory))
    try:
        lock.acquire(timeout=0)
    except (Timeout, RuntimeError):
        raise LockedError(
            f"{directory}: is being optimized already: try again when that is done"
        ) from None
    except OSError as error:
        raise StoreError(f"{directory}: cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
