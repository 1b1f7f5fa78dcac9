"""HTML: the main content as text, navigation dropped, tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import SourceError
from rag.sources.identity import file_document, title_of
from rag.types import Document, Heading

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_DROPPED = frozenset(
    {"aside", "button", "footer", "form", "head", "header", "iframe", "nav", "noscript", "script"}
    | {"style", "svg", "template"}
)
_DROPPED_ROLES = frozenset({"navigation", "banner", "contentinfo", "search", "complementary"})
_BLOCKS = frozenset(
    {"address", "article", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl"}
    | {"dt", "fieldset", "figcaption", "figure", "hr", "html", "li", "main", "ol", "p", "section"}
    | {"summary", "table", "tbody", "thead", "tfoot", "tr", "ul"}
)
_BLANKS = re.compile(r"\s+")


def read(path: Path, source: str) -> Iterator[Document]:
    """An HTML file as one document; encoding by its mark, its meta element, or UTF-8."""
    from bs4 import BeautifulSoup
    from bs4.dammit import EncodingDetector

    data = path.read_bytes()
    if b"\0" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(source, "holds NUL characters: it is binary, not HTML")
    declared = EncodingDetector.find_declared_encoding(data, is_html=True)
    try:
        soup = BeautifulSoup(data, "html.parser", from_encoding=declared or _guess(data, source))
        title = soup.title.get_text() if soup.title else ""
        language = soup.html.get("lang") if soup.html else None
        text, headings = _render(_main(soup))
    except RecursionError:
        raise SourceError(source, "is nested too deeply to be read as HTML") from None
    yield file_document(
        path,
        source,
        text,
        title=title.strip() or title_of(headings),
        media_type="text/html",
        metadata={"language": str(language)} if language else {},
        headings=headings,
    )


def _guess(data: bytes, source: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(
            source,
            f"is not valid UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start}) and "
            "names no other encoding: convert it, or add `<meta charset>`",
        ) from error
    return "utf-8"


def _main(soup: BeautifulSoup) -> Tag:
    for tag in soup.find_all(True):
        # A header or aside within the content proper belongs to it.
        framing = tag.name in ("header", "footer", "aside")
        within = framing and tag.find_parent(["article", "main"]) is not None
        if (tag.name in _DROPPED and not within) or tag.attrs.get("role") in _DROPPED_ROLES:
            # Only taken out: what is inside is still to be visited by this loop.
            tag.extract()
    articles = soup.find_all("article")
    candidates = [*soup.find_all("main"), *soup.find_all(role="main")]
    # Several articles on one page are all its content.
    candidates += articles if len(articles) == 1 else []
    for tag in candidates:
        if tag.get_text(strip=True):
            return tag
    return soup.body or soup


class _Text:
    """Text under construction: blocks apart by blank lines, white space within them collapsed."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self._gap = ""
        self._at_line_start = True

    def gap(self, gap: str) -> None:
        """Ask for line breaks before whatever comes next."""
        # A list item's first block stays beside its dash.
        if self.parts[-1:] == ["- "]:
            return
        if self.length and len(gap) > len(self._gap):
            self._gap = gap

    def add(self, text: str, *, verbatim: bool = False) -> None:
        """Append text after the gap asked for."""
        if not verbatim:
            text = _BLANKS.sub(" ", text)
            if self._gap or self._at_line_start:
                text = text.lstrip()
        if not text:
            return
        if self._gap:
            self.parts.append(self._gap)
            self.length += len(self._gap)
            self._gap = ""
        self.parts.append(text)
        self.length += len(text)
        self._at_line_start = text.endswith((" ", "\n"))

    def start(self) -> int:
        """Where the next text will begin."""
        return self.length + len(self._gap)


def _render(root: Tag) -> tuple[str, tuple[Heading, ...]]:
    from bs4 import Tag
    from bs4.element import NavigableString, PreformattedString

    text = _Text()
    headings: list[Heading] = []
    # A stack of our own: pages nest deeper than Python recurses.
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if callable(node) and not isinstance(node, Tag):
            node()
        elif isinstance(node, PreformattedString):
            continue
        elif isinstance(node, NavigableString):
            text.add(str(node))
        elif node.name == "br":
            text.gap("\n")
        elif node.name in ("h1", "h2", "h3", "h4", "h5", "h6"):
            _add_heading(node, text, headings)
        elif node.name == "pre":
            text.gap("\n\n")
            text.add(node.get_text().strip("\n"), verbatim=True)
            text.gap("\n\n")
        elif node.name == "table" and not node.find("table"):
            text.gap("\n\n")
            text.add(_table(node), verbatim=True)
            text.gap("\n\n")
        else:
            gap = "\n" if node.name in ("li", "dd", "dt", "tr") else "\n\n"
            if node.name in _BLOCKS:
                text.gap(gap)
                stack.append(lambda gap=gap: text.gap(gap))
            if node.name == "li":
                text.add("- ", verbatim=True)
            stack.extend(reversed(node.contents))
    return "".join(text.parts).rstrip(), tuple(headings)


def _add_heading(node: Tag, text: _Text, headings: list[Heading]) -> None:
    title = _BLANKS.sub(" ", node.get_text()).strip(" ¶")
    if not title:
        return
    text.gap("\n\n")
    start = text.start()
    text.add(title, verbatim=True)
    headings.append(Heading(start, start + len(title), int(node.name[1]), title))
    text.gap("\n\n")


def _table(table: Tag) -> str:
    rows = [
        [
            _BLANKS.sub(" ", cell.get_text()).strip().replace("|", "\\|")
            for cell in row.find_all(["th", "td"])
        ]
        for row in table.find_all("tr")
    ]
    rows = [row for row in rows if any(row)]
    if not rows:
        return _BLANKS.sub(" ", table.get_text()).strip()
    width = max(len(row) for row in rows)
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * width)
    caption = table.find("caption")
    if caption is not None:
        lines.insert(0, _BLANKS.sub(" ", caption.get_text()).strip() + "\n")
    return "\n".join(lines)
