"""What caches of the store have in common: a row that names them, and durable files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CacheRow:
    """The row that points to a cache: it holds every chunk up to `max_id` that then lived."""

    generation: int
    name: str
    sha256: str
    max_id: int
    count: int


def remove_others(directory: Path, pattern: str, keep: Collection[str]) -> None:
    """Delete the caches that nothing points to any more.

    Readers hold a cache open; one that comes too late for it reads SQLite instead.
    """
    for path in directory.glob(pattern):
        if path.name in keep:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` durable, where the system can open directories."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
