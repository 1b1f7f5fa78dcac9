"""Render the main content of a page as Markdown, with the spans of its headings."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from rag.sources.formats.html import tables
from rag.sources.formats.html.content import Content
from rag.sources.formats.html.elements import (
    BLOCKS,
    CODE,
    HEADINGS,
    LINES,
    LISTS,
    Element,
    name_of,
    number,
)
from rag.sources.formats.html.text import collapse, language_of, plain_text, push, raw_text
from rag.sources.formats.text import fence_code
from rag.types import Heading

# The title of such a box is not a heading of what follows the box.
_BOX = re.compile(
    r"(?:^|\s)(?:admonition|callout|caution|danger|hint|important|note|tip|warning)(?=\s|$)", re.I
)
_MOST_INDENT = 40


def to_markdown(content: Content) -> tuple[str, tuple[Heading, ...]]:
    """Render content as text, and return its headings, which are plain lines of that text."""
    rendering = _Rendering(content)
    for part in content.parts:
        rendering.write(part)
    return rendering.writer.text.rstrip(), tuple(rendering.headings)


class _Rendering:
    """A walk through the elements of the content that writes what they show."""

    def __init__(self, content: Content) -> None:
        self.writer = _Writer()
        self.headings: list[Heading] = []
        self._dropped = content.dropped
        # The next number of each ordered list.
        self._numbers: dict[Element, int] = {}
        # Elements to write, strings to add, and functions to call when an element ends.
        self._stack: list[Any] = []

    def write(self, part: Element) -> None:
        """Write an element and everything within it, with a gap before what comes next."""
        self._stack.append(part)
        while self._stack:
            node = self._stack.pop()
            if isinstance(node, str):
                self.writer.add(node)
            elif callable(node):
                node()
            else:
                self._enter(node)
        self.writer.gap(2)

    def _enter(self, element: Element) -> None:
        name = name_of(element)
        if self._write_whole(element, name):
            return
        if name == "br":
            self.writer.gap(1)
        elif name in ("li", "dd"):
            self.writer.open(self._marker(element, name))
            self._stack.append(self.writer.close)
        elif name == "dt":
            before = element.getprevious()
            self._surround(1 if before is not None and name_of(before) == "dt" else 2, 1)
        elif name in LINES or (name in LISTS and self.writer.nested):
            self._surround(1, 1)
        elif name in BLOCKS or name in HEADINGS:
            self._surround(2, 2)
        push(element, name, self._dropped, self._stack)

    def _surround(self, before: int, after: int) -> None:
        self.writer.gap(before)
        self._stack.append(partial(self.writer.gap, after))

    def _write_whole(self, element: Element, name: str) -> bool:
        """Write an element that is rendered as a whole: a heading, code or a table of data."""
        if level := _level(element, name):
            title = plain_text(element, self._dropped).strip(" ¶")
            start = self.writer.block(title)
            if title:
                self.headings.append(Heading(start, start + len(title), level, title))
            return True
        if name in CODE:
            self.writer.block(fence_code(raw_text(element, self._dropped), language_of(element)))
            return True
        table = tables.to_markdown(element, self._dropped) if name == "table" else ""
        self.writer.block(table)
        return bool(table)

    def _marker(self, item: Element, name: str) -> str:
        if name == "dd":
            return ": "
        above = item.getparent()
        if above is None or name_of(above) != "ol":
            return "- "
        own = item.get("value")
        at = number(own) if own else self._numbers.get(above, number(above.get("start")))
        self._numbers[above] = at + 1
        return f"{at}. "


class _Writer:
    """A text under construction, with line breaks where asked for and white space collapsed."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._gap = 0
        self._at_start = True
        self._indents: list[str] = []
        # The markers of the innermost items in which nothing has been written yet.
        self._markers: list[str] = []

    @property
    def text(self) -> str:
        """Everything written so far."""
        return "".join(self._parts)

    @property
    def nested(self) -> bool:
        """Whether the text that is being written belongs to an item of a list."""
        return bool(self._indents)

    def gap(self, lines: int) -> None:
        """Ask for line breaks before whatever comes next."""
        # The first block of an item stays on the line of its marker.
        if self._length and not self._markers:
            self._gap = max(self._gap, lines)

    def open(self, marker: str) -> None:
        """Begin an item; its marker is written together with its first text."""
        self.gap(1)
        self._markers.append(marker)
        indent = sum(map(len, self._indents)) + len(marker)
        self._indents.append(" " * len(marker) if indent <= _MOST_INDENT else "")

    def close(self) -> None:
        """End the innermost item."""
        if self._markers:
            self._markers.pop()
        self._indents.pop()
        self.gap(1)

    def block(self, text: str) -> int:
        """Write lines as they are, with blank lines around, and return where they start."""
        if not text:
            return self._length
        self.gap(2)
        start = self._put(re.sub(r"\n(?=[^\n])", "\n" + "".join(self._indents), text))
        self.gap(2)
        return start

    def add(self, text: str) -> None:
        """Append text to the line, or to a new line if a gap was asked for."""
        text = collapse(text)
        if self._breaking or self._at_start:
            text = text.lstrip()
        if text:
            self._put(text)

    @property
    def _breaking(self) -> bool:
        return bool(self._gap or self._markers or not self._length)

    def _put(self, text: str) -> int:
        if self._breaking:
            self._break()
        start = self._length
        self._append(text)
        self._at_start = text.endswith((" ", "\n"))
        return start

    def _break(self) -> None:
        if self._parts and self._parts[-1].endswith(" "):
            last = self._parts.pop()
            self._length -= len(last)
            self._append(last.rstrip(" "))
        written = len(self._indents) - len(self._markers)
        line = "".join(self._indents[:written] + self._markers)
        self._append("\n" * self._gap + line)
        self._gap = 0
        self._markers.clear()

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)


def _level(element: Element, name: str) -> int:
    """Return the level of a heading, or 0 for any other element."""
    above = element.getparent()
    if above is not None and _BOX.search(above.get("class") or ""):
        return 0
    if name in HEADINGS:
        return int(name[1])
    if element.get("role") == "heading":
        return min(number(element.get("aria-level") or "2"), 9)
    return 0
