"""Interpret the requests of roff(7) that decide what is read: conditions, macros, tables."""

from __future__ import annotations

import re
from collections import deque

from rag.sources.formats.manpage import tables
from rag.sources.formats.manpage.man import HEADINGS, Man
from rag.sources.formats.manpage.mdoc import Mdoc
from rag.sources.formats.manpage.page import Page
from rag.sources.formats.manpage.syntax import (
    CONTROL,
    STRINGS,
    arguments,
    interpolate,
    string_value,
    strip_escapes,
)

_CONTINUED = re.compile(r"(?<!\\)((?:\\\\)*)\\\n")
_CONDITION = re.compile(r"(!?)\s*(?:(['\"])(.*?)\2(.*?)\2|((?:(?!\\\{)\S)+))\s*(.*)")
_TRUE = frozenset({"n", r"\n(.g", r"\n[.g]", "1"})
_PARAMETER = re.compile(r"\\\\?\$([*@\d])")
_MOST_EXPANDED = 100_000


class Roff:
    """An interpreter that reads a page line by line and passes macros to man(7) and mdoc(7)."""

    def __init__(self, text: str) -> None:
        self.page = Page()
        self.man = Man(self.page)
        self.mdoc = Mdoc(self.page)
        self.alias = ""
        self._lines = deque(_CONTINUED.sub(r"\1", text).split("\n"))
        self._strings = dict(STRINGS)
        self._macros: dict[str, list[str]] = {}
        self._expanded = 0
        self._otherwise: list[bool] = []
        self._translations: dict[int, str] = {}
        self._is_mdoc = False

    def run(self) -> None:
        """Write the page."""
        while self._lines:
            line = self._lines.popleft()
            control = CONTROL.match(line)
            if control is None:
                self._text(interpolate(line, self._strings))
            elif control[1]:
                # Comments are removed only once the name is known, since the body of a macro is
                # interpreted when the macro is used.
                self._control(control[1].rstrip("\\}"), control[2])
        self.page.literal(False)
        self.page.paragraph()

    def _plain(self, text: str) -> str:
        return strip_escapes(text).translate(self._translations)

    def _words(self, rest: str) -> list[str]:
        return [self._plain(word) for word in arguments(rest)]

    def _text(self, line: str) -> None:
        page = self.page
        shown = self._plain(line)
        if self.man.tag_follows and shown.strip():
            self.man.add(shown.strip())
        elif not line.strip():
            # A line that holds escapes alone does not count as empty.
            if not line:
                page.paragraph()
        else:
            if line[0] in " \t" and not page.is_literal:
                page.line_break()
            page.add(shown)

    def _control(self, name: str, rest: str) -> None:
        if name in ("if", "ie", "while"):
            self._conditional(rest, remember=name == "ie")
        elif name == "el" or name.startswith("el\\{"):
            self._block(name[2:] + rest, bool(self._otherwise) and self._otherwise.pop())
        elif name in ("de", "de1", "am", "ig"):
            self._define(name, interpolate(rest, self._strings).split())
        elif name in ("ds", "as"):
            key, _, value = rest.partition(" ")
            before = self._strings.get(key, "") if name == "as" else ""
            self._strings[key] = string_value(before, value.lstrip(), self._strings)
        elif name == "tr":
            pairs = strip_escapes(rest.strip())
            self._translations.update(zip(map(ord, pairs[::2]), pairs[1::2], strict=False))
        elif name == "so":
            self.alias = rest.strip()
        elif name == "TS":
            self.page.block(tables.to_markdown(self._table_lines(), self._plain))
        elif name == "Dd" or (self._is_mdoc and self.mdoc.knows(name)):
            self._is_mdoc = True
            self.mdoc.macro(name, interpolate(rest, self._strings))
        else:
            self._macro(name, rest)

    def _macro(self, name: str, rest: str) -> None:
        words = self._words(interpolate(rest, self._strings))
        if name in HEADINGS and not " ".join(words):
            words = [self._next_text()]
        if self.man.macro(name, words):
            return
        if name in self._macros:
            self._expand(self._macros[name], rest)
        # An unknown macro's arguments are text more often than not; a request's are not.
        elif name[:1].isupper() and rest:
            self.man.add(" ".join(self._words(interpolate(rest, {}))))

    def _next_text(self) -> str:
        """Take the next line of text that is not empty, unless another request comes first."""
        text = ""
        while not text and self._lines and not CONTROL.match(self._lines[0]):
            text = self._plain(interpolate(self._lines.popleft(), self._strings))
        return text

    def _expand(self, body: list[str], rest: str) -> None:
        """Put the body of a macro before the lines to come."""
        self._expanded += len(body) + 1
        if self._expanded > _MOST_EXPANDED:
            return
        values = [word.removeprefix("\\&") for word in arguments(rest)]

        def argument(found: re.Match[str]) -> str:
            if found[1] in "*@":
                return " ".join(values)
            at = int(found[1]) - 1
            return values[at] if 0 <= at < len(values) else ""

        lines = [_PARAMETER.sub(argument, line).replace("\\\\", "\\") for line in body]
        self._lines.extendleft(reversed(lines))

    def _define(self, request: str, words: list[str]) -> None:
        ignored = request == "ig"
        name = words[0] if words and not ignored else ""
        end = words[-1] if len(words) > (not ignored) else "."
        last = re.compile(rf"[.'][ \t]*{re.escape(end)}(?:[ \t\\].*)?")
        body = []
        while self._lines:
            line = self._lines.popleft()
            if last.fullmatch(line):
                break
            body.append(line)
        if not ignored:
            self._macros[name] = body if request != "am" else self._macros.get(name, []) + body

    def _conditional(self, rest: str, *, remember: bool) -> None:
        found = _CONDITION.match(interpolate(rest, self._strings))
        if found is None:
            return
        truth = found[3] == found[4] if found[2] else found[5] in _TRUE
        truth = truth != bool(found[1])
        if remember:
            self._otherwise.append(not truth)
        self._block(found[6], truth)

    def _block(self, first: str, taken: bool) -> None:
        """Take or drop what follows a condition: one line, or a block in braces."""
        lines = [first.strip()]
        if lines[0].startswith("\\{"):
            lines = [lines[0][2:].strip()]
            depth = 1 + _braces(lines[0])
            while depth > 0 and self._lines:
                lines.append(self._lines.popleft())
                depth += _braces(lines[-1])
            head, brace, _ = lines[-1].rpartition("\\}")
            lines[-1] = head.rstrip(" \t.'") if brace else lines[-1]
        if taken:
            self._lines.extendleft(reversed([line for line in lines if line]))

    def _table_lines(self) -> list[str]:
        lines = []
        while self._lines:
            line = interpolate(self._lines.popleft(), self._strings)
            if line.startswith(".TE"):
                break
            lines.append(line)
        return lines


def _braces(line: str) -> int:
    return line.count("\\{") - line.count("\\}")
