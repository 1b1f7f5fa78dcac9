"""The parts that all caches of the store share: the row that names one, and its checksum."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag.index.disk import files, steps

# The kinds of caches beside the database, all of which can be built from it.
KINDS = ("vectors", "recent", "terms")
_NAME = re.compile(r"(?:(vectors|recent)-[1-9][0-9]{0,15}\.faiss|(terms)-[1-9][0-9]{0,15})")
# A cache holds parts of what the database holds, in other words: with much removed, several times.
_BYTES_AT_LEAST = 64 << 20
_BYTES_FOR_A_BYTE = 8


@dataclass(frozen=True, slots=True)
class CacheRow:
    """The row that names a cache, which holds every chunk up to `max_id` that lived then."""

    generation: int
    name: str
    sha256: str
    max_id: int
    count: int
    details: Mapping[str, Any] = field(default_factory=dict)


class DamagedCacheError(Exception):
    """A cache is not what its row says, or a library could not search it: it is built anew."""


def name_of(kind: str, generation: int) -> str:
    """Return the name of a cache within the folder of its index: no other name is ever used."""
    return f"terms-{generation}" if kind == "terms" else f"{kind}-{generation}.faiss"


def kind_of(name: str) -> str | None:
    """Return the kind of cache that has such a name, also while it is written; None if none."""
    found = _NAME.fullmatch(name.removesuffix(".tmp"))
    return (found[1] or found[2]) if found else None


def find_caches(directory: Path, kinds: Collection[str] = KINDS) -> list[Path]:
    """Return what has the name of a cache of some kinds, also of one that is not whole."""
    return [path for path in sorted(directory.iterdir()) if kind_of(path.name) in kinds]


def remove_others(directory: Path, kinds: Collection[str], keep: Collection[str]) -> None:
    """Delete the caches of some kinds that no row names any more.

    Readers keep a cache open; a reader that comes too late for it reads SQLite instead.
    """
    for path in find_caches(directory, kinds):
        if path.name not in keep:
            steps.remove(path)


class Digests:
    """The sha256 of caches, which never change under their name; each file is read once.

    A file counts as the same while its inode, size and time of change are the same.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int], str] = {}

    def of(self, path: Path) -> str:
        """Return the sha256 of a file, or of a folder's names and files, in hexadecimal digits.

        Raises:
            OSError: if it cannot be read, or holds a link, a device or a folder.
        """
        if not files.is_folder(path):
            return self._of_file(path)
        sums = "".join(f"{each.name}\0{self._of_file(each)}\n" for each in list_files(path))
        return hashlib.sha256(sums.encode(errors="surrogateescape")).hexdigest()

    def agree(self, directory: Path, row: CacheRow) -> bool:
        """Return whether the cache that a row names is there, and is what was written."""
        path = directory / row.name
        try:
            return has_like_size(directory, path) and self.of(path) == row.sha256
        except OSError:
            return False

    def _of_file(self, path: Path) -> str:
        known = self._known.get(_version(path.lstat()))
        if known is not None:
            return known
        with files.open_to_read(path) as file:
            version = _version(os.fstat(file.fileno()))
            self._known[version] = hashlib.file_digest(file, "sha256").hexdigest()
            return self._known[version]


def list_files(folder: Path) -> list[Path]:
    """Return the files of a cache that is a folder, by name, without tantivy's locks.

    Raises:
        OSError: if it cannot be read, or holds a link, a device or a folder: tantivy would follow
            or wait for it.
    """
    found = sorted(folder.iterdir())
    for path in found:
        if not files.is_ordinary(path):
            raise OSError(errno.EINVAL, "is no ordinary file", str(path))
    return [path for path in found if path.suffix != ".lock"]


def has_like_size(directory: Path, cache: Path) -> bool:
    """Return whether a cache is no larger than one of this index can be.

    Raises:
        OSError: if it cannot be looked at.
    """
    parts = list_files(cache) if files.is_folder(cache) else [cache]
    database = [directory / f"{files.DATABASE}{ending}" for ending in ("", "-wal")]
    held = sum(path.stat().st_size for path in database if path.exists())
    most = _BYTES_AT_LEAST + _BYTES_FOR_A_BYTE * held
    return sum(path.lstat().st_size for path in parts) <= most


def _version(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
