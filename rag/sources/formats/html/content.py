"""Find the main content of a page, and the navigation within it that is to be left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from rag.config import SourcesConfig
from rag.sources.formats.html.elements import (
    HEADINGS,
    UNSEEN,
    Element,
    holds,
    is_formula,
    name_of,
    words_of,
)
from rag.sources.formats.html.parsing import most_nesting, nesting_error

# Navigation is recognised by the names that generators and themes give it. Elements with these
# names are never content, whatever they hold:
_FRAME = re.compile(
    r"(?:^|\s)(?:nav-?(?:header|footer)|sphinxsidebar\w*|\S*breadcrumbs?\S*|skip-?(?:link|nav|to)\S*"
    r"|(?:\S+-)?pagination|pager|prev-?next\S*|headerlink|viewcode-(?:link|back)|mw-editsection"
    r"|linenos|lineno|linenodiv|line-?numbers?|hljs-ln-numbers|(?:rouge-)?gutter|blob-num"
    r"|\S*(?:cookies?|consent|gdpr)[-_]?(?:banner|notice|bar|popup|message|overlay|dialog|modal)\S*"
    r")(?=\s|$)",
    re.I,
)
# Elements with these names are navigation if most of their text is in links.
_PERHAPS_FRAME = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navbox|navigation|navpath|menu|sidebar|sidenav|topbar|toc"
    r"|table-?of-?contents|related|footer|contents (?:local )?topic|topic contents)(?=[\s_-]|$)"
    # The GNU manuals use this one.
    r"|^header$",
    re.I,
)
# Elements that are never taken for navigation because of their class.
_NAMELESS = frozenset(
    {"article", "body", "caption", "dt", "html", "main", "section", "th", *HEADINGS}
)
_FRAME_ROLES = frozenset(
    {"alertdialog", "banner", "complementary", "contentinfo", "dialog", "doc-toc", "menu"}
    | {"menubar", "navigation", "search", "toolbar"}
)
_FOOTER = re.compile(r"(?:^|\s)(?:(?:site|page|main)-?)?footer(?=\s|$)", re.I)
# An id is often the slug of a section's title, so only the ids of plain containers count as names.
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
# Labels of links that lead to their own position, or back from a footnote.
_ANCHORS = frozenset({"", "¶", "#", "§", "🔗", "⚓", "∞", "↩", "↩︎", "⏎", "↑", "^"})
_ANCHOR_LENGTH = 40


class Content(NamedTuple):
    """The elements that hold the main content, in order, and those within that are left out."""

    parts: list[Element]
    dropped: set[Element]


@dataclass(slots=True)
class _Size:
    """The size of an element: characters of text, those in links, and elements within."""

    text: int = 0
    linked: int = 0
    elements: int = 1

    @property
    def is_linked(self) -> bool:
        return self.linked * 2 > self.text


def find_content(root: Element, source: str, config: SourcesConfig) -> Content:
    """Find the one main element or article that holds most of the text, or else the whole page.

    Raises:
        SourceError: if elements are nested too deeply.
    """
    sizes = _measure(root, source, config)
    most = sizes[root].text / 2
    remaining = sizes[root].text
    dropped: set[Element] = set()
    mains: list[Element] = []
    articles: list[Element] = []
    titles: list[Element] = []
    # There is no recursion, since pages nest deeper than Python recurses.
    stack = [(root, False)]
    while stack:
        element, within = stack.pop()
        size = sizes[element]
        name = name_of(element)
        seen = name not in UNSEEN or is_formula(element)
        if not seen or (size.text <= most and _is_frame(element, name, size, within)):
            dropped.add(element)
            remaining -= size.text
            continue
        if name == "main" or element.get("role") == "main":
            mains.append(element)
            within = True
        elif name == "article":
            articles.append(element)
            within = True
        elif name == "h1" and size.text:
            titles.append(element)
        stack.extend((child, within) for child in element.iterchildren(reversed=True))
    # Several articles on one page are all part of its content.
    for main in mains + (articles if len(articles) == 1 else []):
        if sizes[main].text * 2 >= max(remaining, 1):
            # The page's title may be above its main part.
            alone = len(titles) == 1 and main not in titles[0].iterancestors()
            return Content([titles[0], main] if alone else [main], dropped)
    return Content([root], dropped)


def _measure(root: Element, source: str, config: SourcesConfig) -> dict[Element, _Size]:
    from lxml import etree

    sizes: dict[Element, _Size] = {}
    path = [_Size()]
    most = most_nesting(config)
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "start":
            if len(path) > most:
                raise nesting_error(source, config)
            size = sizes[element] = _Size(len(element.text.strip()) if element.text else 0)
            path.append(size)
            continue
        size = path.pop()
        name = name_of(element)
        if name in UNSEEN:
            size.text = size.linked = 0
        elif name == "a" and "href" in element.attrib:
            size.linked = size.text
        above = path[-1]
        above.text += size.text + (len(element.tail.strip()) if element.tail else 0)
        above.linked += size.linked
        above.elements += size.elements
    return sizes


def _is_frame(element: Element, name: str, size: _Size, within: bool) -> bool:
    if name == "a":
        return _is_anchor(element, size)
    role = element.get("role")
    if name == "header" or role == "banner":
        return not within and (size.is_linked or not holds(element, *HEADINGS))
    if name == "button":
        # The titles of sections that fold are buttons.
        return not any(name_of(above) in HEADINGS for above in element.iterancestors())
    return (
        name in ("nav", "form")
        or (name in ("aside", "footer") and not within)
        or role in _FRAME_ROLES
        or element.get("aria-hidden") == "true"
        or (name not in _NAMELESS and _is_named_frame(element, name, size, within))
        or (name == "td" and _holds_line_numbers(element))
        or (name in _BARS and _is_bar(element, size))
    )


def _is_named_frame(element: Element, name: str, size: _Size, within: bool) -> bool:
    names = element.get("class") or ""
    if name in _CONTAINERS and not _SECTION_CLASS.search(names):
        names = f"{names} {element.get('id') or ''}".strip()
    if not names:
        return False
    return (
        _FRAME.search(names) is not None
        or (not within and _FOOTER.search(names) is not None)
        or (size.is_linked and _PERHAPS_FRAME.search(names) is not None)
    )


def _is_anchor(element: Element, size: _Size) -> bool:
    if _FRAME.search(element.get("class") or ""):
        return True
    if max(size.text, size.elements) > _ANCHOR_LENGTH:
        return False
    if not element.get("href", "").startswith("#"):
        return False
    label = words_of(element)
    alone = label in _ANCHORS and not holds(element, "img")
    return alone or _SKIP_LABEL.fullmatch(label) is not None


def _is_bar(element: Element, size: _Size) -> bool:
    """Whether an element holds nothing but links to the pages before, after and above."""
    if not size.linked or max(size.text, size.elements) > _BAR_LENGTH:
        return False
    rest = words_of(element)
    known = False
    for link in element.iter("a"):
        if link.get("href"):
            label = words_of(link)
            rest = rest.replace(label, " ", 1)
            rel = (link.get("rel") or "").lower()
            known |= rel in ("prev", "previous", "next") or bool(_BAR_LABEL.fullmatch(label))
    known |= bool(re.search(r"\b(?:previous|prev|next)\b", rest, re.I))
    return known and not any(map(str.isalnum, _BAR_WORDS.sub("", rest)))


def _holds_line_numbers(cell: Element) -> bool:
    """Whether a cell holds the line numbers of code in the cell to its right."""
    after = cell.getnext()
    if after is None or not holds(cell, "pre") or not holds(after, "pre"):
        return False
    return re.fullmatch(r"[\d\s]+", "".join(cell.itertext())) is not None
