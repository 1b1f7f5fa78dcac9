"""`/v1/responses`: an answer as a file search and a message."""

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
from rag.serving.http.access import Refused
from rag.serving.http.collections import Collection
from rag.serving.http.exchange import event, read_json, reply, stream
from rag.serving.http.native import open_view, perform
from rag.serving.http.openai import shapes
from rag.serving.http.openai.chat import count_tokens, make_question
from rag.serving.http.openai.stores import show_result, store_name
from rag.serving.operations import Ask, TextPiece
from rag.types import Answer, Message


class ResponsesBody(msgspec.Struct, frozen=True):
    """The body of `/v1/responses`; what else a client sends is not needed here."""

    input: str | list[dict[str, Any]]
    model: str = shapes.MODEL
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    include: list[str] | None = None
    stream: bool | None = None
    previous_response_id: str | None = None
    metadata: dict[str, Any] | None = None


async def respond(request: Request) -> Response:
    """Answer the last message of `input` from the documents."""
    body = await read_json(request, ResponsesBody)
    if body.previous_response_id:
        raise Refused(400, "responses are not kept: send the conversation as `input`")
    name, operation = _question(body)
    with_results = "file_search_call.results" in (body.include or [])
    if not body.stream:
        collection, answer = await perform(request, name, operation)
        shown = _Response(request, collection, body, operation)
        return reply(await asyncio.to_thread(shown.whole, answer, with_results))
    collection, view = await asyncio.to_thread(open_view, request, name)
    shown = _Response(request, collection, body, operation)
    events = request.app.state.workers.events(view, operation)
    first = await anext(events)
    return stream(_events(request, shown, first, events, with_results))


def _question(body: ResponsesBody) -> tuple[str, Ask]:
    """Return the collection and the question of a request."""
    items = body.input
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    messages = shapes.messages_of(items)
    if body.instructions:
        messages = [Message("system", body.instructions), *messages]
    name = shapes.collection_of(body.model)
    own: dict[str, Any] = {}
    for tool in body.tools or []:
        if tool.get("type") != "file_search":
            raise Refused(400, "the only tool here is `file_search`")
        stores = tool.get("vector_store_ids") or []
        if not isinstance(stores, list) or len(stores) > 1:
            raise Refused(400, "`file_search` searches one vector store here")
        name = store_name(str(stores[0])) if stores else name
        own["where"] = shapes.filter_of(tool.get("filters"))
        most = tool.get("max_num_results")
        if most is not None:
            if not isinstance(most, int) or not 1 <= most <= 50:
                raise Refused(400, "`max_num_results` must be a number from 1 to 50")
            own["k"] = most
    return name, make_question(messages, own, None)


class _Response:
    """The reply to one request, as it grows."""

    def __init__(
        self, request: Request, collection: Collection, body: ResponsesBody, asked: Ask
    ) -> None:
        self._request = request
        self._collection = collection
        self._body = body
        self._asked = asked
        self._id = f"resp_{uuid.uuid4().hex}"
        self._created = int(time.time())
        self.call_id = f"fs_{uuid.uuid4().hex}"
        self.message_id = f"msg_{uuid.uuid4().hex}"

    def call(self, status: str, answer: Answer | None = None) -> dict[str, Any]:
        """Return the search as an item of the output."""
        results = None
        if answer is not None:
            results = [show_result(hit) for hit in answer.prompt.hits]
        return {
            "id": self.call_id,
            "type": "file_search_call",
            "status": status,
            "queries": [self._asked.question],
            "results": results,
        }

    def message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the message as an item of the output."""
        head = {"id": self.message_id, "type": "message", "role": "assistant"}
        return {**head, "status": status, "content": content}

    def annotations(self, answer: Answer) -> list[dict[str, Any]]:
        """Return the citations: each as an address, and as a file."""
        found = shapes.cite(self._request, self._collection.name, answer)
        files = [
            {
                **each,
                "type": "file_citation",
                "file_id": each["document_id"],
                "index": each["end_index"],
            }
            for each in found
        ]
        return [*found, *files]

    def text(self, text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the text as a part of the message."""
        return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}

    def head(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the response with what there is of its output."""
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": self._body.instructions,
            "metadata": self._body.metadata or {},
            "model": self._body.model,
            "output": output,
            "parallel_tool_calls": False,
            "temperature": None,
            "tool_choice": "auto",
            "tools": self._body.tools or [],
            "top_p": None,
        }

    def whole(self, answer: Answer, with_results: bool) -> dict[str, Any]:
        """Return the response when it is complete, or was cut short."""
        status = "incomplete" if answer.interrupted else "completed"
        text = self.text(answer.text, self.annotations(answer))
        call = self.call("completed", answer if with_results else None)
        used = count_tokens(self._request, self._collection, answer)
        usage = {
            "input_tokens": used["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": used["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": used["total_tokens"],
        }
        whole = self.head(status, [call, self.message(status, [text])])
        if answer.interrupted:
            whole["incomplete_details"] = {"reason": "max_output_tokens"}
        return {**whole, "usage": usage, "rag": shapes.abstention(answer)}


async def _events(
    request: Request, shown: _Response, first: Any, events: Any, with_results: bool
) -> AsyncIterator[bytes]:
    number = 0

    def tell(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number - 1, **fields}, kind)

    searching = {"output_index": 0, "item_id": shown.call_id}
    writing = {"output_index": 1, "item_id": shown.message_id, "content_index": 0}
    try:
        for kind in ("response.created", "response.in_progress"):
            yield tell(kind, response=shown.head("in_progress", []))
        call = shown.call("in_progress")
        yield tell("response.output_item.added", output_index=0, item=call)
        for state in ("in_progress", "searching", "completed"):
            yield tell(f"response.file_search_call.{state}", **searching)
        piece = first
        begun = False
        text = ""
        while True:
            is_last = not isinstance(piece, TextPiece)
            if not begun:
                found = piece if is_last and with_results else None
                done = shown.call("completed", found)
                yield tell("response.output_item.done", output_index=0, item=done)
                item = shown.message("in_progress", [])
                yield tell("response.output_item.added", output_index=1, item=item)
                part = shown.text("", [])
                yield tell("response.content_part.added", **writing, part=part)
                begun = True
            if is_last:
                break
            text += piece.text
            delta = piece.text
            yield tell("response.output_text.delta", **writing, delta=delta, logprobs=[])
            piece = await anext(events)
        cited = shown.annotations(piece)
        for at, each in enumerate(cited):
            yield tell(
                "response.output_text.annotation.added",
                **writing,
                annotation_index=at,
                annotation=each,
            )
        yield tell("response.output_text.done", **writing, text=text, logprobs=[])
        part = shown.text(text, cited)
        yield tell("response.content_part.done", **writing, part=part)
        whole = await asyncio.to_thread(shown.whole, piece, with_results)
        yield tell("response.output_item.done", output_index=1, item=whole["output"][1])
        kind = "response.incomplete" if piece.interrupted else "response.completed"
        yield tell(kind, response=whole)
    except (RagError, Refused) as error:
        _, reason = request.app.state.describe(request, error)
        failed = shown.head("failed", [])
        failed["error"] = {"code": "server_error", "message": reason}
        yield tell("response.failed", response=failed)
    finally:
        await events.aclose()
