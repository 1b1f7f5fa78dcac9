"""The kinds of FAISS index for vectors: choose one for a number of vectors, make and measure it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index.rows import Ids
    from rag.types import Vectors

KINDS = ("flat", "hnsw", "ivf-sq8", "ivf-pq")

# k-means, and finding the list of each vector, take time in proportion to this.
_MOST_LISTS = 4096
_SAMPLED_PER_LIST = 32
_ITERATIONS = 10
_SEED = 1234
# Neighbours of a vector in the graph; it has twice as many links on the lowest level.
_LINKS = 16
_EF_CONSTRUCTION = 80
# So many candidates for each wanted vector are compared again, by their stored vectors.
_DEPTHS = {"hnsw": (2, 4), "ivf-sq8": (2, 4), "ivf-pq": (2, 4, 8, 16)}
# With more candidates a graph is slower than a scan of all vectors that pass a filter.
MOST_EF = 2_048
# From _ENOUGH on, doubling the effort is in vain unless recall rises by _WORTH.
_WORTH = 0.0005
_ENOUGH = 256


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How the caches of vectors are made and kept up to date.

    `kind` is one of KINDS or `auto`, `memory_mb` the memory that `auto` may take (0: half of the
    machine's), `recall` the share of the nearest ten or hundred that an approximate kind must find.

    Bounds, in rows: below `least_rows` there are too few to train any kind but `flat`; up to
    `flat_rows` `auto` is exact and a new cache is cheap to write; up to `stale_rows` or
    `stale_share` newer and removed rows make no new cache; a second, small cache holds at most
    `recent_rows`; up to `scanned_rows` that pass a filter are compared one by one; up to
    `rebuilt_rows` a reader builds a damaged cache in its memory. A file of `mapped_bytes` or more
    is mapped instead of read.
    """

    kind: str = "auto"
    memory_mb: int = 0
    recall: float = 0.95
    least_rows: int = 1_000
    flat_rows: int = 50_000
    stale_rows: int = 256
    stale_share: float = 0.05
    recent_rows: int = 100_000
    scanned_rows: int = 2_000
    rebuilt_rows: int = 1_000_000
    mapped_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Shape:
    """What a cache of vectors is, and how it is searched.

    A search probes `probes` of its `lists`, or keeps `ef` candidates in its graph; it compares
    `depth` times as many as are wanted again, by their stored vectors. `recall` at 10 and at 100
    and the median time were measured when it was built of `trained` vectors, with some of them as
    queries.
    """

    kind: Annotated[str, Meta(pattern=rf"\A({'|'.join(KINDS)})\Z")] = "flat"
    lists: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    probes: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    ef: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    depth: Annotated[int, Meta(ge=1, le=1 << 10)] = 1
    recall: Annotated[float, Meta(ge=-1, le=1)] = 1.0
    recall_100: Annotated[float, Meta(ge=-1, le=1)] = 1.0
    milliseconds: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    trained: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


def shape_of(details: Mapping[str, Any]) -> Shape:
    """Read the shape that a cache's row holds; an older row has none, and means `flat`."""
    known = {field.name for field in fields(Shape)}
    return Shape(**{key: value for key, value in details.items() if key in known})


def choose(settings: CacheSettings, count: int, dim: int, present: str = "") -> str:
    """Choose the kind that suits `count` vectors; near a bound that is the `present` kind."""
    if count < settings.least_rows:
        return "flat"
    if settings.kind != "auto":
        return settings.kind
    # An index that grows and shrinks around the bound must not be built anew each time.
    bound = settings.flat_rows if present in ("", "flat") else settings.flat_rows // 2
    if count <= bound:
        return "flat"
    return "ivf-sq8" if needed_bytes("ivf-sq8", count, dim) <= _memory(settings) else "ivf-pq"


