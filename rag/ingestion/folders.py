"""Bring an index up to date with folders and files, add to it, remove from it, compare it."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from pathlib import Path

from rag import sources
from rag.characters import replace_surrogates
from rag.config import Config
from rag.errors import LockedError, SourceError
from rag.index import Index, StoredRoot, is_text
from rag.ingestion import addresses
from rag.ingestion.pipeline import Pipeline, check_settings
from rag.ingestion.plan import Plan, is_below, is_unchanged, paths_of
from rag.ingestion.tally import Census, Tally
from rag.protocols import Embedder
from rag.sources import IGNORE_FILES, Root, SourceFile
from rag.trust import is_named, named_roots, remember_roots
from rag.types import IndexStatus, IngestionReport, Problem, ProgressCallback, no_progress

Paths = Sequence[str | Path]

_SECONDS_BETWEEN_TRIES = 1.0
_STRANGE = (
    "is not read: you did not name it for this index here, which may have come from somebody else, "
    "or was moved: name it once, `rag index PATH`"
)
_MOST_NAMED = 5


def ingest(
    index: Index,
    embedder: Embedder,
    config: Config,
    paths: Paths = (),
    *,
    prune: bool = True,
    rebuild: bool = False,
    retry: bool = False,
    allow_empty: bool = False,
    base: str | Path = "",
    progress: ProgressCallback | None = None,
) -> IngestionReport:
    """Bring the index up to date with `paths`, or else with all folders and files it follows.

    An unchanged file costs a look at its size and time. A changed one replaces its documents, and
    one that is gone from its folder takes them with it. A file that cannot be read is reported and
    remembered, and what was indexed of it before stays. A text that was embedded once is not
    embedded again, wherever it stands now. What was committed survives an interruption, and the
    next run goes on from there.

    Args:
        prune: remove what is gone; otherwise files that are gone keep their documents.
        rebuild: forget everything first, to change the embedder or the chunking; readers see the
            old index until the new one is whole. Texts that a program added are taken over.
        retry: read again what could not be read, although it has not changed.
        allow_empty: follow folders in which there is nothing yet.
        base: the folder that relative paths start from; empty for the working directory.

    Raises:
        SourceError: if a path does not exist, there is no file at any of them (unless
            `allow_empty`), or the index is empty and none of the files can be read.
        StoreError: if the index was built with other settings, or cannot be written.
    """
    given = _resolve(index, config, paths, base)
    if not given and not index.directory.exists():
        # Raised here, so that no index is made that nobody asked for.
        raise _nothing_to_do()
    tally = Tally(progress or no_progress)
    # Servers may take their time, for which no other writer has to wait.
    followed = given or (_from_stored(index, index.roots())[0] if index.exists() else [])
    missed = addresses.update(index, config, followed, tally, named=bool(given))
    texts = index.count_texts() if index.exists() else 0
    with index.write() as writer:
        stored, waiting = writer.roots(), writer.waiting_roots()
        if rebuild:
            writer.clear()
        check_settings(writer, embedder, config.chunking, index.directory)
        ours, strange = _from_stored(index, stored)
        here = given or ours
        waiting += strange
        if rebuild and ours and strange and not given:
            # What is not read again would be lost.
            raise SourceError(strange[0].source, _STRANGE)
        # What was fetched before is enough to build from, and does not tell what is gone.
        roots, missing = _check_roots(
            [root for root in here if root.path not in missed or (rebuild and _holds_copies(root))],
            waiting,
            empty=bool(missed) or (rebuild and bool(texts)),
        )
        missing += missed.values()
        if given:
            remember_roots(index.directory, [root.path for root in roots if not root.mirror])
        else:
            missing += map(_describe_strange, strange)
        named = frozenset(root.path for root in given if root.mirror or Path(root.path).is_file())
        plan = Plan(writer, config.sources, tally, roots, named=named, retry=retry)
        with Pipeline(writer, embedder, config, plan, tally, at_once=rebuild) as pipeline:
            for problem in missing:
                tally.note(problem)
            for root in roots:
                writer.put_root(_to_follow(root, stored, prune=prune))
            if progress is not None:
                tally.census = Census(roots)
            pipeline.take_in(sources.discover(roots), roots)
            if prune:
                _remove_missing(plan, roots, [root.path for root in writer.roots()])
            if given and writer.manifest() is None:
                tally.raise_first_problem()
            if given and not tally.seen and not allow_empty:
                raise SourceError(
                    ", ".join(root.source for root in given),
                    "holds no file to index; hidden ones, and those that --include, --exclude, "
                    ".gitignore or .ragignore leave out, do not count",
                )
            if rebuild and texts:
                # What a program added is nowhere else: it is taken over from the state before.
                with index.contents() as before:
                    pipeline.take_texts(before.texts())
            pipeline.finish()
    return tally.report(index.counts())


def remove(index: Index, paths: Paths) -> tuple[str, ...]:
    """Remove files, folders and texts from the index, and return the sources that went.

    A text is named as it is cited, `text:ID`.

    Raises:
        SourceError: if the index holds nothing of a path; nothing is removed then.
    """
    gone: list[str] = []
    dropped: list[str] = []
    with index.write() as writer:
        for path in paths:
            text = writer.file(path) if isinstance(path, str) and is_text(path) else None
            if text is not None:
                writer.remove_file(text.id)
                gone.append(text.record.source)
                continue
            # Of a path that is no text, the index holds nothing.
            absolute = replace_surrogates(_place_of(path))
            found = list(writer.files_below(absolute))
            known = (*writer.roots(), *writer.waiting_roots())
            roots = [root for root in known if is_below(root.path, absolute)]
            if not found and not roots:
                raise SourceError(str(path), "the index holds nothing of it")
            for file_id, record in found:
                writer.remove_file(file_id)
                gone.append(record.source)
            for root in roots:
                writer.remove_root(root.path)
                dropped.append(root.path)
        writer.commit()
        writer.refresh_cache()
    for path in dropped:
        addresses.forget(index, path)
    return tuple(gone)


def status(index: Index, config: Config, paths: Paths = ()) -> IndexStatus:
    """Compare the index with `paths`, or else with its folders, without changing either.

    Raises:
        SourceError: if a path does not exist.
    """
    given = _resolve(index, config, paths)
    ours, strange = _from_stored(index, index.roots())
    texts = index.count_texts()
    # Those that are strange are told, which is all that there is to tell of them.
    known_empty = bool(texts) or bool(strange)
    roots, missing = _check_roots(given or ours, index.waiting_roots(), empty=known_empty)
    if not given:
        missing += map(_describe_strange, strange)
    known = {
        state.record.path: state
        for state in index.files()
        if any(is_below(state.record.path, root.path) for root in roots)
    }
    new: list[str] = []
    changed: list[str] = []
    unchanged = 0
    problems = missing
    closed: list[str] = []
    for item in sources.discover(roots):
        if isinstance(item, Problem):
            problems.append(item)
            if item.kind == "failed":
                closed += paths_of(item.source, roots)
            continue
        state = known.pop(item.path, None)
        if state is None:
            new.append(item.source)
        elif is_unchanged(state, item):
            unchanged += state.complete
            problems += state.problems
        else:
            changed.append(item.source)
    missed = {
        path: state.record.source
        for path, state in known.items()
        if not any(is_below(path, folder) for folder in closed)
    }
    return IndexStatus(
        roots=tuple(root.source for root in roots),
        new=tuple(new),
        changed=tuple(changed),
        gone=tuple(source for path, source in missed.items() if not _exists(path)),
        left_out=tuple(source for path, source in missed.items() if _exists(path)),
        unchanged=unchanged,
        failed=tuple(problem for problem in problems if problem.kind == "failed"),
        skipped=tuple(problem for problem in problems if problem.kind == "skipped"),
        texts=texts,
    )


def watch(
    index: Index,
    embedder: Embedder,
    config: Config,
    *,
    stop: threading.Event | None = None,
    progress: ProgressCallback | None = None,
) -> Iterator[IngestionReport]:
    """Bring the index up to date and follow its folders; yield a report first and for each change.

    Raises:
        ConfigError: if watchfiles is not installed.
        SourceError: if the index follows no folder.
    """
    from rag.sources.watching import changes

    ours, strange = _from_stored(index, index.roots())
    roots, _ = _check_roots(ours, [*index.waiting_roots(), *strange])
    # Nobody tells what changes at an address: it is looked at when watching begins.
    roots = [root for root in roots if not root.mirror]
    if not roots:
        raise SourceError("the index", "follows addresses and no folder: there is none to watch")
    seen = changes(roots, stop=stop)
    # This run takes in what changed before watching began.
    yield ingest(index, embedder, config, progress=progress)
    for paths in seen:
        while True:
            try:
                yield _follow(index, embedder, config, roots, sorted(paths), progress)
                break
            except LockedError:
                # The other writer will end, and what changed must not be lost until then.
                time.sleep(_SECONDS_BETWEEN_TRIES)


def _follow(
    index: Index,
    embedder: Embedder,
    config: Config,
    roots: Sequence[Root],
    paths: Sequence[str],
    progress: ProgressCallback | None,
) -> IngestionReport:
    """Take in what changed at `paths`."""
    if any(Path(path).name in IGNORE_FILES for path in paths):
        # An ignore file may concern anything below it.
        return ingest(index, embedder, config, progress=progress)
    tally = Tally(progress or no_progress)
    with index.write() as writer:
        check_settings(writer, embedder, config.chunking, index.directory)
        plan = Plan(writer, config.sources, tally)
        with Pipeline(writer, embedder, config, plan, tally) as pipeline:
            pipeline.take_in([file for path in paths for file in _file_at(path, roots)], roots)
            for path in paths:
                if not Path(path).is_dir():
                    plan.remove_missing(path)
                for folder in map(str, Path(path).parents):
                    # A folder may have taken the place of a file.
                    if writer.file(folder) is not None:
                        plan.remove_missing(folder, keep=folder.__ne__)
            pipeline.finish()
    return tally.report(index.counts())


def _remove_missing(plan: Plan, roots: Sequence[Root], stored: Sequence[str]) -> None:
    """Remove what is gone from the roots of this run, but not from other roots inside them."""
    ours = {root.path for root in roots}

    def belongs_elsewhere(path: str) -> bool:
        # A file is of the innermost root around it, whose patterns decide on it.
        owner = max((root for root in stored if is_below(path, root)), key=len, default="")
        return owner not in ours

    for root in roots:
        plan.remove_missing(root.path, belongs_elsewhere)


def _to_follow(root: Root, stored: Sequence[StoredRoot], *, prune: bool) -> StoredRoot:
    """Return how the index follows a root from now on.

    What is added to a root leaves in it what is there: the files of both remain included, and what
    either leaves out stays out.
    """
    now = StoredRoot(root.path, root.source, root.include, root.exclude, root.hidden)
    before = next((each for each in stored if each.path == root.path), None)
    if prune or before is None:
        return now
    both = dict.fromkeys((*before.include, *now.include))
    return replace(
        now,
        # No pattern at all includes everything.
        include=tuple(both) if before.include and now.include else (),
        exclude=tuple(dict.fromkeys((*before.exclude, *now.exclude))),
        hidden=before.hidden or now.hidden,
    )


def _check_roots(
    roots: Sequence[Root], waiting: Sequence[StoredRoot], *, empty: bool = False
) -> tuple[list[Root], list[Problem]]:
    """Split roots into those that are there, and problems of those that are not.

    A missing one may be on a disk that is not mounted. Those `waiting` are of an imported index,
    and are only named.

    Raises:
        SourceError: if there are none to begin with, unless that is known (`empty`).
    """
    if not roots and not empty:
        raise _nothing_to_do(waiting)
    reason = "is not there now: bring it back, or take it out with `rag remove`"
    missing = [
        Problem(root.source, reason, lasting=False) for root in roots if not _exists(root.place)
    ]
    return [root for root in roots if _exists(root.place)], missing


def _nothing_to_do(waiting: Sequence[StoredRoot] = ()) -> SourceError:
    said = "follows no folder yet"
    if waiting:
        named = ", ".join(root.source for root in waiting[:_MOST_NAMED])
        more = ", ..." if len(waiting) > _MOST_NAMED else ""
        said += f" that you named for it here (where it was made, it followed {named}{more})"
    return SourceError("the index", f"{said}: name one, as in `rag index PATH`")


def _resolve(index: Index, config: Config, paths: Paths, base: str | Path = "") -> list[Root]:
    """Return the root at each path and address that the user named.

    Raises:
        SourceError: if there is nothing at a path, or nothing can fetch an address.
    """
    chosen = config.sources
    found = []
    for path in paths:
        if isinstance(path, str) and sources.is_address(path):
            address = sources.normalize_address(path)
            rules = chosen.include, chosen.exclude, chosen.hidden
            found.append(
                Root(address, address, *rules, sources.mirror_of(index.directory, address))
            )
        else:
            found.append(sources.resolve_root(path, chosen, base))
    return found


def _from_stored(index: Index, roots: Sequence[StoredRoot]) -> tuple[list[Root], list[StoredRoot]]:
    """Split what an index follows into what the user named for it here, and what is strange.

    An index that came from somebody else names folders, too, and must not have them read.
    """
    named = named_roots(index.directory)
    ours, strange = [], []
    for root in roots:
        if sources.is_address(root.path):
            # Whether it is fetched, a list of its own decides.
            mirror = sources.mirror_of(index.directory, root.path)
            ours.append(replace(Root(*astuple(root)), mirror=mirror))
        elif is_named(root.path, named):
            ours.append(Root(*astuple(root)))
        else:
            strange.append(root)
    return ours, strange


def _describe_strange(root: StoredRoot) -> Problem:
    return Problem(root.source, _STRANGE, lasting=False)


def _place_of(path: str | Path) -> str:
    """Return how the index knows a path or an address."""
    if isinstance(path, str) and sources.is_address(path):
        try:
            return sources.normalize_address(path)
        except SourceError:
            return path
    return os.path.realpath(path)


def _file_at(path: str, roots: Sequence[Root]) -> Iterator[SourceFile]:
    """Yield the file at a path that changed, if there is one, named as its root names it."""
    try:
        status = Path(path).lstat()
    except OSError:
        return
    if stat.S_ISREG(status.st_mode) and status.st_size:
        around = [root for root in roots if is_below(path, root.path)]
        root = max(around, key=lambda root: len(root.path))
        below = path.removeprefix(root.path).lstrip(os.sep)
        source = str(Path(root.source, below)) if below else root.source
        yield SourceFile(path, source, status.st_size, status.st_mtime_ns)


def _holds_copies(root: Root) -> bool:
    return next(sources.discover([root]), None) is not None


def _exists(path: str) -> bool:
    # Unlike pathlib's function, this is False for a name that is too long for the system.
    return os.path.exists(path)  # noqa: PTH110
