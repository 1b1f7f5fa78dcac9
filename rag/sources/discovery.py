"""Find the files below the paths that a user named; only ignore files are opened."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, permutations
from pathlib import Path
from typing import NamedTuple

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.addresses.mirror import path_of, read_list
from rag.sources.ignoring import Patterns, compile_patterns, parse_ignore_file
from rag.sources.opening import open_file, open_folder, was_replaced
from rag.types import Problem

# Where the two disagree, the second one decides.
IGNORE_FILES = (".gitignore", ".ragignore")

_NEVER_TAKEN = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules"})
# Files that mark a folder as a virtual environment or as one of our indexes. A copy of an index has
# no lock until it is written to.
_MARKS = (("pyvenv.cfg",), ("index.sqlite", "writer.lock"), ("index.sqlite", "commits"))
_ENTRIES_AT_ONCE = 1000
_NOT_UTF8 = "has a name that is not valid UTF-8: rename it"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read. `path` is resolved, `source` is as the user gave it, `size` is in bytes.

    What was fetched from an address has that address as its path, and lies at `copy`.
    """

    path: str
    source: str
    size: int
    mtime_ns: int
    copy: str = ""

    @property
    def place(self) -> str:
        """Where its bytes lie."""
        return self.copy or self.path


@dataclass(frozen=True, slots=True)
class Root:
    """A folder or file that the user named, with the rules for what is taken from the folder.

    `path` is resolved, `source` is as the user gave it. `include` (empty: everything) and `exclude`
    are patterns as in `.gitignore`, relative to the folder. An address is a root, too: `mirror` is
    the folder for what was fetched from it.
    """

    path: str
    source: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    mirror: str = ""

    @property
    def place(self) -> str:
        """The file or folder that its files lie in."""
        return self.mirror or self.path


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder that is walked through; `below` is its path in the root, with a slash at its end.

    `included` says that a pattern of `Root.include` covers its contents. `patterns` are those of
    the ignore files in it and above it, the nearest first, each with the length of `below` of the
    folder that its ignore file lies in.
    """

    path: str
    below: str
    included: bool
    patterns: tuple[tuple[int, Patterns], ...] = ()


class _Entry(NamedTuple):
    name: str
    is_folder: bool
    is_link: bool


def resolve_root(path: str | Path, config: SourcesConfig, base: str | Path = "") -> Root:
    """Return the root at a path that the user named, from the folder `base`; a link is followed.

    Raises:
        SourceError: if there is nothing of that name, or it is neither a file nor a folder.
    """
    source = str(path)
    shown = _to_utf8(source)
    try:
        if not source or "\0" in source:
            raise FileNotFoundError
        resolved = os.path.realpath(Path(base, source), strict=True)
        mode = Path(resolved).stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(shown, "no such file or folder") from error
    except OSError as error:
        raise SourceError(shown, f"cannot be read: {error.strerror}", lasting=False) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise SourceError(shown, "is not a regular file")
    if not (_is_utf8(source) and _is_utf8(resolved)):
        raise SourceError(shown, _NOT_UTF8)
    return Root(resolved, source, config.include, config.exclude, config.hidden)


def discover(roots: Sequence[Root]) -> Iterator[SourceFile | Problem]:
    """Yield the files of `roots`, each once, ordered by the bytes of their names in each folder.

    Hidden files, what `.gitignore` and `.ragignore` leave out, links to what lies in the same root,
    folders of version control, `__pycache__`, `node_modules`, virtual environments and indexes are
    passed over in silence. Anything else that is not taken is a `Problem`. A file that is itself a
    root is taken whatever its name.
    """
    # A file can be met twice only where roots overlap.
    overlap = any(_lies_in(one.path, other.path) for one, other in permutations(roots, 2))
    seen: set[str] = set()
    for start in roots:
        for item in _discover_root(start):
            if overlap:
                key = item.path if isinstance(item, SourceFile) else item.source
                if key in seen:
                    continue
                seen.add(key)
            yield item


def is_ignored(root: Root, path: str, *, folder: bool = False) -> bool:
    """Whether `discover` passes over the file (or folder) at a path in silence.

    The answer depends on its name, on the folders above it, and on links; the file need not exist.
    `path` is absolute and resolved except for its last part.
    """
    if path == root.path:
        return False
    parent, name = os.path.split(path)
    try:
        above = _folder_at(root, parent)
        above = above and _load_patterns(above, _exists_in(above))
    except OSError:
        return True
    if above is None or Path(path).is_symlink():
        return True
    return _enter_folder(root, above, name) is None if folder else not _is_taken(root, above, name)


def discover_below(root: Root, path: str) -> Iterator[SourceFile | Problem]:
    """Yield what `discover` finds in one folder of a root and below it."""
    try:
        folder = _folder_at(root, path)
    except OSError:
        return
    for item in _walk(root, folder) if folder else ():
        if not isinstance(item, _Folder):
            yield item


def walk_folders(root: Root) -> Iterator[str]:
    """Yield the folders that `discover` walks through, the root first."""
    for item in _walk(root, _top_folder(root)):
        if isinstance(item, _Folder):
            yield item.path


def takes(root: Root, below: str) -> bool:
    """Return whether the patterns of a root take a thing, by its path there, with `/` between."""
    folder = _top_folder(root)
    *above, name = below.split("/")
    for part in above:
        entered = _enter_folder(root, folder, part)
        if entered is None:
            return False
        folder = entered
    return _is_taken(root, folder, name)


def _discover_root(root: Root) -> Iterator[SourceFile | Problem]:
    if root.mirror:
        yield from _discover_mirror(root)
        return
    try:
        status = Path(root.path).stat()
    except OSError as error:
        yield _unreadable_problem(root.source, error)
        return
    if stat.S_ISDIR(status.st_mode):
        yield from discover_below(root, root.path)
    else:
        yield _make_source_file(root.path, root.source, status)


def _discover_mirror(root: Root) -> Iterator[SourceFile | Problem]:
    """Yield what was fetched from an address, each under the address of its own."""
    mirror = Path(root.mirror)
    for entry in read_list(mirror):
        path = path_of(mirror, entry)
        try:
            status = path.lstat()
        except OSError:
            continue
        address = entry.address
        # Its path lies below that of its root, as that of a file does.
        own = address == root.path or address.startswith(root.path.rstrip("/") + "/")
        found = _make_source_file(address if own else f"{root.path}/{address}", address, status)
        yield replace(found, copy=str(path)) if isinstance(found, SourceFile) else found


def _walk(root: Root, folder: _Folder) -> Iterator[_Folder | SourceFile | Problem]:
    # There is no recursion, since folders may be nested deeper than Python's stack.
    yield folder
    walk = [_list_folder(root, folder)]
    while walk:
        item = next(walk[-1], None)
        if item is None:
            walk.pop()
            continue
        yield item
        if isinstance(item, _Folder):
            walk.append(_list_folder(root, item))


def _list_folder(root: Root, folder: _Folder) -> Iterator[_Folder | SourceFile | Problem]:
    source = str(Path(root.source, folder.below))
    try:
        with open_folder(folder.path) as handle:
            entries = _list_names(folder.path if handle is None else handle)
    except OSError as error:
        yield _unreadable_problem(source, error)
        return
    try:
        opened = _load_patterns(folder, {name for name, _, _ in entries}.__contains__)
    except OSError as error:
        reason = f"is left out, its ignore files cannot be read: {error.strerror}"
        yield Problem(source, reason, lasting=False)
        return
    if opened is None:
        return
    # No folder stays open while those below it are walked through: they may be very deep.
    rest = iter(entries)
    while batch := list(islice(rest, _ENTRIES_AT_ONCE)):
        try:
            with open_folder(folder.path) as handle:
                items = [_classify_entry(root, opened, entry, handle) for entry in batch]
        except OSError as error:
            yield _unreadable_problem(source, error)
            return
        yield from (item for item in items if item is not None)


def _list_names(folder: str | int) -> list[_Entry]:
    """List what a folder holds by the bytes of its names, with what tells a folder and a link."""
    with os.scandir(folder) as listing:
        entries = [
            _Entry(entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink())
            for entry in listing
        ]
    return sorted(entries, key=lambda entry: os.fsencode(entry.name))


def _classify_entry(
    root: Root, folder: _Folder, entry: _Entry, handle: int | None
) -> _Folder | SourceFile | Problem | None:
    """Return what an entry of a folder is to be taken for; `handle` is the folder, opened."""
    name = entry.name
    inner = None
    if entry.is_folder:
        inner = _enter_folder(root, folder, name)
        if inner is None:
            return None
    elif not _is_taken(root, folder, name):
        return None
    source = str(Path(root.source, folder.below, name))
    if not _is_utf8(name):
        return Problem(_to_utf8(source), _NOT_UTF8, lasting=False)
    if inner is not None:
        return inner
    path = os.path.join(folder.path, name)  # noqa: PTH118 - `Path` takes five times as long.
    if entry.is_link:
        return _check_link(root, path, source)
    return _look_at(path, source, name, handle)


def _look_at(path: str, source: str, name: str, handle: int | None) -> SourceFile | Problem | None:
    try:
        status = os.stat(path if handle is None else name, dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _unreadable_problem(source, error)
    return _make_source_file(path, source, status)


def _check_link(root: Root, path: str, source: str) -> Problem | None:
    target = os.path.realpath(path)
    if not os.path.lexists(target):
        return Problem(source, "is a link to nothing", "skipped", lasting=False)
    if _lies_in(target, root.path):
        return None
    return Problem(source, "is a link out of the folder", "skipped", lasting=False)


def _make_source_file(path: str, source: str, status: os.stat_result) -> SourceFile | Problem:
    if not stat.S_ISREG(status.st_mode):
        return Problem(source, "is not a regular file", "skipped", lasting=False)
    if not status.st_size:
        return Problem(source, "is empty", "skipped", lasting=False)
    return SourceFile(path, source, status.st_size, status.st_mtime_ns)


def _unreadable_problem(source: str, error: OSError) -> Problem:
    if was_replaced(error):
        reason = "was found, and then a link or another thing took its place: run again"
        return Problem(_to_utf8(source), reason, lasting=False)
    return Problem(_to_utf8(source), f"cannot be read: {error.strerror}", lasting=False)


def _top_folder(root: Root) -> _Folder:
    return _Folder(root.path, "", included=not root.include)


def _folder_at(root: Root, path: str) -> _Folder | None:
    folder = _top_folder(root)
    if path == root.path:
        return folder
    if not _lies_in(path, root.path):
        return None
    for name in Path(path).relative_to(root.path).parts:
        opened = _load_patterns(folder, _exists_in(folder))
        entered = opened and _enter_folder(root, opened, name)
        if entered is None or Path(entered.path).is_symlink():
            return None
        folder = entered
    return folder


def _exists_in(folder: _Folder) -> Callable[[str], bool]:
    return lambda name: os.path.lexists(Path(folder.path, name))


def _load_patterns(folder: _Folder, holds: Callable[[str], bool]) -> _Folder | None:
    """Add the patterns of a folder's own ignore files; return None for a folder that a tool made.

    Raises:
        OSError: if an ignore file cannot be read, since it may name what is private.
    """
    if folder.below and any(all(map(holds, marks)) for marks in _MARKS):
        return None
    texts = [_read_ignore_file(Path(folder.path, name)) for name in IGNORE_FILES if holds(name)]
    patterns = parse_ignore_file("\n".join([*texts, ""]))
    if patterns is None:
        return folder
    return replace(folder, patterns=((len(folder.below), patterns), *folder.patterns))


def _read_ignore_file(path: Path) -> str:
    # Git does not read ignore files through links either, and opening a pipe could wait for ever.
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return ""
        with open_file(str(path)) as handle, open(handle, "rb", closefd=False) as opened:
            data = opened.read()
    except FileNotFoundError:
        return ""
    return os.fsdecode(data.removeprefix(codecs.BOM_UTF8))


def _enter_folder(root: Root, folder: _Folder, name: str) -> _Folder | None:
    below = f"{folder.below}{name}/"
    if _is_out(root, folder, name, below):
        return None
    path = str(Path(folder.path, name))
    return _Folder(path, below, _is_included(root, folder, below), folder.patterns)


def _is_taken(root: Root, folder: _Folder, name: str) -> bool:
    below = folder.below + name
    return not _is_out(root, folder, name, below) and _is_included(root, folder, below)


def _is_out(root: Root, folder: _Folder, name: str, below: str) -> bool:
    if name in _NEVER_TAKEN or (name.startswith(".") and not root.hidden):
        return True
    excluding = compile_patterns(root.exclude)
    if excluding and excluding.decide(below):
        return True
    for depth, patterns in folder.patterns:
        is_out = patterns.decide(below[depth:])
        if is_out is not None:
            return is_out
    return False


def _is_included(root: Root, folder: _Folder, below: str) -> bool:
    including = compile_patterns(root.include)
    included = including.decide(below) if including else None
    return folder.included if included is None else included


def _lies_in(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _is_utf8(name: str) -> bool:
    return name.isascii() or _to_utf8(name) == name


def _to_utf8(source: str) -> str:
    return source.encode(errors="backslashreplace").decode()
