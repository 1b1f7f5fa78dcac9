"""The parts that all caches of the store share: the row that names one, and its checksum."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag.index.disk import steps


@dataclass(frozen=True, slots=True)
class CacheRow:
    """The row that names a cache, which holds every chunk up to `max_id` that lived then."""

    generation: int
    name: str
    sha256: str
    max_id: int
    count: int
    details: Mapping[str, Any] = field(default_factory=dict)


def remove_others(directory: Path, pattern: str, keep: Collection[str]) -> None:
    """Delete the caches that no row names any more.

    Readers keep a cache open; a reader that comes too late for it reads SQLite instead.
    """
    for path in directory.glob(pattern):
        if path.name in keep:
            continue
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
            OSError: if it cannot be read.
        """
        if path.is_dir():
            sums = "".join(f"{each.name}\0{self.of(each)}\n" for each in list_files(path))
            return hashlib.sha256(sums.encode()).hexdigest()
        known = self._known.get(_version(path.stat()))
        if known is not None:
            return known
        with path.open("rb") as file:
            version = _version(os.fstat(file.fileno()))
            self._known[version] = hashlib.file_digest(file, "sha256").hexdigest()
            return self._known[version]

    def agree(self, directory: Path, row: CacheRow) -> bool:
        """Return whether the cache that a row names is there, and is what was written."""
        try:
            return self.of(directory / row.name) == row.sha256
        except OSError:
            return False


def list_files(folder: Path) -> list[Path]:
    """Return the files of a cache that is a folder, by name, without tantivy's locks."""
    return [path for path in sorted(folder.iterdir()) if path.suffix != ".lock"]


def _version(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
