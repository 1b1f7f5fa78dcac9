"""The kinds of FAISS index that hold vectors: which suits how many, made, and measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.types import Vectors

    Ids = NDArray[np.int64]

KINDS = ("flat", "hnsw", "ivf-sq8", "ivf-pq")

# k-means and finding the list of each vector cost time in proportion to this.
_MOST_LISTS = 4096
_SAMPLED_PER_LIST = 32
_ITERATIONS = 10
_SEED = 1234
# Neighbours of a vector in the graph; it has twice as many links on the lowest level.
_LINKS = 16
_EF_CONSTRUCTION = 80
# How many candidates for each wanted vector are looked at again with what is stored.
_DEPTHS = {"hnsw": (2, 4), "ivf-sq8": (2, 4), "ivf-pq": (2, 4, 8, 16)}
# Beyond these a graph is slower than going through all vectors that pass a filter.
MOST_EF = 2_048
# More effort than is enough for most is in vain if it does not find this much more.
_WORTH = 0.0005
_ENOUGH = 256


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How the caches of vectors are made and kept.

    `kind` is one of KINDS or `auto`, `memory_mb` what `auto` may take of it (0: half of what the
    machine has), `recall` the share of the nearest, ten or a hundred, that an
    approximate kind is to find.

    Bounds, in rows: `least_rows` from which there is enough to train with, whatever the kind;
    `flat_rows` up to which `auto` is exact and a new cache is cheap to write;
    `stale_rows` and `stale_share` up to which newer and removed ones make no new cache;
    `recent_rows` that a second, small cache holds at most; `scanned_rows` up to which those that
    pass a filter are compared one by one; `rebuilt_rows` up to which a reader builds what is
    damaged in its memory. A file of `mapped_bytes` or more is mapped instead of being read.
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

    `probes` of its `lists` are looked into, or `ef` candidates kept in its graph; `depth` times as
    many as are wanted are compared again with what is stored. `recall` at 10 and at 100 and the
    median time were measured when it was built of `trained` vectors, with some of them as queries.
    """

    kind: str = "flat"
    lists: int = 0
    probes: int = 0
    ef: int = 0
    depth: int = 1
    recall: float = 1.0
    recall_100: float = 1.0
    milliseconds: float = 0.0
    trained: int = 0

    def details(self) -> dict[str, Any]:
        """As it is kept beside the cache."""
        return asdict(self)


def shape_of(details: Mapping[str, Any]) -> Shape:
    """What was kept beside a cache; an older one is flat."""
    known = {field.name for field in fields(Shape)}
    return Shape(**{key: value for key, value in details.items() if key in known})


def choose(settings: CacheSettings, count: int, dim: int, present: str = "") -> str:
    """The kind that suits `count` vectors; the `present` one where that is a near thing."""
    if count < settings.least_rows:
        return "flat"
    if settings.kind != "auto":
        return settings.kind
    # An index that grows and shrinks around the bound is not to be built anew each time.
    bound = settings.flat_rows if present in ("", "flat") else settings.flat_rows // 2
    if count <= bound:
        return "flat"
    return "ivf-sq8" if needed_bytes("ivf-sq8", count, dim) <= _memory(settings) else "ivf-pq"


def needed_bytes(kind: str, count: int, dim: int) -> int:
    """About how much memory a cache takes."""
    each = {
        "flat": 2 * dim + 8,
        "hnsw": dim + 8 + 4 * 2 * _LINKS + 4 * _LINKS // 8 + 12,
        "ivf-sq8": dim + 8,
        "ivf-pq": math.ceil(dim / 4) + 8,
    }[kind]
    return count * each + 4 * dim * list_count(count)


