"""Turn a function that blocks while it writes into an iterator, by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator

from rag.errors import GenerationError, first_line


def stream_from_thread(write: Callable[[Callable[[str], bool]], None], name: str) -> Generator[str]:
    """Run `write(emit)` in a thread and yield what it emits.

    `emit(piece)` returns True when the reader has gone and writing should stop.

    Raises:
        GenerationError: if `write` raises.
    """
    pieces: queue.Queue[str | BaseException | None] = queue.Queue()
    gone = threading.Event()

    def emit(piece: str) -> bool:
        if piece:
            pieces.put(piece)
        return gone.is_set()

    def run() -> None:
        try:
            write(emit)
            pieces.put(None)
        # Any error has to reach the reader, which waits for pieces.
        except BaseException as error:  # noqa: BLE001
            pieces.put(error)

    thread = threading.Thread(target=run, name=f"generate-{name}", daemon=True)
    thread.start()
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, GenerationError):
                raise piece
            if isinstance(piece, BaseException):
                raise GenerationError(f"{name} failed: {first_line(piece)}") from piece
            yield piece
    finally:
        gone.set()
        thread.join()
