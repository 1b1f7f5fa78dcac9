"""Read HTML: the main content as Markdown, without navigation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rag.config import SourcesConfig
from rag.sources.document import draft
from rag.sources.formats.html.content import find_content
from rag.sources.formats.html.metadata import find_metadata, find_title, iso_date, language_code
from rag.sources.formats.html.parsing import decode_declared, decode_markup, parse
from rag.sources.formats.html.rendering import to_markdown
from rag.types import Document, Heading

__all__ = ["Rendered", "decode_declared", "iso_date", "language_code", "read", "render"]


class Rendered(NamedTuple):
    """An HTML document as text; `headings` are spans over `text`."""

    text: str
    headings: tuple[Heading, ...]
    title: str
    metadata: dict[str, str]


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read an HTML file as one document."""
    rendered = render(path.read_bytes(), source, config)
    yield draft(
        source,
        rendered.text,
        title=rendered.title,
        media_type="text/html",
        markup="markdown",
        metadata=rendered.metadata,
        headings=rendered.headings,
    )


def render(markup: bytes | str, source: str, config: SourcesConfig) -> Rendered:
    """Render the main content of an HTML or XHTML document as Markdown, headings as plain lines.

    Bytes are decoded by their byte order mark or meta element, else as UTF-8, else in
    `config.encoding`. Nothing that the document refers to is fetched. A part that holds more than
    half of the text is never taken for navigation.

    Raises:
        SourceError: if the bytes are not text, or elements are nested deeper than
            `config.max_nesting`.
    """
    if isinstance(markup, bytes):
        markup = decode_markup(markup, source, config)
    root = parse(markup, source, config)
    if root is None:
        return Rendered("", (), "", {})
    text, headings = to_markdown(find_content(root, source, config))
    return Rendered(text, headings, find_title(root, headings), find_metadata(root))
