"""Durable changes to files, each a step that can be interrupted by a test.

Whatever changes the folder of an index goes through here, or through SQLite: `fault`, where it is
set, is called before and after each step, and may raise what a disk would, or end the process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What is called with `before` or `after`, the step's name and its file; None outside of tests.
fault: Callable[[str, str, Path], None] | None = None


@contextmanager
def step(name: str, path: Path) -> Iterator[None]:
    """One change that is there as a whole, or not."""
    if fault is not None:
        fault("before", name, path)
    yield
    if fault is not None:
        fault("after", name, path)


def write(path: Path, fill: Callable[[Callable[[bytes], object]], None]) -> None:
    """A file, whole and durable, under its name; what was there before is replaced at the end.

    `fill` is given a function to write pieces with.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with step("write", temporary), temporary.open("wb") as file:
        fill(file.write)
        file.flush()
        sync(file.fileno(), temporary)
    rename(temporary, path)


def overwrite(path: Path, at: int, data: bytes) -> None:
    """A few bytes in the middle of a small file, durably; one that is not there is made."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
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
    with path.open("rb") as file:
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
    """Put a file, or a folder where there is none, in another's place, durably."""
    with step("rename", target):
        source.replace(target)
    sync_directory(target.parent)


def link(source: Path, target: Path) -> None:
    """Another name of a file that never changes; a copy where the file system has no links."""
    with step("link", target):
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copy2(source, target)


def ensure_directory(path: Path) -> None:
    """A folder and those above it, durably."""
    if path.is_dir():
        return
    ensure_directory(path.parent)
    with step("make", path):
        path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """A new folder, in place of what an interrupted run left."""
    remove(path)
    with step("make", path):
        path.mkdir()


def remove(path: Path) -> None:
    """Take away a file or a folder, if it is there and can be."""
    with suppress(OSError), step("remove", path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
