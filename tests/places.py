"""Folders that cannot be written: by a read-only mount, or as a user who owns none of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


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


def as_nobody(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that imports what a search needs, and goes on as a user who owns nothing."""
    # Its modules may lie where only root can read.
    drop = f"""
import json, os, sys, tempfile, time
import numpy as np
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from rag import StoreError
from rag.index import Index
from rag.query import parse_question
from test_index import found, unit, write
with tempfile.TemporaryDirectory() as warm:
    index, vectors = Index(Path(warm)), unit(np.random.default_rng(0), 3)
    write(index, {{"a": vectors}})
    found(index, vectors[0], 3)
    with index.snapshot() as snapshot:
        snapshot.matching(parse_question("passage", ("en", "de")), 3)
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
"""
    return subprocess.Popen(
        [sys.executable, "-c", drop + script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
