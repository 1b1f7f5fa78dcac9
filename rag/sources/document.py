"""What a format's reader yields: documents without an identity yet, and files within files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rag.errors import ConfigError, SourceError
from rag.types import Document, Heading, Page, Problem


@dataclass(frozen=True, slots=True)
class Member:
    """A file within a file, such as one in an archive, unpacked at `path` so that it can be read.

    `path` may be deleted as soon as the reader is asked for its next item. `name` is the file's
    name within the outer file, folders included. `alone` marks the only content of a file such as
    a `.gz`: it is then known by the outer file's own name.
    """

    name: str
    path: Path
    alone: bool = False


def is_fault(error: BaseException) -> bool:
    """Say whether an error is a parser's fault over what it found, so that the rest can be read.

    A library in Rust panics, which is no Exception. Want of memory, files that cannot be opened and
    refusals of our own concern the whole file.
    """
    if isinstance(error, SourceError | ConfigError | MemoryError | OSError | ModuleNotFoundError):
        return False
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


class TextBuilder:
    """A text under construction: blocks with blank lines between, and the spans of its headings."""

    def __init__(self) -> None:
        self.length = 0
        self.headings: list[Heading] = []
        self._parts: list[str] = []

    def add(self, block: str, gap: str = "\n\n", headings: Sequence[Heading] = ()) -> int:
        """Append a block after a gap and return where it begins.

        `headings` are those within the block, with spans that count from its own beginning.
        """
        if self._parts:
            self._parts.append(gap)
            self.length += len(gap)
        start = self.length
        self._parts.append(block)
        self.length += len(block)
        self.headings += [replace(h, start=h.start + start, end=h.end + start) for h in headings]
        return start

    def add_heading(self, title: str, level: int) -> int:
        """Append a heading on a line of its own and return where it begins."""
        return self.add(title, headings=[Heading(0, len(title), level, title)])

    @property
    def text(self) -> str:
        """All blocks so far."""
        return "".join(self._parts)


def draft(
    source: str,
    text: str,
    *,
    media_type: str,
    title: str | None = None,
    markup: str = "plain",
    key: str = "",
    metadata: Mapping[str, Any] | None = None,
    pages: Sequence[Page] = (),
    headings: Sequence[Heading] = (),
    verbatim: bool = False,
) -> Document:
    """Make a document as its reader sees it; `read_file` fills in its identity, hash and times.

    Without a title, the first heading of the highest level is the title; an empty title becomes
    the file's name. `key` tells apart several documents of one file, such as the messages of a
    mailbox: it must stay the same when others come or go.
    """
    return Document(
        id="",
        source=f"{source}#{key}" if key else source,
        text=text,
        title=" ".join((title_of(headings) if title is None else title).split()),
        media_type=media_type,
        content_hash="",
        metadata={name: value for name, value in (metadata or {}).items() if value},
        pages=tuple(pages),
        headings=tuple(headings),
        verbatim=verbatim,
        markup=markup,
    )


def title_of(headings: Sequence[Heading]) -> str:
    """Return the first heading of the highest level, or an empty string."""
    return min(headings, key=lambda heading: heading.level).title if headings else ""


def problem_of(error: SourceError, source: str = "") -> Problem:
    """Return the problem that an error describes, of another source if one is named."""
    return Problem(source or error.source, error.reason, error.kind, error.lasting)
