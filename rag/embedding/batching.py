"""Single requests of many threads -> batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST = 64


class Batcher(Generic[Item, Result]):
    """Batches single calls from many threads into one call.

    Nobody waits for company: a thread that finds the function idle runs it at once, and the next
    thread runs it for all that came meanwhile.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Iterable[Result]]) -> None:
        self._run = run
        self._running = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[tuple[Item, Future[Result]]] = []

    def result(self, item: Item) -> Result:
        """Return the function's result for one item, or raise what the function raises."""
        mine: Future[Result] = Future()
        with self._guard:
            self._waiting.append((item, mine))
        while not mine.done():
            with self._running:
                if not mine.done():
                    self._run_waiting()
        return mine.result()

    def _run_waiting(self) -> None:
        with self._guard:
            batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        try:
            results = self._run([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            # Each thread gets the error by its future; an interrupt is for this thread as well.
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
