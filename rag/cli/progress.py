"""Signs of life on standard error: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from rag.cli.output import as_json, one_line, print_event

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rag.types import Progress, ProgressCallback, Work

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_EVENTS = 1.0
_WORTH_NAMING = 1.0  # seconds


@contextmanager
def shown() -> Iterator[ProgressCallback]:
    """Bars on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    # What is done in a moment is spared what bars take to be imported.
    with ExitStack() as until_done:
        bars: list[ProgressCallback] = []

        def show(progress: Progress) -> None:
            if not bars:
                bars.append(until_done.enter_context(_bars()))
            bars[0](progress)

        yield show


@contextmanager
def as_events() -> Iterator[ProgressCallback]:
    """JSON lines on standard output: one for each file, and how far it is once a second."""
    last = 0.0

    def show(progress: Progress) -> None:
        nonlocal last
        outcome = progress.outcome
        if outcome is not None and outcome.outcome != "unchanged":
            print_event("file", as_json(outcome))
        if time.monotonic() - last >= _SECONDS_BETWEEN_EVENTS:
            last = time.monotonic()
            print_event(
                "progress",
                as_json(progress.work)
                if progress.work
                else {
                    "stage": progress.stage,
                    "item": progress.item,
                    "done": progress.done,
                    "total": progress.total,
                    "unit": progress.unit,
                },
            )

    yield show


@contextmanager
def _bars() -> Iterator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Working(RichProgress):
        """Under each bar, a line for what it is at: beside it, there would be no room for a bar."""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                for line, style in ((task.fields["rates"], ""), (task.fields["now"], "dim")):
                    if line:
                        yield Text(line, style=style, no_wrap=True, overflow="ellipsis")

    console = Console(stderr=True, emoji=False)
    with (
        RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=console,
            transient=True,
        ) as fetching,
        Working(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
            transient=True,
        ) as working,
    ):
        tasks: dict[str, Any] = {}

        def show(progress: Progress) -> None:
            bars = fetching if progress.unit == "bytes" else working
            label = _described(progress)
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=progress.total, rates="", now="")
            bars.update(tasks[label], completed=progress.done, total=progress.total)
            if progress.work is not None:
                now = _shortened(progress.item) + _slowest(progress.work)
                bars.update(tasks[label], rates=_rates(progress.work), now=now)

        yield show


def _lines() -> ProgressCallback:
    shown_at: dict[str, float] = {}

    def show(progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage == "fetch":
            due = now - shown_at.get(progress.stage, 0.0) > _SECONDS_BETWEEN_LINES
        else:
            # What is done in a moment needs no line.
            due = now - shown_at.setdefault(progress.stage, now) > _SECONDS_BETWEEN_LINES
        if not due:
            return
        shown_at[progress.stage] = now
        total = f" of {progress.total:,}" if progress.total is not None else ""
        line = f"{_described(progress)}: {progress.done:,}{total} {progress.unit}"
        if progress.work is not None:
            line += f", {_rates(progress.work)}{_slowest(progress.work)}"
        click.echo(line, err=True)

    return show


def _described(progress: Progress) -> str:
    if progress.stage != "fetch":
        return {"index": "indexing"}.get(progress.stage, progress.stage)
    from rag.models import CATALOGUE

    entry = CATALOGUE.get(progress.item)
    return f"fetching {progress.item}" + (f" ({entry.licence})" if entry else "")


def _rates(work: Work) -> str:
    seconds = max(work.seconds, 0.001)
    parts = [
        f"{work.passages:,} passages",
        f"{work.embedded / seconds:,.0f} embedded/s",
        f"{work.tokens / seconds:,.0f} tokens/s",
    ]
    if work.bytes_total and work.bytes:
        left = seconds * max(0, work.bytes_total - work.bytes) / work.bytes
        parts.append(f"about {int(left // 60)}:{int(left % 60):02} left")
    return ", ".join(parts)


def _slowest(work: Work) -> str:
    source, seconds = work.slowest
    return f", slowest {_shortened(source)} {seconds:.1f} s" if seconds >= _WORTH_NAMING else ""


def _shortened(source: str, width: int = 48) -> str:
    source = one_line(source)
    return source if len(source) <= width else "…" + source[1 - width :]
