"""What a client and the daemon say: MessagePack, each message after its length in four bytes.

A client says an `Opening`, and after it, if it wants an answer, a `Request`; the daemon replies
with events. `Opening` and `State` stay as they are from version to version: any `rag daemon stop`
ends any daemon.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from rag import errors
from rag.config import Config
from rag.types import Progress

if TYPE_CHECKING:
    import socket

T = TypeVar("T")

# An answer holds its passages; a question is short.
LONGEST_EVENT = 1 << 30
LONGEST_REQUEST = 1 << 24

# What cannot be said: a lone surrogate, a whole number of more than 64 bits, an unknown type.
UNSPEAKABLE = (UnicodeError, OverflowError, TypeError, msgspec.MsgspecError)

_LENGTH = struct.Struct("!I")


class Opening(msgspec.Struct, frozen=True):
    """The first thing that a client says: who it is, and what it wants."""

    facts: dict[str, str]
    wants: Literal["answer", "state", "stop"]


class Explain(msgspec.Struct, frozen=True, tag=True):
    """To be searched for: `RAG.explain`."""

    question: str
    k: int | None
    where: str | dict[str, Any]


class Ask(msgspec.Struct, frozen=True, tag=True):
    """To be answered, piece by piece: `RAG.stream`."""

    question: str
    k: int | None
    where: str | dict[str, Any]
    schema: dict[str, Any] | None


class Check(msgspec.Struct, frozen=True, tag=True):
    """To be held against the documents: `RAG.check`."""

    claim: str
    k: int | None
    where: str | dict[str, Any]
    by_generator: bool


class Request(msgspec.Struct, frozen=True):
    """What is asked, and with which settings; their paths are absolute."""

    config: Config
    asked: Explain | Ask | Check


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """The daemon is at it."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The daemon is not like the client: `differing` names in what."""

    differing: tuple[str, ...]


class Told(msgspec.Struct, frozen=True, tag=True):
    """A sign of life of long work."""

    progress: Progress


class Piece(msgspec.Struct, frozen=True, tag=True):
    """The next piece of an answer's text."""

    text: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """The result, encoded: of which type it is, the client knows."""

    result: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An error that was raised on purpose: its class in `rag.errors`, and what it says."""

    kind: str
    message: str
    details: dict[str, Any]


class State(msgspec.Struct, frozen=True):
    """What a daemon says of itself; times in seconds, memory in bytes.

    `indexes` are those that it has open, `differing` names in what it is not like the client.
    """

    process: int
    version: str
    up: float
    idle: float
    questions: int
    indexes: tuple[str, ...]
    memory: int
    differing: tuple[str, ...]


Event = Accepted | Refused | Told | Piece | Done | Failed


def encode(message: Any) -> bytes:
    """A message as a frame."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


def receive(connection: socket.socket, kind: type[T] | Any, longest: int) -> T:
    """The next message, which is of `kind`.

    Raises:
        ConnectionError: if the other side has gone, or says what cannot be understood.
        TimeoutError: if it says nothing for as long as the connection's time-out.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > longest:
        raise ConnectionError(f"a message of {length:,} bytes")
    try:
        decoded: T = msgspec.msgpack.decode(_exactly(connection, length), type=kind)
    except msgspec.DecodeError as error:
        raise ConnectionError(f"a message that cannot be understood: {error}") from error
    return decoded


def done(result: Any) -> Done:
    """A result, to be sent as the last event."""
    return Done(msgspec.Raw(msgspec.msgpack.encode(result)))


def decode(result: msgspec.Raw, kind: type[T]) -> T:
    """The result that `Done` holds.

    Raises:
        ConnectionError: if it is of another type.
    """
    try:
        return msgspec.msgpack.decode(result, type=kind)
    except msgspec.DecodeError as error:
        raise ConnectionError(f"a result that cannot be understood: {error}") from error


def failed(error: errors.RagError) -> Failed:
    """An error, to be raised at the other side."""
    # What a room keeps to itself is told as what it is known as.
    kind = next(each for each in type(error).__mro__ if each.__module__ == errors.__name__)
    return Failed(kind.__name__, str(error), vars(error))


def error_of(told: Failed, shown: Callable[[str], str]) -> errors.RagError:
    """The error that the other side met, its texts put through `shown`."""
    kind: type[errors.RagError] = getattr(errors, told.kind, errors.RagError)
    # Constructors differ; what they set is known.
    error = kind.__new__(kind, shown(told.message))
    for name, value in told.details.items():
        setattr(error, name, shown(value) if isinstance(value, str) else value)
    return error


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        received = connection.recv_into(view)
        if not received:
            raise ConnectionError("the other side has gone")
        view = view[received:]
    return bytes(data)
