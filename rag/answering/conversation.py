"""Questions that build on one another, each answered from the documents.

A conversation holds turns. A follow-up is completed before it is searched for, and the generator
reads the turns before it. A conversation saved as JSON can be resumed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rag import private
from rag.answering.followups import complete_question
from rag.answering.stream import AnswerStream
from rag.answering.writing import write
from rag.errors import QuestionError, SourceError, StoreError, check_text
from rag.parsing import parse_json
from rag.types import Citation, Message

if TYPE_CHECKING:
    from rag.answering.tools import Query, Tools
    from rag.protocols import LanguageModel
    from rag.types import Answer, Document

_FORMAT = "rag conversation"
_VERSION = 1

_MARK = re.compile(r"[ \t]*\[(\d{1,9})\]")


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer, as a session file holds it.

    `standalone` is the question as it was searched for: what was asked, or a completed follow-up.
    `text`, `abstained`, `citations` and `interrupted` are those of the answer. `asked_at` is in UTC
    as ISO 8601.
    """

    question: str
    standalone: str
    text: str
    abstained: bool
    citations: tuple[Citation, ...]
    asked_at: str
    interrupted: str | None = None

    @property
    def unmarked(self) -> str:
        """The text without its citation marks; other numbers in brackets are left in it."""
        cited = {citation.number for citation in self.citations}
        return _MARK.sub(lambda mark: "" if int(mark[1]) in cited else mark[0], self.text)


@dataclass(frozen=True, slots=True)
class StaleCitation:
    """A citation whose document no longer holds the quote at its place, or is gone."""

    turn: Turn
    citation: Citation
    reason: Literal["changed", "gone"]


class Wired(Protocol):
    """What a conversation takes from a RAG when it begins."""

    @property
    def tools(self) -> Tools:
        """What answers are made with."""
        ...

    def query(self, question: str, k: int | None, where: str | Mapping[str, Any]) -> Query:
        """The question, checked, and what finds its passages."""
        ...


