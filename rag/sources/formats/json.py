"""Read JSON files: a list of records as documents, anything else as readable lines."""

from __future__ import annotations

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
        if not rest.strip() or not _is_object(first):
            raise SourceError(source, str(error)) from error
        yield from records.read(path, source, config)
        return
    reason = nesting_reason(value, config)
    if reason:
        raise SourceError(source, reason)
    field, listed = _find_list(value, config)
    if listed is not None:
        items = (
            Item(f"item {number}", number, item, _missing_text(item, config))
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


def _missing_text(item: Any, config: SourcesConfig) -> str:
    return "" if config.json_text or records.text_fields(item) else "has no field for its text"


def _is_object(line: str) -> bool:
    try:
        return isinstance(parse(line), dict)
    except ValueError:
        return False
