"""Pass chat on to another OpenAI-compatible server, and check what it says against the documents.

The reply comes back as the server wrote it, with an annotation for each sentence that the documents
bear out or contradict.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rag.errors import GenerationError, RagError
from rag.generation.keys import authorize, read_key
from rag.generation.thoughts import blank_thoughts
from rag.parsing import parse_json
from rag.serving.http.access import Refused
from rag.serving.http.exchange import event, reply, stream
from rag.serving.http.native import open_view
from rag.serving.http.places import address_of
from rag.types import Verification

if TYPE_CHECKING:
    from rag.serving.http.openai.chat import ChatBody

_SECONDS = 600.0
_LONGEST_REPLY = 1 << 24
_PASSED_ON = (
    "model", "messages", "stream", "stream_options", "response_format", "n", "temperature",
    "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty",
    "frequency_penalty", "reasoning_effort",
)  # fmt: skip


def _url(request: Request, path: str) -> str:
    base: str = request.app.state.config.serve.upstream.rstrip("/")
    return f"{base}{path}"


def _client() -> httpx.AsyncClient:
    # A redirect could lead to a host that nobody named.
    headers = authorize(read_key())
    return httpx.AsyncClient(headers=headers, timeout=_SECONDS, follow_redirects=False)


def _hide_key(text: str) -> str:
    """Return what the server said without our key, should it repeat it."""
    key = read_key()
    return key.hide_in(text) if key else text


async def list_models(request: Request) -> list[dict[str, Any]]:
    """Return the models of the upstream server; none if there is no server, or it is down."""
    if not request.app.state.config.serve.upstream:
        return []
    try:
        async with _client() as client:
            listed = await client.get(_url(request, "/models"), timeout=5.0)
        found = parse_json(_hide_key(listed.text))
        return [each for each in found["data"] if isinstance(each.get("id"), str)][:1_000]
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return []


async def complete_chat(request: Request, body: ChatBody) -> Response:
    """Pass a request on; annotate the reply with what the documents say of its sentences."""
    given = msgspec.to_builtins(body)
    sent = {key: given[key] for key in _PASSED_ON if given.get(key) is not None}
    name = str((body.rag or {}).get("collection", ""))
    _, view = await asyncio.to_thread(open_view, request, name)
    if body.stream:
        return stream(_relay(request, view, sent, request.state.collection))
    try:
        async with _client() as client:
            answered = await client.post(_url(request, "/chat/completions"), json=sent)
    except httpx.HTTPError as error:
        raise GenerationError(f"the upstream server cannot be asked: {type(error).__name__}") from (
            error
        )
    if not answered.is_success or len(answered.content) > _LONGEST_REPLY:
        raise Refused(502, f"the upstream server replied {answered.status_code}")
    try:
        whole = parse_json(_hide_key(answered.text))
        message = whole["choices"][0]["message"]
        text = message.get("content") or ""
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Refused(502, "the upstream server sent something other than a completion") from error
    if isinstance(text, str) and blank_thoughts(text).strip():
        found = await _verify(request, view, text)
        message["annotations"] = _annotations(request, request.state.collection, found)
        whole["rag"] = _summary(found)
    return reply(whole)


async def _relay(
    request: Request, view: Any, sent: dict[str, Any], collection: str
) -> AsyncIterator[bytes]:
    """Yield the chunks of the upstream server, and before the last ones the annotations."""
    text, last = "", {"model": sent.get("model")}
    begun = False
    held: list[bytes] = []
    try:
        async with (
            _client() as client,
            client.stream("POST", _url(request, "/chat/completions"), json=sent) as answered,
        ):
            if not answered.is_success:
                raise Refused(502, f"the upstream server replied {answered.status_code}")
            async for line in answered.aiter_lines():
                data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if not data or data == "[DONE]":
                    continue
                chunk = parse_json(_hide_key(data))
                choices = chunk.get("choices") or []
                begun = True
                piece = (choices[0].get("delta") or {}).get("content") if choices else None
                text += piece if isinstance(piece, str) else ""
                if len(text) > _LONGEST_REPLY:
                    raise Refused(502, "the upstream server writes without end")
                last = {key: chunk[key] for key in ("id", "created", "model") if key in chunk}
                # The last chunks, with the reason and the usage, come after the annotations.
                if held or not choices or choices[0].get("finish_reason"):
                    held.append(event(chunk))
                else:
                    yield event(chunk)
        if not begun:
            raise Refused(502, "the upstream server sent no chat")
        if blank_thoughts(text).strip():
            found = await _verify(request, view, text)
            delta = {"annotations": _annotations(request, collection, found)}
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            head = {**last, "object": "chat.completion.chunk"}
            yield event({**head, "choices": [choice], "rag": _summary(found)})
        for each in held:
            yield each
    except (RagError, Refused, httpx.HTTPError, ValueError, LookupError, AttributeError) as error:
        reason = "the upstream server cannot be asked, or sent no chat"
        status = 502
        if isinstance(error, RagError | Refused):
            status, reason = request.app.state.describe(request, error)
        yield event({"error": {"message": reason, "type": "server_error", "code": status}})
    yield b"data: [DONE]\n\n"


async def _verify(request: Request, view: Any, text: str) -> Verification:
    said = blank_thoughts(text)
    found: Verification = await request.app.state.workers.run(lambda: view.verify(said))
    return found


def _annotations(request: Request, collection: str, found: Verification) -> list[dict[str, Any]]:
    shown = []
    for sentence in found.sentences:
        for evidence in (sentence.verdict.evidence if sentence.verdict else ())[:3]:
            place = (evidence.document_id, evidence.start, evidence.end)
            shown.append(
                {
                    "type": "url_citation",
                    "url_citation": {
                        "url": address_of(request, collection, *place),
                        "title": evidence.location,
                        "start_index": sentence.start,
                        "end_index": sentence.end,
                        "quote": evidence.quote,
                        "relation": evidence.relation,
                        "score": evidence.score,
                        "document_id": evidence.document_id,
                        "document_start": evidence.start,
                        "document_end": evidence.end,
                    },
                }
            )
    return shown


def _summary(found: Verification) -> dict[str, Any]:
    return {
        "verified": [
            {
                "start": each.start,
                "end": each.end,
                "label": each.verdict and each.verdict.label,
                "score": each.verdict and each.verdict.score,
            }
            for each in found.sentences
        ]
    }
