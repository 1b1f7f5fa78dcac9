"""HTML: the main content as Markdown, navigation dropped."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import draft, title_of
from rag.sources.formats.text import decode
from rag.types import Document, Heading

# lxml comes without types.
Element: TypeAlias = Any

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# What is never taken for navigation because of its class.
_NAMELESS = frozenset(
    {"article", "body", "caption", "dt", "html", "main", "section", "th", *_HEADINGS}
)
_UNSEEN = frozenset(
    {"audio", "canvas", "datalist", "dialog", "head", "iframe", "noframes", "noscript", "script"}
    | {"select", "style", "svg", "template", "textarea", "title", "video"}
)
_CODE = frozenset({"listing", "pre", "xmp"})
_LISTS = frozenset({"dir", "dl", "menu", "ol", "ul"})
_LINES = frozenset({"td", "th", "tr"})
_BLOCKS = _LISTS | frozenset(
    {"address", "article", "aside", "blockquote", "body", "caption", "center", "details", "div"}
    | {"fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend"}
    | {"main", "nav", "p", "section", "summary", "table", "tbody", "tfoot", "thead"}
)
_BREAKING = _BLOCKS | _LINES | _CODE | {"dd", "dt", "li", *_HEADINGS}
# What stands beside text without being part of it, in pairs around an element's own text.
_MARKS: Mapping[str, str] = {"q": '"', "del": "~~", "s": "~~", "strike": "~~"}

# Navigation is told from content by the names that generators and themes give it. These are never
# content, whatever they hold:
_FRAME = re.compile(
    r"(?:^|\s)(?:nav-?(?:header|footer)|sphinxsidebar\w*|\S*breadcrumbs?\S*|skip-?(?:link|nav|to)\S*"
    r"|(?:\S+-)?pagination|pager|prev-?next\S*|headerlink|viewcode-(?:link|back)|mw-editsection"
    r"|linenos|lineno|linenodiv|line-?numbers?|hljs-ln-numbers|(?:rouge-)?gutter|blob-num"
    r"|\S*(?:cookies?|consent|gdpr)[-_]?(?:banner|notice|bar|popup|message|overlay|dialog|modal)\S*"
    r")(?=\s|$)",
    re.I,
)
# And these are navigation where most of what they hold are links.
_PERHAPS_FRAME = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navbox|navigation|navpath|menu|sidebar|sidenav|topbar|toc"
    r"|table-?of-?contents|related|footer|contents (?:local )?topic|topic contents)(?=[\s_-]|$)"
    # Of the GNU manuals.
    r"|^header$",
    re.I,
)
_FRAME_ROLES = frozenset(
    {"alertdialog", "banner", "complementary", "contentinfo", "dialog", "doc-toc", "menu"}
    | {"menubar", "navigation", "search", "toolbar"}
)
_FOOTER = re.compile(r"(?:^|\s)(?:(?:site|page|main)-?)?footer(?=\s|$)", re.I)
# An id is as often the slug of a section's title, so only those of plain containers are names.
_CONTAINERS = frozenset({"aside", "div", "form", "ol", "table", "td", "ul"})
_SECTION_CLASS = re.compile(r"(?:^|\s)(?:section|sect\d|chapter)(?=\s|$)")
_BARS = frozenset({"center", "div", "ol", "p", "table", "ul"})
_BAR_LENGTH = 400
_ARROWS = r"[\s«»‹›<>←→↑|•·–—-]*"
_BAR_LABEL = re.compile(
    rf"{_ARROWS}(?:previous|prev|next|back|forward)"
    rf"(?: (?:page|chapter|section|topic|post|article|part))?{_ARROWS}",
    re.I,
)
_BAR_WORDS = re.compile(
    r"\b(?:previous|prev|next|back|forward|up|top|home|table of contents|contents|index|page"
    r"|chapter|section|topic|post|article|part)\b",
    re.I,
)
_SKIP_LABEL = re.compile(r"(?:skip|jump) (?:to|over)\b.{0,30}", re.I)
# Links to the place where they stand, and back from a footnote.
_ANCHORS = frozenset({"", "¶", "#", "§", "🔗", "⚓", "∞", "↩", "↩︎", "⏎", "↑", "^"})

_BLANKS = re.compile(r"\s+")
# Browsers read the control characters of Latin-1 as Windows-1252; the others have no width.
_ODD = {
    **{code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)},
    **dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF)),
}
_POWER = re.compile(r"[+−–-]?\d+|[a-z]", re.I)
_LINE_CELL = re.compile(r"(?:^|\s)(?:blob-code|hljs-ln-code)(?=[\s-]|$)")
# The title of a box is none of the sections that follow the box.
_BOX = re.compile(
    r"(?:^|\s)(?:admonition|callout|caution|danger|hint|important|note|tip|warning)(?=\s|$)", re.I
)
# libxml2 stops a little later.
_MOST_NESTING = 2_000
_MOST_INDENT = 40
_MOST_REPEATED = 100

_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language-|lang-|highlight-(?:source-|text-)?|brush:\s*|sourceCode\s+|src src-)"
    r"([\w+#.-]+)"
)
_NO_LANGUAGE = frozenset({"default", "no-highlight", "nohighlight", "none", "plain", "plaintext"})

# What follows these is content still, as browsers show it, but libxml2 would leave it out.
_REMOVED = re.compile(r"</(?:body|html)\s*>", re.I)
# Old pages leave these open, so that each would be nested in the one before.
_UNMARKED = re.compile(r"</?font\b[^<>]*>|<a\b(?![^<>]*\bhref)[^<>]*>", re.I)

_NAMED_CHARSET = re.compile(
    rb"<meta\b[^>]*\bcharset\s*=\s*[\"']?\s*([\w.:-]+)|\A\s*<\?xml[^>]*\bencoding=[\"']([\w.:-]+)",
    re.I,
)
_CHARSET_BYTES = 4096
# What browsers take the narrower name for (WHATWG Encoding Standard).
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_CHARSET = re.compile(
    r"ascii|utf-8|iso8859|cp\d|gb|hz$|big5|shift|euc_|koi8|mac-|iso2022|tis|johab"
)

# Names in meta elements, in order of preference.
_METADATA: Mapping[str, tuple[str, ...]] = {
    "author": ("author", "dc.creator", "dcterms.creator", "article:author", "citation_author"),
    "description": ("description", "dc.description", "dcterms.description", "og:description"),
    "keywords": ("keywords", "article:tag", "dc.subject", "dcterms.subject"),
    "language": ("content-language", "dc.language", "dcterms.language", "og:locale"),
    "created": (
        *("article:published_time", "dcterms.created", "dc.date.created", "datepublished"),
        *("dcterms.issued", "dc.date.issued", "dcterms.date", "dc.date", "citation_date"),
        *("pubdate", "date"),
    ),
    "modified": (
        *("article:modified_time", "og:updated_time", "dcterms.modified", "dc.date.modified"),
        *("datemodified", "last-modified", "revised"),
    ),
}


class Rendered(NamedTuple):
    """An HTML document as text; `headings` are spans over `text`."""

    text: str
    headings: tuple[Heading, ...]
    title: str
    metadata: dict[str, str]


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """An HTML file as one document."""
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
    """The main content of an HTML or XHTML document as Markdown, headings as plain lines.

    Bytes are read in the encoding of their byte order mark or meta element, else as UTF-8, else in
    `config.encoding`. Nothing that the document refers to is fetched. No part that holds more than
    half of the text is taken for navigation.

    Raises:
        SourceError: if the bytes are no text, or elements are nested deeper than
            `config.max_nesting`.
    """
    if isinstance(markup, bytes):
        markup = _decoded(markup, source, config)
    root = _parsed(markup, source, config)
    if root is None:
        return Rendered("", (), "", {})
    page = _Page(root, _sizes(root, source, config))
    text, headings = page.rendered()
    return Rendered(text, headings, _title(root, headings), _metadata(root))


def _decoded(data: bytes, source: str, config: SourcesConfig) -> str:
    found = _NAMED_CHARSET.search(data[:_CHARSET_BYTES])
    marked = data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if found and not marked:
        try:
            name = codecs.lookup((found[1] or found[2]).decode("ascii")).name
            # Python knows encodings that are none of the web's and costly to decode.
            if _CHARSET.match(name):
                data = data.decode(_WIDER.get(name, name)).encode()
        except (LookupError, UnicodeError):
            # It is not what it says; perhaps it is UTF-8.
            pass
    return decode(data, source, config)


def _parsed(markup: str, source: str, config: SourcesConfig) -> Element | None:
    from lxml import etree

    markup = _REMOVED.sub(" ", _UNMARKED.sub("", markup))
    parser = etree.HTMLParser(
        encoding="utf-8", huge_tree=True, no_network=True, remove_comments=True, remove_pis=True
    )
    root = etree.fromstring(markup.encode("utf-8", "replace"), parser)
    for error in parser.error_log.filter_from_fatals():
        if "depth" in error.message:
            raise _too_deep(source, config)
        raise SourceError(source, f"cannot be read as HTML: {error.message.strip()}")
    return root


def _too_deep(source: str, config: SourcesConfig) -> SourceError:
    most = min(config.max_nesting, _MOST_NESTING)
    return SourceError(
        source,
        f"nests elements more than {most:,} deep, which no page does that is written to be read "
        "(`sources.max_nesting`)",
    )


@dataclass(slots=True)
class _Size:
    """Characters of an element's text, how many of them are in links, and elements within."""

    text: int = 0
    linked: int = 0
    elements: int = 1