def list_count(count: int) -> int:
    """Into how many lists vectors are sorted: enough for each to be short, few to train."""
    return max(1, min(round(4 * math.sqrt(count)), count // 39, _MOST_LISTS))


def sample_size(kind: str, count: int) -> int:
    """How many vectors a kind is trained with, and measured with some of."""
    wanted = 10_000 if kind in ("flat", "hnsw") else _SAMPLED_PER_LIST * list_count(count)
    return min(count, max(wanted, 2_000))


def new(kind: str, dim: int, count: int, sample: Vectors) -> Any:
    """An empty FAISS index for about `count` vectors, trained with a sample of them."""
    import faiss

    metric, coder = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer
    if kind == "flat":
        halves = faiss.IndexScalarQuantizer(dim, coder.QT_fp16, metric)
        # Growing step by step takes three times the memory.
        halves.codes.resize(count * halves.code_size)
        halves.codes.resize(0)
        return faiss.IndexIDMap2(halves)
    if kind == "hnsw":
        graph: Any = faiss.IndexHNSWSQ(dim, coder.QT_8bit, _LINKS, metric)  # type: ignore[arg-type]
        graph.hnsw.efConstruction = _EF_CONSTRUCTION
        graph.train(sample)
        return faiss.IndexIDMap2(graph)
    lists, coarse = list_count(count), faiss.IndexFlatIP(dim)
    made: Any
    if kind == "ivf-sq8":
        made = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, coder.QT_8bit, metric)
    else:
        # Two dimensions in four bits each; FAISS adds to an odd number of them by itself.
        pieces = dim // 2 if dim % 2 == 0 else dim
        made = faiss.IndexIVFPQFastScan(coarse, dim, lists, pieces, 4, metric)
        made.pq.cp.seed = _SEED
        made.pq.cp.min_points_per_centroid = 1
    made.cp.niter, made.cp.seed = _ITERATIONS, _SEED
    made.cp.min_points_per_centroid = 1
    made.cp.max_points_per_centroid = max(_SAMPLED_PER_LIST, len(sample) // lists + 1)
    made.train(sample)
    return made


class Truth:
    """The exact nearest of some queries, while all vectors go by in blocks.

    `found` are their ids, best first: one more than `k`, since a query may be stored itself.
    """

    def __init__(self, ids: Ids, queries: Vectors, k: int = 100) -> None:
        import numpy as np

        self.ids, self.queries, self.k = ids, queries, k
        self._scores = np.full((len(ids), k + 1), -np.inf, dtype=np.float32)
        self.found = np.full((len(ids), k + 1), -1, dtype=np.int64)

    def take(self, ids: Ids, vectors: Vectors) -> None:
        """Compare the queries with a block."""
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
        """Of the `k` nearest of each query without itself, the share among its candidates.

        All of them are compared again exactly: what is among the candidates is found.
        """
        hit = wanted = 0
        for own, true, found in zip(self.ids, self.found, candidates, strict=True):
            nearest = [each for each in true.tolist() if each not in (own, -1)][:k]
            others = [each for each in found.tolist() if each not in (own, -1)][: k * depth]
            hit += len(set(nearest) & set(others))
            wanted += len(nearest)
        return hit / wanted if wanted else 1.0


def tune(kind: str, made: Any, truth: Truth, target: float) -> Shape:
    """The least effort with which the target is reached at 10 and at 100, or the most of use."""
    lists = 0 if kind == "hnsw" else made.nlist
    best = Shape(kind, recall=-1.0, recall_100=-1.0)
    for much in _efforts(kind, lists):
        shape = Shape(kind, lists, depth=_DEPTHS[kind][-1])
        shape = replace(shape, ef=much) if kind == "hnsw" else replace(shape, probes=much)
        shape = _measure(made, shape, truth)
        if _worst_recall(shape) > _worst_recall(best) + _WORTH:
            best = shape
        elif much >= _ENOUGH:
            break
        if _worst_recall(shape) >= target:
            break
    for depth in _DEPTHS[kind][:-1]:
        shape = _measure(made, replace(best, depth=depth), truth)
        if _worst_recall(shape) >= min(target, _worst_recall(best)):
            return shape
    return best


def effort(shape: Shape, wanted: int, passing: int, total: int) -> int:
    """How many lists to look into, or candidates to keep, where not all vectors pass.

    Of fewer vectors the nearest lie further off; and several times as many as are asked for are
    to lie in the lists that are looked into. More than `MOST_EF` is slower than going through all.
    """
    share = max(passing, 1) / max(total, 1)
    if shape.kind == "hnsw":
        return max(math.ceil(shape.ef / share), wanted)
    filled = math.ceil(4 * wanted / shape.depth * shape.lists / max(passing, 1))
    return min(max(math.ceil(shape.probes / share), filled), shape.lists)


def parameters(kind: str, kept: Any, effort: int) -> Any:
    """How FAISS is to search among what a selector keeps (None: everything)."""
    import faiss

    if kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=effort, sel=kept)  # type: ignore[attr-defined]
    if kind == "flat":
        return faiss.SearchParameters(sel=kept) if kept else None  # type: ignore[call-arg]
    return faiss.SearchParametersIVF(nprobe=effort, sel=kept)  # type: ignore[call-arg]


def _measure(made: Any, shape: Shape, truth: Truth) -> Shape:
    """With the recall of queries that are searched as users' are."""
    reached = []
    for k in (10, 100):
        wanted = min(k * shape.depth + 1, made.ntotal)
        how = parameters(shape.kind, None, effort(shape, wanted, made.ntotal, made.ntotal))
        _, found = made.search(truth.queries, wanted, params=how)
        reached.append(truth.recall(found, k, shape.depth))
    return replace(shape, recall=reached[0], recall_100=reached[1])


def _worst_recall(shape: Shape) -> float:
    return min(shape.recall, shape.recall_100)


def _efforts(kind: str, lists: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, ... lists, or candidates in a graph."""
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
