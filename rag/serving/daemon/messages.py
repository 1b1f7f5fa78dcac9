"""What a client and the daemon send: MessagePack, each message after its length in four bytes.

A client sends a `Greeting` and, for an answer, a `Request`; the daemon replies with events, or with
its `State`. `Greeting` and `State` stay as they are from version to version, so that any
`rag daemon stop` ends any daemon.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from rag import errors
from rag.config import Config
from rag.serving.operations import (
    Ask,
    Check,
    Explain,
    Failure,
    ProgressEvent,
    Result,
    TextPiece,
)

if TYPE_CHECKING:
    import socket

T = TypeVar("T")

# An answer holds its passages; a question is short.
LONGEST_EVENT = 1 << 30
LONGEST_REQUEST = 1 << 24

# Why a message cannot be encoded: a lone surrogate, a whole number of more than 64 bits, an unknown
# type.
ENCODING_ERRORS = (UnicodeError, OverflowError, TypeError, msgspec.MsgspecError)

_LENGTH = struct.Struct("!I")


class Greeting(msgspec.Struct, frozen=True):
    """The first message of a client: its `identity`, and what it wants."""

    facts: dict[str, str]
    wants: Literal["answer", "state", "stop"]


class Request(msgspec.Struct, frozen=True):
    """An operation with the settings for it, whose paths are absolute."""

    config: Config
    operation: Explain | Ask | Check


class Acceptance(msgspec.Struct, frozen=True, tag=True):
    """The daemon has begun to work on a request."""


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """The daemon differs from the client in the facts named, so that its answers might differ."""

    differing: tuple[str, ...]


class State(msgspec.Struct, frozen=True):
    """What a daemon is doing; times in seconds, memory in bytes.

    `indexes` are the open ones, `differing` names the facts in which the daemon is not like the
    client.
    """

    process: int
    version: str
    up: float
    idle: float
    questions: int
    indexes: tuple[str, ...]
    memory: int
    differing: tuple[str, ...]


Event = Acceptance | Refusal | ProgressEvent | TextPiece | Result | Failure


def encode(message: Any) -> bytes:
    """Encode a message, with its length before it."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


def receive(connection: socket.socket, kind: type[T] | Any, longest: int) -> T:
    """Read the next message, which is a `kind` of at most `longest` bytes.

    Raises:
        ConnectionError: if the other side has gone, or sends something else.
        TimeoutError: if it sends nothing for as long as the connection's time-out.
    """
    (length,) = _LENGTH.unpack(_receive_bytes(connection, _LENGTH.size))
    if length > longest:
        raise ConnectionError(f"a message of {length:,} bytes")
    try:
        decoded: T = msgspec.msgpack.decode(_receive_bytes(connection, length), type=kind)
    # Besides its own errors: text that is no UTF-8, nesting that is too deep, settings that do not
    # go together.
    except (msgspec.DecodeError, ValueError, RecursionError, errors.RagError) as error:
        raise ConnectionError(f"a message that cannot be understood: {error}") from error
    return decoded


def _receive_bytes(connection: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        received = connection.recv_into(view)
        if not received:
            raise ConnectionError("the other side has gone")
        view = view[received:]
    return bytes(data)
