"""Single requests of many threads -> batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Given = TypeVar("Given")
Found = TypeVar("Found")

_MOST = 64


class Batcher(Generic[Given, Found]):
    """Runs a function of many arguments for threads that have one argument each.

    Nobody waits for company: a thread that finds the function idle runs it at once, and those that
    come meanwhile are run together by the next of them.
    """

    def __init__(self, run: Callable[[Sequence[Given]], Iterable[Found]]) -> None:
        self._run = run
        self._running = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[tuple[Given, Future[Found]]] = []

    def result(self, given: Given) -> Found:
        """What the function gives for one argument; raises what the function raises."""
        mine: Future[Found] = Future()
        with self._guard:
            self._waiting.append((given, mine))
        while not mine.done():
            with self._running:
                if not mine.done():
                    self._run_waiting()
        return mine.result()

    def _run_waiting(self) -> None:
        with self._guard:
            batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        try:
            found = self._run([given for given, _ in batch])
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            # Whose thread this is, is told by its own future; an interrupt is for this thread.
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), each in zip(batch, found, strict=True):
                future.set_result(each)
