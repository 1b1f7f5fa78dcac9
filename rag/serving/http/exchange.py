"""Read requests and write replies: JSON checked against a type, and events as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rag.characters import replace_surrogates
from rag.errors import first_line
from rag.serving.http.access import Refused

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route: what answers it, the type of its body, and the names in its query string."""

    method: str
    path: str
    handler: Handler
    body: type[msgspec.Struct] | None = None
    query: tuple[str, ...] = ()


async def read_body(request: Request, most: int) -> bytes:
    """Return the body of a request.

    Raises:
        Refused: if it is longer than `most` bytes.
    """
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > most:
            raise Refused(413, f"a request of this kind has {most:,} bytes at most")
        parts.append(part)
    return b"".join(parts)


async def read_json(request: Request, kind: type[T]) -> T:
    """Return the body of a request as a `kind`.

    Raises:
        Refused: if it is too long, or something else.
    """
    body = await read_body(request, request.app.state.config.serve.request_kb * 1024)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Refused(400, f"the body of the request: {first_line(error)}") from error


def read_number(request: Request, name: str, default: int, most: int, least: int = 0) -> int:
    """Return a number of the query string.

    Raises:
        Refused: if it is none, or out of range.
    """
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most):
        raise Refused(400, f"`{name}` must be a number from {least:,} to {most:,}")
    return int(text)


def as_json(value: Any) -> Any:
    """Return what JSON can hold of a value: dataclasses as objects, sequences as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: as_json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, msgspec.Struct):
        return as_json(msgspec.structs.asdict(value))
    if isinstance(value, dict):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    return replace_surrogates(value) if isinstance(value, str) else value


def encode(value: Any) -> bytes:
    """Return a value as JSON."""
    return msgspec.json.encode(as_json(value))


def reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Make a reply of JSON."""
    return Response(encode(value), status, headers, media_type="application/json")


def event(value: Any, name: str = "") -> bytes:
    """Make one server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + encode(value) + b"\n\n"


def stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Make a reply of server-sent events."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
