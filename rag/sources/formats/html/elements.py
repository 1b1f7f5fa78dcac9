"""Classify elements of HTML by their names, and get their plain words."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

# lxml comes without types.
Element: TypeAlias = Any

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
UNSEEN = frozenset(
    {"audio", "canvas", "datalist", "dialog", "head", "iframe", "noframes", "noscript", "script"}
    | {"select", "style", "svg", "template", "textarea", "title", "video"}
)
CODE = frozenset({"listing", "pre", "xmp"})
LISTS = frozenset({"dir", "dl", "menu", "ol", "ul"})
LINES = frozenset({"td", "th", "tr"})
BLOCKS = LISTS | frozenset(
    {"address", "article", "aside", "blockquote", "body", "caption", "center", "details", "div"}
    | {"fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend"}
    | {"main", "nav", "p", "section", "summary", "table", "tbody", "tfoot", "thead"}
)


def name_of(element: Element) -> str:
    """Return an element's name without a prefix, as in XHTML's `m:math`."""
    tag = element.tag
    # lxml gives unresolved entities a function as their tag.
    return tag.rpartition(":")[2].lower() if isinstance(tag, str) else ""


def words_of(element: Element) -> str:
    """Return all text within an element, visible or not, with single spaces."""
    return " ".join("".join(element.itertext()).split())


def holds(element: Element, *names: str) -> bool:
    """Whether an element, or one within it, has one of these names."""
    return next(element.iter(*names), None) is not None


def is_formula(element: Element) -> bool:
    """Whether an element is a script that holds TeX, as MathJax writes it."""
    return str(element.get("type") or "").startswith("math/tex")


def number(digits: str | None) -> int:
    """Parse a small number from an attribute; anything else counts as 1."""
    return max(1, int(digits)) if digits and re.fullmatch(r"[0-9]{1,4}", digits.strip()) else 1
