"""Read JSON files: a list of records as documents, anything else as readable lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import draft
from rag.sources.formats import records
from rag.sources.formats.records import (
    Item,
    documents_of,
    nesting_reason,
    parse,
    record_to_document,
    render_value,
)
from rag.sources.formats.text import decode
from rag.types import Document, Problem

_MEDIA_TYPE = "application/json"
_MARK = re.compile(r'"|//|/\*|[,\[\]{}]')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.S)


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document | Problem]:
    """Yield a document for each object of a list, or of the only list that an object holds.

    An object that holds a text itself is one document. Any other value is one document, rendered as
    lines.
    """
    text = decode(path.read_bytes(), source, config)
    try:
        value = parse(text)
    except ValueError as error:
        # A file of JSON lines is often called .json.
        first, _, rest = text.lstrip().partition("\n")
        if rest.strip() and _is_object(first):
            yield from records.read(path, source, config)
            return
        # Settings are often written with comments.
        try:
            value = parse(remove_comments(text))
        except ValueError:
            raise SourceError(source, str(error)) from error
    reason = nesting_reason(value, config)
    if reason:
        raise SourceError(source, reason)
    field, listed = _find_list(value, config)
    if listed is not None:
        items = (
            Item(f"item {number}", number, item, _missing_text(item))
            for number, item in enumerate(listed, start=1)
        )
        yield from documents_of(items, source, config, _MEDIA_TYPE)
        around = {name: item for name, item in value.items() if name != field} if field else {}
        if around:
            yield draft(source, render_value(around), media_type=_MEDIA_TYPE)
    elif isinstance(value, dict) and (config.json_text or records.text_fields(value)):
        document = record_to_document(Item("the object", 1, value), source, config, _MEDIA_TYPE)
        yield replace(document, source=source)
    else:
        yield draft(source, render_value(value), media_type=_MEDIA_TYPE)


def _find_list(value: Any, config: SourcesConfig) -> tuple[str, list[Any] | None]:
    found = {"": value}
    if isinstance(value, dict) and not records.text_fields(value):
        found = {name: item for name, item in value.items() if _holds_objects(item)}
    if len(found) != 1:
        return "", None
    ((field, items),) = found.items()
    if not _holds_objects(items):
        return "", None
    described = config.json_text or any(records.text_fields(item) for item in items)
    return field, items if described else None


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _missing_text(item: Any) -> str:
    return "" if isinstance(item, dict) else "has no field for its text"


def remove_comments(text: str) -> str:
    """Replace comments of JSON, and commas that nothing follows, by spaces.

    Raises:
        ValueError: if a string or comment has no end.
    """
    parts: list[str] = []
    # What was last but spaces and comments; and the last comma, if nothing came after it.
    at, last, comma = 0, "", -1
    while mark := _MARK.search(text, at):
        start, end = mark.start(), mark.end()
        parts.append(text[at:start])
        if between := parts[-1].strip():
            last, comma = between[-1], -1
        found = shown = mark[0]
        if found == '"':
            string = _STRING.match(text, start)
            if string is None:
                raise ValueError("has a string without an end")
            end, shown = string.end(), string[0]
        elif found in ("//", "/*"):
            closing, shown = ("\n", " ") if found == "//" else ("*/", " ")
            end = text.find(closing, end)
            if end < 0 and found == "/*":
                raise ValueError("has a comment without an end")
            end = len(text) if end < 0 else end + (found == "/*") * 2
        elif found in "]}" and comma >= 0:
            parts[comma] = " "
        if found not in ("//", "/*"):
            comma = len(parts) if found == "," and last not in ("", "[", "{", ",", ":") else -1
            last = found
        parts.append(shown)
        at = end
    return "".join([*parts, text[at:]])


def _is_object(line: str) -> bool:
    try:
        return isinstance(parse(line), dict)
    except ValueError:
        return False