def _sizes(root: Element, source: str, config: SourcesConfig) -> dict[Element, _Size]:
    from lxml import etree

    sizes: dict[Element, _Size] = {}
    path: list[_Size] = [_Size()]
    most = min(config.max_nesting, _MOST_NESTING)
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "start":
            if len(path) > most:
                raise _too_deep(source, config)
            size = sizes[element] = _Size(len(element.text.strip()) if element.text else 0)
            path.append(size)
            continue
        size = path.pop()
        name = _name(element)
        if name in _UNSEEN:
            size.text = size.linked = 0
        elif name == "a" and "href" in element.attrib:
            size.linked = size.text
        above = path[-1]
        above.text += size.text + (len(element.tail.strip()) if element.tail else 0)
        above.linked += size.linked
        above.elements += size.elements
    return sizes


def _name(element: Element) -> str:
    tag = element.tag
    # XHTML may say `m:math`; entities that are not resolved have a function for a tag.
    return tag.rpartition(":")[2].lower() if isinstance(tag, str) else ""


class _Page:
    """A parsed page, what of it is dropped, and what is its main content."""

    def __init__(self, root: Element, sizes: dict[Element, _Size]) -> None:
        self._sizes = sizes
        self._dropped: set[Element] = set()
        self._numbers: dict[Element, int] = {}
        self._roots = self._find_content(root)

    def rendered(self) -> tuple[str, tuple[Heading, ...]]:
        """The text of the content, with the spans of its headings."""
        writer = _Writer()
        headings: list[Heading] = []
        for root in self._roots:
            self._write(root, writer, headings)
            writer.gap(2)
        return "".join(writer.parts).rstrip(), tuple(headings)

    def _find_content(self, root: Element) -> list[Element]:
        most = self._sizes[root].text / 2
        kept = self._sizes[root].text
        mains: list[Element] = []
        articles: list[Element] = []
        titles: list[Element] = []
        # A stack of our own: pages nest deeper than Python recurses.
        stack = [(root, False)]
        while stack:
            element, within = stack.pop()
            size = self._sizes[element]
            name = _name(element)
            seen = name not in _UNSEEN or _is_formula(element)
            if not seen or (size.text <= most and self._is_frame(element, name, within)):
                self._dropped.add(element)
                kept -= size.text
                continue
            if name == "main" or element.get("role") == "main":
                mains.append(element)
            elif name == "article":
                articles.append(element)
            elif name == "h1" and size.text:
                titles.append(element)
            within = within or name in ("main", "article") or element.get("role") == "main"
            stack.extend((child, within) for child in element.iterchildren(reversed=True))
        # Several articles on one page are all its content.
        candidates = mains + (articles if len(articles) == 1 else [])
        for main in candidates:
            if self._sizes[main].text * 2 >= max(kept, 1):
                # The page's title may stand above its main part.
                alone = len(titles) == 1 and main not in titles[0].iterancestors()
                return [titles[0], main] if alone else [main]
        return [root]

    def _is_frame(self, element: Element, name: str, within: bool) -> bool:
        if name == "a":
            return self._is_anchor(element)
        role = element.get("role")
        if name == "header" or role == "banner":
            return not within and (self._is_linked(element) or not _has_heading(element))
        if name == "button":
            # Where sections fold, their titles are buttons.
            return not any(_name(above) in _HEADINGS for above in element.iterancestors())
        return (
            name in ("nav", "form")
            or (name in ("aside", "footer") and not within)
            or role in _FRAME_ROLES
            or element.get("aria-hidden") == "true"
            or (name not in _NAMELESS and self._is_named_frame(element, name, within))
            or (name == "td" and _holds_line_numbers(element))
            or (name in _BARS and self._is_bar(element))
        )

    def _is_named_frame(self, element: Element, name: str, within: bool) -> bool:
        names = element.get("class") or ""
        if name in _CONTAINERS and not _SECTION_CLASS.search(names):
            names = f"{names} {element.get('id') or ''}".strip()
        if not names:
            return False
        return (
            _FRAME.search(names) is not None
            or (not within and _FOOTER.search(names) is not None)
            or (_PERHAPS_FRAME.search(names) is not None and self._is_linked(element))
        )

    def _is_linked(self, element: Element) -> bool:
        size = self._sizes[element]
        return size.linked * 2 > size.text

    def _is_anchor(self, element: Element) -> bool:
        if _FRAME.search(element.get("class") or ""):
            return True
        size = self._sizes[element]
        if size.text > 40 or size.elements > 40 or not element.get("href", "").startswith("#"):
            return False
        label = " ".join("".join(element.itertext()).split())
        alone = label in _ANCHORS and next(element.iter("img"), None) is None
        return alone or _SKIP_LABEL.fullmatch(label) is not None

    def _is_bar(self, element: Element) -> bool:
        """Whether it holds nothing but links to the pages before, after and above."""
        size = self._sizes[element]
        if not size.linked or size.text > _BAR_LENGTH or size.elements > _BAR_LENGTH:
            return False
        rest = " ".join("".join(element.itertext()).split())
        links = [link for link in element.iter("a") if link.get("href")]
        known = False
        for link in links:
            label = " ".join("".join(link.itertext()).split())
            rest = rest.replace(label, " ", 1)
            relation = (link.get("rel") or "").lower()
            known = known or relation in ("prev", "previous", "next")
            known = known or _BAR_LABEL.fullmatch(label) is not None
        known = known or re.search(r"\b(?:previous|prev|next)\b", rest, re.I) is not None
        return known and not any(map(str.isalnum, _BAR_WORDS.sub("", rest)))

    def _write(self, root: Element, writer: _Writer, headings: list[Heading]) -> None:
        # Elements to be written, strings to be added, and what is to be done when one is left.
        stack: list[Any] = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, str):
                writer.add(node)
            elif callable(node):
                node()
            else:
                self._enter(node, writer, headings, stack)

    def _enter(
        self, element: Element, writer: _Writer, headings: list[Heading], stack: list[Any]
    ) -> None:
        name = _name(element)
        if self._write_whole(element, name, writer, headings):
            return
        if name == "br":
            writer.gap(1)
        elif name in ("li", "dd"):
            writer.open(self._marker(element, name))
            stack.append(writer.close)
        elif name == "dt":
            before = element.getprevious()
            _surround(writer, 1 if before is not None and _name(before) == "dt" else 2, 1, stack)
        elif name in _LINES or (name in _LISTS and writer.nested):
            _surround(writer, 1, 1, stack)
        elif name in _BLOCKS or name in _HEADINGS:
            _surround(writer, 2, 2, stack)
        self._push(element, name, stack)

    def _write_whole(
        self, element: Element, name: str, writer: _Writer, headings: list[Heading]
    ) -> bool:
        """Write what is not taken apart into its children: headings, code and real tables."""
        level = _level(element, name)
        if level:
            title = self._plain(element).strip(" ¶")
            start = writer.block(title)
            if title:
                headings.append(Heading(start, start + len(title), level, title))
            return True
        if name in _CODE:
            writer.block(_fenced(self._raw(element), _language(element)))
            return True
        table = self._table(element) if name == "table" else ""
        writer.block(table)
        return bool(table)

    def _marker(self, item: Element, name: str) -> str:
        if name == "dd":
            return ": "
        above = item.getparent()
        if above is None or _name(above) != "ol":
            return "- "
        number = _number(above.get("start")) if above not in self._numbers else self._numbers[above]
        number = _number(item.get("value")) if item.get("value") else number
        self._numbers[above] = number + 1
        return f"{number}. "

    def _push(self, element: Element, name: str, stack: list[Any]) -> None:
        """Put what an element shows on a stack, last first."""
        shown = _instead(element, name)
        if shown is not None:
            stack.append(shown)
            return
        mark = _MARKS.get(name)
        if mark:
            stack.append(mark)
        for child in element.iterchildren(reversed=True):
            if child.tail:
                stack.append(child.tail)
            if child not in self._dropped:
                stack.append(child)
        if element.text:
            stack.append(element.text)
        if mark:
            stack.append(mark)

    def _strings(self, root: Element, separator: str) -> Iterator[str]:
        """All that an element shows, with a separator where a block begins or ends."""
        stack: list[Any] = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, str):
                yield node
                continue
            name = _name(node)
            if name == "br":
                yield "\n"
            elif name in _BREAKING and node is not root:
                yield separator
                stack.append(separator)
            self._push(node, name, stack)

    def _plain(self, element: Element) -> str:
        return _BLANKS.sub(" ", _clean("".join(self._strings(element, " ")))).strip()

    def _raw(self, element: Element) -> str:
        parts: list[str] = []
        for text in self._strings(element, "\0"):
            if text != "\0":
                parts.append(text)
            elif parts and not parts[-1].endswith("\n"):
                parts.append("\n")
        return _clean("".join(parts)).replace("\xa0", " ").strip("\n").rstrip()

    def _table(self, table: Element) -> str:
        """A Markdown table, or code of a line a row; nothing for what only lays text out."""
        caption, rows = self._rows(table)
        cells = [cell for row in rows for cell in row]
        if cells and all(_LINE_CELL.search(cell.get("class") or "") for cell in cells):
            code = "\n".join(self._raw(cell).strip("\n") for cell in cells)
            return _fenced(code, _language(table))
        if not rows or self._is_layout(table, rows):
            return ""
        texts = [row for row in self._spanned(rows) if any(row)]
        if not texts:
            return ""
        width = max(map(len, texts))
        texts[0] += [""] * (width - len(texts[0]))
        lines = ["| " + " | ".join(row) + " |" for row in texts]
        lines.insert(1, "|" + " --- |" * width)
        return "\n".join([f"{caption}\n", *lines] if caption else lines)

    def _rows(self, table: Element) -> tuple[str, list[list[Element]]]:
        caption = ""
        rows: list[list[Element]] = []
        outside = [table.text]
        stack = [table]
        while stack:
            part = stack.pop()
            name = _name(part)
            if part in self._dropped:
                continue
            if name == "caption":
                caption = self._plain(part)
            elif name == "tr":
                cells = [cell for cell in part if cell not in self._dropped]
                rows.append([cell for cell in cells if _name(cell) in ("td", "th")])
                outside += [part.text, *(cell.tail for cell in part)]
                outside += ["?" for cell in cells if _name(cell) not in ("td", "th")]
            elif part is table or name in ("thead", "tbody", "tfoot"):
                outside += [part.text, *(child.tail for child in part)]
                stack.extend(part.iterchildren(reversed=True))
            elif name not in ("col", "colgroup"):
                outside.append("?")
        # Text between the cells would be lost in a table.
        return caption, [] if any(text and text.strip() for text in outside) else rows

    def _is_layout(self, table: Element, rows: list[list[Element]]) -> bool:
        if table.get("role") in ("presentation", "none"):
            return True
        if max(map(len, rows)) < 2 or any(True for _ in table.iterdescendants("table")):
            return True
        code = table.iterdescendants(*_CODE)
        if any("\n" in self._raw(element) for element in code):
            return True
        if any(True for _ in table.iterdescendants("th", "thead", "caption")):
            return False
        blocks = table.iterdescendants(*_HEADINGS, *_LISTS, "blockquote", "form", "hr")
        return (
            len(rows) == 1
            or any(True for _ in blocks)
            or any(len(cell.findall("p")) > 1 for row in rows for cell in row)
        )

    def _spanned(self, rows: list[list[Element]]) -> Iterator[list[str]]:
        """The texts of the cells, those that span several rows repeated in each."""
        below: dict[int, tuple[int, str]] = {}
        # A page of a few bytes may claim spans of any size.
        room = 10 * sum(map(len, rows)) + 100
        for row in rows:
            texts: list[str] = []
            for cell in [*row, None]:
                while len(texts) in below and room > 0:
                    at = len(texts)
                    left, text = below.pop(at)
                    texts.append(text)
                    room -= 1
                    if left > 1:
                        below[at] = (left - 1, text)
                if cell is None:
                    break
                text = self._plain(cell).replace("|", "\\|")
                across = min(_number(cell.get("colspan")), 1 + max(room, 0))
                down = _number(cell.get("rowspan"))
                if down > 1:
                    repeated = text if len(text) <= _MOST_REPEATED else ""
                    below[len(texts)] = (down - 1, repeated)
                texts += [text] + [""] * (across - 1)
                room -= across - 1
            yield texts


