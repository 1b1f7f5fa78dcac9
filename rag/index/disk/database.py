"""Open the database of an index, whose pages have checksums: to write, to read, or read-only.

SQLite alone has no checksums, and would read a flipped bit in a text or in the branch of a tree as
it is. Its checksum VFS stores eight bytes in each page and refuses a page that does not agree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import apsw
import apsw.sqlite_extra

from rag.errors import StoreError
from rag.index.disk import files

T = TypeVar("T")


class WrongValueError(ValueError):
    """A table holds what an index cannot hold there: another type, or a number out of range."""


NAME = files.DATABASE
# The new database that a repair has made, until it takes the damaged one's place.
SALVAGED = f"{NAME}-salvaged"
_CHECKSUM_BYTES = 8
_PAGE_BYTES = 4096
_BUSY_MS = 30_000
_LOOKS = 10
_SECONDS_BETWEEN_LOOKS = 0.01
_PAGES_AT_ONCE = 1024
# A log of so many bytes is emptied, and a writer waits so long for readers to let go of it.
LONG_LOG = 16 * 2**20
_PATIENCE_MS = 250
_MOST_PATIENCE_MS = 2_000
# The errors by which SQLite says that there is no room for a log or its shared memory.
_NO_ROOM = {
    apsw.SQLITE_IOERR_SHMOPEN,
    apsw.SQLITE_IOERR_SHMSIZE,
    apsw.SQLITE_IOERR_SHMMAP,
    apsw.SQLITE_FULL,
    apsw.SQLITE_CANTOPEN,
}
# What a database may ask of SQLite: no deletion sets off more than files -> documents -> chunks ->
# tombstones, and only VACUUM attaches a file.
_LIMITS = {
    apsw.SQLITE_LIMIT_SQL_LENGTH: 1_000_000,
    apsw.SQLITE_LIMIT_ATTACHED: 1,
    apsw.SQLITE_LIMIT_TRIGGER_DEPTH: 16,
    apsw.SQLITE_LIMIT_WORKER_THREADS: 0,
}
# Only what our own statements ask for is done: nothing that a schema brings along is believed,
# and views, of which an index has none, cannot be read.
_SAFEGUARDS = {
    apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA: 0,
    apsw.SQLITE_DBCONFIG_DEFENSIVE: 1,
    apsw.SQLITE_DBCONFIG_ENABLE_VIEW: 0,
}
# Pages that lead to one another in a circle, or to one page many times, hold rows without end.
# SQLite's instructions are counted, some 50 million a second: each byte of a true database costs
# a few of them in each statement that reads all.
_STEPS_BETWEEN_LOOKS = 1_000_000
_STEPS_AT_LEAST = 250_000_000
_STEPS_FOR_A_BYTE = 300
_REASONS: Mapping[type[Exception], str] = {
    apsw.NoMemError: "there is not enough memory for it",
    UnicodeDecodeError: "it holds a text that is not UTF-8",
    apsw.InterruptError: "its pages lead to one another without end",
    apsw.NotADBError: "it is not a database, or its first page is damaged",
}
# The VFS that SQLite uses; tests put one that fails below it.
vfs = "cksmvfs"


def exists(directory: Path) -> bool:
    """Return whether there is a database in a folder."""
    # Unlike pathlib's function, this is False where the folder cannot be entered.
    return os.path.isfile(directory / NAME)  # noqa: PTH113


def open_to_write(directory: Path) -> apsw.Connection:
    """Open a connection in autocommit mode; a new database gets checksums.

    Raises:
        StoreError: if the database has lost its first page, or a repair was interrupted.
        apsw.Error: if it cannot be opened.
    """
    _check_presence(directory)
    files.reserve(directory / NAME)
    connection = _open(directory / NAME, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    connection.reserve_bytes("main", _CHECKSUM_BYTES)
    connection.pragma("foreign_keys", True)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    return connection


@contextmanager
def open_to_read(directory: Path) -> Iterator[apsw.Connection]:
    """Open a connection that changes nothing, even on read-only media.

    Raises:
        StoreError: if there is no database, or SQLite would have to write to read its log.
        apsw.Error: if it cannot be opened.
    """
    path = directory / NAME
    _check_presence(directory)
    if not path.is_file():
        raise missing_error(directory)
    before = _version(path)
    if os.access(path, os.W_OK) and os.access(directory, os.W_OK):
        found = _open_with_log(path)
    else:
        found = _open_by_shared_memory(path)
    if found is not None:
        with closing(found) as connection:
            yield connection
        return
    try:
        with closing(_open(path, apsw.SQLITE_OPEN_READONLY, "?immutable=1")) as connection:
            yield connection
    except apsw.Error:
        if _version(path) == before:
            raise
    # An immutable database is opened without locks: nothing else would notice a change.
    if _version(path) != before:
        raise StoreError(f"{path}: was changed while it was read: try again")


def _open_with_log(path: Path) -> apsw.Connection | None:
    """Open a database that others may write; None if there is no log, and no room for one.

    Raises:
        apsw.Error: if it cannot be opened.
    """
    connection = _open(path, apsw.SQLITE_OPEN_READWRITE)
    connection.pragma("query_only", True)
    try:
        # SQLite makes the shared memory of the log at the first look.
        connection.pragma("schema_version")
    except apsw.Error as error:
        # SQLite removes the log when the last connection closes.
        connection.close()
        if _code(error) in _NO_ROOM and _left_over(path) is None:
            return None
        raise
    return connection


def _open_by_shared_memory(path: Path) -> apsw.Connection | None:
    """Open a database of another user, or one that was copied with its log; None without a log.

    Raises:
        StoreError: if SQLite would have to write to read the log.
    """
    for _ in range(_LOOKS):
        if path.with_name(f"{NAME}-shm").exists():
            connection = _open(path, apsw.SQLITE_OPEN_READONLY)
            try:
                # SQLite opens the shared memory at the first look, and keeps it from then on.
                connection.pragma("schema_version")
            except (apsw.CantOpenError, apsw.ReadOnlyError):
                # The last writer has just removed it.
                connection.close()
            else:
                return connection
        elif not _left_over(path):
            return None
        # A writer that has just begun makes the log before the shared memory.
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise StoreError(
        f"{_left_over(path) or path}: holds changes that cannot be read where nothing can be "
        "written: copy the folder to a disk that can be"
    )


def _left_over(path: Path) -> Path | None:
    """Return the log or rollback journal that holds what the database does not; None if neither."""
    for ending in ("-wal", "-journal"):
        beside = path.with_name(f"{path.name}{ending}")
        with suppress(FileNotFoundError):
            if beside.stat().st_size:
                return beside
    return None


def _version(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def missing_error(directory: Path) -> StoreError:
    """Make the error that says that there is no database."""
    if remains(directory):
        return StoreError(
            f"{directory / NAME}: is missing: bring back a copy, or delete the folder and run "
            "`rag index PATH...`"
        )
    return StoreError(f"{directory}: holds no index: build one with `rag index PATH...`")


def _check_presence(directory: Path) -> None:
    """Raise StoreError if a repair was interrupted, or the database has lost its first page.

    SQLite would make a new database of an empty file, and throw away its log. Nor is one opened
    that is a link, or has one beside it.
    """
    files.check_names(directory)
    try:
        interrupted = (directory / SALVAGED).exists()
    except OSError as error:
        raise StoreError(
            f"{directory}: cannot be looked into: {error.strerror or error}"
        ) from error
    if interrupted:
        raise StoreError(
            f"{directory}: a repair of it was interrupted: run "
            f"`rag doctor --repair --index {directory}` to end it"
        )
    path = directory / NAME
    if remains(directory) and is_cut_off(path):
        raise StoreError(f"{path}: is empty or cut off: run `rag doctor`, or bring back a copy")


def is_cut_off(path: Path) -> bool:
    """Return whether not even the first page of a database is there."""
    return path.is_file() and path.stat().st_size < _PAGE_BYTES


def open_damaged(directory: Path) -> apsw.Connection:
    """Open a connection to a damaged database, to read what can be read.

    Raises:
        apsw.Error: if it cannot be opened.
    """
    connection = _open(directory / NAME, apsw.SQLITE_OPEN_READWRITE)
    connection.pragma("query_only", True)
    return connection


def plain_vfs() -> str:
    """Return the name of SQLite's VFS that checks no checksums."""
    return "win32" if os.name == "nt" else "unix"


