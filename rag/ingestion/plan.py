"""What changed: the files that a run reads, those it passes over, and those that are gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rag.config import SourcesConfig
from rag.index import FileState, Writer
from rag.ingestion.tally import Tally
from rag.sources import Root, SourceFile, is_address
from rag.types import FileOutcome, Problem

# Settings of sources that say which files are read, or how many at once, and not what can be.
_CHOOSING = frozenset({"include", "exclude", "hidden", "workers"})


class Plan:
    """The files of a run, compared with what the index holds.

    `hashes` has the SHA-256 of what each file held that the index knows completely and that is
    read again.

    Args:
        roots: the folders and files that the run goes through.
        named: the files that the user named one by one.
        retry: read again what could not be read, although it has not changed.
    """

    def __init__(
        self,
        writer: Writer,
        config: SourcesConfig,
        tally: Tally,
        roots: Sequence[Root] = (),
        *,
        named: frozenset[str] = frozenset(),
        retry: bool = False,
    ) -> None:
        self.hashes: dict[str, str] = {}
        self._writer = writer
        self._tally = tally
        self._roots = roots
        self._named = named
        # With other limits, or another encoding, what failed may be read now.
        self._retry = retry or writer.reading_settings() != reading_settings(config)
        self._last_known_file = writer.last_file_id()
        self._seen: set[int] = set()
        # Folders that could not be entered, and so tell nothing of what is gone.
        self._closed: list[str] = []

    def files_to_read(
        self, found: Iterable[SourceFile | Problem]
    ) -> Iterator[tuple[SourceFile, str | None]]:
        """Yield the files that are new or changed, each with the SHA-256 that the index knows."""
        items = iter(found)
        while True:
            with self._tally.clock("discover"):
                item = next(items, None)
            if item is None:
                return
            if isinstance(item, Problem):
                self._note(item)
                continue
            state = self._writer.file(item.path)
            known_sha256 = None
            if state is not None:
                self._seen.add(state.id)
                again = may_pass(state) or (self._retry and bool(state.problems))
                if is_unchanged(state, item) and not again:
                    self._pass_over(item, state)
                    continue
                if state.complete:
                    self.hashes[item.path] = state.record.sha256
                    known_sha256 = None if again else state.record.sha256
            yield item, known_sha256

    def remove_missing(self, path: str, keep: Callable[[str], bool] | None = None) -> None:
        """Remove the files below `path` that the run did not see, but for those to `keep`."""
        for file_id, record in self._writer.files_below(path, up_to=self._last_known_file):
            if file_id in self._seen or (keep is not None and keep(record.path)):
                continue
            if any(is_below(record.path, folder) for folder in self._closed):
                continue
            twin = self._writer.same_content(record, after=self._last_known_file)
            self._writer.remove_file(file_id)
            self._tally.remove(record.source, twin)

    def judge(self, problem: Problem, *paths: str) -> Problem:
        """Return the problem, as a failure where it skips a file that the user named."""
        skipped = problem.kind == "skipped" and not self._named.isdisjoint(paths)
        return replace(problem, kind="failed") if skipped else problem

    def _note(self, problem: Problem) -> None:
        paths = paths_of(problem.source, self._roots)
        if problem.kind == "failed":
            self._closed += paths
        self._tally.note(self.judge(problem, *paths))

    def _pass_over(self, file: SourceFile, state: FileState) -> None:
        self._tally.unchanged += state.complete
        for problem in state.problems:
            self._tally.list_problem(problem)
        self._tally.finish_file(file.size, FileOutcome(file.source, "unchanged"))


def is_unchanged(state: FileState, file: SourceFile) -> bool:
    """Return whether a file is as it was when it was read, to its end or to a problem."""
    same = (state.record.size, state.record.mtime_ns) == (file.size, file.mtime_ns)
    return same and (state.complete or bool(state.problems))


def may_pass(state: FileState) -> bool:
    """Return whether an unchanged file has a problem that another try may not meet."""
    return not all(problem.lasting for problem in state.problems)


def is_below(path: str, folder: str) -> bool:
    """Return whether `path` is `folder` or lies in it."""
    separator = "/" if is_address(folder) else os.sep
    return path == folder or path.startswith(folder.rstrip(separator) + separator)


def paths_of(source: str, roots: Sequence[Root]) -> list[str]:
    """Return the absolute paths that `source` may stand for, a name below that of a root.

    It was given in a working directory that need not be the present one.
    """
    if is_address(source):
        return [
            path
            for root in roots
            if root.mirror
            for path in (source, f"{root.path}/{source}")
            if is_below(path, root.path)
        ]
    return [
        str(Path(root.path, Path(source).relative_to(root.source)))
        for root in roots
        if not root.mirror and Path(source).is_relative_to(root.source)
    ]


def reading_settings(config: SourcesConfig) -> str:
    """Return all settings that decide on what can be read, as text to compare."""
    values = asdict(config)
    return repr([(name, values[name]) for name in values if name not in _CHOOSING])
