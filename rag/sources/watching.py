"""Watch folders and report the files that change in them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
    """Yield sets of absolute paths of what is created, written to, renamed or deleted.

    They are paths of files; a path that is gone may have been a file or a folder. Ignore files are
    reported although they are never indexed, since they may affect any file of their folder.
    Watching has begun when the call returns, and a set holds everything since the set before it.
    The iterator ends when `stop` is set.

    Args:
        debounce_ms: for how long, at most, changes are gathered into one set.

    Raises:
        ConfigError: if the package `watchfiles` is not installed.
        SourceError: if a root does not exist, or the system watches no more folders.
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

    begin = partial(_start_stream, roots, stop, debounce_ms)
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
                # The next stream begins before the last one ends, so that no change is missed.
                following = begin()
                batch = batch | next(stream, set())
                stream = following
        except RuntimeError:
            # A name that is not UTF-8 makes watchfiles lose all events: report every file.
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
    # Each folder that is walked through is watched by itself. Watching the root recursively would
    # follow links out of it, and `node_modules` alone may hold more folders than may be watched.
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
    # Editors replace a file by a new one, which only a watch on the folder around it shows.
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
    # watchfiles begins to watch with the first step of the iterator.
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
    # A root that is gone does not mean that its files are: they may be on a disk taken out.
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
