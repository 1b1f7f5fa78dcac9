"""One writer at a time, by a file lock that dies with its process."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rag.errors import LockedError, StoreError


@contextmanager
def writing(directory: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the writer's lock of an index; another writer is waited for up to `wait` seconds.

    Raises:
        LockedError: if another writer holds it still, naming who and since when.
        StoreError: if the folder cannot be written.
    """
    holder = directory / "writer.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / "writer.lock")
        lock.acquire(timeout=wait)
    except Timeout:
        raise LockedError(
            f"{directory}: is being written by {_described(holder)}: try again when it is done"
        ) from None
    except OSError as error:
        raise StoreError(f"{directory}: cannot be written: {error.strerror or error}") from error
    try:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        record = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
        holder.write_text(json.dumps(record), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _described(holder: Path) -> str:
    try:
        record = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {record['process']} on {record['host']} since {record['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
