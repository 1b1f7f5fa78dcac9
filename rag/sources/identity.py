"""What tells one document, and one state of it, from another."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rag.types import Document, Heading, Page


def document_id(identity: str) -> str:
    """The hash of a source's identity: the absolute path of a file."""
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def content_hash(title: str, text: str) -> str:
    """SHA-256 over what chunks and citations are made of."""
    joined = f"{title}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(joined).hexdigest()


def file_document(
    path: Path,
    source: str,
    text: str,
    *,
    title: str,
    media_type: str,
    metadata: dict[str, Any] | None = None,
    pages: tuple[Page, ...] = (),
    headings: tuple[Heading, ...] = (),
    verbatim: bool = False,
) -> Document:
    """The one Document of a file; an empty title becomes the file's name without suffix."""
    title = " ".join(title.split()) or path.stem
    return Document(
        id=document_id(str(path.resolve())),
        source=source,
        text=text,
        title=title,
        media_type=media_type,
        content_hash=content_hash(title, text),
        modified=path.stat().st_mtime,
        metadata=metadata or {},
        pages=pages,
        headings=headings,
        verbatim=verbatim,
    )


def title_of(headings: tuple[Heading, ...]) -> str:
    """The first heading of the highest level, or nothing."""
    return min(headings, key=lambda heading: heading.level).title if headings else ""
