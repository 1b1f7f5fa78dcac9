"""What OpenAI's replies have in common: annotations, usage, filters, contents of messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from rag.serving.http.access import Refused
from rag.serving.http.places import address_of
from rag.types import Answer, Message

MODEL = "rag"
_COMPARISONS = {"eq": ":", "ne": ":", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_LISTS = {"in": ":", "nin": ":"}
_FIELDS = {"filename": "path", "file_id": "id", "source": "path", "media_type": "type"}
_OWN_FIELDS = frozenset(
    {"path", "type", "title", "author", "language", "date", "created", "modified", "id"}
)
_MOST_NESTED = 20


def collection_of(model: str) -> str:
    """Return the name of the collection that a model id names; empty for `rag`, the only one.

    Raises:
        Refused: if it names none.
    """
    if model in ("", MODEL):
        return ""
    if model.startswith(f"{MODEL}/"):
        return model.removeprefix(f"{MODEL}/")
    raise Refused(404, f"there is no model {model[:80]!r}: see /v1/models")


def content_of(content: Any) -> str:
    """Return the text of a message, whose content may be a text or a list of parts.

    Raises:
        Refused: if a part is no text.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "input_text", "output_text") or not isinstance(
            part.get("text"), str
        ):
            raise Refused(400, f"a message may hold text alone, not {str(kind)[:40]!r}")
        texts.append(part["text"])
    return "\n".join(texts)


def messages_of(items: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return the messages of a request.

    Raises:
        Refused: if one is none.
    """
    roles = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}
    found = []
    for item in items:
        role = item.get("role")
        if role == "tool" or item.get("type") in ("function_call", "function_call_output"):
            raise Refused(400, "tools are not called here: leave out their messages")
        if item.get("type", "message") != "message":
            # What a response held besides its message, such as a file search, is sent back whole.
            continue
        if role not in roles:
            raise Refused(400, f"unknown role {str(role)[:40]!r} of a message")
        found.append(Message(roles[role], content_of(item.get("content"))))
    if not found or found[-1].role != "user":
        raise Refused(400, "the last message must be the user's question")
    return found


def cite(request: Request, collection: str, answer: Answer) -> list[dict[str, Any]]:
    """Return a flat `url_citation` for each citation of each sentence.

    `start_index` and `end_index` are in the answer; `document_start` and `document_end` in the
    document.
    """
    found = []
    for sentence in answer.sentences:
        for citation in answer.citations:
            if citation.number not in sentence.citations:
                continue
            name = citation.document_id
            found.append(
                {
                    "type": "url_citation",
                    "url": address_of(request, collection, name, citation.start, citation.end),
                    "title": citation.location,
                    "start_index": sentence.start,
                    "end_index": sentence.end,
                    "quote": citation.quote,
                    "document_id": citation.document_id,
                    "filename": citation.source,
                    "page": citation.page,
                    "line": citation.line,
                    "document_start": citation.start,
                    "document_end": citation.end,
                    "support": sentence.support,
                }
            )
    return found


def abstention(answer: Answer) -> dict[str, Any]:
    """Return what stands beside OpenAI's fields: whether there is an answer, and how sure."""
    return {
        "abstained": answer.abstained,
        "missing": answer.missing,
        "answerability": answer.answerability,
        "confidence": answer.confidence,
        "way": answer.way,
        "unsupported": [[each.start, each.end] for each in answer.unsupported],
        "interrupted": answer.interrupted,
    }


def filter_of(given: Any, depth: int = 0) -> str:
    """Turn OpenAI's filter into ours: `{"type": "eq", "key": "author", "value": "X"}`.

    Keys that are no fields of documents are keys of their metadata.

    Raises:
        Refused: if it is none.
    """
    if given is None:
        return ""
    if not isinstance(given, dict) or depth > _MOST_NESTED:
        raise Refused(400, "`filters` must be a comparison, or `and` or `or` of others")
    kind = given.get("type")
    if kind in ("and", "or"):
        parts = given.get("filters")
        if not isinstance(parts, list) or not parts:
            raise Refused(400, f"`filters` of {kind!r} must be a list")
        inner = [f"({filter_of(part, depth + 1)})" for part in parts]
        return (" " if kind == "and" else " OR ").join(inner)
    key, value = given.get("key"), given.get("value")
    if not isinstance(key, str) or kind not in {**_COMPARISONS, **_LISTS}:
        raise Refused(400, f"a filter compares a `key` by {', '.join({**_COMPARISONS, **_LISTS})}")
    values = value if kind in _LISTS else [value]
    if not isinstance(values, list) or not values:
        raise Refused(400, f"the value of a filter by {kind!r} must be a list")
    text = f"{_field(key)}{({**_COMPARISONS, **_LISTS})[kind]}{','.join(map(_value, values))}"
    return f"-{text}" if kind in ("ne", "nin") else text


def _field(key: str) -> str:
    name = _FIELDS.get(key, key)
    if name in _OWN_FIELDS:
        return name
    bare = name.removeprefix("meta.")
    if not re.fullmatch(r"[^\W_][\w.-]*", bare):
        raise Refused(400, f"{key[:80]!r} cannot be the key of a filter")
    return f"meta.{bare}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise Refused(400, "a filter compares with texts, numbers and true or false")
    # In quotation marks, so that it holds nothing but a value.
    return '"' + str(value).replace('"', '""') + '"'
