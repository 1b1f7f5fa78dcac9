"""Opening the database of an index: pages with checksums, for writing, reading, or from afar.

SQLite has no checksums of its own: a flipped bit in a text or in the branch of a tree would be
read as it is. Its checksum VFS keeps eight bytes a page and refuses a page that does not agree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote

import apsw
import apsw.sqlite_extra

from rag.errors import StoreError

NAME = "index.sqlite"
_CHECKSUM_BYTES = 8
_BUSY_MS = 30_000
# What SQLite reads and writes files by; tests put one in front of it that fails.
vfs = "cksmvfs"


def exists(directory: Path) -> bool:
    """Whether there is a database in a folder."""
    return (directory / NAME).is_file()


def open_to_write(directory: Path) -> apsw.Connection:
    """A connection in autocommit mode; a new database gets checksums.

    Raises:
        apsw.Error: if it cannot be opened.
    """
    connection = _open(directory / NAME, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    connection.reserve_bytes("main", _CHECKSUM_BYTES)
    connection.pragma("foreign_keys", True)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    return connection


@contextmanager
def reading(directory: Path) -> Iterator[apsw.Connection]:
    """A connection that changes nothing, on media that cannot be written too.

    Raises:
        StoreError: if there is no database, or it has a log that can only be read by writing.
        apsw.Error: if it cannot be opened.
    """
    path = directory / NAME
    log = path.with_name(f"{NAME}-wal")
    if not path.is_file():
        raise missing(directory)
    if os.access(path, os.W_OK) and os.access(directory, os.W_OK):
        # The last one to close it clears the log away.
        with closing(_open(path, apsw.SQLITE_OPEN_READWRITE)) as connection:
            connection.pragma("query_only", True)
            yield connection
    elif path.with_name(f"{NAME}-shm").exists():
        # Of another user's index, or copied together with its log.
        with closing(_open(path, apsw.SQLITE_OPEN_READONLY)) as connection:
            yield connection
    elif log.exists() and log.stat().st_size:
        raise StoreError(
            f"{log}: holds changes that cannot be read where nothing can be written: copy the "
            "folder to a disk that can be"
        )
    else:
        before = path.stat().st_mtime_ns
        with closing(_open(path, apsw.SQLITE_OPEN_READONLY, "?immutable=1")) as connection:
            yield connection
        if log.exists() or path.stat().st_mtime_ns != before:
            # No locks are held on what does not change.
            raise StoreError(f"{path}: was changed while it was read: try again")


def missing(directory: Path) -> StoreError:
    """What to say where there is no database."""
    if remains(directory):
        return StoreError(
            f"{directory / NAME}: is missing: bring back a copy, or delete the folder and run "
            "`rag index PATH...`"
        )
    return StoreError(f"{directory}: holds no index: build one with `rag index PATH...`")


def remains(directory: Path) -> bool:
    """Whether a folder holds what belongs to an index that once was committed to."""
    return (directory / "commits").exists()


def check_pages(connection: apsw.Connection, directory: Path) -> None:
    """Nothing, if the pages have checksums.

    Raises:
        StoreError: if the first page says that they have none.
    """
    if connection.reserve_bytes("main") != _CHECKSUM_BYTES:
        raise StoreError(
            f"{directory / NAME}: its first page is damaged: run `rag doctor`, or bring back a copy"
        )


def add_checksums(directory: Path) -> None:
    """Rewrite a database whose pages have none; whole before and after, whatever happens."""
    with closing(_open(directory / NAME, apsw.SQLITE_OPEN_READWRITE)) as connection:
        # The layout of pages is only changed where there is no log.
        connection.pragma("journal_mode", "delete")
        connection.reserve_bytes("main", _CHECKSUM_BYTES)
        connection.execute("VACUUM")


def clear_log(connection: apsw.Connection) -> bool:
    """Bring the log into the database and empty it; False if a reader needs it still."""
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        return False
    return True


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Errors of SQLite while reading as ours, with what to do.

    Raises:
        StoreError: for each apsw.Error.
    """
    try:
        yield
    except apsw.Error as error:
        raise StoreError(f"{directory / NAME}: cannot be read: {reason(error)}") from error


def reason(error: apsw.Error) -> str:
    """What SQLite says, and what to do about it."""
    cure = "run `rag doctor`, or bring back a copy"
    if _is_damage(error):
        return f"a page of it is damaged: {cure}"
    if isinstance(error, apsw.NotADBError):
        return f"it is not a database, or its first page is damaged: {cure}"
    if isinstance(error, apsw.FullError):
        return "the disk is full"
    if isinstance(error, apsw.IOError):
        return f"the disk does not read or write it ({error}): {cure}"
    return f"{error}: {cure}"


def _is_damage(error: apsw.Error) -> bool:
    code = getattr(error, "extendedresult", 0)
    return isinstance(error, apsw.CorruptError) or code == apsw.SQLITE_IOERR_DATA


def _open(path: Path, flags: int, parameters: str = "") -> apsw.Connection:
    _load_checksums()
    address = f"file:{quote(str(path.absolute()))}{parameters}"
    connection = apsw.Connection(address, flags=flags | apsw.SQLITE_OPEN_URI, vfs=vfs)
    connection.set_busy_timeout(_BUSY_MS)
    return connection


@cache
def _load_checksums() -> None:
    """Register the VFS, which outlives the connection that brings it in."""
    with closing(apsw.Connection(":memory:")) as connection:
        apsw.sqlite_extra.load(connection, "cksumvfs")
