"""Measure work, and wait for events, in ways that do not depend on how busy the machine is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

Input = TypeVar("Input")

# A wait for an event that never comes ends then; nothing is said of how long one may take.
_PATIENCE_SECONDS = 300
# How often a measure of time is repeated before it counts.
_ATTEMPTS = 6


def calls_of(work: Callable[[Input], object], data: Input) -> int:
    """Count the calls of functions, of Python and of C, that `work` makes on `data`."""
    count = 0

    def on_event(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        work(data)
    finally:
        sys.setprofile(before)
    return count


def cpu_seconds(work: Callable[[Input], object], data: Input) -> float:
    """Return the processor time that this thread spends on `work`, however busy the machine is."""
    started = time.thread_time()
    work(data)
    return time.thread_time() - started


def assert_grows_linearly(
    work: Callable[[Input], object], short: Input, long: Input, times: int
) -> None:
    """Assert that `work` on `long`, `times` as long as `short`, takes about `times` as much work.

    Calls are counted exactly. What a single call of C does, such as a regular expression, shows in
    the time of the processor alone: one undisturbed pair of measurements must be below the square.
    """
    # What is done once, such as an import, is done before anything is counted.
    work(short)
    few, many = calls_of(work, short), calls_of(work, long)
    assert many <= 1.2 * times * few + 1_000, f"{few:,} calls became {many:,}"
    bound = times**1.6
    ratios: list[float] = []
    while not ratios or min(ratios) > bound:
        assert len(ratios) < _ATTEMPTS, f"{times} times the input took {ratios} times the time"
        least = max(cpu_seconds(work, short), 0.002)
        ratios.append(cpu_seconds(work, long) / least)


def wait_for(event: Callable[[], object], what: str) -> None:
    """Wait until `event` returns something true, which it must."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not event():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)
