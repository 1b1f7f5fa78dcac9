"""An answer for asynchronous callers: written in a thread, and stopped when its reader goes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from rag.answering.stopping import StoppedError

if TYPE_CHECKING:
    from rag.answering.stream import AnswerStream
    from rag.types import Answer

Piece = TypeVar("Piece")
Done = TypeVar("Done")

Begin = Callable[[Callable[[], bool]], "AnswerStream"]
"""Begins an answer, given what tells whether its reader has gone."""


class AsyncAnswerStream:
    """An answer as it is written. Iterate once; then `await stream.answer()`.

    The thread that writes never waits for a slow reader. It ends when the reader's task is
    cancelled, or `aclose` is called: at the next piece of text.

    Args:
        begin: begins the answer, in the thread.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._gone = threading.Event()
        self._answer: Answer | None = None
        self._pieces = self._relay()

    def __aiter__(self) -> AsyncGenerator[str, None]:
        return self._pieces

    async def answer(self) -> Answer:
        """Return the answer with its citations; what is left of the stream is read first."""
        async for _ in self._pieces:
            pass
        if self._answer is None:
            raise StoppedError("the stream was closed before its end")
        return self._answer

    async def aclose(self) -> None:
        """Stop writing; there is no answer then, unless it is complete."""
        self._gone.set()
        await self._pieces.aclose()

    async def _relay(self) -> AsyncGenerator[str, None]:
        def write(tell: Callable[[str], None]) -> Answer | None:
            try:
                stream = self._begin(self._gone.is_set)
                for piece in stream:
                    if self._gone.is_set():
                        stream.close()
                        return None
                    tell(piece)
                return stream.answer
            except StoppedError:
                return None

        async with aclosing(relay(write, asyncio.to_thread, self._gone)) as events:
            async for event in events:
                if isinstance(event, str):
                    yield event
                else:
                    self._answer = event


async def relay(
    work: Callable[[Callable[[Piece], None]], Done],
    run: Callable[[Callable[[], Done]], Awaitable[Done]],
    gone: threading.Event,
) -> AsyncGenerator[Piece | Done, None]:
    """Yield what `work` tells while `run` does it in a thread, and at last what it returned.

    The thread never waits for a slow reader. `gone` is set when the generator ends, however it
    does: whatever works looks at it.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[Piece | None] = asyncio.Queue()

    def tell(piece: Piece | None) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    def do() -> Done:
        try:
            return work(tell)
        finally:
            tell(None)

    task = asyncio.ensure_future(run(do))
    # It may end without having begun.
    task.add_done_callback(lambda done: pieces.put_nowait(None))
    try:
        while (piece := await pieces.get()) is not None:
            yield piece
        yield await task
    finally:
        gone.set()
        if not task.done():
            # Its error, if any, is nobody's any more.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