class _Writer:
    """Text under construction: lines broken where asked for, white space within them collapsed."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._length = 0
        self._gap = 0
        self._at_start = True
        self._indents: list[str] = []
        # Of the innermost items, as long as nothing is written in them.
        self._markers: list[str] = []

    @property
    def nested(self) -> bool:
        """Whether what is written now belongs to an item of a list."""
        return bool(self._indents)

    def gap(self, lines: int) -> None:
        """Ask for line breaks before whatever comes next."""
        # An item's first block stays beside its marker.
        if self._length and not self._markers:
            self._gap = max(self._gap, lines)

    def open(self, marker: str) -> None:
        """Begin an item; a marker without an item's text is never written."""
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
        """Write lines as they are, apart from all else, and say where they start."""
        if not text:
            return self._length
        self.gap(2)
        start = self.add(text, verbatim=True)
        self.gap(2)
        return start

    def add(self, text: str, *, verbatim: bool = False) -> int:
        """Append text after the gap asked for, and say where it starts."""
        breaking = self._gap or self._markers or not self._length
        if not verbatim:
            text = _BLANKS.sub(" ", _clean(text))
            if breaking or self._at_start:
                text = text.lstrip()
        if not text:
            return self._length
        if breaking:
            self._break()
        start = self._length
        if verbatim and self._indents:
            text = re.sub(r"\n(?=[^\n])", "\n" + "".join(self._indents), text)
        self._append(text)
        self._at_start = text.endswith((" ", "\n"))
        return start

    def _break(self) -> None:
        if self.parts and self.parts[-1].endswith(" "):
            last = self.parts.pop()
            self._length -= len(last)
            self._append(last.rstrip(" "))
        written = len(self._indents) - len(self._markers)
        line = "".join(self._indents[:written] + self._markers)
        self._append("\n" * self._gap + line)
        self._gap = 0
        self._markers.clear()

    def _append(self, text: str) -> None:
        self.parts.append(text)
        self._length += len(text)


