"""Make files and folders that nobody but their owner can read, whatever the umask allows."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["make_folder", "open_for_owner", "replace_file"]


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


def replace_file(file: Path, data: bytes) -> None:
    """Replace a file at once, so that its readers get the old bytes or the new ones; follow a link.

    Raises:
        OSError: if it cannot be written.
    """
    target = file.resolve()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(16)}")
    make_folder(target.parent)
    try:
        with open(temporary, "xb", opener=open_for_owner) as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
