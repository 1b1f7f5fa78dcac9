"""`/v1/models` and `/v1/chat/completions`."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rag.errors import RagError
from rag.serving.http import upstream
from rag.serving.http.access import Refused
from rag.serving.http.collections import Collection
from rag.serving.http.exchange import event, read_json, reply, stream
from rag.serving.http.native import open_view, perform, user_of
from rag.serving.http.openai import shapes
from rag.serving.operations import Ask, TextPiece
from rag.types import Answer

# Models have no date of their own: it is when the server began.
_CREATED = int(time.time())


class ResponseFormat(msgspec.Struct, frozen=True):
    """How the text is to be written: `text`, or JSON by a schema."""

    type: str = "text"
    json_schema: dict[str, Any] | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream tells besides its pieces."""

    include_usage: bool | None = None


class ChatBody(msgspec.Struct, frozen=True):
    """The body of `/v1/chat/completions`; what else a client sends is not needed here.

    `rag` holds our own fields: `where` and `k`, as of `/ask`.
    """

    model: str
    messages: list[dict[str, Any]]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    n: int | None = None
    rag: dict[str, Any] | None = None


async def list_models(request: Request) -> Response:
    """List a model for each collection that the user may see, and those of the upstream server."""
    user = user_of(request)
    seen = [each for each in request.app.state.collections.all() if user.sees(each.name)]
    names = [*([shapes.MODEL] if len(seen) == 1 else []), *(f"rag/{each.name}" for each in seen)]
    data = [_model(name) for name in names]
    data += await upstream.list_models(request)
    return reply({"object": "list", "data": data})


async def read_model(request: Request) -> Response:
    """Return one model."""
    name = request.path_params["id"]
    request.app.state.collections.find(shapes.collection_of(name), user_of(request))
    return reply(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "rag"}


async def complete_chat(request: Request) -> Response:
    """Answer the last message with citations as annotations, whole or as a stream."""
    body = await read_json(request, ChatBody)
    if body.model.partition("/")[0] != shapes.MODEL and request.app.state.config.serve.upstream:
        return await upstream.complete_chat(request, body)
    if body.n not in (None, 1):
        raise Refused(400, "`n` must be 1")
    operation = make_question(shapes.messages_of(body.messages), body.rag, body.response_format)
    name = shapes.collection_of(body.model)
    answer_id = f"chatcmpl-{uuid.uuid4().hex}"
    if not body.stream:
        collection, answer = await perform(request, name, operation)
        usage = await asyncio.to_thread(count_tokens, request, collection, answer)
        shown = _completion(request, collection, body.model, answer_id, answer)
        return reply({**shown, "usage": usage})
    collection, view = await asyncio.to_thread(open_view, request, name)
    events = request.app.state.workers.events(view, operation)
    first = await anext(events)
    counted = bool(body.stream_options and body.stream_options.include_usage)
    return stream(_chunks(request, collection, body.model, answer_id, first, events, counted))


def make_question(messages: list[Any], own: dict[str, Any] | None, format_: Any) -> Ask:
    """Make the operation that answers the last of `messages`.

    Raises:
        Refused: if a field of our own, or the form of the answer, cannot be used.
    """
    own = own or {}
    unknown = own.keys() - {"where", "k"}
    if unknown:
        raise Refused(400, f"`rag` knows `where` and `k`, not {sorted(unknown)[0][:40]!r}")
    where, k = own.get("where", ""), own.get("k")
    if not isinstance(where, str | dict) or not isinstance(k, int | None):
        raise Refused(400, "`rag.where` is a filter, and `rag.k` a number")
    schema = None
    if format_ is not None and format_.type != "text":
        schema = (format_.json_schema or {}).get("schema")
        if format_.type != "json_schema" or not isinstance(schema, dict):
            raise Refused(400, "`response_format` must be `text`, or `json_schema` with a schema")
    *said, last = messages
    return Ask(last.content, k, where, schema, tuple(said))


def count_tokens(request: Request, collection: Collection, answer: Answer) -> dict[str, Any]:
    """Return the tokens of prompt and answer: those of the embedder where none was generated."""
    rag = request.app.state.collections.rag(collection)
    written = len(rag.embedder.token_offsets(answer.text))
    read = answer.prompt.tokens
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }


def _finish_reason(answer: Answer) -> str:
    return "length" if answer.interrupted else "stop"


def _nest_citations(
    request: Request, collection: Collection, answer: Answer
) -> list[dict[str, Any]]:
    found = []
    for each in shapes.cite(request, collection.name, answer):
        kind = each.pop("type")
        found.append({"type": kind, kind: each})
    return found


def _completion(
    request: Request, collection: Collection, model: str, answer_id: str, answer: Answer
) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": answer.text,
        "refusal": None,
        "annotations": _nest_citations(request, collection, answer),
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish_reason(answer),
    }
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "rag": shapes.abstention(answer),
    }


async def _chunks(
    request: Request,
    collection: Collection,
    model: str,
    answer_id: str,
    first: Any,
    events: Any,
    counted: bool,
) -> AsyncIterator[bytes]:
    created = int(time.time())

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        head = {"id": answer_id, "object": "chat.completion.chunk", "created": created}
        return event({**head, "model": model, "choices": [choice], **more})

    try:
        piece = first
        yield chunk({"role": "assistant", "content": ""})
        while isinstance(piece, TextPiece):
            yield chunk({"content": piece.text})
            piece = await anext(events)
        # On a chunk before the last, where clients look for them.
        yield chunk({"annotations": _nest_citations(request, collection, piece)})
        yield chunk({}, _finish_reason(piece), rag=shapes.abstention(piece))
        if counted:
            head = {"id": answer_id, "object": "chat.completion.chunk", "created": created}
            usage = await asyncio.to_thread(count_tokens, request, collection, piece)
            yield event({**head, "model": model, "choices": [], "usage": usage})
    except (RagError, Refused) as error:
        status, reason = request.app.state.describe(request, error)
        yield event({"error": {"message": reason, "type": "server_error", "code": status}})
    finally:
        await events.aclose()
    yield b"data: [DONE]\n\n"
