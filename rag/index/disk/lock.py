"""One writer at a time, by a file lock that dies with its process."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import LockedError, StoreError
from rag.index.disk import files, steps
from rag.index.disk.mounts import warn_of_network_disk

if TYPE_CHECKING:
    from filelock import FileLock

NAME = "writer.lock"
# The record of who holds the lock. It is for error messages, and decides nothing.
RECORD = "writer.json"
# A process that has just taken over the lock of a dead one may not have written its record.
_LOOKS = 5
_SECONDS_BETWEEN_LOOKS = 0.02
# The clock may have been set by so much since the holder began.
_CLOCK_SECONDS = 2.0
_MOST_BYTES = 4096
# The end of the year 9999, in seconds since the epoch.
_LAST_SECOND = 253_402_300_800


@contextmanager
def hold_lock(directory: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the writer's lock of an index, after waiting up to `wait` seconds for another writer.

    A warning is logged that names the other writer.

    Raises:
        LockedError: if another writer still holds it; the error says who and since when.
        StoreError: if the folder cannot be written, or its file system has no locks.
    """
    lock = _acquire(directory, wait)
    process = os.getpid()
    record = directory / RECORD
    try:
        warn_of_network_disk(directory)
        with suppress(OSError):
            _write_record(record)
        yield
    finally:
        # A child that was forked meanwhile must not release the lock.
        if os.getpid() == process:
            with suppress(OSError):
                record.unlink(missing_ok=True)
            lock.release()


def _acquire(directory: Path, wait: float) -> FileLock:
    # Imported here, since readers do without it.
    from filelock import FileLock, SoftFileLock, Timeout

    # Another thread than the one that took the lock may release it.
    lock = FileLock(directory / NAME, mode=files.file_mode(directory), thread_local=False)
    files.check_names(directory)
    try:
        steps.ensure_directory(directory)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait > 0:
                raise
            logging.getLogger(__name__).warning("%s: waiting for %s", directory, _holder(directory))
            lock.acquire(timeout=wait if wait < threading.TIMEOUT_MAX else -1)
    except (Timeout, RuntimeError) as error:
        if isinstance(error, NotImplementedError):
            raise _no_locks(directory) from error
        # filelock raises RuntimeError in a thread that would wait for itself.
        raise LockedError(
            f"{directory}: is being written by {_holder(directory)}: try again when it is done, "
            "or wait for it with --wait"
        ) from None
    except OSError as error:
        raise StoreError(f"{directory}: cannot be written: {error.strerror or error}") from error
    if isinstance(lock, SoftFileLock):
        # This substitute for a lock would outlive its process.
        lock.release()
        raise _no_locks(directory)
    return lock


def _no_locks(directory: Path) -> StoreError:
    return StoreError(
        f"{directory}: cannot be written: its file system has no locks: keep the index on a local "
        "disk"
    )


def _write_record(path: Path) -> None:
    import socket

    facts = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.time(),
        "command": _command(),
    }
    # The record is not made durable: it is of no use once the process is gone.
    temporary = path.with_name(f"{path.name}.tmp")
    with files.create(temporary) as file:
        file.write(json.dumps(facts).encode())
    temporary.replace(path)


def _command() -> str:
    """Return the name of this program and its subcommand; empty if they are not known."""
    program, *arguments = sys.argv or [""]
    name = Path(program).name
    if name == "__main__.py":
        name = Path(program).parent.name
    words = [name, *arguments[:1]] if name not in ("", "-c") else []
    return " ".join(word for word in words if word.isprintable() and word[:1] != "-")[:80]


def _holder(directory: Path) -> str:
    """Describe the process that holds the lock, as far as it is known."""
    for _ in range(_LOOKS):
        found = read_record(directory / RECORD)
        if found is not None and _is_alive(found):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["since"]))
            running = f" running `{found['command']}`" if found["command"] else ""
            return f"process {found['process']} on {found['host']} since {since}{running}"
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return "another process"


def read_record(path: Path) -> dict[str, Any] | None:
    """Read the record of who writes, or wrote when it ended; None if there is none."""
    kinds = {"process": int, "host": str, "since": float, "command": str}
    try:
        found = json.loads(files.read(path, _MOST_BYTES))
        whole = all(type(found[key]) is kind for key, kind in kinds.items())
        whole = whole and 0 < found["process"] < 1 << 31 and 0 <= found["since"] < _LAST_SECOND
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if whole else None


def _is_alive(record: dict[str, Any]) -> bool:
    """Return whether a record may be of a running process; on this host that is checked."""
    import socket

    import psutil

    if record["host"] != socket.gethostname():
        return True

    try:
        process = psutil.Process(record["process"])
        began: float = process.create_time()
        ended = process.status() == psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except (psutil.Error, ValueError, OverflowError):
        return False
    # A process that began later has taken over the number of one that is gone.
    return not ended and began <= record["since"] + _CLOCK_SECONDS
