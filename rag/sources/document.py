"""What a format's reader gives: documents without identity, and files within files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.types import Document, Heading, Page


@dataclass(frozen=True, slots=True)
class Member:
    """A file within a file (of an archive, attached to a message), laid out at `path` to be read.

    `path` may be deleted as soon as the reader is asked for what comes next. `name` is its name
    within, folders included. `alone` says that it is all there is, as in a `.gz`: it is then known
    under the outer file's own name.
    """

    name: str
    path: Path
    alone: bool = False


def draft(
    source: str,
    text: str,
    *,
    media_type: str,
    title: str = "",
    markup: str = "plain",
    key: str = "",
    metadata: Mapping[str, Any] | None = None,
    pages: tuple[Page, ...] = (),
    headings: tuple[Heading, ...] = (),
    verbatim: bool = False,
) -> Document:
    """A document as its reader sees it; identity, hash and times are filled in by `read`.

    An empty title becomes the file's name. `key` tells several documents of one file apart, such
    as messages of a mailbox: it must not change when others come or go.
    """
    return Document(
        id="",
        source=f"{source}#{key}" if key else source,
        text=text,
        title=" ".join(title.split()),
        media_type=media_type,
        content_hash="",
        metadata={name: value for name, value in (metadata or {}).items() if value},
        pages=pages,
        headings=headings,
        verbatim=verbatim,
        markup=markup,
    )


def title_of(headings: tuple[Heading, ...]) -> str:
    """The first heading of the highest level, or nothing."""
    return min(headings, key=lambda heading: heading.level).title if headings else ""
