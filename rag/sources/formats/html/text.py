"""Render what an element shows as text: words, code as it is laid out, formulas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from rag.sources.formats.html.elements import BLOCKS, CODE, HEADINGS, LINES, Element, name_of

_BREAKING = BLOCKS | LINES | CODE | {"dd", "dt", "li", *HEADINGS}
# Marks that are written before and after an element's own text.
_MARKS: Mapping[str, str] = {"q": '"', "del": "~~", "s": "~~", "strike": "~~"}
_POWER = re.compile(r"[+−–-]?\d+|[a-z]", re.I)
_BLANKS = re.compile(r"\s+")
# Browsers read the control characters of Latin-1 as Windows-1252. The others have no width.
_ODD = {
    **{code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)},
    **dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF)),
}
_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language-|lang-|highlight-(?:source-|text-)?|brush:\s*|sourceCode\s+|src src-)"
    r"([\w+#.-]+)"
)
_NO_LANGUAGE = frozenset({"default", "no-highlight", "nohighlight", "none", "plain", "plaintext"})


def clean(text: str) -> str:
    """Remove characters that nobody sees from a text."""
    return text if text.isascii() else text.translate(_ODD)


def collapse(text: str) -> str:
    """Clean a text, and replace each run of white space by one space."""
    return _BLANKS.sub(" ", clean(text))


def plain_text(element: Element, dropped: set[Element]) -> str:
    """Return what an element shows, on one line."""
    return collapse("".join(_shown_strings(element, dropped, " "))).strip()


def raw_text(element: Element, dropped: set[Element]) -> str:
    """Return what an element shows with its white space, and with blocks on their own lines."""
    parts: list[str] = []
    for text in _shown_strings(element, dropped, "\0"):
        if text != "\0":
            parts.append(text)
        elif parts and not parts[-1].endswith("\n"):
            parts.append("\n")
    return clean("".join(parts)).replace("\xa0", " ").strip("\n").rstrip()


def push(element: Element, name: str, dropped: set[Element], stack: list[Any]) -> None:
    """Put the strings and elements that an element shows on a stack, the last one first."""
    shown = _replacement(element, name)
    if shown is not None:
        stack.append(shown)
        return
    mark = _MARKS.get(name)
    if mark:
        stack.append(mark)
    for child in element.iterchildren(reversed=True):
        if child.tail:
            stack.append(child.tail)
        if child not in dropped:
            stack.append(child)
    if element.text:
        stack.append(element.text)
    if mark:
        stack.append(mark)


def language_of(code: Element) -> str:
    """Return the language that a code block, its only child or its surroundings declare."""
    around = list(islice(code.iterancestors(), 2))
    for element in [code, *code[:1], *around]:
        for key in ("data-lang", "data-language"):
            if element.get(key):
                return _language_name(element.get(key))
        found = _LANGUAGE.search(element.get("class") or "")
        # On a larger part of the page, `lang-en` names a natural language.
        if found and not (element in around and found[0].lstrip().startswith("lang-")):
            return _language_name(found[1])
    return ""


def _language_name(name: str) -> str:
    name = name.strip().lower()
    return "" if name in _NO_LANGUAGE or not re.fullmatch(r"[\w+#.-]{1,30}", name) else name


def _shown_strings(root: Element, dropped: set[Element], separator: str) -> Iterator[str]:
    """Yield the strings that an element shows, with a separator where a block begins or ends."""
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            yield node
            continue
        name = name_of(node)
        if name == "br":
            yield "\n"
        elif name in _BREAKING and node is not root:
            yield separator
            stack.append(separator)
        push(node, name, dropped, stack)


def _replacement(element: Element, name: str) -> str | None:
    """Return what is shown instead of an element's own content, or None."""
    if name == "img":
        return "" if element.get("role") == "presentation" else str(element.get("alt") or "")
    if name == "script":
        display = "mode=display" in element.get("type", "")
        return _mark_formula("".join(element.itertext()), display=display)
    if name == "math":
        return _render_math(element)
    if name == "sup" and not len(element):
        text = (element.text or "").strip()
        # Without the mark, 10^6 would become 106.
        return f"^{text}" if _POWER.fullmatch(text) else None
    return None


def _render_math(math: Element) -> str:
    notes = [part for part in math.iter() if name_of(part) in ("annotation", "annotation-xml")]
    tex = next((n.text for n in notes if "tex" in (n.get("encoding") or "").lower()), None)
    tex = tex or math.get("alttext")
    if tex:
        return _mark_formula(tex, display=math.get("display") == "block")
    within = {text for note in notes for text in note.iter()}
    parts = [p.text for p in math.iter() if p.text and p not in within]
    return " ".join("".join(parts).split())


def _mark_formula(tex: str, *, display: bool) -> str:
    mark = "$$" if display else "$"
    return f"{mark}{' '.join(tex.split())}{mark}"
