"""Durable changes to files, in steps that a test can interrupt.

Every change to the folder of an index is made here or by SQLite. If `fault` is set, it is called
before and after each step, and may raise the error that a disk would raise, or end the process.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rag.index.disk import files

# Called with `before` or `after`, the step's name and its file; None outside of tests.
fault: Callable[[str, str, Path], None] | None = None


@contextmanager
def step(name: str, path: Path) -> Iterator[None]:
    """Mark one change, which happens as a whole or not at all."""
    if fault is not None:
        fault("before", name, path)
    yield
    if fault is not None:
        fault("after", name, path)


def write(path: Path, fill: Callable[[Callable[[bytes], object]], None]) -> None:
    """Write a file durably under a temporary name, and rename it at the end.

    `fill` is called with a function that writes a piece.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with step("write", temporary), files.create(temporary) as file:
        fill(file.write)
        file.flush()
        sync(file.fileno(), temporary)
    rename(temporary, path)


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Write a few bytes durably into the middle of a small file, which is made if need be."""
    is_new = not path.exists()
    descriptor = files.open_in_place(path)
    try:
        with step("write", path):
            os.pwrite(descriptor, data, at)
        sync(descriptor, path)
    finally:
        os.close(descriptor)
    if is_new:
        sync_directory(path.parent)


def sync(descriptor: int, path: Path) -> None:
    """Make what was written to an open file durable."""
    with step("sync", path):
        os.fsync(descriptor)


def sync_path(path: Path) -> None:
    """Make what was written to a file durable."""
    with files.open_to_read(path) as file:
        sync(file.fileno(), path)


def sync_directory(directory: Path) -> None:
    """Make the names in a folder durable, where the system can open folders."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        sync(descriptor, directory)
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Rename a file durably, in another's place, or a folder to a name that is free."""
    with step("rename", target):
        source.replace(target)
    sync_directory(target.parent)


def link(source: Path, target: Path) -> None:
    """Link a file that never changes; copy it where the file system has no links.

    Raises:
        OSError: if it is no ordinary file: a link would lead out of the index.
    """
    if not files.is_ordinary(source):
        raise OSError(errno.EINVAL, "is no ordinary file", str(source))
    with step("link", target):
        try:
            target.hardlink_to(source)
        except OSError:
            with files.open_to_read(source) as read, files.create(target) as written:
                shutil.copyfileobj(read, written)


def ensure_directory(path: Path) -> None:
    """Make a folder and those above it, durably; new ones are for their owner alone."""
    if path.is_dir():
        return
    ensure_directory(path.parent)
    with step("make", path):
        path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Make a new folder, in place of what an interrupted run left."""
    remove(path)
    with step("make", path):
        path.mkdir(mode=files.folder_mode(path.parent))


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be removed."""
    with suppress(OSError), step("remove", path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
