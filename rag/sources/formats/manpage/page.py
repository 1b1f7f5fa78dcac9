"""Build the text of a page: paragraphs on one line, examples in fences, headings with spans."""

from __future__ import annotations

import re
from textwrap import dedent

from rag.sources.document import TextBuilder
from rag.sources.formats.manpage.syntax import GLUE, HARD_SPACE
from rag.sources.formats.text import fence_code


class Page:
    """The text of a page under construction."""

    def __init__(self) -> None:
        self.builder = TextBuilder()
        self._line: list[str] = []
        self._literal: list[str] | None = None
        self._gap = "\n\n"
        self._lead = ""

    @property
    def is_literal(self) -> bool:
        """Whether an example is being written."""
        return self._literal is not None

    def add(self, text: str) -> None:
        """Add a line of input to the paragraph or to the example."""
        if self._literal is not None:
            self._literal.append(text)
        elif text.strip():
            self._line.append(text)

    def paragraph(self) -> None:
        """End the paragraph, or add an empty line to an example."""
        if self._literal is not None:
            self._literal.append("")
            return
        self.line_break()
        self._gap, self._lead = "\n\n", ""

    def line_break(self) -> None:
        """Continue on the next line."""
        line, self._line = " ".join(self._line), []
        line = re.sub(rf"\s*{GLUE}[\s{GLUE}]*", "", re.sub(r"[ \t\n]+", " ", line))
        line = line.replace(HARD_SPACE, " ").strip()
        if line and line != "•":
            if line.startswith("• "):
                line = f"- {line[2:].lstrip()}"
            self._emit(self._lead + line)
            self._gap = "\n"

    def item(self, tag: str, *, more: bool = False) -> None:
        """Begin an item of a list; without a tag, its text follows the dash."""
        self.literal(False)
        self.paragraph()
        if more:
            self._gap = "\n"
        self._lead = "- "
        if tag.strip():
            self.add(tag)
            self.line_break()
            self._lead = "  "

    def literal(self, on: bool) -> None:
        """Begin or end an example, in which lines stay as they are."""
        if on == self.is_literal:
            return
        if on:
            self.line_break()
            self._literal = []
            return
        lines, self._literal = self._literal or [], None
        text = re.sub(rf"{GLUE}\n?", "", "\n".join(lines)).expandtabs()
        text = dedent(text).strip("\n")
        if text.strip():
            self.block(fence_code(text, ""))

    def block(self, text: str) -> None:
        """Write a block of text as it is."""
        self.literal(False)
        self.paragraph()
        self._emit(text)

    def heading(self, title: str, level: int) -> None:
        """Write a heading on a line of its own."""
        title = " ".join(title.replace(GLUE, "").replace(HARD_SPACE, " ").split())
        if title:
            self.literal(False)
            self.paragraph()
            self.builder.add_heading(title, level)

    def _emit(self, text: str) -> None:
        self.builder.add(text.replace(HARD_SPACE, " "), self._gap)
        self._gap, self._lead = "\n\n", "" if self._lead == "- " else self._lead
