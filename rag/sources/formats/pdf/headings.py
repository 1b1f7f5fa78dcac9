"""Find headings by the outline, else by the size of the font and by bold lines on their own."""

from __future__ import annotations

import re
from typing import Any

from rag.sources.formats.pdf.text import PlacedLine, body_size
from rag.types import Heading, Page

_LARGER = 1.15
_LONGEST_HEADING = 150
_MOST_BOLD = 0.2  # of all lines


def font_headings(lines: list[PlacedLine]) -> tuple[Heading, ...]:
    """Find short lines that are clearly larger than the body, and below them bold ones."""
    body = body_size(lines)
    large = {
        at: round(line.size, 1)
        for at, line in enumerate(lines)
        if line.size >= body * _LARGER > 0 and _may_be_heading(line.text)
    }
    sizes = sorted(set(large.values()), reverse=True)
    levels = {at: min(sizes.index(size) + 1, 6) for at, size in large.items()}
    levels.update(dict.fromkeys(_find_bold(lines, body), min(len(sizes) + 1, 6)))
    headings: list[Heading] = []
    for at, level in sorted(levels.items()):
        line = lines[at]
        last = headings[-1] if headings else None
        # The lines of one title make one heading.
        if last and last.level == level and line.start - last.end <= 1:
            headings[-1] = Heading(last.start, line.end, level, f"{last.title} {line.text}")
        else:
            headings.append(Heading(line.start, line.end, level, line.text))
    return tuple(headings)


def _may_be_heading(text: str) -> bool:
    return len(text) <= _LONGEST_HEADING and any(character.isalpha() for character in text)


def _find_bold(lines: list[PlacedLine], body: float) -> list[int]:
    """Return the bold lines of the body's size that begin a block of plain letters."""
    found: list[int] = []
    run: list[int] = []
    for at, line in enumerate(lines):
        if line.bold and (line.gap == "\n" or not run):
            run.append(at)
            continue
        text = " ".join(lines[number].text for number in run)
        if (
            run
            and line.gap
            and all(body * 0.95 <= lines[number].size < body * _LARGER for number in run)
            and len(run) <= 3
            and _may_be_heading(text)
            and " | " not in text
            and (text[0].isupper() or text[0].isdigit())
            and text[-1] not in ".,;:"
            and not line.bold
        ):
            found += run
        run = [at] if line.bold else []
    return found if len(found) <= _MOST_BOLD * len(lines) else []


def outline_headings(pdf: Any, text: str, pages: tuple[Page, ...]) -> tuple[Heading, ...]:
    """Return the entries of the outline whose titles are found on the pages they point to."""
    headings: list[Heading] = []
    after = 0
    for item in pdf.get_toc():
        destination = item.get_dest()
        index = destination.get_index() if destination else None
        title = " ".join((item.get_title() or "").split())
        if index is None or not title or not 0 <= index < len(pages):
            continue
        page = pages[index]
        span = _title_line(title, text, max(after, page.start), page.end)
        if span:
            headings.append(Heading(*span, item.level + 1, title))
            after = span[1]
    return tuple(headings)


def _title_line(title: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    words = r"[\s|]+".join(re.escape(word) for word in title.split())
    # A line of its own, perhaps with a number before it, is preferred to words in a sentence.
    for pattern in (rf"^(?:[^\n]{{0,12}}[^\w\n])?{words}[ .:]*$", words):
        found = re.compile(pattern, re.IGNORECASE | re.MULTILINE).search(text, start, end)
        if found:
            return found.span()
    return None
