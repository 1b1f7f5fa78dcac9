"""Unpack files within files safely: their names, their sizes, and where they are put."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from rag.config import SourcesConfig
from rag.errors import SourceError

# What the decompressors raise on damaged data; an `OSError` with an errno is about the disk.
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
_PIECE = 1 << 20
# A small file may well shrink a thousandfold, and does no harm.
_RATIO_COUNTS_FROM = 10 << 20
_UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")


class UnpackBudget:
    """The amount that may still be unpacked from one file, whatever sizes its headers claim."""

    def __init__(self, config: SourcesConfig) -> None:
        self._config = config
        self._left = config.max_unpacked_mb << 20

    def copy(self, stream: BufferedIOBase, target: BinaryIO, packed: int, source: str) -> None:
        """Copy `stream`, whose packed size is `packed`, and stop where it becomes too much.

        Raises:
            ExhaustedError: if more was unpacked than `max_unpacked_mb` in all.
            SourceError: if this stream is more than `max_ratio` times its packed size.
        """
        size = 0
        # `read1` returns what it has before damaged data makes the next call fail.
        while piece := stream.read1(_PIECE):
            size += len(piece)
            self._left -= len(piece)
            if size > _RATIO_COUNTS_FROM and size > packed * self._config.max_ratio:
                raise SourceError(
                    source,
                    f"unpacks to more than {self._config.max_ratio} times its size "
                    "(`sources.max_ratio`)",
                )
            if self._left < 0:
                raise ExhaustedError(
                    source,
                    f"unpacks to more than {self._config.max_unpacked_mb:,} MB "
                    "(`sources.max_unpacked_mb`)",
                )
            target.write(piece)


class ExhaustedError(SourceError):
    """An error that says that nothing more may be unpacked from this file."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a temporary folder for what one file holds, and delete it afterwards."""
    with TemporaryDirectory(prefix="rag-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def temporary_file(name: str, folder: Path) -> Iterator[Path]:
    """Return a path in `folder` for a file called `name`, and delete the file afterwards."""
    # Only the end of the name is used: it shows the format, and serves as a title.
    last = re.sub(r"[^\w.-]", "_", name.rpartition("/")[2])[-60:]
    path = folder / (last if last.strip(".") else "file")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def open_compressed(path: Path) -> BufferedIOBase | None:
    """Open the content of a gzip, bzip2 or xz file; return None for any other file."""
    with path.open("rb") as file:
        opener = _OPENERS.get(file.read(2))
    return opener(path, "rb") if opener else None  # type: ignore[operator]


def is_damage(error: BaseException) -> bool:
    """Whether an error of `DAMAGE` is about the data, and not about the disk."""
    return not isinstance(error, OSError) or error.errno is None


def escape_unprintable(name: str) -> str:
    """Return a name that fits on one line and can be encoded, with the rest as escapes."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], name)


def inner_name(raw: str) -> str | None:
    """Return a name within an archive with plain slashes; None if it leads out of the archive."""
    name = raw.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or _DRIVE.match(name) or ".." in parts or not parts:
        return None
    return escape_unprintable("/".join(parts))


def set_time(path: Path, modified: float) -> None:
    """Set the time of an unpacked file to its recorded time, if that is a valid time."""
    with suppress(OverflowError, ValueError, OSError):
        os.utime(path, (modified, modified))
