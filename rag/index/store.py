"""The index as a folder: what it holds, and who may read and write it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from rag.errors import LockedError, StoreError
from rag.index import rows
from rag.index.caches import CacheRow, Digests
from rag.index.contents import Contents
from rag.index.disk import commits, database, steps
from rag.index.disk.lock import hold_lock
from rag.index.rows import FileState, Manifest, StoredRoot
from rag.index.schema import FORMAT, check_format, create, format_of, migrate
from rag.index.snapshot import OpenCaches, Snapshot
from rag.index.vectors import cache, optimizing
from rag.index.vectors.kinds import CacheSettings, shape_of
from rag.index.writer import Writer
from rag.protocols import Embedder
from rag.types import Chunk, Document, VectorSearch

_LOOKS = 5
# Rewriting a database of a few gigabytes.
_MIGRATION_SECONDS = 60.0


class Index:
    """An index folder. Reading is safe from any thread and process; writing goes through `write`.

    Args:
        directory: the folder.
        wait: seconds for which another writer is waited for, where nothing else is said.
        caches: how the caches of vectors are made and kept.

    Raises:
        StoreError: from every method, if the folder holds no index or a damaged one.
    """

    def __init__(
        self, directory: Path, *, wait: float = 0.0, caches: CacheSettings | None = None
    ) -> None:
        self.directory = directory
        self._wait = wait
        self._settings = caches or CacheSettings()
        self._digests = Digests()
        self._migrated = False
        self._caches = OpenCaches(directory, self._digests, self._settings)

    def exists(self) -> bool:
        """Whether an index was ever committed here."""
        if not database.remains(self.directory):
            if not database.exists(self.directory):
                return False
            with (
                database.explain_errors(self.directory),
                database.open_to_read(self.directory) as connection,
            ):
                # Whoever began it may have been killed before there were tables.
                if format_of(connection) is None:
                    return False
        return self.manifest() is not None

    def check(self) -> None:
        """Nothing, if there is an index here.

        Raises:
            StoreError: if there is none.
        """
        with self._connect():
            pass

    def manifest(self) -> Manifest | None:
        """With what the index was built; None before the first commit."""
        with self._connect() as connection:
            return rows.manifest(connection)

    def counts(self) -> dict[str, int]:
        """Numbers of `files` that gave documents, of `documents` and of `chunks`."""
        with self._connect() as connection:
            numbers = connection.execute(
                "SELECT (SELECT count(DISTINCT file_id) FROM documents), "
                "(SELECT count(*) FROM documents), (SELECT count(*) FROM chunks)"
            ).get
        return dict(zip(("files", "documents", "chunks"), numbers, strict=True))

    def size(self) -> int:
        """Bytes on disk."""
        found = [file.stat() for file in self.directory.rglob("*") if file.is_file()]
        # Generations of a cache share what has not changed.
        return sum({(file.st_dev, file.st_ino): file.st_size for file in found}.values())

    def document(self, document_id: str) -> Document | None:
        """A stored document, or None."""
        with self._connect() as connection:
            row = connection.execute(
                f"SELECT {rows.DOCUMENT_COLUMNS} FROM documents WHERE id = ?", (document_id,)
            ).fetchone()
        return rows.document(row) if row else None

    def documents(self) -> Iterator[Document]:
        """All documents by source, one consistent state of the index."""
        with self._connect() as connection:
            for row in connection.execute(
                f"SELECT {rows.DOCUMENT_COLUMNS} FROM documents ORDER BY source, id"
            ):
                yield rows.document(row)

    def chunks(self, document_id: str) -> list[Chunk]:
        """The chunks of one document in order."""
        with self._connect() as connection:
            found = rows.passages(connection, "document_id = ?", (document_id,))
            return [chunk for chunk, _, _ in found]

    def roots(self) -> list[StoredRoot]:
        """The folders and files that the index keeps to."""
        with self._connect() as connection:
            return rows.stored_roots(connection)

    def files(self) -> Iterator[FileState]:
        """What is known of each file, by path."""
        with self._connect() as connection:
            for row in connection.execute(f"SELECT {rows.FILE_COLUMNS} FROM files ORDER BY path"):
                yield rows.file_state(connection, row)

    def find(self, name: str) -> list[Document]:
        """The documents whose id or source is `name`; else whose source ends with it."""
        columns = f"SELECT {rows.DOCUMENT_COLUMNS} FROM documents"
        with self._connect() as connection:
            found = connection.execute(
                f"{columns} WHERE id = ? OR source = ? ORDER BY source, id", (name, name)
            ).fetchall()
            if not found:
                # Whole names only: `b.md` is not meant by `ab.md`.
                found = connection.execute(
                    f"{columns} WHERE substr(source, -length(?)) = ? ORDER BY source, id LIMIT 20",
                    (f"/{name}", f"/{name}"),
                ).fetchall()
        return [rows.document(row) for row in found]

    @contextmanager
    def write(self, *, wait: float | None = None) -> Iterator[Writer]:
        """The one writer of this index; what it did not commit is undone at the end.

        Where another writer is at work, it is waited for up to `wait` seconds.

        Raises:
            LockedError: if another writer is still at work then, naming it.
            StoreError: if the disk is full or read-only, or the index is damaged.
        """
        seconds = self._wait if wait is None else wait
        with hold_lock(self.directory, wait=seconds), self._open_to_write() as connection:
            yield Writer(connection, self.directory, self._digests, self._settings)

    def compact(self, *, wait: float | None = None) -> bool:
        """Rewrite the index without what was removed from it: no byte of that remains.

        Returns False if a reader that was at work all the while keeps a part of the log, which
        may hold removed text until the next writer or `compact` clears it.

        Raises:
            LockedError: if another writer is at work, for longer than `wait` seconds.
            StoreError: if there is no index, or it cannot be written.
        """
        self.check()
        with self.write(wait=wait) as writer:
            return writer.compact()

    def optimize(
        self, *, wait: float = float("inf"), progress: cache.BuildProgress = cache.no_progress
    ) -> VectorSearch:
        """Build the vectors' cache anew beside readers and writers; returns how it is searched.

        Only at the end it becomes a writer, which waits for another one up to `wait` seconds.
        Whatever was written meanwhile is in the index, and newer than the cache. `progress` is
        called with a stage, and how many vectors of how many are done.

        Raises:
            LockedError: if another writer is at work for longer, or this is being done already.
            StoreError: if there is no index, it was built anew meanwhile, or cannot be written.
        """
        row = optimizing.optimize(
            self.directory, self._connect, lambda: self.write(wait=wait), self._settings, progress
        )
        return _vector_search(row)

    def vector_search(self) -> VectorSearch | None:
        """How vectors are searched, and how well; None before there is a cache of them."""
        with self._connect() as connection:
            row = rows.cache_row(connection, "vectors")
        return _vector_search(row) if row else None

    @contextmanager
    def snapshot(self, on_begin: Callable[[Snapshot], None] | None = None) -> Iterator[Snapshot]:
        """One state of the index for as many looks as a search takes.

        `on_begin` is called with it before caches are opened, which may take its time, and again
        with a newer state where that is taken.
        """
        for attempt in range(1, _LOOKS + 1):
            with self._connect() as connection:
                snapshot = Snapshot(self.directory, connection, self._caches)
                if on_begin is not None:
                    on_begin(snapshot)
                # To build what a busy writer has cleared away since would take far longer than to
                # begin anew, with the next state. What is damaged has to be built.
                if attempt == _LOOKS or snapshot.is_timely():
                    yield snapshot
                    return

    @contextmanager
    def contents(self) -> Iterator[Contents]:
        """One state of the index as a whole, to copy it or to carry it elsewhere."""
        with self._connect() as connection:
            yield Contents(self.directory, connection)

    @contextmanager
    def _open_to_write(self) -> Iterator[apsw.Connection]:
        if not database.exists(self.directory) and database.remains(self.directory):
            # It would be started anew, and what is lost forgotten.
            raise database.missing_error(self.directory)
        try:
            migrate(self.directory)
            least = commits.read(self.directory)
            with closing(database.open_to_write(self.directory)) as connection:
                if format_of(connection) is None:
                    create(connection, self.directory)
                    steps.sync_directory(self.directory)
                    steps.sync_directory(self.directory.absolute().parent)
                self._check(connection, least)
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except BrokenPipeError:
            # Not of the index: whoever was told of the progress has left.
            raise
        except (apsw.Error, OSError) as error:
            said = database.reason(error) if isinstance(error, apsw.Error) else error
            outlook = (
                "run `rag doctor`, or bring back a copy"
                if database.is_damage(error)
                else "what was committed before is unharmed"
            )
            raise StoreError(f"{self.directory}: cannot be written: {said}: {outlook}") from error

    @contextmanager
    def _connect(self) -> Iterator[apsw.Connection]:
        with database.explain_errors(self.directory):
            if not self._is_of_this_format():
                self._bring_up()
            # Before the look: a commit after it may be noted already and not be seen.
            least = commits.read(self.directory)
            with database.open_to_read(self.directory) as connection:
                connection.execute("BEGIN")
                self._check(connection, least)
                yield connection

    def _format(self) -> int | None:
        with database.open_to_read(self.directory) as connection:
            return format_of(connection)

    def _bring_up(self) -> None:
        """Bring the index to this format, which writes it, although it is to be read only."""
        try:
            # Another reader may be at it.
            with hold_lock(self.directory, wait=max(self._wait, _MIGRATION_SECONDS)):
                migrate(self.directory)
        except LockedError:
            raise
        except (apsw.Error, OSError, StoreError) as error:
            said = database.reason(error) if isinstance(error, apsw.Error) else error
            raise StoreError(
                f"{self.directory}: is to be brought up to index format {FORMAT} first: {said}"
            ) from error

    def _check(self, connection: apsw.Connection, least: int) -> None:
        check_format(format_of(connection), self.directory)
        database.check_pages(connection, self.directory)
        commits.check(self.directory, rows.commits(connection), least)

    def _is_of_this_format(self) -> bool:
        """Looked at once: nothing brings an index back to an older format."""
        if not self._migrated:
            # Another process may be bringing it up.
            found = database.when_free(self._format)
            check_format(found, self.directory)
            self._migrated = found == FORMAT
        return self._migrated


def _vector_search(row: CacheRow) -> VectorSearch:
    shape = shape_of(row.details)
    return VectorSearch(
        kind=shape.kind,
        vectors=row.count,
        lists=shape.lists,
        probed=shape.probes or shape.ef,
        depth=shape.depth,
        recall_at_10=round(shape.recall, 4),
        recall_at_100=round(shape.recall_100, 4),
        milliseconds=shape.milliseconds,
    )


def check_embedder(manifest: Manifest, embedder: Embedder, directory: Path) -> None:
    """Refuse an embedder whose vectors cannot be compared with those of the index.

    Raises:
        StoreError: naming both embedders and the cure.
    """
    difference = ("", "")
    if manifest.embedder == embedder.name:
        found = _difference(manifest, embedder)
        if found is None:
            return
        difference = found
    wanted = manifest.embedder + (f"@{manifest.revision}" if manifest.revision else "")
    raise StoreError(
        f"{directory}: holds vectors of {manifest.embedder}{difference[0]}, the embedder is "
        f"{embedder.name}{difference[1]}: run `rag index --rebuild PATH...`, or pass "
        f"`--embedder {wanted}`"
    )


def _difference(manifest: Manifest, embedder: Embedder) -> tuple[str, str] | None:
    """How the index's embedder and one of the same name differ, as far as that is known."""
    revision = getattr(embedder, "revision", "")
    if manifest.revision and revision:
        same = manifest.revision == revision
        return None if same else (f" at revision {manifest.revision}", f" at revision {revision}")
    known, fingerprint = manifest.fingerprint, embedder.fingerprint
    if not known or not fingerprint or known == fingerprint:
        return None
    if known == getattr(embedder, "former_fingerprint", fingerprint):
        return None
    return f" with weights {known}", f" with weights {fingerprint}"
