"""How long the stages of a piece of work take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """The milliseconds spent on each stage: `with clock("dense"):` adds to `clock.times["dense"]`.

    The stages named at the start are there with 0.0 before they begin.
    """

    def __init__(self, *stages: str) -> None:
        self.times = dict.fromkeys(stages, 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage`, also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        """Add a time that was measured elsewhere."""
        self.times[stage] = self.times.get(stage, 0.0) + seconds * 1000
