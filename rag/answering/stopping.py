"""A generator that stops once nobody waits for what it writes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag.answering.tools import Tools
    from rag.protocols import LanguageModel
    from rag.types import Message, Prompt


class StoppedError(Exception):
    """Nobody waits for the answer any more."""


def stop_when(tools: Tools, is_over: Callable[[], bool]) -> Tools:
    """Return tools whose generator raises StoppedError after any piece, once `is_over()`."""
    return replace(tools, generator=lambda: _StoppableModel(tools.generator(), is_over))


class _StoppableModel:
    def __init__(self, generator: LanguageModel, is_over: Callable[[], bool]) -> None:
        self._generator = generator
        self._is_over = is_over

    @property
    def name(self) -> str:
        # Not stored: a server names its model only when it is asked.
        return self._generator.name

    @property
    def context_tokens(self) -> int:
        return self._generator.context_tokens

    @property
    def max_tokens(self) -> int:
        return self._generator.max_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return self._generator.count_tokens(messages)

    def stream(self, prompt: Prompt) -> Iterator[str]:
        pieces = self._generator.stream(prompt)
        try:
            for piece in pieces:
                if self._is_over():
                    raise StoppedError
                yield piece
        finally:
            if isinstance(pieces, Generator):
                pieces.close()
