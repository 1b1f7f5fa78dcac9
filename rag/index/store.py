"""The index as a folder: read it, write it, keep it up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from rag.errors import LockedError, StoreError
from rag.index import rows
from rag.index.caches import CacheRow, Digests
from rag.index.contents import Contents
from rag.index.disk import commits, database, files, steps
from rag.index.disk.lock import hold_lock
from rag.index.rows import FileState, Manifest, StoredRoot
from rag.index.schema import FORMAT, check_format, check_schema, create, format_of, migrate
from rag.index.snapshot import OpenCaches, Snapshot
from rag.index.vectors import cache, optimizing
from rag.index.vectors.kinds import CacheSettings, shape_of
from rag.index.writer import Writer
from rag.protocols import Embedder
from rag.types import Chunk, Document, Listing, VectorSearch

if TYPE_CHECKING:
    from rag.query.filters import Filter

_LOOKS = 5
# Rewriting a database of a few gigabytes takes so long.
_MIGRATION_SECONDS = 60.0


class Index:
    """An index folder. Reading is safe from any thread and process; writing goes through `write`.

    Args:
        directory: the folder.
        wait: how many seconds a writer waits for another one, unless a call says otherwise.
        caches: how the caches of vectors are made and kept up to date.

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
        """Return whether an index was ever committed here."""
        if not database.remains(self.directory):
            if not database.exists(self.directory):
                return False
            with (
                database.explain_errors(self.directory),
                database.open_to_read(self.directory) as connection,
            ):
                # Its first writer may have been killed before there were tables.
                if format_of(connection) is None:
                    return False
        return self.manifest() is not None

    def check(self) -> None:
        """Raise StoreError unless there is an index here."""
        with self._connect():
            pass

    def manifest(self) -> Manifest | None:
        """Return what the index was built with; None before the first commit."""
        with self._connect() as connection:
            return rows.manifest(connection)

    def counts(self) -> dict[str, int]:
        """Count the `files` that gave documents, the `documents` and the `chunks`."""
        with self._connect() as connection:
            numbers = connection.execute(
                "SELECT (SELECT count(DISTINCT file_id) FROM documents), "
                "(SELECT count(*) FROM documents), (SELECT count(*) FROM chunks)"
            ).get
        return dict(zip(("files", "documents", "chunks"), numbers, strict=True))

    def size(self) -> int:
        """Return how many bytes the index takes on the disk."""
        found = [file.lstat() for file in self.directory.rglob("*") if files.is_ordinary(file)]
        # Generations of a cache share files that have not changed.
        return sum({(file.st_dev, file.st_ino): file.st_size for file in found}.values())

    def document(self, document_id: str) -> Document | None:
        """Return a stored document, or None."""
        with self._connect() as connection:
            row = connection.execute(
                f"SELECT {rows.DOCUMENT_COLUMNS} FROM documents WHERE id = ?", (document_id,)
            ).fetchone()
            return rows.document(row) if row else None

    def documents(self, ids: Iterable[str] | None = None) -> Iterator[Document]:
        """Yield all documents of one state of the index, by source; or those of `ids`, in order.

        An id that no document has is passed over.
        """
        columns = f"SELECT {rows.DOCUMENT_COLUMNS} FROM documents"
        with self._connect() as connection:
            if ids is None:
                for row in connection.execute(f"{columns} ORDER BY source, id"):
                    yield rows.document(row)
                return
            for each in ids:
                row = connection.execute(f"{columns} WHERE id = ?", (each,)).fetchone()
                if row is not None:
                    yield rows.document(row)

    def count_texts(self) -> int:
        """Count the documents that were added as texts."""
        with self._connect() as connection:
            return int(connection.execute(f"SELECT count(*) FROM files WHERE {rows.IS_TEXT}").get)

    def entries(self, wanted: Filter | None, limit: int, offset: int) -> Listing:
        """Return the list of documents that pass a filter, from number `offset` on, by source.

        Raises:
            FilterError: if the filter asks for pages or headings, which passages have.
        """
        # Most commands list nothing, and need not import what filters.
        from rag.index.filtering import document_entries

        with self._connect() as connection:
            return document_entries(connection, wanted, limit, offset)

    def chunks(self, document_id: str) -> list[Chunk]:
        """Return the chunks of one document in order."""
        with self._connect() as connection:
            found = rows.passages(connection, "document_id = ?", (document_id,))
            return [chunk for chunk, _, _ in found]

    def roots(self) -> list[StoredRoot]:
        """Return the folders and files that the index follows."""
        with self._connect() as connection:
            return rows.stored_roots(connection)

    def waiting_roots(self) -> list[StoredRoot]:
        """Return those that an imported index followed, and that nobody has named here yet."""
        with self._connect() as connection:
            return rows.waiting_roots(connection)

    def files(self) -> Iterator[FileState]:
        """Yield what the index knows of each file, by path."""
        with self.contents() as contents:
            yield from contents.files()

    def find(self, name: str) -> list[Document]:
        """Find the documents whose id or source is `name`, or else whose source ends with it."""
        columns = f"SELECT {rows.DOCUMENT_COLUMNS} FROM documents"
        with self._connect() as connection:
            found = connection.execute(
                f"{columns} WHERE id = ? OR source = ? ORDER BY source, id", (name, name)
            ).fetchall()
            if not found:
                # Only whole names count: `b.md` does not find `ab.md`.
                found = connection.execute(
                    f"{columns} WHERE substr(source, -length(?)) = ? ORDER BY source, id LIMIT 20",
                    (f"/{name}", f"/{name}"),
                ).fetchall()
            return [rows.document(row) for row in found]

    def path_of(self, document_id: str) -> str:
        """Return the path, or the address, of the file that a document came from; empty if none."""
        with self._connect() as connection:
            return rows.path_of(connection, document_id)

    @contextmanager
    def write(self, *, wait: float | None = None) -> Iterator[Writer]:
        """Open the one writer of this index; what it did not commit is undone at the end.

        While another writer is at work, this waits for it up to `wait` seconds.

        Raises:
            LockedError: if the other writer is still at work then; the error names it.
            StoreError: if the disk is full or read-only, or the index is damaged.
        """
        seconds = self._wait if wait is None else wait
        with hold_lock(self.directory, wait=seconds), self._open_to_write() as connection:
            yield Writer(connection, self.directory, self._digests, self._settings)

    def compact(self, *, wait: float | None = None) -> bool:
        """Rewrite the index without what was removed from it, so that no byte of that remains.

        Returns False if a reader that was at work all the while keeps part of the log, which
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

        Only at its end this becomes a writer, which waits for another one up to `wait` seconds.
        What others wrote meanwhile stays in the index, as newer than the cache. `progress` is
        called with a stage, the number of vectors that are done, and of all.

        Raises:
            LockedError: if another writer is at work for longer, or another process optimizes.
            StoreError: if there is no index, it was built anew meanwhile, or cannot be written.
        """
        row = optimizing.optimize(
            self.directory, self._connect, lambda: self.write(wait=wait), self._settings, progress
        )
        return _vector_search(row)

    def vector_search(self) -> VectorSearch | None:
        """Return how vectors are searched, and how well; None before there is a cache of them."""
        with self._connect() as connection:
            row = rows.cache_row(connection, "vectors")
        return _vector_search(row) if row else None

    @contextmanager
    def snapshot(self, on_begin: Callable[[Snapshot], None] | None = None) -> Iterator[Snapshot]:
        """Open one state of the index, to be searched as often as one likes.

        `on_begin` is called with it before its caches are opened, which may take long, and again
        if a newer state is taken instead.
        """
        for attempt in range(1, _LOOKS + 1):
            with self._connect() as connection:
                snapshot = Snapshot(self.directory, connection, self._caches)
                if on_begin is not None:
                    on_begin(snapshot)
                # A cache that a busy writer has removed since would take far longer to build than
                # the next state takes to open. Only a damaged one has to be built.
                if attempt == _LOOKS or snapshot.is_timely():
                    yield snapshot
                    return

    @contextmanager
    def contents(self) -> Iterator[Contents]:
        """Open one state of the index as a whole, to copy it or to carry it elsewhere."""
        with self._connect() as connection:
            yield Contents(self.directory, connection)

    @contextmanager
    def _open_to_write(self) -> Iterator[apsw.Connection]:
        if not database.exists(self.directory) and database.remains(self.directory):
            # SQLite would begin a new one, and nobody would notice the loss.
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
            # This is no error of the index: who watched its progress has left.
            raise
        except (apsw.Error, OSError, database.WrongValueError, UnicodeDecodeError) as error:
            said = error if isinstance(error, OSError) else database.reason(error)
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
            # This is read first: a commit that comes later may be noted, and not be seen below.
            least = commits.read(self.directory)
            with database.open_to_read(self.directory) as connection:
                connection.execute("BEGIN")
                self._check(connection, least)
                yield connection

    def _format(self) -> int | None:
        with database.open_to_read(self.directory) as connection:
            return format_of(connection)

    def _bring_up(self) -> None:
        """Migrate the index to this format, which writes it even for a reader."""
        try:
            # Another reader may be migrating it.
            with hold_lock(self.directory, wait=max(self._wait, _MIGRATION_SECONDS)):
                migrate(self.directory)
        except LockedError:
            raise
        except (apsw.Error, OSError, StoreError, UnicodeDecodeError) as error:
            said = error if isinstance(error, (OSError, StoreError)) else database.reason(error)
            raise StoreError(
                f"{self.directory}: is to be brought up to index format {FORMAT} first: {said}"
            ) from error

    def _check(self, connection: apsw.Connection, least: int) -> None:
        check_format(format_of(connection), self.directory)
        check_schema(connection, FORMAT, self.directory)
        database.check_pages(connection, self.directory)
        commits.check(self.directory, rows.commits(connection), least)

    def _is_of_this_format(self) -> bool:
        """Return whether the index has this format; a yes is remembered, as no index goes back."""
        if not self._migrated:
            # Another process may be migrating it.
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
    """Raise StoreError unless an embedder's vectors can be compared with those of the index.

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
    """Describe how the index's embedder and one of the same name differ; None if they do not."""
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
