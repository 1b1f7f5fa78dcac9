"""Sample the memory of a process and of everything that it starts, by Linux's /proc."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path


class Peak:
    """The largest value that `measure` has for a process and its descendants until `stop`."""

    def __init__(
        self, process: int, measure: Callable[[Sequence[int]], int], a_second: float = 5
    ) -> None:
        self.bytes = 0
        self._process = process
        self._measure = measure
        self._pause = 1 / a_second
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling."""
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(self._pause):
            self.bytes = max(self.bytes, self._measure(family(self._process)))


def family(process: int) -> list[int]:
    """Return a process and all its descendants, itself first."""
    members = [process]
    for member in members:
        for task in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                members += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return members


def memory_of(process: int, line: str, file: str = "status") -> int:
    """Return the bytes in a line of /proc/PID/status (or another file); 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(each.split()[1]) << 10 for each in lines if each.startswith(f"{line}:")), 0)
