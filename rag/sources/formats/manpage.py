"""Manual pages, man(7) and mdoc(7), rendered as far as reading them needs."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import draft
from rag.sources.formats.mdoc import Mdoc
from rag.sources.formats.roff import (
    STRINGS,
    Page,
    arguments,
    interpolated,
    plain,
    string_value,
)
from rag.sources.formats.text import decode
from rag.types import Document

_CODING = re.compile(rb"-\*-.*?coding:\s*([\w.-]+)")
_CONTROL = re.compile(r"[.'][ \t]*((?:\\[^{}\"]|[^\s\\])*)[ \t]*(.*)")
_CONDITION = re.compile(r"(!?)\s*(?:(['\"])(.*?)\2(.*?)\2|((?:(?!\\\{)\S)+))\s*(.*)")
_TRUE = frozenset({"n", r"\n(.g", r"\n[.g]", "1"})
_DESCRIPTION = re.compile(r"\s+[-–—]+\s+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOST_EXPANDED = 100_000

_FONTS = frozenset({"B", "I", "SM", "SB", "R", "CW"})
_MIXED = frozenset({"BR", "RB", "BI", "IB", "IR", "RI"})
_PARAGRAPHS = frozenset({"PP", "P", "LP", "HP", "sp", "YS"})
_BREAKS = frozenset({"br", "RS", "RE"})
_BULLETS = frozenset("•*-o·–—+○□")
_FENCES = {"nf": True, "EX": True, "fi": False, "EE": False}
_LINKS = {"UR": "UE", "MT": "ME"}
# Names of macros and requests that show nothing.
_SILENT = frozenset(
    {"PD", "DT", "AT", "UC", "IX", "PS", "PE", "EQ", "EN", "KS", "KE", "OF", "LINKSTYLE"}
)


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """A manual page as one document; one that only names another page is skipped."""
    roff = _Roff(_decoded(path.read_bytes(), source, config))
    roff.run()
    text, mdoc = roff.page.text, roff.mdoc
    if not text.strip() and roff.alias:
        raise SourceError(
            source, f"is another name of the page {roff.alias!r}: read that", kind="skipped"
        )
    name, section, date = [*(mdoc.title or roff.title), "", "", ""][:3]
    own_name, description = mdoc.name, mdoc.description
    if not description:
        own_name, description = _described(roff.page)
    # By custom the name is all capitals where the page is titled, and itself where described.
    name = own_name if own_name.lower() == name.lower() else name
    shown = f"{name}({section})" if name and section else name
    date = mdoc.date or date
    yield draft(
        source,
        text,
        title=" — ".join(part for part in (shown, description) if part),
        media_type="text/troff",
        markup="markdown",
        metadata={"section": section, "modified": date if _DATE.fullmatch(date) else ""},
        headings=tuple(roff.page.headings),
    )


class _Roff:
    """Reads a page line by line: requests that matter, and the macros of man(7) and mdoc(7)."""

    def __init__(self, text: str) -> None:
        self.page = Page()
        self.mdoc = Mdoc(self.page)
        self.title: list[str] = []
        self.alias = ""
        self._lines = deque(re.sub(r"(?<!\\)((?:\\\\)*)\\\n", r"\1", text).split("\n"))
        self._strings = dict(STRINGS)
        self._macros: dict[str, list[str]] = {}
        self._expanded = 0
        self._otherwise: list[bool] = []
        self._tag_follows = False
        self._tag_continues = False
        self._translated: dict[int, str] = {}
        self._link = ""
        self._is_mdoc = False

    def run(self) -> None:
        """Write the page."""
        while self._lines:
            line = self._lines.popleft()
            control = _CONTROL.match(line)
            if control is None:
                self._text(interpolated(line, self._strings))
            elif control[1]:
                # Comments go after the name is known: what a macro holds is read when it is used.
                self._control(control[1].rstrip("\\}"), control[2])
        self.page.literal(False)
        self.page.paragraph()

    def _plain(self, text: str) -> str:
        return plain(text).translate(self._translated)

    def _text(self, line: str) -> None:
        page = self.page
        shown = self._plain(line)
        if self._tag_follows and shown.strip():
            self._tag_follows = False
            page.item(shown.strip(), more=self._tag_continues)
        elif not line.strip():
            # A line of escapes alone is no empty line.
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
            self._define(name, interpolated(rest, self._strings).split())
        elif name in ("ds", "as"):
            key, _, value = rest.partition(" ")
            before = self._strings.get(key, "") if name == "as" else ""
            self._strings[key] = string_value(before, value.lstrip(), self._strings)
        elif name == "tr":
            pairs = plain(rest.strip())
            self._translated.update(zip(map(ord, pairs[::2]), pairs[1::2], strict=False))
        elif name == "so":
            self.alias = rest.strip()
        elif name == "TS":
            self.page.block(self._table())
        elif name == "Dd" or (self._is_mdoc and self.mdoc.knows(name)):
            self._is_mdoc = True
            self.mdoc.macro(name, interpolated(rest, self._strings))
        elif not self._man(name, interpolated(rest, self._strings)):
            self._user_macro(name, rest)

    def _man(self, name: str, rest: str) -> bool:
        """Whether `name` is of man(7), or a request that matters; it is then done."""
        words = [self._plain(word) for word in arguments(rest)]
        return self._man_layout(name, words) or self._man_text(name, words) or name in _SILENT

    def _man_layout(self, name: str, words: list[str]) -> bool:
        page = self.page
        if name in ("SH", "SS"):
            title = " ".join(words)
            while not title and self._lines and not _CONTROL.match(self._lines[0]):
                title = self._plain(interpolated(self._lines.popleft(), self._strings))
            page.heading(title, 1 if name == "SH" else 2)
        elif name in _PARAGRAPHS:
            page.paragraph()
        elif name in ("TP", "TQ"):
            self._tag_follows, self._tag_continues = True, name == "TQ"
        elif name == "IP" and words and words[0].strip():
            page.item("" if words[0].strip() in _BULLETS else words[0])
        elif name == "IP":
            page.paragraph()
        elif name in _FENCES:
            page.literal(_FENCES[name])
        elif name in _BREAKS:
            page.line_break()
        elif name == "TH":
            # Another title begins another page in the same file.
            self.title = self.title or words
        else:
            return False
        return True

    def _man_text(self, name: str, words: list[str]) -> bool:
        joined = " ".join(words)
        if name in _FONTS or name in _MIXED:
            if words:
                self._text_of_macro(joined if name in _FONTS else "".join(words))
        elif name in _LINKS:
            self._link = joined
        elif name in _LINKS.values():
            self._text_of_macro(f"<{self._link}>{joined}" if self._link else joined)
            self._link = ""
        elif name in ("URL", "MTO") and words:
            target = f"<{words[0]}>"
            shown = f"{words[1]} {target}" if words[1:] and words[1] else target
            self._text_of_macro(shown + "".join(words[2:]))
        elif name == "SY":
            self.page.line_break()
            self._text_of_macro(joined)
        elif name == "OP":
            self._text_of_macro(f"[{joined}]")
        else:
            return False
        return True

    def _text_of_macro(self, shown: str) -> None:
        if self._tag_follows:
            self._tag_follows = False
            self.page.item(shown, more=self._tag_continues)
        else:
            self.page.add(shown)

    def _user_macro(self, name: str, rest: str) -> None:
        body = self._macros.get(name)
        if body is None:
            # What a missing macro was given is text more often than not; a request's is not.
            if name[0].isupper() and rest:
                self._text_of_macro(" ".join(map(self._plain, arguments(interpolated(rest, {})))))
            return
        self._expanded += len(body) + 1
        if self._expanded > _MOST_EXPANDED:
            return
        given = [word.removeprefix("\\&") for word in arguments(rest)]

        def argument(found: re.Match[str]) -> str:
            if found[1] in "*@":
                return " ".join(given)
            at = int(found[1]) - 1
            return given[at] if 0 <= at < len(given) else ""

        lines = [re.sub(r"\\\\?\$([*@\d])", argument, line) for line in body]
        self._lines.extendleft(reversed([line.replace("\\\\", "\\") for line in lines]))

    def _define(self, request: str, words: list[str]) -> None:
        name = words[0] if words and request != "ig" else ""
        end = words[-1] if len(words) > (request != "ig") else "."
        body = []
        while self._lines:
            line = self._lines.popleft()
            if re.fullmatch(rf"[.'][ \t]*{re.escape(end)}(?:[ \t\\].*)?", line):
                break
            body.append(line)
        if request != "ig":
            self._macros[name] = body if request != "am" else self._macros.get(name, []) + body

    def _conditional(self, rest: str, *, remember: bool) -> None:
        found = _CONDITION.match(interpolated(rest, self._strings))
        if found is None:
            return
        truth = found[3] == found[4] if found[2] else found[5] in _TRUE
        truth = truth != bool(found[1])
        if remember:
            self._otherwise.append(not truth)
        self._block(found[6], truth)

    def _block(self, first: str, taken: bool) -> None:
        """Take or leave what a condition stands before: one line, or a block in braces."""
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

    def _table(self) -> str:
        """A table of tbl(1) up to its end, as a Markdown table."""
        lines = []
        while self._lines:
            line = interpolated(self._lines.popleft(), self._strings)
            if line.startswith(".TE"):
                break
            lines.append(line)
        separator = "\t"
        if lines and lines[0].rstrip().endswith(";"):
            option = re.search(r"tab\s*\((.)\)", lines[0])
            separator = option[1] if option else separator
            del lines[0]
        return _markdown(self._rows(lines[_formats_end(lines, 0) :], separator))

    def _rows(self, lines: list[str], separator: str) -> list[list[str]]:
        rows: list[list[str]] = []
        # The lines of a cell that is written as a block of text, from `T{` to `T}`.
        block: list[str] | None = None
        formats_end = 0
        for at, raw in enumerate(lines):
            if raw.startswith(".T&"):
                formats_end = _formats_end(lines, at + 1)
            control = _CONTROL.match(raw)
            if at < formats_end or (control and control[1] not in _FONTS | _MIXED):
                continue
            space = " " if control and control[1] in _FONTS else ""
            line = space.join(arguments(control[2])) if control else raw
            if block is not None and not line.startswith("T}"):
                block.append(self._plain(line))
                continue
            if block is not None:
                rows[-1].append(" ".join(block))
                block = None
                cells = line[2:].split(separator)[1:]
            elif line.strip(" _=\t"):
                rows.append([])
                cells = line.split(separator)
            else:
                continue
            if cells and cells[-1].startswith("T{"):
                block = [self._plain(cells.pop()[2:])]
            rows[-1] += map(self._plain, cells)
        if block is not None:
            rows[-1].append(" ".join(block))
        return rows


def _braces(line: str) -> int:
    return line.count("\\{") - line.count("\\}")


def _formats_end(lines: list[str], at: int) -> int:
    """Where the data of a table begin: after a line of formats that ends with a dot."""
    while at < len(lines):
        at += 1
        if lines[at - 1].rstrip().endswith("."):
            break
    return at


def _markdown(rows: list[list[str]]) -> str:
    cleaned = [
        [" ".join(cell.replace("\0", "").split()).replace("|", "\\|") for cell in row]
        for row in rows
    ]
    shown = [row for row in cleaned if any(row)]
    if not shown:
        return ""
    width = max(len(row) for row in shown)
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in shown]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


def _described(page: Page) -> tuple[str, str]:
    """The name and the description that the first section, NAME, gives as `name - description`."""
    if not page.headings:
        return "", ""
    end = page.headings[1].start if len(page.headings) > 1 else len(page.text)
    paragraph = page.text[page.headings[0].end : end].strip().partition("\n\n")[0]
    names, *described = _DESCRIPTION.split(paragraph, maxsplit=1)
    return (names.partition(",")[0].strip(), described[0]) if described else ("", "")


def _decoded(data: bytes, source: str, config: SourcesConfig) -> str:
    try:
        return decode(data, source, config)
    except SourceError:
        # What says nothing else is Latin-1 to roff itself.
        coding = _CODING.search(data[:1000])
        try:
            text = data.decode(coding[1].decode() if coding else "latin-1")
        except (LookupError, UnicodeDecodeError):
            text = data.decode("latin-1")
        if "\0" in text:
            raise
        return text
