"""The bookkeeping of a run: what it has done so far, for progress and for the report."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from operator import attrgetter

from rag import sources
from rag.errors import SourceError
from rag.sources import Root, SourceFile
from rag.stopwatch import Stopwatch
from rag.types import FileOutcome, IngestionReport, Problem, Progress, ProgressCallback, Work

SECONDS_BETWEEN_EVENTS = 0.2


class Census:
    """A count of files and bytes in a thread of its own, so that progress can say how many of all.

    Both are None until everything is counted.
    """

    def __init__(self, roots: Sequence[Root]) -> None:
        self.files: int | None = None
        self.bytes: int | None = None
        threading.Thread(target=self._count, args=(roots,), daemon=True).start()

    def _count(self, roots: Sequence[Root]) -> None:
        files = size = 0
        for item in sources.discover(roots):
            if isinstance(item, SourceFile):
                files += 1
                size += item.size
        self.files, self.bytes = files, size


class Tally:
    """What a run has done so far: it sends progress events, and makes the report at the end."""

    def __init__(self, progress: ProgressCallback) -> None:
        self.clock = Stopwatch("discover", "read", "chunk", "embed", "write")
        self.census: Census | None = None
        self.unchanged = 0
        self.passages = 0
        self.embedded = 0
        self.tokens = 0
        self._progress = progress
        self._added: list[str] = []
        self._updated: list[str] = []
        self._removed: list[str] = []
        self._renamed: list[tuple[str, str]] = []
        self._failed: list[Problem] = []
        self._skipped: list[Problem] = []
        self._slowest = ("", 0.0)
        self._files = 0
        self._bytes = 0
        self._item = ""
        self._last_event = 0.0
        self._started = time.perf_counter()

    @property
    def seen(self) -> bool:
        """Whether the run met any file, problem, or file that is gone."""
        return bool(self._files or self._failed or self._skipped or self._removed)

    def list_problem(self, problem: Problem) -> None:
        """Put a problem into the report."""
        (self._failed if problem.kind == "failed" else self._skipped).append(problem)

    def note(self, problem: Problem) -> None:
        """Put a problem into the report, and send an event for it."""
        self.list_problem(problem)
        self.show(problem.source, FileOutcome(problem.source, problem.kind, problem.reason))

    def remove(self, source: str, twin: str | None) -> None:
        """Count a file that went out of the index; `twin` is where its content stands now."""
        if twin:
            self._renamed.append((source, twin))
        self._removed.append(source)
        self.show(source, FileOutcome(source, "removed"))

    def time_reading(self, source: str, seconds: float) -> None:
        """Count the time that a file took to be read."""
        self.clock.add("read", seconds)
        if seconds > self._slowest[1]:
            self._slowest = (source, seconds)

    def finish_file(self, size: int, outcome: FileOutcome) -> None:
        """Count a file and its bytes, and send an event with what became of it."""
        if outcome.outcome == "added":
            self._added.append(outcome.source)
        elif outcome.outcome == "updated":
            self._updated.append(outcome.source)
        self._files += 1
        self._bytes += size
        self.show(outcome.source, outcome)

    def show(self, item: str = "", outcome: FileOutcome | None = None) -> None:
        """Send a progress event: always with an outcome, otherwise if the last is a while ago."""
        now = time.perf_counter()
        if outcome is None and now - self._last_event < SECONDS_BETWEEN_EVENTS:
            return
        self._last_event = now
        # While passages are embedded, the last file that came in is the one to show.
        self._item = item or self._item
        files = self.census.files if self.census else None
        work = Work(
            files=self._files,
            files_total=files,
            bytes=self._bytes,
            bytes_total=self.census.bytes if self.census else None,
            passages=self.passages,
            embedded=self.embedded,
            tokens=self.tokens,
            seconds=now - self._started,
            slowest=self._slowest,
        )
        self._progress(Progress("index", self._files, files, "files", self._item, work, outcome))

    def raise_first_problem(self) -> None:
        """Raise the first problem of the report, if it has one.

        Raises:
            SourceError: with the file and the reason.
        """
        for problem in (*self._failed, *self._skipped):
            raise SourceError(problem.source, problem.reason)

    def report(self, counts: dict[str, int]) -> IngestionReport:
        """Return what the run did, by source, with the counts of the index after it."""
        self.clock.add("total", time.perf_counter() - self._started)
        return IngestionReport(
            added=tuple(sorted(self._added)),
            updated=tuple(sorted(self._updated)),
            removed=tuple(sorted(self._removed)),
            renamed=tuple(sorted(self._renamed)),
            unchanged=self.unchanged,
            skipped=tuple(sorted(self._skipped, key=attrgetter("source"))),
            failed=tuple(sorted(self._failed, key=attrgetter("source"))),
            documents=counts["documents"],
            chunks=counts["chunks"],
            embedded=self.embedded,
            tokens=self.tokens,
            slowest=self._slowest,
            timings=self.clock.times,
        )