def remains(directory: Path) -> bool:
    """Return whether a folder holds the note of commits, and so once held an index."""
    return os.path.exists(directory / "commits")  # noqa: PTH110


def check_pages(connection: apsw.Connection, directory: Path) -> None:
    """Raise StoreError if the first page says that the pages have no checksums."""
    if not has_checksums(connection):
        raise StoreError(
            f"{directory / NAME}: its first page is damaged: run `rag doctor`, or bring back a copy"
        )


def has_checksums(connection: apsw.Connection) -> bool:
    """Return whether the first page says that all pages have checksums."""
    return connection.reserve_bytes("main") == _CHECKSUM_BYTES


def add_checksums(directory: Path) -> None:
    """Rewrite a database without checksums; whatever happens, it is whole before and after."""
    with closing(_open(directory / NAME, apsw.SQLITE_OPEN_READWRITE)) as connection:
        # SQLite changes the layout of pages only where there is no log.
        when_free(lambda: connection.pragma("journal_mode", "delete"))
        connection.reserve_bytes("main", _CHECKSUM_BYTES)
        connection.execute("VACUUM")


def when_free(look: Callable[[], T]) -> T:
    """Call `look` until no other connection is in its way, and return what it returns.

    By itself SQLite does not wait while another process changes the layout of pages.
    """
    with suppress(apsw.BusyError):
        return look()
    from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

    again = Retrying(
        retry=retry_if_exception_type(apsw.BusyError),
        wait=wait_fixed(0.05),
        stop=stop_after_delay(_BUSY_MS / 1000),
        reraise=True,
    )
    return again(look)