class Conversation:
    """Questions and their answers; a question may lean on those before it.

    One thread at a time may use a conversation; several conversations may share one RAG.

    Args:
        rag: finds the passages and provides the models.
        turns: the turns before, oldest first.
    """

    def __init__(self, rag: Wired, turns: Sequence[Turn] = ()) -> None:
        self._tools = rag.tools
        self._query = rag.query
        self._turns = list(turns)
        self._answer: Answer | None = None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns, oldest first."""
        return tuple(self._turns)

    @property
    def answer(self) -> Answer | None:
        """The answer to the last question, whole; None before the first one since it was loaded."""
        return self._answer

    @property
    def writer(self) -> LanguageModel | None:
        """The generator, which completes follow-ups too; None where answers are extracted."""
        return self._tools.generator() if self._tools.writes else None

    def ask(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> Answer:
        """Answer a question, which may lean on those before it; the rest is as for `RAG.ask`."""
        return self.stream(question, k, where).answer

    def stream(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> AnswerStream:
        """Answer like `ask`, piece by piece: iterate for the text, then read `.answer`.

        The turn is added when the answer is complete; a stream that ends before leaves nothing.

        Raises:
            QuestionError: if the question is empty.
            GenerationError: if the generator is to complete a follow-up and cannot be reached.
        """
        question = check_text(question, "question")
        query = self._query(self._complete(question), k, where)
        pieces = write(query, self._tools, history=self._history())
        standalone = query.question
        return AnswerStream(self._keep(question, standalone, pieces), question, standalone)

    def clear(self) -> None:
        """Forget all turns."""
        self._turns.clear()
        self._answer = None

    def stale(self) -> tuple[StaleCitation, ...]:
        """Return the citations whose document was changed at their place, or is gone."""
        stored = cache(self._document)
        found = []
        for turn in self._turns:
            for citation in turn.citations:
                document = stored(citation.document_id)
                if document is None:
                    found.append(StaleCitation(turn, citation, "gone"))
                elif document.text[citation.start : citation.end] != citation.quote:
                    found.append(StaleCitation(turn, citation, "changed"))
        return tuple(found)

    def save(self, file: str | Path) -> None:
        """Write the conversation as JSON; the file is replaced at once.

        Raises:
            SourceError: if the file cannot be written.
        """
        turns = [asdict(turn) for turn in self._turns]
        value = {"format": _FORMAT, "version": _VERSION, "turns": turns}
        text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
        try:
            # UTF-8 cannot hold half a surrogate pair, which is escaped as JSON escapes it.
            private.replace_file(Path(file), text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise SourceError(str(file), f"cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, rag: Wired, file: str | Path) -> Conversation:
        """Resume a conversation that `save` wrote.

        Raises:
            SourceError: if the file cannot be read, or is no conversation.
        """
        try:
            text = Path(file).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise SourceError(str(file), "no such file") from None
        except OSError as error:
            raise SourceError(str(file), f"cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SourceError(str(file), "is not a conversation: it is no text") from error
        try:
            return cls(rag, _parse_turns(parse_json(text)))
        except ValueError as error:
            raise SourceError(str(file), f"is not a conversation: {error}") from error

    def _complete(self, question: str) -> str:
        """Return a follow-up with what it leaves out."""
        if not self._turns:
            return question
        said = [message for turn in self._turns for message in _messages(turn)]
        return complete_question(question, said, self.writer)

    def _history(self) -> list[Message]:
        """Return the answered turns for the generator to read.

        A model would follow the example of turns without an answer, and the chat templates of
        many demand that questions and answers alternate.
        """
        answered = [turn for turn in self._turns if not turn.abstained]
        return [message for turn in answered for message in _messages(turn)]

    def _keep(
        self, question: str, standalone: str, pieces: Generator[str, None, Answer]
    ) -> Generator[str, None, Answer]:
        """Yield the pieces, and add a turn when the answer is complete."""
        answer = yield from pieces
        asked_at = datetime.now(UTC).isoformat(timespec="seconds")
        given = (answer.text, answer.abstained, answer.citations, asked_at, answer.interrupted)
        self._turns.append(Turn(question, standalone, *given))
        self._answer = answer
        return answer

    def _document(self, document_id: str) -> Document | None:
        try:
            return self._tools.document(document_id)
        except StoreError:
            return None


def reply(
    rag: Wired,
    messages: Sequence[Message],
    k: int | None = None,
    where: str | Mapping[str, Any] = "",
    *,
    schema: Mapping[str, Any] | None = None,
    tools: Tools | None = None,
) -> AnswerStream:
    """Answer the last of `messages`, a user's, which may lean on those before it.

    Messages of the role `system` instruct the generator, where one writes.

    Raises:
        QuestionError: if the last message is no question of a user.
    """
    if not messages or messages[-1].role != "user":
        raise QuestionError("the last message must be the user's question")
    *said, last = messages
    question = check_text(last.content, "question")
    tools = tools or rag.tools
    writer = tools.generator() if tools.writes else None
    talk = [message for message in said if message.role != "system"]
    standalone = complete_question(question, talk, writer) if talk else question
    query = rag.query(standalone, k, where)
    pieces = write(query, tools, history=said, schema=schema)
    return AnswerStream(pieces, question, query.question)


def _messages(turn: Turn) -> list[Message]:
    asked = Message("user", turn.standalone)
    return [asked] if turn.abstained else [asked, Message("assistant", turn.unmarked)]


def _parse_turns(value: Any) -> tuple[Turn, ...]:
    """Check the shape of a session, and return its turns."""
    import msgspec

    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise ValueError("it was not written by `Conversation.save` or `rag chat`")
    version = value.get("version")
    if type(version) is not int or version != _VERSION:
        raise ValueError(f"it has version {version!r}, and this program reads {_VERSION}")
    turns = msgspec.convert(value, _Session).turns
    for turn in turns:
        datetime.fromisoformat(turn.asked_at)
        for citation in turn.citations:
            if not 0 <= citation.start <= citation.end:
                raise ValueError(f"{citation.start}-{citation.end} of a citation is no span")
    return turns


@dataclass(frozen=True, slots=True)
class _Session:
    turns: tuple[Turn, ...]