def _surround(writer: _Writer, before: int, after: int, stack: list[Any]) -> None:
    writer.gap(before)
    leave: Callable[[], None] = lambda: writer.gap(after)  # noqa: E731
    stack.append(leave)


def _clean(text: str) -> str:
    return text if text.isascii() else text.translate(_ODD)


def _fenced(code: str, language: str) -> str:
    if not code.strip():
        return ""
    # Longer than any fence inside.
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def _level(element: Element, name: str) -> int:
    """The level of a heading; 0 for what is none."""
    above = element.getparent()
    if above is not None and _BOX.search(above.get("class") or ""):
        return 0
    if name in _HEADINGS:
        return int(name[1])
    if element.get("role") == "heading":
        return min(_number(element.get("aria-level") or "2"), 9)
    return 0


def _number(digits: str | None) -> int:
    """A small number from 1 as an attribute states it."""
    return max(1, int(digits)) if digits and re.fullmatch(r"[0-9]{1,4}", digits.strip()) else 1


def _has_heading(element: Element) -> bool:
    return next(element.iter(*_HEADINGS), None) is not None


def _holds_line_numbers(cell: Element) -> bool:
    """Whether it is the left one of two cells, the right one of which holds code."""
    after = cell.getnext()
    if (
        after is None
        or next(cell.iter("pre"), None) is None
        or next(after.iter("pre"), None) is None
    ):
        return False
    return re.fullmatch(r"[\d\s]+", "".join(cell.itertext())) is not None


