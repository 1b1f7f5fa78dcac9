"""What can be asked of a RAG, as messages: the daemon, the web server and agents speak these.

An operation is a request that can be sent; `perform` does it. What happens meanwhile is told as
events, of which the last holds the result or the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from rag import errors
from rag.types import Message, Progress

if TYPE_CHECKING:
    from rag.answering.stream import AnswerStream
    from rag.answering.tools import Tools
    from rag.types import Answer, Explanation, Listing, Place, Verdict, Verification

T = TypeVar("T")

Where = str | dict[str, Any]


class Explain(msgspec.Struct, frozen=True, tag=True):
    """A call of `RAG.explain`: a search."""

    question: str
    k: int | None = None
    where: Where = ""


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A call of `RAG.stream`, or of `RAG.reply` where there was talk before: `history`."""

    question: str
    k: int | None = None
    where: Where = ""
    schema: dict[str, Any] | None = None
    history: tuple[Message, ...] = ()


class Check(msgspec.Struct, frozen=True, tag=True):
    """A call of `RAG.check`."""

    claim: str
    k: int | None = None
    where: Where = ""
    by_generator: bool = False


class Verify(msgspec.Struct, frozen=True, tag=True):
    """A call of `RAG.verify`."""

    text: str
    k: int | None = None
    where: Where = ""


class Read(msgspec.Struct, frozen=True, tag=True):
    """A call of `RAG.locate`: a document, or a place in one."""

    place: str


class ListDocuments(msgspec.Struct, frozen=True, tag=True):
    """A call of `RAG.list_documents`."""

    where: Where = ""
    limit: int = 100
    offset: int = 0


Operation = Explain | Ask | Check | Verify | Read | ListDocuments


class ProgressEvent(msgspec.Struct, frozen=True, tag=True):
    """How far a long piece of work is, such as loading a model."""

    progress: Progress


class TextPiece(msgspec.Struct, frozen=True, tag=True):
    """The next piece of an answer's text."""

    text: str


class Result(msgspec.Struct, frozen=True, tag=True):
    """The last event: what the operation returned, encoded. The client knows its type."""

    encoded: msgspec.Raw

    @classmethod
    def of(cls, value: Any) -> Result:
        """Encode what an operation returned."""
        return cls(msgspec.Raw(msgspec.msgpack.encode(value)))

    def decode(self, kind: type[T]) -> T:
        """Return the value, which is a `kind`.

        Raises:
            ConnectionError: if it is of another type.
        """
        try:
            return msgspec.msgpack.decode(self.encoded, type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ConnectionError(f"a result that cannot be understood: {error}") from error


class Failure(msgspec.Struct, frozen=True, tag=True):
    """The last event: an error raised on purpose, with the name of its class in `rag.errors`."""

    kind: str
    message: str
    details: dict[str, Any]

    @classmethod
    def of(cls, error: errors.RagError) -> Failure:
        """Encode an error; one of a class that `rag.errors` does not have as the nearest there."""
        kind = next(each for each in type(error).__mro__ if each.__module__ == errors.__name__)
        return cls(kind.__name__, str(error), vars(error))

    def error(self) -> errors.RagError:
        """Return the error as the other side raised it."""
        kind: type[errors.RagError] = getattr(errors, self.kind, errors.RagError)
        # Constructors differ, but the attributes that they set are known.
        error = kind.__new__(kind, self.message)
        vars(error).update(self.details)
        return error


class Asked(Protocol):
    """A RAG, or what a caller may see of one."""

    @property
    def tools(self) -> Tools: ...

    def explain(self, question: str, k: int | None, where: Any) -> Explanation: ...

    def stream(
        self,
        question: str,
        k: int | None,
        where: Any,
        *,
        schema: Mapping[str, Any] | None,
        tools: Tools | None,
    ) -> AnswerStream: ...

    def reply(
        self,
        messages: Sequence[Message],
        k: int | None,
        where: Any,
        *,
        schema: Mapping[str, Any] | None,
        tools: Tools | None,
    ) -> AnswerStream: ...

    def check(self, claim: str, k: int | None, where: Any, *, by_generator: bool) -> Verdict: ...

    def verify(
        self, text: str, k: int | None, where: Any, *, is_over: Callable[[], bool]
    ) -> Verification: ...

    def locate(self, place: str) -> Place: ...

    def list_documents(self, where: Any, limit: int, offset: int) -> Listing: ...


def perform(
    rag: Asked,
    operation: Operation,
    tell: Callable[[TextPiece], None] | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Any:
    """Do what was asked, and return the result; `tell`, if given, is told each piece of an answer.

    Raises:
        StoppedError: once `is_over()`, between two pieces of what a generator writes, or two
            sentences of a text.
        RagError: as the call that the operation names.
    """
    if isinstance(operation, Explain):
        return rag.explain(operation.question, operation.k, operation.where)
    if isinstance(operation, Check):
        by_generator = operation.by_generator
        return rag.check(operation.claim, operation.k, operation.where, by_generator=by_generator)
    if isinstance(operation, Verify):
        return rag.verify(operation.text, operation.k, operation.where, is_over=is_over)
    if isinstance(operation, Read):
        return rag.locate(operation.place)
    if isinstance(operation, ListDocuments):
        return rag.list_documents(operation.where, operation.limit, operation.offset)
    return _answer(rag, operation, tell, is_over)


def _answer(
    rag: Asked,
    asked: Ask,
    tell: Callable[[TextPiece], None] | None,
    is_over: Callable[[], bool],
) -> Answer:
    from rag.answering.stopping import stop_when

    tools = stop_when(rag.tools, is_over)

    def begin() -> AnswerStream:
        if not asked.history:
            given = (asked.question, asked.k, asked.where)
            return rag.stream(*given, schema=asked.schema, tools=tools)
        messages = (*asked.history, Message("user", asked.question))
        return rag.reply(messages, asked.k, asked.where, schema=asked.schema, tools=tools)

    if tell is None:
        try:
            return begin().answer
        except errors.RetractedError:
            # Nobody saw the thoughts that were taken for an answer.
            return begin().answer
    stream = begin()
    for piece in stream:
        tell(TextPiece(piece))
    return stream.answer
