"""Changes to an index."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, astuple, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from rag.errors import StoreError
from rag.index import rows, terms
from rag.index.caches import (
    KINDS,
    CacheRow,
    DamagedCacheError,
    Digests,
    find_caches,
    name_of,
    remove_others,
)
from rag.index.disk import commits, database, steps
from rag.index.rows import FileRecord, FileState, Manifest, StoredChunk, StoredRoot
from rag.index.vectors import cache, refreshing
from rag.index.vectors.kinds import CacheSettings
from rag.types import Chunk, Document, Problem

if TYPE_CHECKING:
    from rag.index.rows import Ids
    from rag.types import Vectors

_VECTORS = ("vectors", "recent")
# The cells of a chunk that are stored as they are.
_CELLS = attrgetter(
    "document_id", "start", "end", "ordinal", "page", "line", "passage_hash", "vector"
)


class Writer:
    """Changes to an index, visible to readers at `commit` and not before."""

    def __init__(
        self,
        connection: apsw.Connection,
        directory: Path,
        digests: Digests,
        settings: CacheSettings | None = None,
    ) -> None:
        self._settings = settings or CacheSettings()
        self._connection = connection
        self._directory = directory
        self._digests = digests
        # The generation of terms that this writer wrote or checked: one check is enough.
        self._trusted_terms: CacheRow | None = None
        self._terms_anew = False
        self._log_bytes = 0
        # The documents that came of each unfinished file; a table, as there may be millions.
        connection.execute(
            "CREATE TEMP TABLE seen (file_id INTEGER, document_id TEXT, "
            "PRIMARY KEY (file_id, document_id)) WITHOUT ROWID"
        )
        # The chunks that this transaction removes, which the cache of terms needs.
        connection.execute("CREATE TEMP TABLE gone (chunk_id INTEGER PRIMARY KEY)")
        connection.execute(
            "CREATE TEMP TRIGGER note_gone AFTER DELETE ON main.chunks BEGIN "
            "INSERT OR IGNORE INTO gone VALUES (OLD.id); END"
        )

    def manifest(self) -> Manifest | None:
        """Return what the index was built with; None if it is new."""
        return rows.manifest(self._connection)

    def set_manifest(self, manifest: Manifest) -> None:
        """Note what this index is built with."""
        self._begin()
        self._connection.executemany(
            "INSERT OR REPLACE INTO manifest VALUES (?, ?)",
            [(key, str(value)) for key, value in asdict(manifest).items()],
        )

    def clear(self) -> None:
        """Remove everything: manifest, files, roots, languages, and the rows of the caches."""
        self._begin()
        self._connection.execute("DELETE FROM manifest WHERE key NOT IN ('format', 'commits')")
        for table in ("files", "roots", "languages", "caches", "tombstones"):
            self._connection.execute(f"DELETE FROM {table}")

    def reading_settings(self) -> str:
        """Return the settings that the last run read files with; empty if there was none."""
        return rows.reading_settings(self._connection)

    def set_reading_settings(self, settings: str) -> None:
        """Note the settings that files were read with."""
        if settings != self.reading_settings():
            self._begin()
            self._connection.execute(
                "INSERT OR REPLACE INTO manifest VALUES ('reading_settings', ?)", (settings,)
            )

    def roots(self) -> list[StoredRoot]:
        """Return the folders and files that the index follows."""
        return rows.stored_roots(self._connection)

    def waiting_roots(self) -> list[StoredRoot]:
        """Return those that an imported index followed, and that nobody has named here yet."""
        return rows.waiting_roots(self._connection)

    def set_waiting_roots(self, roots: Sequence[StoredRoot]) -> None:
        """Note what an imported index followed, in place of what was noted before."""
        self._begin()
        self._connection.execute("DELETE FROM manifest WHERE key = ?", (rows.WAITING_KEY,))
        if roots:
            noted = rows.to_json([astuple(root) for root in roots])
            self._connection.execute(
                "INSERT INTO manifest VALUES (?, ?)", (rows.WAITING_KEY, noted)
            )

    def put_root(self, root: StoredRoot) -> None:
        """Follow a folder or file from now on."""
        self._begin()
        self._wait_no_longer(root.path)
        patterns = rows.to_json(root.include), rows.to_json(root.exclude)
        self._connection.execute(
            "INSERT OR REPLACE INTO roots VALUES (?, ?, ?, ?, ?)",
            (root.path, root.source, *patterns, int(root.hidden)),
        )

    def remove_root(self, path: str) -> None:
        """Follow a folder or file no longer; its documents stay."""
        self._begin()
        self._wait_no_longer(path)
        self._connection.execute("DELETE FROM roots WHERE path = ?", (path,))

    def _wait_no_longer(self, path: str) -> None:
        waiting = self.waiting_roots()
        others = [root for root in waiting if root.path != path]
        if others != waiting:
            self.set_waiting_roots(others)

    def file(self, path: str) -> FileState | None:
        """Return what the index knows of the file at an absolute path."""
        row = self._connection.execute(
            f"SELECT {rows.FILE_COLUMNS} FROM files WHERE path = ?", (path,)
        ).fetchone()
        return rows.file_state(self._connection, row) if row else None

    def path_of(self, document_id: str) -> str:
        """Return the path, or the address, of the file that a document came from; empty if none."""
        return rows.path_of(self._connection, document_id)

    def files_below(self, path: str, up_to: int | None = None) -> Iterator[tuple[int, FileRecord]]:
        """Yield id and record of the file at `path` and those below it, with ids up to `up_to`."""
        # The code point after the separator bounds all paths that begin with the folder.
        separator = "/" if "://" in path else os.sep
        below = path.rstrip(separator)
        rows_found = self._connection.execute(
            f"SELECT {rows.FILE_COLUMNS} FROM files "
            "WHERE (path = ? OR (path >= ? AND path < ?)) AND id <= coalesce(?, id)",
            (path, below + separator, below + chr(ord(separator) + 1), up_to),
        )
        for row in rows_found:
            file_id, record, _ = rows.file_record(row)
            yield file_id, record

    def last_file_id(self) -> int:
        """Return the highest id of a file so far."""
        return int(self._connection.execute("SELECT coalesce(max(id), 0) FROM files").get)

    def same_content(self, record: FileRecord, after: int) -> str | None:
        """Return the source of another file with the same bytes and an id above `after`, if any."""
        row = self._connection.execute(
            "SELECT source FROM files WHERE sha256 = ? AND path != ? AND id > ? LIMIT 1",
            (record.sha256, record.path, after),
        ).fetchone()
        return str(row[0]) if row and record.sha256 else None

    def begin_file(self, record: FileRecord) -> int:
        """Begin to put the documents of a file, which is not complete until `end_file`.

        Returns the file's id.
        """
        self._begin()
        added = self._connection.execute(
            "INSERT INTO files (path, source, size, mtime_ns, sha256, complete) "
            "VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT (path) DO UPDATE SET "
            "source = excluded.source, complete = 0 RETURNING id",
            (record.path, record.source, record.size, record.mtime_ns, record.sha256),
        )
        return int(added.get)

    def put_document(
        self,
        file_id: int,
        document: Document,
        chunks: Sequence[Chunk],
        passages: Sequence[str],
        vectors: Vectors,
    ) -> None:
        """Put a document in place of what was known of it: all of it, or nothing.

        `passages` are what was embedded for each chunk; vectors are float32 `[len(chunks), dim]`,
        stored as float16.

        Raises:
            StoreError: if the document's id belongs to another file that is still there.
        """
        self._begin()
        self._connection.execute("SAVEPOINT document")
        try:
            self._take(file_id, document)
            self._insert_document(file_id, document)
            self._insert_chunks(
                [
                    rows.stored_chunk(chunk, passage, vector)
                    for chunk, passage, vector in zip(chunks, passages, vectors, strict=True)
                ]
            )
        except BaseException:
            # Ctrl-C, too: a later commit must not hold a document without its chunks. On a full
            # disk SQLite may have undone the whole transaction already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO document")
            raise
        self._connection.execute("RELEASE document")

    def restore_file(self, state: FileState) -> int:
        """Put a file in the state in which it was exported; returns its id here.

        Its documents follow, by `restore_document` or `put_document`.
        """
        file_id = self.begin_file(state.record)
        self._settle(file_id, state.record, state.problems, complete=state.complete)
        return file_id

    def restore_document(
        self, file_id: int, document: Document, chunks: Sequence[StoredChunk]
    ) -> None:
        """Put a document with its chunks as they were exported, in place of any former one."""
        self._begin()
        self._insert_document(file_id, document)
        self._insert_chunks(chunks)

    def keep_document(self, file_id: int, document: Document) -> None:
        """Note that a document came again with the content that is stored."""
        self._begin()
        self._take(file_id, document)
        metadata = rows.to_json(dict(document.metadata))
        self._connection.execute(
            "UPDATE documents SET source = ?, modified = ?, metadata = ? WHERE id = ?",
            (document.source, document.modified, metadata, document.id),
        )

    def end_file(self, file_id: int, record: FileRecord, problems: Sequence[Problem]) -> None:
        """End a file, of which all is in now: documents that did not come again are removed."""
        self._begin()
        self._connection.execute(
            "DELETE FROM documents WHERE file_id = ? AND id NOT IN "
            "(SELECT document_id FROM seen WHERE file_id = ?)",
            (file_id, file_id),
        )
        self._settle(file_id, record, problems, complete=True)

    def fail_file(self, record: FileRecord, problems: Sequence[Problem]) -> None:
        """Note why a file cannot be read; its documents stay."""
        self._settle(self.begin_file(record), record, problems, complete=False)

    def keep_file(self, record: FileRecord) -> None:
        """Note the new time or name of a file whose content is unchanged."""
        self._begin()
        self._connection.execute(
            "UPDATE files SET source = ?, size = ?, mtime_ns = ? WHERE path = ?",
            (record.source, record.size, record.mtime_ns, record.path),
        )

    def remove_file(self, file_id: int) -> None:
        """Remove a file with its documents and chunks."""
        self._begin()
        self._connection.execute("DELETE FROM files WHERE id = ?", (file_id,))

    def take_out(self, document_ids: Sequence[str]) -> list[str]:
        """Remove broken documents and rows that belong to nothing; returns the documents' sources.

        Their files count as incomplete from then on: the next run reads them again.
        """
        self._begin()
        sources = []
        for document_id in document_ids:
            found = self._connection.execute(
                "DELETE FROM documents WHERE id = ? RETURNING source, file_id", (document_id,)
            ).fetchall()
            for source, file_id in found:
                sources.append(str(source))
                self._connection.execute("UPDATE files SET complete = 0 WHERE id = ?", (file_id,))
        orphans = self._connection.execute(
            "DELETE FROM chunks WHERE document_id NOT IN (SELECT id FROM documents) RETURNING id"
        ).fetchall()
        if orphans:
            # Nobody knows which files they were of.
            self._connection.execute("UPDATE files SET complete = 0")
        sources += [
            str(source)
            for (source,) in self._connection.execute(
                "DELETE FROM documents WHERE file_id NOT IN (SELECT id FROM files) RETURNING source"
            ).fetchall()
        ]
        self._connection.execute("DELETE FROM problems WHERE file_id NOT IN (SELECT id FROM files)")
        return sources

    def forget_caches(self, kinds: Collection[str]) -> None:
        """Forget the rows of caches that do not hold what they should, so that they are made anew.

        The cache of terms is made in the same commit: without it nothing is found by its words.
        """
        self._begin()
        for kind in kinds:
            self._connection.execute("DELETE FROM caches WHERE kind = ?", (kind,))

    def holds(self, document: Document) -> bool:
        """Return whether a document with this id and content is stored already."""
        row = self._connection.execute(
            "SELECT 1 FROM documents WHERE id = ? AND content_hash = ?",
            (document.id, document.content_hash),
        ).fetchone()
        return row is not None

    def known_vectors(self, passages: Sequence[str]) -> dict[str, Vectors]:
        """Return the vectors, float32 `[dim]`, of those passages that are embedded already."""
        manifest = self.manifest()
        if manifest is None:
            return {}
        by_hash = {rows.passage_hash(passage): passage for passage in passages}
        hashes = list(by_hash)
        found = {}
        for at in range(0, len(hashes), 500):
            part = hashes[at : at + 500]
            # Thousands of chunks may have the same passage: one of them is enough.
            matches = self._connection.execute(
                "SELECT passage_hash, vector FROM chunks WHERE id IN (SELECT min(id) FROM chunks "
                f"WHERE passage_hash IN ({','.join('?' * len(part))}) GROUP BY passage_hash)",
                part,
            )
            for digest, blob in matches:
                found[by_hash[digest]] = rows.vectors_of([blob], manifest.dim)[0]
        return found

    def commit(self) -> None:
        """Make everything since the last commit durable and visible, the terms' cache with it."""
        if not self._connection.in_transaction:
            return
        keep = self._refresh_terms()
        count = rows.commits(self._connection) + 1
        self._connection.execute(
            "INSERT OR REPLACE INTO manifest VALUES ('commits', ?)", (str(count),)
        )
        with steps.step("commit", self._directory / database.NAME):
            self._connection.execute("COMMIT")
        commits.note(self._directory, count)
        remove_others(self._directory, ("terms",), keep)
        self._bound_log()

    def refresh_cache(self, *, anew: bool = False) -> None:
        """Write new FAISS caches where the present ones are behind, damaged or missing.

        `anew` writes them in any case, without any removed vector.
        """
        manifest = self.manifest()
        if manifest is None:
            return
        # A commit of nothing renews a damaged cache of terms.
        self._begin()
        self.commit()
        change = refreshing.refresh(
            self._connection,
            self._directory,
            self._digests,
            self._settings,
            dim=manifest.dim,
            generation=self._next_generation(),
            anew=anew,
        )
        before = rows.cache_row(self._connection, "vectors")
        if change is not None:
            self._name(change)
        self._remove_other_vectors(None if anew or change is None else before)

    def take_cache(self, row: CacheRow, faiss_index: Any, held: Ids, *, since: int) -> CacheRow:
        """Replace the vectors' cache by one that `optimize` has built beside other writers.

        The file of `row` was written from `faiss_index`, which holds the ids `held`. `since` is the
        generation of the main cache when `optimize` began. A later generation may have been written
        to take out what was removed, which must not come back.

        Raises:
            StoreError: if the index holds too little of it still.
        """
        import numpy as np

        live = rows.chunk_ids(self._connection)
        dead = np.setdiff1d(held, live, assume_unique=True)
        missing = np.setdiff1d(live[live <= row.max_id], held, assume_unique=True)
        if len(missing) or 2 * len(dead) > len(held):
            raise cache.rebuilt_error(self._directory)
        present = rows.cache_row(self._connection, "vectors")
        digest = row.sha256
        if len(dead) and present is not None and present.generation != since:
            if row.details["kind"] == "hnsw":
                raise cache.rebuilt_error(self._directory)
            cache.extend(lambda: nullcontext(self._connection), faiss_index, 0, live[:0], dead)
            digest = cache.write(self._directory / row.name, faiss_index)
            dead = dead[:0]
        generation = self._next_generation()
        name = name_of("vectors", generation)
        steps.rename(self._directory / row.name, self._directory / name)
        recent = None
        if np.count_nonzero(live > row.max_id) > self._settings.stale_rows:
            recent = refreshing.write_recent(
                self._connection,
                self._directory,
                dim=faiss_index.d,
                after=row.max_id,
                generation=generation + 1,
            )
        taken = replace(
            row, generation=generation, name=name, sha256=digest, count=int(faiss_index.ntotal)
        )
        self._name(refreshing.Change(taken, recent, 0), dead)
        self._remove_other_vectors(present)
        return taken

    def _name(self, change: refreshing.Change, buried: Ids | None = None) -> None:
        """Name caches that were written, and drop the tombstones that they do not need."""
        self._begin()
        if change.main is not None:
            self._point("vectors", change.main)
        self._connection.execute("DELETE FROM caches WHERE kind = 'recent'")
        if change.recent is not None:
            self._point("recent", change.recent)
        self._connection.execute("DELETE FROM tombstones WHERE chunk_id > ?", (change.buried,))
        if buried is not None:
            self._connection.executemany(
                "INSERT INTO tombstones VALUES (?)", ((each,) for each in buried.tolist())
            )
        self.commit()

    def _remove_other_vectors(self, before: CacheRow | None) -> None:
        """Remove the caches of vectors that no row names, except a large one `before`.

        A reader that has just begun may be about to open that one, and could not build it itself.
        """
        keep = self._named_caches()
        if before is not None and before.count > self._settings.rebuilt_rows:
            keep.add(before.name)
        remove_others(self._directory, _VECTORS, keep)
        cache.remove_leftovers(self._directory)

    def compact(self) -> bool:
        """Rewrite everything without what was removed, so that no byte of it remains.

        Returns whether the log could be cleared as well: a reader that stays at one state of the
        index keeps the log that holds this state.
        """
        self._begin()
        rows.note_languages(self._connection)
        self._terms_anew = True
        self.commit()
        self.refresh_cache(anew=True)
        # By itself SQLite does not wipe what it frees, and pages may carry what lay in memory.
        self._connection.pragma("secure_delete", True)
        with steps.step("vacuum", self._directory / database.NAME):
            self._connection.execute("VACUUM")
        with steps.step("checkpoint", self._directory / database.NAME):
            cleared = database.clear_log(self._connection)
        self._check_removed()
        return cleared

    def _check_removed(self) -> None:
        """Raise StoreError if a cache that no row names is still there.

        Raises:
            StoreError: naming the cache that could not be removed.
        """
        named = self._named_caches()
        for path in find_caches(self._directory):
            if path.name not in named:
                raise StoreError(
                    f"{path}: cannot be removed, and may hold what was taken out: remove it"
                )

    def _named_caches(self) -> set[str]:
        named = (rows.cache_row(self._connection, kind) for kind in KINDS)
        return {row.name for row in named if row is not None}

    def _refresh_terms(self) -> set[str]:
        """Bring the terms' cache to what this transaction commits; returns the folders to keep.

        The same transaction names it: readers never see one without the other. A missing or
        damaged one is written anew, since its files would be linked into the next and believed.
        """
        row = None if self._terms_anew else rows.cache_row(self._connection, "terms")
        self._terms_anew = False
        if row is not None and row != self._trusted_terms:
            intact = terms.is_whole(self._directory, row, self._digests)
            self._trusted_terms = row = row if intact else None
        after = row.max_id if row else 0
        newest = int(self._connection.execute("SELECT coalesce(max(id), 0) FROM chunks").get)
        gone = [each for (each,) in self._connection.execute("SELECT chunk_id FROM gone")]
        self._connection.execute("DELETE FROM gone")
        if row is not None and newest == after and not gone:
            return {row.name}
        try:
            self._trusted_terms = self._write_terms(row, gone, newest)
        except DamagedCacheError:
            row = None
            self._trusted_terms = self._write_terms(row, (), newest)
        self._point("terms", self._trusted_terms)
        # A reader that has just begun may be about to open the one before.
        return {each.name for each in (row, self._trusted_terms) if each}

    def _write_terms(self, row: CacheRow | None, gone: Sequence[int], newest: int) -> CacheRow:
        """Write the next generation of terms, which goes on from that of a row, or begins anew."""
        after = row.max_id if row else 0
        added = rows.passages(self._connection, "id > ?", (after,))
        return terms.write(
            self._directory,
            self._digests,
            self._next_generation(),
            row,
            (terms.entry(*passage) for passage in added),
            # A chunk that came and went within this transaction was never in the cache.
            [each for each in gone if each <= after],
            newest,
        )

    def _next_generation(self) -> int:
        return rows.next_generation(self._connection)

    def _point(self, kind: str, row: CacheRow) -> None:
        self._connection.execute("DELETE FROM caches WHERE kind = ?", (kind,))
        details = rows.to_json(dict(row.details))
        self._connection.execute(
            "INSERT INTO caches VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row.generation, kind, row.name, row.sha256, row.max_id, row.count, details),
        )

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._log_bytes = database.log_bytes(self._directory)
            self._connection.execute("BEGIN IMMEDIATE")

    def _bound_log(self) -> None:
        """Empty the log if this commit has made it long and no reader needs it for too long."""
        path = self._directory / database.NAME
        # Even if this fails the commit stands, and readers read it from the log.
        with suppress(apsw.Error, OSError):
            patience = database.log_patience(self._log_bytes, database.log_bytes(self._directory))
            if patience:
                with steps.step("checkpoint", path):
                    database.clear_log(self._connection, patience)

    def _insert_document(self, file_id: int, document: Document) -> None:
        self._connection.execute("DELETE FROM documents WHERE id = ?", (document.id,))
        cells = {name: getattr(document, name) for name in rows.DOCUMENT_COLUMNS.split(", ")}
        cells["metadata"] = rows.to_json(dict(document.metadata))
        cells["pages"] = rows.to_json([rows.cells_of(page) for page in document.pages])
        headings = [(h.start, h.end, h.level, h.title) for h in document.headings]
        cells["headings"] = rows.to_json(headings)
        self._connection.execute(
            f"INSERT INTO documents (file_id, {rows.DOCUMENT_COLUMNS}) "
            f"VALUES (?, {', '.join('?' * len(cells))})",
            (file_id, *cells.values()),
        )
        language = rows.language_of(document.metadata)
        self._connection.execute("INSERT OR IGNORE INTO languages VALUES (?)", (language,))

    def _insert_chunks(self, chunks: Sequence[StoredChunk]) -> None:
        self._connection.executemany(
            'INSERT INTO chunks (document_id, start, "end", ordinal, page, line, passage_hash, '
            "vector, heading) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*_CELLS(chunk), rows.to_json(chunk.heading)) for chunk in chunks],
        )

    def _take(self, file_id: int, document: Document) -> None:
        """Make a document the file's own, and note that it came."""
        owner = self._connection.execute(
            "SELECT file_id, path, documents.source FROM documents "
            "JOIN files ON files.id = file_id WHERE documents.id = ?",
            (document.id,),
        ).fetchone()
        if owner and owner[0] != file_id:
            # A renamed file takes its documents along; a text stays where it is.
            if rows.is_text(owner[1]) or os.path.lexists(owner[1]):
                raise StoreError(
                    f"{document.source}: its document id {document.id!r} belongs to {owner[2]} "
                    "already: index the two into different folders with --index"
                )
            self._connection.execute(
                "UPDATE documents SET file_id = ? WHERE id = ?", (file_id, document.id)
            )
        self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (file_id, document.id))

    def _settle(
        self, file_id: int, record: FileRecord, problems: Sequence[Problem], *, complete: bool
    ) -> None:
        self._connection.execute("DELETE FROM seen WHERE file_id = ?", (file_id,))
        self._connection.execute("DELETE FROM problems WHERE file_id = ?", (file_id,))
        self._connection.executemany(
            "INSERT INTO problems VALUES (?, ?, ?, ?, ?)",
            [(file_id, p.source, p.reason, p.kind, int(p.lasting)) for p in problems],
        )
        # This comes last: an interruption before it leaves a file that is read again.
        self._connection.execute(
            "UPDATE files SET size = ?, mtime_ns = ?, sha256 = ?, complete = ? WHERE id = ?",
            (record.size, record.mtime_ns, record.sha256, int(complete), file_id),
        )
