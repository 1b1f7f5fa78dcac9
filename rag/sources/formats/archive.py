"""Read ZIP and tar archives, one file at a time, but no links and no names that lead out of them.

Nothing is extracted by `zipfile` or `tarfile` themselves: a member's bytes are copied to a file of
our own naming, so that its path, its mode and its owner never reach the disk.
"""

from __future__ import annotations

import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import IO, cast

from rag.config import SourcesConfig
from rag.errors import SourceError, first_line
from rag.sources.document import Member
from rag.sources.formats.compressed import unpack
from rag.sources.unpacking import (
    DAMAGE,
    ExhaustedError,
    UnpackBudget,
    escape_unprintable,
    inner_name,
    is_damage,
    open_compressed,
    set_time,
    temporary_file,
    temporary_folder,
)
from rag.types import Problem

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file that an archive lists; `special` and `locked` say why it is skipped or fails."""

    name: str
    open: Callable[[], IO[bytes] | None]
    packed: int
    modified: float
    special: str = ""
    locked: str = ""


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Member | Problem]:
    """Yield the files of an archive in the order of their names; the last of files of one name.

    In a damaged archive the files listed before the damage are read, and the damage is named.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        compressed = open_compressed(path)
        broken = ""
        if compressed is not None:
            compressed.close()
            inner = stack.enter_context(temporary_folder()) / "archive.tar"
            broken = unpack(path, inner, source, config)
            if broken and not inner.stat().st_size:
                raise SourceError(source, broken)
            path = inner
        entries, break_in_list = _list_entries(path, source, config, stack)
        broken = broken or break_in_list
        if broken and not entries:
            raise SourceError(source, broken)
        yield from _unpack_entries(entries, folder, source, config)
        if broken:
            yield Problem(source, f"{broken}; the files before that were read")


def _unpack_entries(
    entries: list[_Entry], folder: Path, source: str, config: SourcesConfig
) -> Iterator[Member | Problem]:
    budget = UnpackBudget(config)
    for entry in sorted(entries, key=lambda entry: entry.name):
        within = f"{source}/{entry.name}"
        if refusal := entry.special or entry.locked:
            yield Problem(within, refusal, "skipped" if entry.special else "failed")
            continue
        with temporary_file(entry.name, folder) as path:
            try:
                with path.open("wb") as target, _open_entry(entry) as stream:
                    budget.copy(stream, target, entry.packed, within)
            except ExhaustedError as error:
                yield Problem(source, f"{error.reason}: nothing from {entry.name!r} on was read")
                return
            except SourceError as error:
                yield Problem(within, error.reason)
                continue
            except (*DAMAGE, *_BROKEN) as error:
                if not is_damage(error):
                    raise
                yield Problem(within, f"is damaged in the archive ({first_line(error)})")
                continue
            set_time(path, entry.modified)
            yield Member(entry.name, path)


def _open_entry(entry: _Entry) -> BufferedIOBase:
    stream = entry.open()
    if stream is None:
        raise tarfile.ExtractError("holds no data")
    return cast(BufferedIOBase, stream)


def _list_entries(
    path: Path, source: str, config: SourcesConfig, stack: ExitStack
) -> tuple[list[_Entry], str]:
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    if not is_zip:
        try:
            tar = stack.enter_context(tarfile.open(path, "r:"))  # noqa: SIM115
        except tarfile.TarError:
            is_zip = zipfile.is_zipfile(path)
            if not is_zip:
                raise SourceError(
                    source, "is damaged, or neither ZIP nor tar: fetch or copy it again"
                ) from None
        else:
            return _list_tar(tar, path, source, config)
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise SourceError(
            source, f"cannot be read as ZIP ({first_line(error)}): fetch or copy it again"
        ) from error
    return _list_zip(archive, path, source, config), ""


def _list_zip(
    archive: zipfile.ZipFile, path: Path, source: str, config: SourcesConfig
) -> list[_Entry]:
    infos = archive.infolist()
    if len(infos) > config.max_members:
        raise _too_many_files(source, config)
    status = path.stat()
    entries: dict[str, _Entry] = {}
    for info in infos:
        mode = info.external_attr >> 16
        if info.filename.endswith(("/", "\\")):
            continue
        encrypted = "is encrypted: unpack it with its password" if info.flag_bits & 1 else ""
        try:
            modified = time.mktime((*info.date_time, 0, 0, -1))
        except (ValueError, OverflowError):
            modified = status.st_mtime
        special = _refuse_special(mode) if stat.S_IFMT(mode) else ""
        size = min(info.compress_size, status.st_size)
        opener = partial(archive.open, info)
        entry = _Entry(info.filename, opener, size, modified, special, encrypted)
        _add_entry(entries, entry, config)
    return list(entries.values())


def _list_tar(
    tar: tarfile.TarFile, path: Path, source: str, config: SourcesConfig
) -> tuple[list[_Entry], str]:
    entries: dict[str, _Entry] = {}
    size = path.stat().st_size
    count, broken = 0, ""
    try:
        for info in tar:
            count += 1
            if count > config.max_members:
                raise _too_many_files(source, config)
            if info.isdir():
                continue
            special = ""
            if info.issym() or info.islnk():
                kind = "symbolic" if info.issym() else "hard"
                target = escape_unprintable(info.linkname)
                special = f"is a {kind} link to {target!r}: links are not followed"
            elif not info.isreg():
                special = "is a device, a pipe or another special file"
            entry = _Entry(info.name, partial(tar.extractfile, info), size, info.mtime, special)
            _add_entry(entries, entry, config)
    except (tarfile.TarError, EOFError, ValueError) as error:
        broken = f"breaks off after {count:,} members ({first_line(error)}): fetch or copy it again"
    else:
        # tarfile takes a damaged header for the end of the archive.
        with path.open("rb") as file:
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                broken = f"is damaged after {count:,} members: fetch or copy it again"
    return list(entries.values()), broken


def _add_entry(entries: dict[str, _Entry], entry: _Entry, config: SourcesConfig) -> None:
    """Add an entry by its safe name, unless it is hidden."""
    name = inner_name(entry.name)
    if name is None:
        name = escape_unprintable(entry.name)
        reason = "has a name that leads out of the archive"
        entries[name] = replace(entry, name=name, special="", locked=reason)
        return
    parts = name.split("/")
    hidden = not config.hidden and any(part.startswith(".") for part in parts)
    if not hidden and "__MACOSX" not in parts[:-1]:
        entries[name] = replace(entry, name=name)


def _refuse_special(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "is a symbolic link: links are not followed"
    return "" if stat.S_ISREG(mode) else "is a device, a pipe or another special file"


def _too_many_files(source: str, config: SourcesConfig) -> SourceError:
    return SourceError(
        source, f"holds more than {config.max_members:,} files (`sources.max_members`)"
    )
