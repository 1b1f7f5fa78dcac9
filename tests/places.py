"""Folders that cannot be written: by a read-only mount, or as a user who owns none of it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from processes import Worker, working


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """The folder, mounted over itself so that not even root writes to it."""
    made = _mount("--bind", str(folder), str(folder))
    if not made:
        pytest.skip("mounting is not permitted here")
    try:
        if not _mount("-o", "remount,ro,bind", str(folder)):
            pytest.skip("a read-only mount is not permitted here")
        yield folder
    finally:
        # What is still open there goes on.
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)  # noqa: S607


def _mount(*arguments: str) -> bool:
    command = ["mount", *arguments]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


@contextmanager
def seen_by_all() -> Iterator[Path]:
    """A folder that other users can enter; those of pytest they cannot."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


def let_others_read(folder: Path) -> None:
    """What `chmod -R a+rX` does, as the owner of an index does once."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def as_nobody(*task: object) -> AbstractContextManager[Worker]:
    """A process that imports what a search needs, and goes on as a user who owns nothing."""
    return working("nobody", *task)
