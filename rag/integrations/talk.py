"""Answer the last message of a talk, as every framework hands one over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rag.answering.conversation import Conversation, Turn
from rag.engine import RAG
from rag.errors import QuestionError
from rag.integrations.passages import Where
from rag.types import Message

if TYPE_CHECKING:
    from rag.answering.stream import AnswerStream


def answer_last(rag: RAG, messages: Sequence[Message], k: int | None, where: Where) -> AnswerStream:
    """Answer the last of `messages`, a user's, which may lean on those before it.

    Raises:
        QuestionError: if the last message is no question of a user.
    """
    if not messages or messages[-1].role != "user":
        raise QuestionError("the last message must be the user's question")
    *said, last = messages
    return Conversation(rag, _turns(said)).stream(last.content, k, where)


def _turns(messages: Sequence[Message]) -> list[Turn]:
    """Return questions, each with what was answered; one without an answer abstained."""
    turns: list[Turn] = []
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for message in messages:
        if message.role == "user":
            turns.append(Turn(message.content, message.content, "", True, (), now))
        elif message.role == "assistant" and turns and turns[-1].abstained:
            question = turns.pop().question
            turns.append(Turn(question, question, message.content, False, (), now))
    return turns
