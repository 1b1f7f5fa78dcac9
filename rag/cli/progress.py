"""Show the progress of long work: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rag.cli.output import as_json, print_line
from rag.cli.terminal import make_console, make_text, one_line, say

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn

    from rag.types import Progress, ProgressCallback, Work

Bars = TypeVar("Bars", bound="RichProgress")

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_EVENTS = 1.0
_WORTH_NAMING = 1.0  # seconds
_SHARE_TO_JUDGE_BY = 0.02


class TimeLeft:
    """An estimate of the time left of a run, which never goes up.

    It counts down between two files, however long one of them takes, and a later end than the one
    estimated before is not believed. Once that has passed there is no estimate.
    """

    def __init__(self) -> None:
        self._bytes = 0
        self._end = float("inf")

    def estimate(self, work: Work) -> float | None:
        """Return the seconds left; None while, or once, nothing is known."""
        if work.bytes_total and work.bytes > self._bytes:
            self._bytes = work.bytes
            expected = work.seconds * work.bytes_total / work.bytes
            # The first files tell little: their readers have to be started.
            if work.bytes >= _SHARE_TO_JUDGE_BY * work.bytes_total:
                self._end = min(self._end, expected)
        left = self._end - work.seconds
        return left if 0 < left < float("inf") else None


@contextmanager
def display(*, as_events: bool = False) -> Iterator[ProgressCallback]:
    """Show bars on a terminal, and lines elsewhere, on standard error until the block ends.

    With `as_events`, print JSON lines on standard output: one per file, and the progress once a
    second.
    """
    if as_events:
        yield _events()
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    # Work that is done in a moment does not wait for bars to be imported.
    with ExitStack() as until_done:
        bars: list[ProgressCallback] = []

        def show(progress: Progress) -> None:
            if not bars:
                bars.append(until_done.enter_context(_bars()))
            bars[0](progress)

        yield show


def _events() -> ProgressCallback:
    last = 0.0

    def show(progress: Progress) -> None:
        nonlocal last
        outcome = progress.outcome
        if outcome is not None and outcome.outcome != "unchanged":
            print_line({"event": "file", **as_json(outcome)})
        if time.monotonic() - last >= _SECONDS_BETWEEN_EVENTS:
            last = time.monotonic()
            facts = ("stage", "item", "done", "total", "unit")
            values = {name: getattr(progress, name) for name in facts}
            work = as_json(progress.work) if progress.work else values
            print_line({"event": "progress", **work})

    return show


@contextmanager
def _bars() -> Iterator[ProgressCallback]:
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    class Working(RichProgress):
        """Bars, and below each the file at hand: beside it there would be no room for a bar."""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                for line, style in ((task.fields["rates"], ""), (task.fields["now"], "dim")):
                    if line:
                        yield make_text(line, style, no_wrap=True, overflow="ellipsis")

    console = make_console(err=True)

    def make(kind: type[Bars], count: ProgressColumn) -> Bars:
        described = TextColumn("{task.description}", markup=False)
        return kind(described, BarColumn(), count, console=console, transient=True)

    with (
        make(RichProgress, DownloadColumn()) as fetching,
        make(Working, MofNCompleteColumn()) as working,
    ):
        tasks: dict[str, Any] = {}
        time_left = TimeLeft()

        def show(progress: Progress) -> None:
            bars = fetching if progress.unit == "bytes" else working
            label = one_line(_describe(progress))
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=progress.total, rates="", now="")
            bars.update(tasks[label], completed=progress.done, total=progress.total)
            if progress.work is not None:
                now = _shorten(progress.item) + _describe_slowest(progress.work)
                bars.update(tasks[label], rates=_describe_rates(progress.work, time_left), now=now)

        yield show


def _lines() -> ProgressCallback:
    shown_at: dict[str, float] = {}
    time_left = TimeLeft()

    def show(progress: Progress) -> None:
        now = time.monotonic()
        # Work that is done in a moment needs no line.
        since = shown_at.setdefault(progress.stage, 0.0 if progress.stage == "fetch" else now)
        if now - since <= _SECONDS_BETWEEN_LINES:
            return
        shown_at[progress.stage] = now
        total = f" of {progress.total:,}" if progress.total is not None else ""
        line = f"{_describe(progress)}: {progress.done:,}{total} {progress.unit}"
        if progress.work is not None:
            line += (
                f", {_describe_rates(progress.work, time_left)}{_describe_slowest(progress.work)}"
            )
        say(line, err=True)

    return show


def _describe(progress: Progress) -> str:
    if progress.stage != "fetch":
        return {"index": "indexing"}.get(progress.stage, progress.stage)
    from rag.models import CATALOGUE

    entry = CATALOGUE.get(progress.item)
    return f"fetching {progress.item}" + (f" ({entry.licence}; {entry.needs})" if entry else "")


def _describe_rates(work: Work, time_left: TimeLeft) -> str:
    seconds = max(work.seconds, 0.001)
    parts = [
        f"{work.passages:,} passages",
        f"{work.embedded / seconds:,.0f} embedded/s",
        f"{work.tokens / seconds:,.0f} tokens/s",
    ]
    left = time_left.estimate(work)
    if left is not None:
        parts.append(f"about {int(left // 60)}:{int(left % 60):02} left")
    return ", ".join(parts)


def _describe_slowest(work: Work) -> str:
    source, seconds = work.slowest
    return f", slowest {_shorten(source)} {seconds:.1f} s" if seconds >= _WORTH_NAMING else ""


def _shorten(source: str, width: int = 48) -> str:
    source = one_line(source)
    return source if len(source) <= width else "…" + source[1 - width :]
