"""Building the vectors' cache beside readers and writers, and putting it in place at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from rag.errors import LockedError, StoreError
from rag.index import files, rows
from rag.index.caches import CacheRow
from rag.index.vectors import cache
from rag.index.vectors.cache import Told
from rag.index.vectors.kinds import CacheSettings, choose, shape_of

if TYPE_CHECKING:
    from rag.index.writer import Writer

NAME = "optimized.faiss"
_LOCK = "optimize.lock"


def optimize(
    directory: Path,
    reading: Callable[[], AbstractContextManager[apsw.Connection]],
    write: Callable[[], AbstractContextManager[Writer]],
    settings: CacheSettings,
    told: Told,
) -> CacheRow:
    """Build the cache that suits what is stored, and name it in one transaction of its own.

    What is stored is read in many short looks, so that the log can be cleared meanwhile.

    Raises:
        LockedError: if this is being done already.
        StoreError: if there is nothing to build from, the index was built anew meanwhile, or it
            cannot be written.
    """
    with _alone(directory):
        with reading() as connection:
            manifest = rows.manifest(connection)
            ids = rows.chunk_ids(connection)
            before = rows.cache_row(connection, "vectors")
        if manifest is None or not len(ids):
            raise StoreError(
                f"{directory}: holds no passages: index something with `rag index PATH...`"
            )

        @contextmanager
        def connect() -> Iterator[apsw.Connection]:
            with reading() as looking:
                if rows.manifest(looking) != manifest:
                    raise rebuilt(directory)
                yield looking

        present = shape_of(before.details).kind if before else ""
        kind = choose(settings, len(ids), manifest.dim, present)
        made, shape, held = cache.build(connect, manifest.dim, ids, kind, settings.recall, told)
        path = directory / NAME
        try:
            try:
                told("write", 0, len(held))
                digest = cache.write(path, made)
            except OSError as error:
                raise StoreError(
                    f"{path}: cannot be written: {error.strerror or error}; the index is as it was"
                ) from error
            row = CacheRow(0, NAME, digest, int(ids[-1]), made.ntotal, shape.details())
            with write() as writer:
                if writer.manifest() != manifest:
                    raise rebuilt(directory)
                generation = before.generation if before else 0
                return writer.take_cache(row, made, held, since=generation)
        finally:
            _forget(directory)


def remove_leftovers(directory: Path) -> None:
    """Remove what an interrupted run left; what is being built stays."""
    if any(directory.glob(f"{NAME}*")):
        with suppress(LockedError, StoreError), _alone(directory):
            _forget(directory)


def rebuilt(directory: Path) -> StoreError:
    """What to say where what was read is not what the index holds now."""
    return StoreError(
        f"{directory}: was built anew meanwhile, and is as that left it: run "
        "`rag index --optimize` again"
    )


def _forget(directory: Path) -> None:
    for path in directory.glob(f"{NAME}*"):
        files.remove(path)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(directory / _LOCK)
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
