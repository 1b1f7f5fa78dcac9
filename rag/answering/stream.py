"""The stream in which an answer reaches its reader, whoever writes it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from rag.errors import QuestionError

if TYPE_CHECKING:
    from rag.types import Answer


class AnswerStream:
    """An answer as it is written. Iterate once; the joined pieces are `answer.text`.

    Args:
        pieces: yields the text and returns the Answer.
        question: what was asked.
        standalone: what is searched for, if a follow-up was completed or a typing error corrected;
            else the question.
    """

    def __init__(
        self, pieces: Generator[str, None, Answer], question: str, standalone: str = ""
    ) -> None:
        self.question = question
        self.standalone = standalone or question
        self._answer: Answer | None = None
        self._pieces = self._relay(pieces)

    def __iter__(self) -> Generator[str, None, None]:
        return self._pieces

    @property
    def answer(self) -> Answer:
        """The answer with its citations; what is left of the stream is read first."""
        for _ in self._pieces:
            pass
        if self._answer is None:
            raise QuestionError("the stream was closed before its end, or failed: ask again")
        return self._answer

    def close(self) -> None:
        """Stop writing; there is no answer then, unless it is complete."""
        self._pieces.close()

    def _relay(self, pieces: Generator[str, None, Answer]) -> Generator[str, None, None]:
        self._answer = yield from pieces
