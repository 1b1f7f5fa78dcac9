"""Starting the programs of `worker.py`, and listening to them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Only so that a test which waits for ever ends: no test is faster or slower by it.
PATIENCE = 600.0


class Worker:
    """A process that carries out a task, and the lines that it has printed."""

    def __init__(self, *task: object) -> None:
        command = [sys.executable, str(Path(__file__).parent / "worker.py"), *map(str, task)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._taken = 0
        self._changed = threading.Condition()
        self._ended = False
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._listen, self._hear_errors)
        ]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _hear_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors += self.process.stderr

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_at_work(self) -> bool:
        return not self._ended

    def line(self) -> str:
        """The next line that it prints; empty if it ends before."""
        self.wait_for(self._taken + 1)
        if self._taken == len(self.lines):
            return ""
        self._taken += 1
        return self.lines[self._taken - 1]

    def wait_for(self, count: int) -> None:
        """Wait until it has printed so many lines, or ended."""
        with self._changed:
            enough = self._changed.wait_for(
                lambda: len(self.lines) >= count or self._ended, timeout=PATIENCE
            )
        assert enough, f"only {len(self.lines)} lines: {self.lines[-3:]} {self.errors}"

    def tell(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def send(self, signal: int) -> None:
        self.process.send_signal(signal)

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> int:
        """Wait for its end; returns its exit status."""
        status = self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        return status


@contextmanager
def working(*task: object) -> Iterator[Worker]:
    """A process that carries out a task, and is killed at the end if it goes on."""
    worker = Worker(*task)
    try:
        yield worker
    finally:
        worker.kill()
