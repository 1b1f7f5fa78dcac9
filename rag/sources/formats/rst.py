"""Read reStructuredText as it is, and find its headings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rag.config import SourcesConfig
from rag.sources.document import draft
from rag.sources.formats.text import decode, line_starts
from rag.types import Document, Heading

_QUIET = {
    "report_level": 5,
    "halt_level": 5,
    "warning_stream": False,
    # A document must not make its reader open other files, or pass raw markup through.
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "doctitle_xform": False,
}


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a reStructuredText file as one document."""
    text = decode(path.read_bytes(), source, config)
    headings = _find_headings(text)
    yield draft(
        source, text, media_type="text/x-rst", markup="rst", headings=headings, verbatim=True
    )


def _find_headings(text: str) -> tuple[Heading, ...]:
    from docutils import nodes
    from docutils.core import publish_doctree

    tree = publish_doctree(text, settings_overrides=_QUIET)
    lines = text.split("\n")
    starts = line_starts(text)
    headings = []
    after = 0
    for section in tree.findall(nodes.section):
        title = section.next_node(nodes.title)
        if title is None:
            continue
        at = _title_line(lines, after, title.rawsource or title.astext())
        if at is None:
            continue
        # The heading of an overlined title begins with the overline.
        overlined = at > 0 and lines[at - 1] == lines[at + 1]
        start, end = starts[at - overlined], starts[at + 2] - 1
        headings.append(Heading(start, end, _depth(section), title.astext()))
        after = at + 1
    return tuple(headings)


def _title_line(lines: list[str], after: int, raw: str) -> int | None:
    wanted = raw.strip()
    for at in range(after, len(lines) - 1):
        if lines[at].strip() == wanted and _is_line(lines[at + 1]):
            return at
    return None


def _is_line(line: str) -> bool:
    text = line.rstrip()
    return len(text) > 1 and len(set(text)) == 1 and not text[0].isalnum() and not text[0].isspace()


def _depth(section: object) -> int:
    from docutils import nodes

    depth, parent = 1, getattr(section, "parent", None)
    while isinstance(parent, nodes.section):
        depth, parent = depth + 1, parent.parent
    return depth
