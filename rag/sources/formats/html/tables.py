"""Render tables of data as Markdown; tables that only lay out text or code are no such tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag.sources.formats.html.elements import CODE, HEADINGS, LISTS, Element, holds, name_of, number
from rag.sources.formats.html.text import language_of, plain_text, raw_text
from rag.sources.formats.text import fence_code

_LINE_CELL = re.compile(r"(?:^|\s)(?:blob-code|hljs-ln-code)(?=[\s-]|$)")
_MOST_REPEATED = 100


def to_markdown(table: Element, dropped: set[Element]) -> str:
    """Render a table as Markdown, or as code with a line a row; empty if it only lays out text."""
    caption, rows = _read_rows(table, dropped)
    cells = [cell for row in rows for cell in row]
    if cells and all(_LINE_CELL.search(cell.get("class") or "") for cell in cells):
        code = "\n".join(raw_text(cell, dropped) for cell in cells)
        return fence_code(code, language_of(table))
    if not rows or _is_layout(table, rows, dropped):
        return ""
    texts = [row for row in _repeat_spans(rows, dropped) if any(row)]
    if not texts:
        return ""
    width = max(map(len, texts))
    texts[0] += [""] * (width - len(texts[0]))
    lines = ["| " + " | ".join(row) + " |" for row in texts]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join([f"{caption}\n", *lines] if caption else lines)


def _read_rows(table: Element, dropped: set[Element]) -> tuple[str, list[list[Element]]]:
    """Return a table's caption and cells, but no cells if it holds text outside of cells."""
    caption = ""
    rows: list[list[Element]] = []
    outside: list[str | None] = []
    stack = [table]
    while stack:
        part = stack.pop()
        name = name_of(part)
        if part in dropped:
            continue
        if name == "caption":
            caption = plain_text(part, dropped)
        elif name == "tr":
            cells = [cell for cell in part if cell not in dropped]
            rows.append([cell for cell in cells if name_of(cell) in ("td", "th")])
            outside += [part.text, *(cell.tail for cell in part)]
            outside += ["?" for cell in cells if name_of(cell) not in ("td", "th")]
        elif part is table or name in ("thead", "tbody", "tfoot"):
            outside += [part.text, *(child.tail for child in part)]
            stack.extend(part.iterchildren(reversed=True))
        elif name not in ("col", "colgroup"):
            outside.append("?")
    return caption, [] if any(text and text.strip() for text in outside) else rows


def _is_layout(table: Element, rows: list[list[Element]], dropped: set[Element]) -> bool:
    if table.get("role") in ("presentation", "none"):
        return True
    if max(map(len, rows)) < 2 or any(holds(part, "table") for part in table):
        return True
    if any("\n" in raw_text(code, dropped) for code in table.iterdescendants(*CODE)):
        return True
    if holds(table, "th", "thead", "caption"):
        return False
    return (
        len(rows) == 1
        or holds(table, *HEADINGS, *LISTS, "blockquote", "form", "hr")
        or any(len(cell.findall("p")) > 1 for row in rows for cell in row)
    )


def _repeat_spans(rows: list[list[Element]], dropped: set[Element]) -> Iterator[list[str]]:
    """Yield the texts of the cells, in each row that they span; a header in each column."""
    below: dict[int, tuple[int, str]] = {}
    # Spans are limited, since a page of a few bytes may claim spans of any size.
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
            text = plain_text(cell, dropped).replace("|", "\\|")
            across = min(number(cell.get("colspan")), 1 + max(room, 0))
            down = number(cell.get("rowspan"))
            if down > 1:
                repeated = text if len(text) <= _MOST_REPEATED else ""
                below[len(texts)] = (down - 1, repeated)
            # What spans the whole row is a title.
            names_columns = name_of(cell) == "th" and len(row) > 1 and len(text) <= _MOST_REPEATED
            texts += [text] + [text if names_columns else ""] * (across - 1)
            room -= across - 1
        yield texts
