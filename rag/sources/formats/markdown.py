"""Read Markdown as it is, and find its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from rag.config import SourcesConfig
from rag.sources.document import draft
from rag.sources.formats.text import decode, line_starts
from rag.types import Document, Heading

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_BREAKS = ("softbreak", "hardbreak")
_FRONT_TITLE = re.compile(r"^title:[ \t]*(['\"]?)(.+?)\1[ \t]*$", re.MULTILINE)


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a Markdown file as one document."""
    text = decode(path.read_bytes(), source, config)
    headings = find_headings(text)
    yield draft(
        source,
        text,
        title=_front_title(text) or None,
        media_type="text/markdown",
        markup="markdown",
        headings=headings,
        verbatim=True,
    )


def find_headings(text: str) -> tuple[Heading, ...]:
    """Find the headings of CommonMark text, but none in code or front matter."""
    from markdown_it import MarkdownIt

    front = _FRONT_MATTER.match(text)
    skipped = front.end() if front else 0
    body = text[skipped:]
    starts = [skipped + start for start in line_starts(body)]
    tokens = MarkdownIt("commonmark").parse(body)
    headings = []
    for token, inline in pairwise(tokens):
        if token.type != "heading_open" or token.map is None:
            continue
        first, last = token.map
        start, end = starts[first], min(starts[last] - 1, len(text))
        title = " ".join(_plain(inline.children or []).split())
        if title:
            headings.append(Heading(start, end, int(token.tag[1]), title))
    return tuple(headings)


def _plain(tokens: list) -> str:  # type: ignore[type-arg]
    shown = [token for token in tokens if token.type in (*_BREAKS, "text", "code_inline", "image")]
    return "".join(" " if token.type in _BREAKS else token.content for token in shown)


def _front_title(text: str) -> str:
    front = _FRONT_MATTER.match(text)
    found = _FRONT_TITLE.search(front[1]) if front else None
    return found[2] if found else ""
