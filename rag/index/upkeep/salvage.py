"""Make a new database of what can be read of a damaged one, and put it in its place.

The damaged database is copied first and never written to. The new one gets a name of its own once
it is whole, and then takes the damaged one's place step by step. After a crash `finish` goes on,
and until it has, nobody else opens the index.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from rag.errors import StoreError
from rag.index import rows, schema
from rag.index.disk import commits, database, files, steps
from rag.index.upkeep import pages

WORK = "salvage.tmp"
DAMAGED_PREFIX = "damaged-"
# The key in the new manifest for what was lost, until the doctor has reported it.
LOST_KEY = "salvage_lost"

_LOG = f"{database.NAME}-wal"
_BESIDE = (_LOG, f"{database.NAME}-journal")
_SHARED_MEMORY = f"{database.NAME}-shm"
_READ_BYTES = 1 << 20
_PAGE_SIZE = 4096
_WAIT_SECONDS = 5.0
# Failed reads of a table, after which the rest is given up: a damaged root may lead to any key.
_MOST_FAILURES = 20_000
# Only so many damaged pages are tried: where there are more, more than a bit has flipped.
_MOST_TRIED = 1_000
_LARGEST_KEY = (1 << 63) - 1
_GENERATION = re.compile(r"[a-z]+-(\d{1,15})(?:\.|$)")

_INDEXES = {
    "files": "sqlite_autoindex_files_1",
    "problems": "problems_by_file",
    "documents": "documents_by_file",
    "chunks": "chunks_by_document",
}
_FILES = ("id", "path", "source", "size", "mtime_ns", "sha256", "complete")
_PROBLEMS = ("file_id", "source", "reason", "kind", "lasting")
_ROOTS = ("path", "source", "include", "exclude", "hidden")
_DOCUMENTS = ("file_id", *rows.DOCUMENT_COLUMNS.split(", "))
_CHUNKS = (*rows.SPAN_COLUMNS.replace('"', "").split(", "), "passage_hash", "vector")


def salvage(directory: Path) -> Path:
    """Replace a damaged database by what can be read of it; the caller holds the writer's lock.

    Returns the folder that keeps the damaged one. `LOST_KEY` of the manifest says what was lost.

    Raises:
        StoreError: if nothing can be read, or another process reads the index. Then nothing is
            changed.
        apsw.Error, OSError: if the disk is full or cannot be written.
    """
    work = directory / WORK
    steps.make_directory(work)
    try:
        with _open_exclusively(directory) as source:
            remarks = _copy(directory, source, work)
            _build(directory, work, remarks)
            new = work / "new" / database.NAME
            # Whoever could read the damaged one can read this one.
            new.chmod(files.file_mode(directory))
            steps.sync_path(new)
            steps.rename(work / "new" / database.NAME, directory / database.SALVAGED)
    finally:
        steps.remove(work)
    return finish(directory)


def finish(directory: Path) -> Path:
    """Put the new database in the place of the damaged one; returns the folder that keeps that.

    The damaged one's log goes first: it must never be taken for the log of the new one.

    Raises:
        StoreError: if another process reads the index.
    """
    folder = _folder_for_damaged(directory)
    with _open_exclusively(directory):
        for name in (*_BESIDE, database.NAME):
            if (directory / name).exists():
                steps.rename(directory / name, folder / name)
                steps.sync_directory(directory)
        steps.remove(directory / _SHARED_MEMORY)
        steps.sync_directory(directory)
        steps.rename(directory / database.SALVAGED, directory / database.NAME)
    return folder


def _folder_for_damaged(directory: Path) -> Path:
    for begun in sorted(directory.glob(f"{DAMAGED_PREFIX}*"), reverse=True):
        if files.is_folder(begun) and not (begun / database.NAME).exists():
            return begun
    at = time.strftime("%Y%m%d-%H%M%S")
    name, number = f"{DAMAGED_PREFIX}{at}", 1
    while (directory / name).exists():
        number += 1
        name = f"{DAMAGED_PREFIX}{at}-{number}"
    steps.make_directory(directory / name)
    steps.sync_directory(directory)
    return directory / name


@contextmanager
def _open_exclusively(directory: Path) -> Iterator[apsw.VFSFile | None]:
    """Open the database as a file that nobody else has open; None if there is no file.

    SQLite's VFS opens it: closing a file that was opened otherwise would drop this process's locks.

    Raises:
        StoreError: if another process still has it open after a few seconds.
    """
    path = directory / database.NAME
    if not path.exists():
        yield None
        return
    flags = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE
    with database.explain_errors(directory):
        file = apsw.VFSFile(database.plain_vfs(), str(path.absolute()), [flags, 0])
    try:
        until = time.monotonic() + _WAIT_SECONDS
        while not _try_to_lock(file):
            if time.monotonic() > until:
                raise StoreError(
                    f"{path}: is being read by another process: stop what uses the index and "
                    "run `rag doctor --repair` again"
                )
            time.sleep(0.05)
        yield file
    finally:
        with suppress(apsw.Error):
            file.xUnlock(apsw.SQLITE_LOCK_NONE)
        file.xClose()


def _try_to_lock(file: apsw.VFSFile) -> bool:
    try:
        file.xLock(apsw.SQLITE_LOCK_SHARED)
        file.xLock(apsw.SQLITE_LOCK_EXCLUSIVE)
    except apsw.BusyError:
        with suppress(apsw.Error):
            file.xUnlock(apsw.SQLITE_LOCK_NONE)
        return False
    return True


def _copy(directory: Path, source: apsw.VFSFile | None, work: Path) -> list[str]:
    """Copy the database and its log, and put right what pages can be; returns remarks."""
    copy = work / "old" / database.NAME
    copy.parent.mkdir(parents=True)
    with copy.open("wb") as file:
        for block in _blocks(source):
            file.write(block)
    for name in _BESIDE:
        if (directory / name).is_file():
            shutil.copyfile(directory / name, copy.parent / name)
    if source is None or source.xFileSize() < _PAGE_SIZE:
        # SQLite would throw away the log of a database that has no page.
        copy.write_bytes(bytes(_PAGE_SIZE) if (copy.parent / _LOG).exists() else b"")
    mended, beyond = _put_right(copy)
    _checkpoint(copy)
    more, beyond = _put_right(copy)
    if 0 in beyond:
        _replace_first_page(copy, work)
    whole = mended + more
    remarks = []
    if whole:
        remarks.append(f"{whole:,} damaged pages were put right, each had one flipped bit")
    if beyond:
        remarks.append(f"damaged pages that could not be read: {len(beyond):,}")
    return remarks


def _blocks(source: apsw.VFSFile | None) -> Iterator[bytes]:
    size = source.xFileSize() if source else 0
    for at in range(0, size, _READ_BYTES):
        amount = min(_READ_BYTES, size - at)
        try:
            yield source.xRead(amount, at) if source else b""
        except apsw.Error:
            for page in range(at, at + amount, _PAGE_SIZE):
                yield _page_or_none(source, min(_PAGE_SIZE, at + amount - page), page)
    # The rest of a page that was cut off.
    yield b"\xff" * (-size % _PAGE_SIZE)


def _page_or_none(source: Any, amount: int, at: int) -> bytes:
    try:
        return bytes(source.xRead(amount, at))
    except apsw.Error:
        # Unlike zeros, this does not agree with its checksum.
        return b"\xff" * amount


def _put_right(copy: Path) -> tuple[int, list[int]]:
    """Put right pages with one flipped bit; returns how many, and which others are damaged."""
    mended, tried, at = 0, 0, 0
    beyond: list[int] = []
    with copy.open("r+b") as file:
        while block := file.read(_READ_BYTES):
            for number in pages.find_damaged(block, _PAGE_SIZE):
                page = block[number * _PAGE_SIZE : (number + 1) * _PAGE_SIZE]
                tried += 1
                right = pages.put_right(page) if tried <= _MOST_TRIED else None
                place = at + number * _PAGE_SIZE
                if right is None:
                    beyond.append(place // _PAGE_SIZE)
                else:
                    mended += 1
                    file.seek(place)
                    file.write(right)
            at += len(block)
            file.seek(at)
        if 0 not in beyond:
            _tell_length(file, at // _PAGE_SIZE)
    return mended, beyond


def _tell_length(file: Any, count: int) -> None:
    """Write the true length into the first page: SQLite opens no file that is shorter."""
    file.seek(0)
    page = bytearray(file.read(_PAGE_SIZE))
    if int.from_bytes(page[28:32], "big") > count:
        page[28:32] = count.to_bytes(4, "big")
        file.seek(0)
        file.write(pages.seal(bytes(page)))


def _checkpoint(copy: Path) -> None:
    """Bring the log of the copy into the copy, as far as the log is whole."""
    try:
        with closing(apsw.Connection(str(copy), vfs=database.plain_vfs())) as connection:
            connection.pragma("wal_checkpoint(TRUNCATE)")
    except apsw.Error:
        # The log is of no use.
        for name in _BESIDE:
            copy.with_name(name).unlink(missing_ok=True)


def _replace_first_page(copy: Path, work: Path) -> None:
    """Take the first page of a new index in place of a lost one: their tables begin alike."""
    folder = work / "first"
    folder.mkdir()
    with closing(database.open_to_write(folder)) as connection:
        schema.create(connection, folder)
    page = bytearray((folder / database.NAME).read_bytes()[:_PAGE_SIZE])
    page[28:32] = (copy.stat().st_size // _PAGE_SIZE).to_bytes(4, "big")
    with copy.open("r+b") as file:
        file.write(pages.seal(bytes(page)))


def _build(directory: Path, work: Path, remarks: list[str]) -> None:
    """Build a new database of the documents that are whole in the copy.

    Raises:
        StoreError: if nothing can be read.
    """
    new = work / "new"
    new.mkdir()
    with closing(database.open_to_write(new)) as target:
        schema.create(target, new)
        with closing(_Source(work / "old")) as source:
            target.pragma("foreign_keys", False)
            with target:
                _fill(directory, target, source, remarks)
        found = target.pragma("integrity_check")
        if found != "ok" or target.execute("PRAGMA foreign_key_check").fetchall():
            raise StoreError(f"{directory}: what can be read of it does not fit together: {found}")
    # Closing the connection has brought the log into the database.


def _fill(directory: Path, target: apsw.Connection, source: _Source, remarks: list[str]) -> None:
    manifest = source.all("manifest", "SELECT key, value FROM manifest") or []
    texts = [row for row in manifest if all(isinstance(cell, str) for cell in row)]
    target.executemany("INSERT OR REPLACE INTO manifest VALUES (?, ?)", texts)
    try:
        if rows.manifest(target) is None:
            raise _unsalvageable_error(directory)
    except ValueError:
        raise _unsalvageable_error(directory) from None
    count = commits.read(directory)
    with suppress(ValueError):
        count = max(count, rows.commits(target))
    count += 1
    _fill_files(target, source, remarks)
    lost = [*_fill_documents(target, source), *_fill_chunks(target, source)]
    if not target.execute("SELECT count(*) FROM documents").get:
        raise _unsalvageable_error(directory)
    rows.note_languages(target)
    target.execute("DELETE FROM tombstones")
    _go_on_counting(directory, target, source)
    losses = json.dumps([sorted(set(lost)), remarks], ensure_ascii=False)
    target.executemany(
        "INSERT OR REPLACE INTO manifest VALUES (?, ?)",
        [("commits", str(count)), ("format", str(schema.FORMAT)), (LOST_KEY, losses)],
    )


def _fill_files(target: apsw.Connection, source: _Source, remarks: list[str]) -> None:
    """Copy files, their problems, and roots."""
    lost: list[tuple[int, int]] = []
    for row in source.some("files", _FILES, lost):
        if _is_good(rows.file_record, row[1:]):
            target.execute("INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", row[1:])
        else:
            lost.append((row[0], row[0]))
    if lost:
        # An SQLite index holds their paths too: with these the files can be read again.
        select = "SELECT path, id FROM files INDEXED BY sqlite_autoindex_files_1"
        for path, file_id in source.all("files", select) or []:
            named = (file_id, path, path, -1, 0, "", 0)
            if _is_good(rows.file_record, named):
                target.execute("INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", named)
    unread: list[tuple[int, int]] = []
    for row in source.some("problems", _PROBLEMS, unread):
        if isinstance(row[1], int) and _is_good(rows.problem, row[2:]):
            target.execute("INSERT INTO problems VALUES (?, ?, ?, ?, ?)", row[1:])
        else:
            unread.append((row[0], row[0]))
    target.execute("DELETE FROM problems WHERE file_id NOT IN (SELECT id FROM files)")
    if unread:
        target.execute("UPDATE files SET complete = 0")
    _fill_roots(target, source, remarks)


def _fill_roots(target: apsw.Connection, source: _Source, remarks: list[str]) -> None:
    roots = source.all("roots", f"SELECT {', '.join(_ROOTS)} FROM roots")
    if roots is None:
        remarks.append("the folders that it follows are lost: name them to `rag index` again")
    for root in roots or []:
        if _is_good(rows.stored_root, root):
            target.execute("INSERT OR IGNORE INTO roots VALUES (?, ?, ?, ?, ?)", root)


def _fill_documents(target: apsw.Connection, source: _Source) -> Iterator[str]:
    """Copy documents; yields the sources of those that are lost."""
    lost: list[tuple[int, int]] = []
    places = ", ".join("?" * (len(_DOCUMENTS) + 1))
    insert = f"INSERT OR IGNORE INTO documents (rowid, {', '.join(_DOCUMENTS)}) VALUES ({places})"
    for row in source.some("documents", _DOCUMENTS, lost):
        if isinstance(row[1], int) and _is_good(rows.document, row[2:]):
            target.execute(insert, row)
    # The SQLite index by file says which documents there were.
    select = "SELECT file_id, rowid FROM documents INDEXED BY documents_by_file"
    held = source.all("documents", select)
    if lost and held is None:
        # A file may have had any number of documents.
        target.execute("UPDATE files SET complete = 0")
        without = "SELECT source FROM files WHERE id NOT IN (SELECT file_id FROM documents)"
        yield from (str(name) for (name,) in target.execute(without).fetchall())
    for file_id, rowid in held or []:
        if target.execute("SELECT 1 FROM documents WHERE rowid = ?", (rowid,)).get is None:
            yield from _read_again(target, file_id)
    without = "SELECT id, source FROM documents WHERE file_id NOT IN (SELECT id FROM files)"
    for document_id, name in target.execute(without).fetchall():
        target.execute("DELETE FROM documents WHERE id = ?", (document_id,))
        yield str(name)


def _fill_chunks(target: apsw.Connection, source: _Source) -> Iterator[str]:
    """Copy chunks; yields the sources of documents that lack some, and removes those."""
    lost: list[tuple[int, int]] = []
    places = ", ".join("?" * len(_CHUNKS))
    names = ", ".join(f'"{name}"' for name in _CHUNKS)
    for row in source.some("chunks", _CHUNKS, lost):
        if _is_good(rows.check_chunk, row[1:]):
            target.execute(f"INSERT OR IGNORE INTO chunks ({names}) VALUES ({places})", row[1:])
    target.execute("DELETE FROM chunks WHERE document_id NOT IN (SELECT id FROM documents)")
    counted = source.all(
        "chunks",
        "SELECT document_id, count(*) FROM chunks INDEXED BY chunks_by_document "
        "GROUP BY document_id",
    )
    held = None if counted is None else dict(counted)
    each: tuple[Any, ...]
    for each in target.execute(
        "SELECT documents.id, file_id, source, count(chunks.id), max(chunks.id) FROM documents "
        "LEFT JOIN chunks ON document_id = documents.id GROUP BY documents.id"
    ).fetchall():
        document_id, file_id, name, count, last = each
        if not lost and count:
            continue
        if held is None:
            # Its chunks follow one another: none is missing if the row after them was read.
            whole = last and not any(first <= last + 1 <= end for first, end in lost)
            whole = whole and _has_all_ordinals(target, document_id)
        else:
            whole = count == held.get(document_id, 0)
        if not whole:
            target.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,))
            target.execute("DELETE FROM documents WHERE id = ?", (document_id,))
            target.execute("UPDATE files SET complete = 0 WHERE id = ?", (file_id,))
            yield name


def _has_all_ordinals(target: apsw.Connection, document_id: str) -> bool:
    ordinals = target.execute(
        "SELECT ordinal FROM chunks WHERE document_id = ? ORDER BY ordinal", (document_id,)
    ).fetchall()
    return [each for (each,) in ordinals] == list(range(len(ordinals)))


def _read_again(target: apsw.Connection, file_id: int) -> list[str]:
    target.execute("UPDATE files SET complete = 0 WHERE id = ?", (file_id,))
    found = target.execute("SELECT source FROM files WHERE id = ?", (file_id,)).fetchall()
    return [str(name) for (name,) in found]


def _go_on_counting(directory: Path, target: apsw.Connection, source: _Source) -> None:
    """Let ids and generations go on from the highest, so that none is used again."""
    counted = {
        name: number
        for name, number in source.all("sqlite_sequence", "SELECT name, seq FROM sqlite_sequence")
        or []
        if type(number) is int
    }
    names = [path.name for path in directory.iterdir()]
    numbers = [int(found[1]) for name in names if (found := _GENERATION.match(name))]
    counted["caches"] = max([0, *numbers, counted.get("caches", 0)])
    for table in ("files", "chunks", "caches"):
        known = target.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).get
        sequence = max(known or 0, min(counted.get(table, 0), rows.MOST >> 1))
        target.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        target.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, sequence))


def read_losses(connection: apsw.Connection) -> tuple[list[str], list[str]]:
    """Return the sources that a salvage noted as lost, and its remarks.

    Raises:
        WrongValueError: if what is noted is of another form.
    """
    noted = connection.execute("SELECT value FROM manifest WHERE key = ?", (LOST_KEY,)).get
    if noted is None:
        return [], []
    lost, remarks = rows.from_json(noted, tuple[list[str], list[str]], "manifest")
    return lost, remarks


def _is_good(make: Callable[[Sequence[Any]], object], row: Sequence[Any]) -> bool:
    """Return whether what is made of a row can be made of this one."""
    try:
        make(row)
    except ValueError:
        return False
    return True


class _Source:
    """The readable part of a damaged database: SQLite refuses pages with a wrong checksum.

    Tables that are none of ours are not read: a view or a virtual table may do anything.
    """

    def __init__(self, directory: Path) -> None:
        self._connection = database.open_damaged(directory)
        try:
            found = schema.objects_of(self._connection)
        except (apsw.Error, UnicodeDecodeError):
            found = frozenset()
        wanted = [schema.expected_objects(number) for number in schema.READABLE]
        self._tables = {
            each[1] for each in found if each[0] == "table" and any(each in own for own in wanted)
        }

    def close(self) -> None:
        self._connection.close()

    def all(self, table: str, select: str) -> list[Any] | None:
        """Return all rows of a statement on a table, or None if they cannot all be read."""
        if table not in self._tables:
            return None
        try:
            return self._connection.execute(select).fetchall()
        except (apsw.Error, UnicodeDecodeError):
            return None

    def some(
        self, table: str, columns: Sequence[str], lost: list[tuple[int, int]]
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that can be read, rowid first; add ranges of the other rowids to `lost`.

        A range of rowids is read from both its ends. The rest is read row by row if an SQLite index
        says which rows there are, and is halved again and again otherwise.
        """
        if table not in self._tables:
            lost.append((0, _LARGEST_KEY))
            return
        names = ", ".join(f'"{name}"' for name in columns)
        select = f"SELECT rowid, {names} FROM {table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
        pending, failures, keys = [(0, _LARGEST_KEY)], 0, None
        while pending:
            first, last = pending.pop()
            for order in ("ASC", "DESC"):
                try:
                    for row in self._connection.execute(f"{select} {order}", (first, last)):
                        if not first <= row[0] <= last:
                            # The tree leads back into itself.
                            raise apsw.CorruptError(table)
                        first, last = (row[0] + 1, last) if order == "ASC" else (first, row[0] - 1)
                        yield row
                    break
                except (apsw.Error, UnicodeDecodeError):
                    failures += 1
            else:
                if first > last:
                    continue
                keys = self._keys(table) if failures == 2 else keys
                middle = (first + last) // 2
                if first == last or failures > _MOST_FAILURES:
                    lost.append((first, last))
                elif keys is not None:
                    inner = keys[bisect_left(keys, first) : bisect_right(keys, last)]
                    pending += [(key, key) for key in reversed(inner)]
                else:
                    pending += [(middle + 1, last), (first, middle)]

    def _keys(self, table: str) -> list[int] | None:
        """Return the rowids of a table according to an SQLite index; None if that is damaged."""
        found = self.all(table, f"SELECT rowid FROM {table} INDEXED BY {_INDEXES[table]}")
        return None if found is None else sorted(key for (key,) in found)


def _unsalvageable_error(directory: Path) -> StoreError:
    return StoreError(
        f"{directory / database.NAME}: nothing can be salvaged of it: bring back a copy, or delete "
        "the folder and run `rag index PATH...`"
    )
