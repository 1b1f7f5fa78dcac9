"""Open files and folders where no link leads, whatever was put there since they were found.

A path that was resolved holds no link. Whoever can write to a folder that is being indexed may put
one in its place a moment later, so each step of the path is taken from the folder before it and
follows none. Linux and macOS know how; elsewhere the path is opened as it is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CAN_STEP = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_CLOSED = getattr(os, "O_CLOEXEC", 0)
# To pass through a folder takes less than to list it.
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _CLOSED
_LIST = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOSED
# Opening a pipe must not wait for someone to write into it.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | _CLOSED
_DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def open_folder(path: str) -> Iterator[int | None]:
    """Open a folder at a resolved path, for `os.scandir` and `dir_fd`; None where paths have to do.

    Raises:
        OSError: if it cannot be listed, or a link has taken the place of it or of a folder above.
    """
    if not (_CAN_STEP and os.scandir in os.supports_fd):
        yield None
        return
    handle = _step_to(path, _LIST)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def open_file(path: str) -> Iterator[int]:
    """Open a regular file at a resolved path.

    Raises:
        OSError: if it cannot be read, is no regular file, or a link has taken the place of it or of
            a folder above.
    """
    handle = _step_to(path, _READ) if _CAN_STEP else os.open(path, _READ)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file any more")
        yield handle
    finally:
        os.close(handle)


@contextmanager
def name_for(handle: int, path: str, folder: Path) -> Iterator[Path]:
    """Return a path that leads to the open file, for libraries that take nothing else.

    It ends as `path` does, and lies in `folder`, which nobody else may write to. Without a file
    system of descriptors, as on macOS, it is `path` itself.
    """
    if not _DESCRIPTORS.exists():
        yield Path(path)
        return
    link = folder / Path(path).name
    link.symlink_to(_DESCRIPTORS / str(handle))
    try:
        yield link
    finally:
        link.unlink(missing_ok=True)


def was_replaced(error: OSError) -> bool:
    """Whether a link, or something else, has taken the place of a step of the path."""
    return error.errno in (errno.ELOOP, errno.ENOTDIR)


def _step_to(path: str, flags: int) -> int:
    if hasattr(os, "O_NOFOLLOW_ANY"):
        # macOS takes all steps by itself.
        return os.open(path, flags | os.O_NOFOLLOW_ANY)
    first, *names = Path(path).parts
    if not names:
        return os.open(first, flags)
    handle = os.open(first, _PASS)
    try:
        for name in names[:-1]:
            inner = os.open(name, _PASS | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = inner
        return os.open(names[-1], flags | os.O_NOFOLLOW, dir_fd=handle)
    finally:
        os.close(handle)
