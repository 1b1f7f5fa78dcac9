"""Make documents of texts that a program has, and that are in no file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag.config import SourcesConfig
from rag.errors import SourceError, first_line
from rag.sources.files import Input, finish_document
from rag.sources.formats.records import depth_of, parse
from rag.types import Document

_LONGEST_ID = 512
# Deeper metadata would be more than the store reads back.
_DEEPEST_METADATA = 8


def make_document(
    text: str, document_id: str, title: str, metadata: Mapping[str, Any], config: SourcesConfig
) -> Document:
    """Make a document of a text; without an id it gets one by its contents.

    Raises:
        SourceError: if the id cannot be one, the text is blank, too long or no text, or the
            metadata are no JSON.
    """
    if not isinstance(text, str):
        raise SourceError("a text", f"must be text, not {type(text).__name__}")
    values = _to_json(metadata, document_id)
    name = _check_id(document_id) if document_id else _hash(text, title, values)
    source = f"text:{name}"
    draft = Document(
        id=name,
        source=source,
        text=text.replace("\r\n", "\n").replace("\r", "\n"),
        title=" ".join(title.split()),
        media_type="text/plain",
        content_hash="",
        metadata=values,
        verbatim=True,
    )
    for document in finish_document(draft, Input(Path(), source, "", source), time.time(), config):
        return document
    raise SourceError(source, "holds no text", kind="skipped")


def _check_id(given: object) -> str:
    if not isinstance(given, str) or len(given) > _LONGEST_ID or not given.isprintable():
        raise SourceError(
            f"text:{given!a}"[:80],
            f"is no id: it must be printable text of at most {_LONGEST_ID} characters",
        )
    if given.startswith("//") or given != given.strip():
        raise SourceError(f"text:{given}", "is no id: it begins with `//`, or with a space")
    return given


def _hash(text: str, title: str, metadata: Mapping[str, Any]) -> str:
    whole = json.dumps([text, title, metadata], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def _to_json(metadata: Mapping[str, Any], document_id: str) -> dict[str, Any]:
    """Return metadata as they are read back: what JSON does not know becomes text."""
    try:
        values: dict[str, Any] = parse(json.dumps(dict(metadata), default=str))
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"has metadata that are no JSON: {first_line(error)}"
        raise SourceError(f"text:{document_id}", reason) from error
    if depth_of(values) > _DEEPEST_METADATA:
        reason = f"has metadata that are nested more than {_DEEPEST_METADATA} deep"
        raise SourceError(f"text:{document_id}", reason)
    return values
