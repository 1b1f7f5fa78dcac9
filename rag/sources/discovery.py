"""paths -> files, without opening any."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import SourceError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be read. `path` is resolved, `source` is as the user gave it; `size` in bytes."""

    path: Path
    source: str
    size: int
    mtime_ns: int


def discover_files(
    paths: Sequence[str | Path], suffixes: Sequence[str]
) -> tuple[list[SourceFile], list[tuple[str, str]]]:
    """The readable files under `paths`, and (source, reason) for those passed over.

    Raises:
        SourceError: if a path does not exist, or is a single file that cannot be taken.
    """
    found: dict[Path, SourceFile] = {}
    skipped: list[tuple[str, str]] = []
    for path in paths:
        source = str(path)
        if not os.path.lexists(path):
            raise SourceError(_printable(source), "no such file or folder")
        if Path(path).is_dir():
            for candidate in _walk(source):
                reason = _why_not(Path(candidate), suffixes, Path(path).resolve())
                if reason:
                    skipped.append((_printable(candidate), reason))
                else:
                    file = _source_file(candidate)
                    found.setdefault(file.path, file)
        else:
            reason = _why_not(Path(path), suffixes, None)
            if reason:
                raise SourceError(_printable(source), reason)
            file = _source_file(source)
            found.setdefault(file.path, file)
    return sorted(found.values(), key=lambda file: file.source), skipped


def _walk(directory: str) -> Iterator[str]:
    for folder, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield str(Path(folder, name))


def _why_not(path: Path, suffixes: Sequence[str], root: Path | None) -> str | None:
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        return "has a name that is not valid UTF-8: rename it"
    try:
        status = path.stat()
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if root is not None and path.is_symlink() and not path.resolve().is_relative_to(root):
        return "is a link out of the folder"
    if path.suffix.lower() not in suffixes:
        shown = f"'{path.suffix}'" if path.suffix else "(no suffix)"
        return f"unknown format {shown}; known are {' '.join(suffixes)}"
    return None if status.st_size else "is empty"


def _source_file(source: str) -> SourceFile:
    path = Path(source)
    status = path.stat()
    return SourceFile(path.resolve(), source, status.st_size, status.st_mtime_ns)


def _printable(source: str) -> str:
    return source.encode(errors="backslashreplace").decode()
