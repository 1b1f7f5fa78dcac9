"""Make files and folders that nobody but their owner can read, whatever the umask allows."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["make_folder", "open_for_owner"]


def open_for_owner(path: str, flags: int) -> int:
    """Open a file as an `opener` of Python's `open` does; a new one is for its owner alone."""
    return os.open(path, flags, 0o600)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they exist; new ones are for their owner alone.

    Raises:
        OSError: if one cannot be made.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
