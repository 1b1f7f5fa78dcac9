"""Build the vectors' cache beside readers and writers, and put it in place at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from rag.errors import StoreError
from rag.index import rows
from rag.index.caches import CacheRow
from rag.index.vectors import cache
from rag.index.vectors.cache import BuildProgress
from rag.index.vectors.kinds import CacheSettings, choose, shape_of

if TYPE_CHECKING:
    from rag.index.writer import Writer


def optimize(
    directory: Path,
    connect: Callable[[], AbstractContextManager[apsw.Connection]],
    write: Callable[[], AbstractContextManager[Writer]],
    settings: CacheSettings,
    progress: BuildProgress,
) -> CacheRow:
    """Build the cache that suits the stored vectors, and name it in a transaction of its own.

    The vectors are read in many short looks, so that the log can be cleared meanwhile.

    Raises:
        LockedError: if another process optimizes already.
        StoreError: if there are no vectors, the index was built anew meanwhile, or it cannot be
            written.
    """
    with cache.hold_optimize_lock(directory):
        with connect() as connection:
            manifest = rows.manifest(connection)
            ids = rows.chunk_ids(connection)
            before = rows.cache_row(connection, "vectors")
        if manifest is None or not len(ids):
            raise StoreError(
                f"{directory}: holds no passages: index something with `rag index PATH...`"
            )

        @contextmanager
        def connect_if_same() -> Iterator[apsw.Connection]:
            with connect() as looking:
                if rows.manifest(looking) != manifest:
                    raise cache.rebuilt_error(directory)
                yield looking

        present = shape_of(before.details).kind if before else ""
        kind = choose(settings, len(ids), manifest.dim, present)
        faiss_index, shape, held = cache.build(
            connect_if_same, manifest.dim, ids, kind, settings.recall, progress
        )
        path = directory / cache.OPTIMIZED
        try:
            try:
                progress("write", 0, len(held))
                digest = cache.write(path, faiss_index)
            except OSError as error:
                raise StoreError(
                    f"{path}: cannot be written: {error.strerror or error}; the index is as it was"
                ) from error
            newest, details = int(ids[-1]), asdict(shape)
            row = CacheRow(0, cache.OPTIMIZED, digest, newest, faiss_index.ntotal, details)
            with write() as writer:
                if writer.manifest() != manifest:
                    raise cache.rebuilt_error(directory)
                generation = before.generation if before else 0
                return writer.take_cache(row, faiss_index, held, since=generation)
        finally:
            cache.remove_unfinished(directory)