def clear_log(connection: apsw.Connection, patience: int | None = None) -> bool:
    """Copy the log into the database and empty it; False if a reader still needs it.

    This waits for readers up to `patience` milliseconds, or as long as for any lock.
    """
    if patience is not None:
        connection.set_busy_timeout(patience)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        return False
    finally:
        connection.set_busy_timeout(_BUSY_MS)
    return True


def log_bytes(directory: Path) -> int:
    """Return how many bytes the log has; 0 if there is none."""
    with suppress(OSError):
        return (directory / f"{NAME}-wal").stat().st_size
    return 0


def log_patience(before: int, after: int) -> int:
    """Return how many milliseconds to wait in order to empty a log that has grown; 0: do not.

    SQLite appends to its log while any reader uses it, and readers that overlap without a gap
    would let it grow for ever. Before it can be emptied, each reader of an older state has to end,
    and then each reader that began before all of the log was in the database; new readers never
    wait. Where that takes too long, the next attempt comes when the log has doubled, and waits
    twice as long: so a reader that stays delays a writer a few times, and not at every commit.
    """
    if (after // LONG_LOG).bit_length() <= (before // LONG_LOG).bit_length():
        return 0
    return min(_PATIENCE_MS * (after // LONG_LOG), _MOST_PATIENCE_MS)


def copy(source: apsw.Connection, directory: Path, progress: Callable[[int, int], None]) -> None:
    """Copy one state of a database durably, with its checksums, and check all of the copy.

    The read transaction of the source makes it one state, and keeps no writer waiting. `progress`
    is called with the number of bytes that are done, and of all.

    Raises:
        apsw.Error: if a page is damaged, or the copy cannot be written.
    """
    path = directory / NAME
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    size = source.pragma("page_size")
    files.reserve(path)
    with closing(_open(path, flags)) as target:
        target.pragma("synchronous", "full")
        with target.backup("main", source, "main") as copying:
            while not copying.done:
                copying.step(_PAGES_AT_ONCE)
                done = copying.page_count - copying.remaining
                progress(done * size, copying.page_count * size)
    # A new connection reads from the disk, not from the memory of the old one.
    with closing(_open(path, flags)) as target:
        check_pages(target, directory)
        found = target.pragma("quick_check")
        if found != "ok":
            raise apsw.CorruptError(f"the copy is not whole: {found}")


@contextmanager
def explain_errors(directory: Path) -> Iterator[None]:
    """Turn the errors of reading a database into our own, which say what to do.

    Raises:
        StoreError: in place of an apsw.Error, and of values that no index holds.
        MemoryError: if SQLite got no memory, for which the index is not at fault.
    """
    try:
        yield
    except apsw.NoMemError as error:
        raise MemoryError(reason(error)) from error
    except (apsw.Error, WrongValueError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{directory / NAME}: cannot be read: {reason(error)}: run `rag doctor`, or bring "
            "back a copy"
        ) from error


def reason(error: Exception) -> str:
    """Say in plain words what an error of SQLite, or of what it holds, means."""
    for kind, said in _REASONS.items():
        if isinstance(error, kind):
            return said
    if is_damage(error) and not isinstance(error, WrongValueError):
        return "a page of it is damaged"
    if isinstance(error, apsw.FullError) or _code(error) == apsw.SQLITE_IOERR_SHMSIZE:
        return "the disk is full"
    if isinstance(error, apsw.IOError):
        return f"the disk does not read or write it ({error})"
    return str(error)


def is_damage(error: Exception) -> bool:
    """Return whether an error means that the disk no longer holds what was written."""
    wrong = (WrongValueError, UnicodeDecodeError, apsw.InterruptError)
    damaged = isinstance(error, (apsw.CorruptError, apsw.NotADBError, *wrong))
    return damaged or _code(error) == apsw.SQLITE_IOERR_DATA


def _code(error: Exception) -> int:
    return int(getattr(error, "extendedresult", 0))


def _open(path: Path, flags: int, parameters: str = "") -> apsw.Connection:
    _load_checksums()
    address = f"file:{quote(str(path.absolute()))}{parameters}"
    connection = apsw.Connection(address, flags=flags | apsw.SQLITE_OPEN_URI, vfs=vfs)
    connection.set_busy_timeout(_BUSY_MS)
    for limit, value in _LIMITS.items():
        connection.limit(limit, value)
    for safeguard, value in _SAFEGUARDS.items():
        connection.config(safeguard, value)
    connection.set_progress_handler(_Steps(path), _STEPS_BETWEEN_LOOKS)
    return connection


class _Steps:
    """Counts what a connection does, and ends a statement that no database of its size needs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done = 0
        self._most = _STEPS_AT_LEAST

    def __call__(self) -> bool:
        """Count a million instructions; returns whether to end the statement."""
        self._done += _STEPS_BETWEEN_LOOKS
        if self._done > self._most:
            size = sum(self._bytes_of(ending) for ending in ("", "-wal", "-journal"))
            self._most = _STEPS_AT_LEAST + _STEPS_FOR_A_BYTE * size
        return self._done > self._most

    def _bytes_of(self, ending: str) -> int:
        with suppress(OSError):
            return self._path.with_name(f"{self._path.name}{ending}").stat().st_size
        return 0


@cache
def _load_checksums() -> None:
    """Register the checksum VFS, which outlives the connection that loads it."""
    with closing(apsw.Connection(":memory:")) as connection:
        apsw.sqlite_extra.load(connection, "cksumvfs")
