"""All that one state of an index holds, in an order that does not depend on its history."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import apsw

from rag.errors import StoreError
from rag.index import caches, rows, terms
from rag.index.disk import commits, database, files, steps
from rag.index.rows import FileState, StoredChunk, StoredRoot
from rag.types import Document


class Contents(rows.State):
    """One state of an index as a whole, to be copied or carried elsewhere."""

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many `files`, `roots`, `documents` and `chunks` there are."""
        tables = ("files", "roots", "documents", "chunks")
        select = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        found = dict(zip(tables, self._connection.execute(f"SELECT {select}").get, strict=True))
        return found | {"roots": len(self.roots())}

    @cached_property
    def reading_settings(self) -> str:
        """The settings that files were last read with; empty if they were never noted."""
        return rows.reading_settings(self._connection)

    def files(self) -> Iterator[FileState]:
        """Yield what the index knows of each file, by path."""
        for row in self._connection.execute(f"SELECT {rows.FILE_COLUMNS} FROM files ORDER BY path"):
            yield rows.file_state(self._connection, row)

    def roots(self) -> list[StoredRoot]:
        """Return the folders and files that the index follows, or that wait to be, by path."""
        followed = {root.path: root for root in rows.stored_roots(self._connection)}
        waiting = {root.path: root for root in self.waiting_roots()}
        return sorted({**waiting, **followed}.values(), key=lambda root: root.path)

    def waiting_roots(self) -> list[StoredRoot]:
        """Return those that an imported index followed, and that nobody has named here yet."""
        return rows.waiting_roots(self._connection)

    def documents(self) -> Iterator[tuple[str, Document]]:
        """Yield all documents by id, each with the path of its file.

        Raises:
            StoreError: if one is of no file.
        """
        for path, *row in self._connection.execute(
            "SELECT (SELECT path FROM files WHERE id = file_id), "
            f"{rows.DOCUMENT_COLUMNS} FROM documents ORDER BY id"
        ):
            document = rows.document(row)
            if not isinstance(path, str):
                raise StoreError(
                    f"{self.directory}: holds a document of no file, {document.source}: run "
                    "`rag doctor`"
                )
            yield path, document

    def texts(self) -> Iterator[Document]:
        """Yield the documents that were added as texts, by id."""
        columns = ", ".join(f"documents.{name}" for name in rows.DOCUMENT_COLUMNS.split(", "))
        for row in self._connection.execute(
            f"SELECT {columns} FROM files JOIN documents ON file_id = files.id "
            f"WHERE {rows.IS_TEXT} ORDER BY path"
        ):
            yield rows.document(row)

    def chunks(self) -> Iterator[StoredChunk]:
        """Yield all chunks by the ids of their documents, without vectors."""
        for row in self._connection.execute(
            f'SELECT {rows.CARRIED_COLUMNS} FROM chunks ORDER BY document_id, ordinal, start, "end"'
        ):
            yield rows.carried_chunk(row)

    def vectors(self) -> Iterator[bytes]:
        """Yield the vectors of `chunks` in the same order, as little-endian float16.

        Raises:
            StoreError: if one has another dimension than the index.
        """
        length = 2 * self.manifest.dim
        for (vector,) in self._connection.execute(
            'SELECT vector FROM chunks ORDER BY document_id, ordinal, start, "end"'
        ):
            if type(vector) is not bytes or len(vector) != length:
                raise StoreError(
                    f"{self.directory}: holds a vector that is not of dimension "
                    f"{self.manifest.dim} as the others: run `rag doctor`"
                )
            yield vector

    def copy(self, directory: Path, progress: Callable[[int, int], None]) -> None:
        """Copy the database with its checksums, and the caches, into an empty folder.

        A cache that a writer takes away meanwhile is left out: the next reader builds it anew.
        `progress` is called with the number of bytes that are done, and of all.

        Raises:
            StoreError: if the database is damaged.
            OSError: if the folder cannot be written.
        """
        with steps.step("copy", directory / database.NAME):
            try:
                database.copy(self._connection, directory, progress)
            except apsw.FullError as error:
                # The error is of the copy, not of the index.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        for kind in caches.KINDS:
            row = rows.cache_row(self._connection, kind)
            if row is not None:
                _copy_cache(self.directory / row.name, directory / row.name)
        commits.note(directory, rows.commits(self._connection))
        steps.sync_directory(directory)


def _copy_cache(source: Path, target: Path) -> None:
    """Link a cache into another folder: files of caches never change, so a link is enough.

    A cache that is gone meanwhile, cannot be read, or holds a link is left out.
    """
    try:
        parts = caches.list_files(source) if files.is_folder(source) else None
    except OSError:
        return
    if parts is None and not files.is_ordinary(source):
        return
    try:
        if parts is None:
            _link(source, target)
            return
        steps.make_directory(target)
        for path in parts:
            _link(path, target / path.name)
        # Who opens one index must not wait for who opens the other.
        files.create(target / terms.LOCK_TO_OPEN).close()
    except (FileNotFoundError, PermissionError):
        steps.remove(target)
    else:
        steps.sync_directory(target)


def _link(source: Path, target: Path) -> None:
    steps.link(source, target)
    steps.sync_path(target)
