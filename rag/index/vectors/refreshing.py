"""Bring the vectors' caches up to date, at a cost in proportion to what has changed.

The main cache holds most vectors. In a large index a second cache, small and exact, holds the newer
ones, until there are enough of them to extend the main one.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import apsw

from rag.index import rows
from rag.index.caches import CacheRow, Digests, name_of
from rag.index.vectors import cache
from rag.index.vectors.kinds import CacheSettings, choose, shape_of

# A cache that has grown to so many times what its lists were trained with is built anew.
_MOST_GROWTH = 2


@dataclass(frozen=True, slots=True)
class Change:
    """Caches that were written, to be named in place of others; None: the present one stays.

    Tombstones of ids up to `buried` stay; all others are of chunks that no cache holds.
    """

    main: CacheRow | None
    recent: CacheRow | None
    buried: int


@dataclass(frozen=True, slots=True)
class _State:
    """The index and its present caches, as its only writer sees them."""

    connection: apsw.Connection
    directory: Path
    digests: Digests
    settings: CacheSettings
    dim: int
    generation: int
    main: CacheRow | None
    recent: CacheRow | None

    def connect(self) -> nullcontext[apsw.Connection]:
        return nullcontext(self.connection)

    def count(self, select: str, *values: int) -> int:
        return int(self.connection.execute(f"SELECT count(*) FROM {select}", values).get)


def refresh(
    connection: apsw.Connection,
    directory: Path,
    digests: Digests,
    settings: CacheSettings,
    *,
    dim: int,
    generation: int,
    anew: bool = False,
) -> Change | None:
    """Write new caches in place of those that fell behind; None if none did.

    `anew` writes one in any case, without any removed vector. The files are named by `generation`
    and the one after it.
    """
    main = None if anew else rows.cache_row(connection, "vectors")
    recent = rows.cache_row(connection, "recent")
    state = _State(connection, directory, digests, settings, dim, generation, main, recent)
    if main is None or not digests.agree(directory, main):
        return _build(state)
    newer = state.count("chunks WHERE id > ?", main.max_id)
    dead = state.count("tombstones WHERE chunk_id <= ?", main.max_id)
    live = main.count - dead + newer
    if choose(settings, live, dim, main_kind := shape_of(main.details).kind) != main_kind:
        return _build(state)
    if live <= settings.flat_rows and main_kind == "flat":
        buried = state.count("tombstones")
        most = max(settings.stale_rows, settings.stale_share * main.count)
        return _build(state) if newer + buried > most else None
    share = min(settings.stale_share * main.count, settings.recent_rows)
    if newer + dead > max(settings.stale_rows, share):
        return _extend(state, main, live, dead)
    return _write_recent_if_due(state, main)


def write_recent(
    connection: apsw.Connection, directory: Path, *, dim: int, after: int, generation: int
) -> CacheRow | None:
    """Write a cache of the chunks above an id; None if there are none."""
    ids = rows.chunk_ids(connection, after)
    if not len(ids):
        return None
    faiss_index, shape, _ = cache.build(lambda: nullcontext(connection), dim, ids, "flat", 1.0)
    name = name_of("recent", generation)
    digest = cache.write(directory / name, faiss_index)
    return CacheRow(generation, name, digest, int(ids[-1]), faiss_index.ntotal, asdict(shape))


def _write_recent_if_due(state: _State, main: CacheRow) -> Change | None:
    recent = state.recent
    is_damaged = recent is not None and not state.digests.agree(state.directory, recent)
    after = recent.max_id if recent and not is_damaged else main.max_id
    behind = state.count("chunks WHERE id > ?", after)
    behind += state.count("tombstones WHERE chunk_id > ?", main.max_id)
    if not is_damaged and behind <= state.settings.stale_rows:
        return None
    written = write_recent(
        state.connection,
        state.directory,
        dim=state.dim,
        after=main.max_id,
        generation=state.generation,
    )
    return Change(None, written, main.max_id)


def _build(state: _State) -> Change:
    """Build a main cache of all vectors, of the kind that suits them."""
    ids = rows.chunk_ids(state.connection)
    present = shape_of(state.main.details).kind if state.main else ""
    kind = choose(state.settings, len(ids), state.dim, present)
    faiss_index, shape, _ = cache.build(state.connect, state.dim, ids, kind, state.settings.recall)
    newest = int(ids[-1]) if len(ids) else 0
    name = name_of("vectors", state.generation)
    digest = cache.write(state.directory / name, faiss_index)
    row = CacheRow(state.generation, name, digest, newest, faiss_index.ntotal, asdict(shape))
    return Change(row, None, 0)


def _extend(state: _State, main: CacheRow, live: int, dead: int) -> Change:
    """Add newer vectors to the main cache and remove those that are gone; its lists stay."""
    shape = shape_of(main.details)
    # Nothing can be removed from a graph: dead vectors stay until it is built anew.
    keeps_dead = shape.kind == "hnsw"
    has_too_many = keeps_dead and dead > main.count * 2 * state.settings.stale_share
    if shape.kind == "flat" or live > _MOST_GROWTH * shape.trained or has_too_many:
        return _build(state)
    faiss_index = cache.read_whole(state.directory, main, state.digests, state.dim)
    if faiss_index is None:
        return _build(state)
    newer = rows.chunk_ids(state.connection, main.max_id)
    removed = rows.sorted_ids(
        state.connection.execute(
            "SELECT group_concat(chunk_id) FROM tombstones WHERE chunk_id <= ?", (main.max_id,)
        ).get
    )
    gone = removed[:0] if keeps_dead else removed
    cache.extend(state.connect, faiss_index, state.dim, newer, gone)
    if faiss_index.ntotal != live + (dead if keeps_dead else 0):
        return _build(state)
    name = name_of("vectors", state.generation)
    digest = cache.write(state.directory / name, faiss_index)
    newest = max(main.max_id, int(newer[-1]) if len(newer) else 0)
    row = CacheRow(state.generation, name, digest, newest, faiss_index.ntotal, main.details)
    return Change(row, None, main.max_id if keeps_dead else 0)