def _is_formula(element: Element) -> bool:
    """Whether it is a script that holds TeX, as MathJax writes it."""
    return str(element.get("type") or "").startswith("math/tex")


def _instead(element: Element, name: str) -> str | None:
    """What is shown in place of an element's own content."""
    if name == "img":
        return "" if element.get("role") == "presentation" else str(element.get("alt") or "")
    if name == "script":
        display = "mode=display" in element.get("type", "")
        return _formula("".join(element.itertext()), display=display)
    if name == "math":
        return _formula_of(element)
    if name == "sup" and not len(element):
        text = (element.text or "").strip()
        # 10^6 is not 106.
        return f"^{text}" if _POWER.fullmatch(text) else None
    return None


def _formula_of(math: Element) -> str:
    notes = [part for part in math.iter() if _name(part) in ("annotation", "annotation-xml")]
    tex = next((n.text for n in notes if "tex" in (n.get("encoding") or "").lower()), None)
    tex = tex or math.get("alttext")
    if tex:
        return _formula(tex, display=math.get("display") == "block")
    within = {text for note in notes for text in note.iter()}
    parts = [p.text for p in math.iter() if p.text and p not in within]
    return " ".join("".join(parts).split())


def _formula(tex: str, *, display: bool) -> str:
    mark = "$$" if display else "$"
    return f"{mark}{' '.join(tex.split())}{mark}"


