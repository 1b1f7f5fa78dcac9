"""Do work in a bounded number of threads; when too much of it waits, ask to come again."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rag.answering.asynchronous import relay
from rag.answering.stopping import StoppedError
from rag.serving.http.access import Refused
from rag.serving.operations import Asked, Operation, TextPiece, perform

T = TypeVar("T")

_LONGEST_WAIT = 60


def _note_nothing(operation: Operation, result: Any, started: float) -> None:
    """Note nothing."""


class Workers:
    """Threads that do the work of requests, `queue` of which wait at most.

    `note` is told each operation that was done, its result, and when it began, in seconds since the
    epoch.
    """

    def __init__(
        self, count: int, queue: int, note: Callable[[Operation, Any, float], None] = _note_nothing
    ) -> None:
        self._note = note
        self.count = count or os.cpu_count() or 1
        self._most = self.count + queue
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="rag-work")
        self.begun = 0
        self._seconds = 1.0

    async def run(self, work: Callable[[], T]) -> T:
        """Do a piece of work in a thread.

        Raises:
            Refused: if too much waits already.
        """
        if self.begun >= self._most:
            wait = math.ceil(self._seconds * self.begun / self.count)
            raise Refused(
                429, "the server is busy: try again later", max(1, min(wait, _LONGEST_WAIT))
            )
        self.begun += 1
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, self._timed, work)
        # Not when the caller is gone, but when the thread is free.
        future.add_done_callback(self._count_done)
        return await asyncio.shield(future)

    def _timed(self, work: Callable[[], T]) -> T:
        started = time.monotonic()
        try:
            return work()
        finally:
            self._seconds += 0.1 * (time.monotonic() - started - self._seconds)

    def _count_done(self, done: asyncio.Future[Any]) -> None:
        self.begun -= 1
        if not done.cancelled():
            # An error that nobody waits for any more is not logged as forgotten.
            done.exception()

    async def perform(self, rag: Asked, operation: Operation, gone: threading.Event) -> Any:
        """Do an operation in a thread and return its result; it stops once `gone` is set.

        Raises:
            Refused: if too much waits already.
            StoppedError: if it was stopped.
        """
        return await self.run(lambda: self._perform(rag, operation, gone))

    def _perform(
        self,
        rag: Asked,
        operation: Operation,
        gone: threading.Event,
        tell: Callable[[TextPiece], None] | None = None,
    ) -> Any:
        if gone.is_set():
            raise StoppedError
        started = time.time()
        result = perform(rag, operation, tell, gone.is_set)
        self._note(operation, result, started)
        return result

    def events(self, rag: Asked, operation: Operation) -> AsyncGenerator[TextPiece | Any, None]:
        """Yield the pieces of an answer as they are written, and at last what was returned.

        The thread never waits for a slow reader, and stops when the generator is closed.
        """
        gone = threading.Event()

        def work(tell: Callable[[TextPiece], None]) -> Any:
            return self._perform(rag, operation, gone, tell)

        return relay(work, self.run, gone)

    def close(self) -> None:
        """Take no more work, and wait for what was begun."""
        self._threads.shutdown(wait=True, cancel_futures=True)
