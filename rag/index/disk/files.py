"""Open the files of an index folder: only ordinary ones, and never through a link.

An index may come from somebody else. A link in it would let a read reach any file of this machine,
and a write destroy one; a pipe would be waited for without end, and a device never ends.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from rag.errors import StoreError

DATABASE = "index.sqlite"
# What we, SQLite or a lock open by these names, and write to in place.
FIXED_NAMES = (
    *(DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal"),
    *(f"{DATABASE}-salvaged", "commits", "writer.lock", "optimize.lock"),
)
PRIVATE = 0o600
# A pipe must not be waited for; systems without these flags have no such files.
_ONLY_ITSELF = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)


def check_names(directory: Path) -> None:
    """Raise StoreError if a file that is opened by its name is no ordinary file.

    Raises:
        StoreError: naming the file.
    """
    for name in FIXED_NAMES:
        try:
            mode = (directory / name).lstat().st_mode
        except OSError:
            # It is not there, or cannot be looked at: whoever opens it says why.
            continue
        if not stat.S_ISREG(mode):
            raise StoreError(
                f"{directory / name}: is {_describe(mode)}, which no index holds: remove it, or "
                "bring back a copy of the index"
            )


def open_to_read(path: Path) -> io.BufferedReader:
    """Open an ordinary file.

    Raises:
        OSError: if it is none, or cannot be read.
    """
    return os.fdopen(_require_ordinary(os.open(path, os.O_RDONLY | _ONLY_ITSELF), path), "rb")


def read(path: Path, most: int) -> bytes:
    """Read the first `most` bytes of an ordinary file.

    Raises:
        OSError: if it is none, or cannot be read.
    """
    with open_to_read(path) as file:
        return file.read(most)


def open_in_place(path: Path) -> int:
    """Open an ordinary file to be written in its middle, and make it if need be.

    Returns its descriptor.

    Raises:
        OSError: if it is none, or cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | _ONLY_ITSELF
    return _require_ordinary(os.open(path, flags, file_mode(path.parent)), path)


def create(path: Path) -> io.BufferedWriter:
    """Make a new file, in place of whatever has its name, and open it to be written.

    Raises:
        OSError: if it cannot be made.
    """
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ONLY_ITSELF
    return os.fdopen(os.open(path, flags, file_mode(path.parent)), "wb")


def reserve(path: Path) -> None:
    """Make an empty file for the owner alone, unless there is one; SQLite would let others read.

    Raises:
        OSError: if it cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ONLY_ITSELF
    try:
        os.close(os.open(path, flags, PRIVATE))
    except FileExistsError:
        return


def file_mode(directory: Path) -> int:
    """Return the mode of new files in an index folder: that of its database, as SQLite's own have.

    An index is for its owner alone. Who opens it to others, by `chmod`, does so once.
    """
    try:
        return stat.S_IMODE((directory / DATABASE).lstat().st_mode) & 0o666 | PRIVATE
    except OSError:
        return PRIVATE


def folder_mode(directory: Path) -> int:
    """Return the mode of new folders in an index folder: whoever may read may enter."""
    mode = file_mode(directory)
    return mode | (mode & 0o444) >> 2


def is_ordinary(path: Path) -> bool:
    """Return whether there is a file at a path, and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Return whether there is a folder at a path, and not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _require_ordinary(descriptor: int, path: Path) -> int:
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"is {_describe(mode)}", str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _describe(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for holds, name in kinds if holds(mode)), "a device")