def _language(code: Element) -> str:
    """The language of a code block, as it, its only child or what surrounds it declares."""
    around = list(islice(code.iterancestors(), 2))
    for element in [code, *code[:1], *around]:
        for key in ("data-lang", "data-language"):
            if element.get(key):
                return _language_name(element.get(key))
        found = _LANGUAGE.search(element.get("class") or "")
        # `lang-en` on a part of the page is another kind of language.
        if found and not (element in around and found[0].lstrip().startswith("lang-")):
            return _language_name(found[1])
    return ""


def _language_name(name: str) -> str:
    name = name.strip().lower()
    return "" if name in _NO_LANGUAGE or not re.fullmatch(r"[\w+#.-]{1,30}", name) else name


def _title(root: Element, headings: tuple[Heading, ...]) -> str:
    """The page's title without the name of its site, where the first heading tells them apart."""
    named = (found for found in root.iter("title") if _name(found.getparent()) != "svg")
    element = next(named, None)
    full = "" if element is None else " ".join(_clean("".join(element.itertext())).split())
    first = title_of(headings)
    if not full or not first:
        return full or first
    rest = full.removeprefix(first) if full.startswith(first) else full.removesuffix(first)
    apart = rest.strip()[:1] if full.startswith(first) else rest.strip()[-1:]
    return first if rest != full and not apart.isalnum() else full


