"""Back up an index while others read and write it; the copy is an index itself."""

from __future__ import annotations

import glob
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rag.errors import StoreError
from rag.index import Index
from rag.index.disk import database, files, steps
from rag.index.disk.lock import hold_lock
from rag.types import CopyReport, Progress, ProgressCallback, no_progress

# The endings of the hidden folders beside the target: a copy that is not whole yet, and the index
# that it replaces.
_UNFINISHED = ".unfinished-backup"
_REPLACED = ".replaced-backup"


def back_up(
    index: Index, folder: Path, *, force: bool = False, progress: ProgressCallback | None = None
) -> CopyReport:
    """Copy one state of an index into a new folder, whole or not at all.

    Readers and writers do not wait. With `force` an index that is in the folder is replaced, once
    the copy is whole.

    Raises:
        LockedError: if the index that is to be replaced is being written.
        StoreError: if there is no index or it is damaged, or the folder exists already (unless
            `force`), holds something else, or cannot be written.
    """
    started = time.monotonic()
    report = progress or no_progress
    index.check()
    target = folder.resolve()
    _check_apart(index.directory, target)
    try:
        steps.ensure_directory(target.parent)
        _bring_back(target)
        _check_is_free(target, force=force)
        with _make_unfinished(target) as copy:
            with index.contents() as contents:
                # Raises if nothing was ever committed.
                contents.manifest  # noqa: B018
                contents.copy(
                    copy, lambda done, all_: report(Progress("backup", done, all_, "bytes"))
                )
            copied = Index(copy)
            counts, size = copied.counts(), copied.size()
            _put_in_place(copy, target, force=force)
    except BrokenPipeError:
        # This is no error of the copy: who watched its progress has left.
        raise
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror or error}") from error
    seconds = time.monotonic() - started
    return CopyReport(
        str(folder), counts["files"], counts["documents"], counts["chunks"], size, seconds
    )


def _check_apart(source: Path, target: Path) -> None:
    """Raise StoreError if one folder holds the other: the copy would replace its source."""
    origin = source.resolve()
    if origin == target or origin in target.parents or target in origin.parents:
        raise StoreError(
            f"{target}: and the index {source} lie in one another: name another folder"
        )


def _check_is_free(target: Path, *, force: bool) -> None:
    if not target.exists() or _is_empty(target):
        return
    if not force:
        raise StoreError(
            f"{target}: exists already: name a new folder, or pass --force to replace an index"
        )
    if not database.exists(target) and not database.remains(target):
        raise StoreError(f"{target}: holds no index, and is not replaced: name a new folder")


def _is_empty(target: Path) -> bool:
    return target.is_dir() and not any(target.iterdir())


@contextmanager
def _make_unfinished(target: Path) -> Iterator[Path]:
    """Make a locked folder beside a target, and remove it at the end if it is still there."""
    _clear_away(target)
    folder = target.with_name(f".{target.name}-{secrets.token_hex(8)}{_UNFINISHED}")
    steps.make_directory(folder)
    lock = FileLock(folder / "writer.lock", mode=files.PRIVATE)
    try:
        with lock.acquire(timeout=0):
            yield folder
    except Timeout:
        raise StoreError(f"{target}: is being written by another backup: try again") from None
    finally:
        steps.remove(folder)


def _clear_away(target: Path) -> None:
    """Remove the folders of killed backups, whose locks ended with their processes."""
    for folder in target.parent.glob(f".{glob.escape(target.name)}-*{_UNFINISHED}"):
        if not files.is_folder(folder):
            continue
        try:
            with FileLock(folder / "writer.lock").acquire(timeout=0):
                steps.remove(folder)
        except (Timeout, OSError):
            continue


def _put_in_place(copy: Path, target: Path, *, force: bool) -> None:
    steps.sync_directory(copy)
    if not target.exists() or _is_empty(target):
        steps.rename(copy, target)
        return
    _check_is_free(target, force=force)
    replaced = _place_of_replaced(target)
    steps.remove(replaced)
    with hold_lock(target):
        try:
            steps.rename(target, replaced)
            steps.rename(copy, target)
        except BaseException:
            _bring_back(target)
            raise
    steps.remove(replaced)


def _bring_back(target: Path) -> None:
    """Undo a backup that was killed between its two renames."""
    if files.is_folder(_place_of_replaced(target)) and not target.exists():
        steps.rename(_place_of_replaced(target), target)


def _place_of_replaced(target: Path) -> Path:
    return target.with_name(f".{target.name}{_REPLACED}")
