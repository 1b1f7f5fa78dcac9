"""Folders -> the files that change in them, as they change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError, SourceError, first_line
from rag.sources.discovery import (
    IGNORE_FILES,
    Root,
    SourceFile,
    discover,
    discover_below,
    is_ignored,
    walk_folders,
)

if TYPE_CHECKING:
    from watchfiles.main import FileChange

    Stream = Iterator[set[FileChange]]


def changes(
    roots: Sequence[Root], *, stop: threading.Event | None = None, debounce_ms: int = 400
) -> Iterator[set[str]]:
    """The absolute paths of what is made, written to, renamed or deleted, in sets.

    They are paths of files, and, where one is gone, of a file or a folder. An ignore file is among
    them although it is never read: what it says may hold for any file of its folder. Watching has
    begun when the call returns; what happens before a set is asked for is in it. Ends when `stop`
    is set.

    Args:
        debounce_ms: for how long, at most, changes are gathered into one set.

    Raises:
        ConfigError: if the package that watches is not installed.
        SourceError: if a root is not there, or the system watches no more folders.
    """
    try:
        import watchfiles  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            "watching folders needs the package `watchfiles`: pip install 'checkable-rag[watch]'"
        ) from error
    for root in roots:
        if not Path(root.path).exists():
            raise SourceError(root.source, "no such file or folder")

    def begin() -> Stream:
        return _start_stream(roots, stop, debounce_ms)

    return _gather_changes(begin(), begin, roots)


def _gather_changes(
    stream: Stream, begin: Callable[[], Stream], roots: Sequence[Root]
) -> Iterator[set[str]]:
    files = {root.path for root in roots if Path(root.path).is_file()}
    while True:
        try:
            batch = next(stream, None)
            if batch is None:
                return
            if any(_is_new_ground(event, root) for event in batch for root in roots):
                # The next stream begins before the last one ends, so that nothing is missed.
                following = begin()
                batch = batch | next(stream, set())
                stream = following
        except RuntimeError:
            # A name that is not UTF-8 takes all events down with it.
            stream = begin()
            yield {item.path for item in discover(roots) if isinstance(item, SourceFile)}
            continue
        paths = {path for _, path in batch if path in files}
        for event in batch:
            for root in roots:
                paths.update(_changed_paths(event, root))
        if paths:
            yield paths


def _start_stream(roots: Sequence[Root], stop: threading.Event | None, debounce_ms: int) -> Stream:
    # Only folders that are walked through, each by itself: watched from the top, links would lead
    # anywhere, and `node_modules` alone may hold more folders than the system lets one watch.
    while True:
        watched = _folders_to_watch(roots)
        try:
            stream = _watch(watched, stop, debounce_ms, lenient=False)
        except (PermissionError, FileNotFoundError):
            stream = _watch(watched, stop, debounce_ms, lenient=True)
        except OSError as error:
            named = ", ".join(root.source for root in roots)
            raise SourceError(named, f"cannot be watched: {first_line(error)}") from error
        if watched >= _folders_to_watch(roots):
            return stream


def _folders_to_watch(roots: Sequence[Root]) -> set[str]:
    # Editors put a new file in the place of the old one, which only the folder around it shows.
    return {
        folder
        for root in roots
        for folder in (
            walk_folders(root) if Path(root.path).is_dir() else [str(Path(root.path).parent)]
        )
    }


def _watch(
    watched: set[str], stop: threading.Event | None, debounce_ms: int, *, lenient: bool
) -> Stream:
    from watchfiles import watch

    stream = watch(
        *watched,
        watch_filter=None,
        debounce=debounce_ms,
        step=max(1, debounce_ms // 4),
        stop_event=stop,
        rust_timeout=1,
        yield_on_timeout=True,
        recursive=False,
        ignore_permission_denied=lenient,
    )
    # Watching begins with the first step.
    return chain([next(stream, set())], stream)


def _is_new_ground(event: FileChange, root: Root) -> bool:
    change, path = event
    parent, name = os.path.split(path)
    if name in IGNORE_FILES:
        return not is_ignored(root, parent, folder=True)
    return (
        change == change.added
        and path != root.path
        and Path(path).is_dir()
        and not is_ignored(root, path, folder=True)
    )


def _changed_paths(event: FileChange, root: Root) -> Iterator[str]:
    path = event[1]
    # That a root itself is gone says nothing of its files: they may be on a disk taken out.
    if path == root.path:
        return
    if _is_new_ground(event, root):
        if Path(path).is_dir():
            found = discover_below(root, path)
            yield from (item.path for item in found if isinstance(item, SourceFile))
        else:
            yield path
    elif not Path(path).is_dir():
        gone = not os.path.lexists(path)
        if not is_ignored(root, path) or (gone and not is_ignored(root, path, folder=True)):
            yield path