def _metadata(root: Element) -> dict[str, str]:
    given: dict[str, list[str]] = {}
    for meta in root.iter("meta"):
        content = " ".join((meta.get("content") or "").split())
        for attribute in ("name", "property", "http-equiv", "itemprop"):
            name = (meta.get(attribute) or "").strip().lower()
            if name and content:
                given.setdefault(name, []).append(content)
    for element in root.iter("html", "body"):
        declared = element.get("lang") or element.get("xml:lang")
        if declared:
            given.setdefault("content-language", []).insert(0, declared)
            break
    found = {}
    for key, names in _METADATA.items():
        values = next((given[name] for name in names if name in given), [])
        if key == "language":
            found[key] = language_code(values[0]) if values else ""
        elif key in ("created", "modified"):
            found[key] = iso_date(values[0]) if values else ""
        else:
            # Some pages name an author by address.
            words = [value for value in values if "://" not in value]
            found[key] = ", ".join(dict.fromkeys(words))
    return {key: value for key, value in found.items() if value}


def language_code(declared: str) -> str:
    """The ISO 639-1 code in a language tag (BCP 47); nothing where it has none."""
    found = re.match(r"([A-Za-z]{2})(?![A-Za-z])", declared.strip())
    return found[1].lower() if found else ""


def iso_date(declared: str) -> str:
    """A date as ISO 8601; nothing where it cannot be told."""
    text = declared.strip()
    if re.fullmatch(r"\d{4}(?:-(?:0[1-9]|1[0-2]))?", text):
        return text
    with suppress(ValueError):
        datetime.fromisoformat(text)
        return text
    with suppress(ValueError, TypeError):
        return parsedate_to_datetime(text).isoformat()
    return ""
