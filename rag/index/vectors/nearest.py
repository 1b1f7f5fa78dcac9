"""Search a cache for the nearest chunks, without those that were removed since."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import apsw

from rag.errors import first_line
from rag.index import rows
from rag.index.caches import CacheRow
from rag.index.vectors import cache
from rag.index.vectors.cache import OpenCache
from rag.index.vectors.kinds import CacheSettings

if TYPE_CHECKING:
    from rag.index.rows import Ids
    from rag.types import Vectors

Scored = list[tuple[int, float]]
"""Chunk ids with their scores, best first; equal scores in the order of ids."""

# Recall was measured with so many.
_LEAST_WANTED = 10
# Two vectors of length 1, stored as halves, have no larger inner product.
_MOST_SIMILAR = 1.02


def are_possible(found: Scored, query: Vectors) -> bool:
    """Return whether vectors of length 1 can have these inner products with a query."""
    import numpy as np

    most = _MOST_SIMILAR * float(np.linalg.norm(query)) + 1e-6
    return all(abs(score) <= most for _, score in found)


class Tombstones:
    """The ids of removed chunks that caches may still hold, in order."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids

    @cached_property
    def others(self) -> Any:
        """FAISS's selector of all ids but these; None if there are none."""
        import faiss

        if not len(self.ids):
            return None
        return faiss.IDSelectorNot(cache.make_selector(self.ids, int(self.ids[-1])))

    def count_between(self, after: int, newest: int) -> int:
        """Count those above an id and up to another."""
        low, high = self.ids.searchsorted([after, newest], side="right")
        return int(high - low)


@dataclass(frozen=True, slots=True)
class Part:
    """A cache of the chunks above the id `after` and up to its row's `max_id`."""

    connection: apsw.Connection
    dim: int
    row: CacheRow
    after: int
    open_cache: OpenCache
    tombstones: Tombstones
    settings: CacheSettings

    def nearest(self, query: Vectors, k: int, within: Ids | None) -> Scored:
        """Find the `k` best, with exact scores, in any order; all that pass if there are fewer.

        Where FAISS cannot search the cache, or finds what no unit vectors give, the stored vectors
        are compared one by one.
        """
        if within is not None:
            within = self._select(within)
        try:
            found = self._search(query, k, within)
            if are_possible(found, query):
                return found
            said = "it holds longer vectors"
        except (RuntimeError, MemoryError) as error:
            said = first_line(error)
        logging.getLogger(__name__).warning(
            "%s: is damaged (%s), and is searched without: run `rag doctor --repair`",
            self.row.name,
            said,
        )
        return self._compare(query, k, within)

    def _search(self, query: Vectors, k: int, within: Ids | None) -> Scored:
        live = self.row.count - self.tombstones.count_between(self.after, self.row.max_id)
        passing = live if within is None else min(len(within), live)
        if passing <= 0:
            return []
        if self.open_cache.shape.kind == "flat" and not self.open_cache.mapped:
            ids, scores = self._candidates(query, min(k, passing), passing, within)
            return list(zip(ids.tolist(), scores.tolist(), strict=True))
        if within is not None and passing <= self.settings.scanned_rows:
            return self._compare(query, k, within)
        # Among few candidates too many are wrong, and more of them cost next to nothing.
        wanted = min(max(k, _LEAST_WANTED) * self.open_cache.shape.depth, passing)
        # If most vectors are candidates, reading all in the order of ids is faster.
        if 2 * wanted <= passing:
            for thorough in (False, True):
                ids, _ = self._candidates(query, wanted, passing, within, thorough=thorough)
                ids.sort()
                compared = self._compare(query, k, ids)
                if len(compared) == min(k, passing):
                    return compared
        return self._compare(query, k, within)

    def _candidates(
        self,
        query: Vectors,
        wanted: int,
        passing: int,
        within: Ids | None,
        *,
        thorough: bool = False,
    ) -> tuple[Ids, Vectors]:
        selector = self.tombstones.others
        if within is not None:
            selector = cache.make_selector(within, self.row.max_id)
        return cache.candidates(
            self.open_cache, query, wanted, selector=selector, passing=passing, thorough=thorough
        )

    def _compare(self, query: Vectors, k: int, ids: Ids | None) -> Scored:
        """Compare the query with the stored vectors of some chunks, or of all."""
        if ids is not None:
            return cache.score(cache.vectors_of(self.connection, self.dim, ids), query, k)
        bounds = (self.after, self.row.max_id)
        where = "id > ? AND id <= ?"
        blocks = rows.vector_blocks(self.connection, self.dim, where, bounds)
        return cache.score(blocks, query, k)

    def _select(self, within: Ids) -> Ids:
        import numpy as np

        if np.any(within[1:] <= within[:-1]):
            within = np.unique(within)
        low, high = within.searchsorted([self.after, self.row.max_id], side="right")
        own = within[low:high]
        at = own.searchsorted(self.tombstones.ids)
        dead = at[own[np.minimum(at, len(own) - 1)] == self.tombstones.ids] if len(own) else at[:0]
        return np.delete(own, dead) if len(dead) else own