def needed_bytes(kind: str, count: int, dim: int) -> int:
    """Estimate how much memory a cache takes."""
    each = {
        "flat": 2 * dim + 8,
        "hnsw": dim + 8 + 4 * 2 * _LINKS + 4 * _LINKS // 8 + 12,
        "ivf-sq8": dim + 8,
        "ivf-pq": math.ceil(dim / 4) + 8,
    }[kind]
    return count * each + 4 * dim * list_count(count)


def list_count(count: int) -> int:
    """Return the number of lists: so many that each is short, and few enough to train."""
    return max(1, min(round(4 * math.sqrt(count)), count // 39, _MOST_LISTS))


def sample_size(kind: str, count: int) -> int:
    """Return how many vectors a kind is trained and measured with."""
    wanted = 10_000 if kind in ("flat", "hnsw") else _SAMPLED_PER_LIST * list_count(count)
    return min(count, max(wanted, 2_000))


def make_index(kind: str, dim: int, count: int, sample: Vectors) -> Any:
    """Make an empty FAISS index for about `count` vectors, trained with a sample of them."""
    import faiss

    metric, coder = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer
    if kind == "flat":
        halves = faiss.IndexScalarQuantizer(dim, coder.QT_fp16, metric)
        # The room is reserved at once: growing step by step takes three times the memory.
        halves.codes.resize(count * halves.code_size)
        halves.codes.resize(0)
        return faiss.IndexIDMap2(halves)
    if kind == "hnsw":
        graph: Any = faiss.IndexHNSWSQ(dim, coder.QT_8bit, _LINKS, metric)  # type: ignore[arg-type]
        graph.hnsw.efConstruction = _EF_CONSTRUCTION
        graph.train(sample)
        return faiss.IndexIDMap2(graph)
    lists, coarse = list_count(count), faiss.IndexFlatIP(dim)
    faiss_index: Any
    if kind == "ivf-sq8":
        faiss_index = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, coder.QT_8bit, metric)
    else:
        faiss_index = faiss.IndexIVFPQFastScan(coarse, dim, lists, pieces_of(dim), 4, metric)
        faiss_index.pq.cp.seed = _SEED
        faiss_index.pq.cp.min_points_per_centroid = 1
    faiss_index.cp.niter, faiss_index.cp.seed = _ITERATIONS, _SEED
    faiss_index.cp.min_points_per_centroid = 1
    faiss_index.cp.max_points_per_centroid = max(_SAMPLED_PER_LIST, len(sample) // lists + 1)
    faiss_index.train(sample)
    return faiss_index


def pieces_of(dim: int) -> int:
    """Return into how many pieces product quantization takes a vector, with four bits for each.

    FAISS adds to an odd number of them by itself.
    """
    return dim // 2 if dim % 2 == 0 else dim


@cache
def level_starts() -> NDArray[np.int32]:
    """Return where the links of each level begin among those of a vector in a graph."""
    import faiss

    kind: Any = faiss.ScalarQuantizer.QT_8bit
    graph: Any = faiss.IndexHNSWSQ(1, kind, _LINKS, faiss.METRIC_INNER_PRODUCT)
    return faiss.vector_to_array(graph.hnsw.cum_nneighbor_per_level)


class Truth:
    """The exact nearest neighbours of some queries, found while all vectors go by in blocks.

    `found` holds their ids, best first: one more than `k`, since a query may itself be stored.
    """

    def __init__(self, ids: Ids, queries: Vectors, k: int = 100) -> None:
        import numpy as np

        self.ids, self.queries, self.k = ids, queries, k
        self._scores = np.full((len(ids), k + 1), -np.inf, dtype=np.float32)
        self.found = np.full((len(ids), k + 1), -1, dtype=np.int64)

    def take(self, ids: Ids, vectors: Vectors) -> None:
        """Compare the queries with a block of vectors."""
        import faiss
        import numpy as np

        k = min(self.k + 1, len(ids))
        scores, at = faiss.knn(self.queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        scores = np.hstack([self._scores, scores])
        found = np.hstack([self.found, ids[at]])
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.k + 1]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self.found = np.take_along_axis(found, best, axis=1)

    def recall(self, candidates: Ids, k: int, depth: int) -> float:
        """Return which share of the `k` nearest of each query, without itself, is a candidate.

        Candidates are compared again exactly, so that whatever is among them is found.
        """
        hit = wanted = 0
        for own, true, found in zip(self.ids, self.found, candidates, strict=True):
            nearest = [each for each in true.tolist() if each not in (own, -1)][:k]
            others = [each for each in found.tolist() if each not in (own, -1)][: k * depth]
            hit += len(set(nearest) & set(others))
            wanted += len(nearest)
        return hit / wanted if wanted else 1.0


def tune(kind: str, faiss_index: Any, truth: Truth, target: float) -> Shape:
    """Find the least effort that reaches the target at 10 and at 100, or the most of use."""
    lists = 0 if kind == "hnsw" else faiss_index.nlist
    best = Shape(kind, recall=-1.0, recall_100=-1.0)
    for much in _efforts(kind, lists):
        shape = Shape(kind, lists, depth=_DEPTHS[kind][-1])
        shape = replace(shape, ef=much) if kind == "hnsw" else replace(shape, probes=much)
        shape = _measure(faiss_index, shape, truth)
        if _worst_recall(shape) > _worst_recall(best) + _WORTH:
            best = shape
        elif much >= _ENOUGH:
            break
        if _worst_recall(shape) >= target:
            break
    for depth in _DEPTHS[kind][:-1]:
        shape = _measure(faiss_index, replace(best, depth=depth), truth)
        if _worst_recall(shape) >= min(target, _worst_recall(best)):
            return shape
    return best


def effort(shape: Shape, wanted: int, passing: int, total: int) -> int:
    """Return how many lists to probe, or candidates to keep, where not all vectors pass a filter.

    The nearest of fewer vectors lie further off, and the probed lists should hold several times as
    many as are wanted. More than `MOST_EF` candidates are slower than a scan of all vectors.
    """
    share = max(passing, 1) / max(total, 1)
    if shape.kind == "hnsw":
        return max(math.ceil(shape.ef / share), wanted)
    filled = math.ceil(4 * wanted / shape.depth * shape.lists / max(passing, 1))
    return min(max(math.ceil(shape.probes / share), filled), shape.lists)


def parameters(kind: str, selector: Any, effort: int) -> Any:
    """Make FAISS's search parameters, for the ids that a selector keeps (None: all)."""
    import faiss

    if kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=effort, sel=selector)  # type: ignore[attr-defined]
    if kind == "flat":
        return faiss.SearchParameters(sel=selector) if selector else None  # type: ignore[call-arg]
    return faiss.SearchParametersIVF(nprobe=effort, sel=selector)  # type: ignore[call-arg]


def _measure(faiss_index: Any, shape: Shape, truth: Truth) -> Shape:
    """Measure the recall of queries that are searched as users' questions are."""
    reached = []
    for k in (10, 100):
        total = faiss_index.ntotal
        wanted = min(k * shape.depth + 1, total)
        how = parameters(shape.kind, None, effort(shape, wanted, total, total))
        _, found = faiss_index.search(truth.queries, wanted, params=how)
        reached.append(truth.recall(found, k, shape.depth))
    return replace(shape, recall=reached[0], recall_100=reached[1])


def _worst_recall(shape: Shape) -> float:
    return min(shape.recall, shape.recall_100)


def _efforts(kind: str, lists: int) -> Iterator[int]:
    """Yield 1, 2, 3, 4, 6, 8, 12, 16, ... lists, or from 32 on candidates in a graph."""
    most = MOST_EF if kind == "hnsw" else lists
    power = 32 if kind == "hnsw" else 1
    while power < most:
        yield power
        if 1 < power < power * 3 // 2 < most:
            yield power * 3 // 2
        power *= 2
    yield most


def _memory(settings: CacheSettings) -> int:
    if settings.memory_mb:
        return settings.memory_mb << 20
    import psutil

    return int(psutil.virtual_memory().total) // 2
