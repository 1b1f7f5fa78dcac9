"""Find the place that a citation names: `a.md:12 › Head`, `a.pdf:p3`, `a.pdf#page=3`, `a.md:5-90`.

A file's name may hold any of these signs itself. So the whole is looked up as a name first, and
then what is left of it when one part after the other is taken for the place within.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from rag.errors import StoreError
from rag.types import Document, Place

Find = Callable[[str], Sequence[Document]]

_HEADING = " › "
_LONGEST = 4096
_NUMBER = "([0-9]{1,15})"
# Each is what stands after the name of a document, and how it is understood.
_FORMS = (
    (re.compile(f"(.+):{_NUMBER}-{_NUMBER}", re.S), "characters"),
    (re.compile(f"(.+):{_NUMBER}", re.S), "line"),
    (re.compile(f"(.+)#L{_NUMBER}(?:-L?[0-9]+)?", re.S), "line"),
    (re.compile(f"(.+):p{_NUMBER}", re.S), "page"),
    (re.compile(f"(.+)#page={_NUMBER}", re.S), "page"),
)


def find_place(place: str, find: Find, index: str = "the index") -> Place:
    """Return the place that `place` names.

    `find` returns the documents that a name may mean. Without anything after its name the place is
    the whole document. `index` is what an error calls the index.

    Raises:
        StoreError: if there is no such document, more than one, or no such page, line or heading
            in it.
    """
    if len(place) > _LONGEST:
        raise StoreError(f"{place[:80]}…: is too long to name a place")
    wrong: StoreError | None = None
    for name, form, numbers, heading in _readings(place.strip()):
        found = find(name)
        if len(found) > 1:
            shown = ", ".join(document.source for document in found[:5])
            raise StoreError(f"{name!r} may mean several documents: {shown}: say more of the path")
        if not found:
            continue
        try:
            return _place_in(found[0], form, numbers, heading)
        except StoreError as error:
            wrong = wrong or error
    raise wrong or StoreError(f"{index}: holds no document {place!r}")


def _readings(place: str) -> Iterator[tuple[str, str, tuple[int, ...], str]]:
    """Yield name, form, its numbers and heading, for each way to read a place, the plainest first.

    `[1] ` before a citation is its number.
    """
    numbered = re.fullmatch(r"\[[0-9]{1,4}\] (.+)", place, re.S)
    for whole in (place, *([numbered[1]] if numbered else [])):
        at = len(whole)
        while at != -1:
            name, heading = whole[:at], whole[at:].removeprefix(_HEADING)
            yield name, "", (), heading
            for pattern, form in _FORMS:
                if match := pattern.fullmatch(name):
                    yield match[1], form, tuple(map(int, match.groups()[1:])), heading
            at = whole.rfind(_HEADING, 0, at)


def _place_in(document: Document, form: str, numbers: tuple[int, ...], heading: str) -> Place:
    text, source = document.text, document.source
    start, end = 0, len(text)
    if form == "characters":
        start, end = numbers
        if not 0 <= start < end <= len(text):
            raise StoreError(f"{source}: has {len(text):,} characters, no {start}-{end}")
    elif form == "page":
        (number,) = numbers
        pages = [page for page in document.pages if page.number == number]
        if not pages:
            has = f"{len(document.pages):,} pages, no {number}" if document.pages else "no pages"
            raise StoreError(f"{source}: has {has}")
        start, end = pages[0].start, pages[-1].end
    elif form == "line":
        (number,) = numbers
        lines = text.split("\n", number)
        if not 0 < number <= len(lines) or (number == len(lines) and not lines[-1]):
            raise StoreError(f"{source}: has {text.count(chr(10)) + 1:,} lines, no {number}")
        start = sum(map(len, lines[: number - 1])) + number - 1
        end = start + len(lines[number - 1].partition("\n")[0])
    if heading:
        start, end = _narrow(document, start, end, heading, form)
    return Place(document, start, end)


def _narrow(document: Document, start: int, end: int, heading: str, form: str) -> tuple[int, int]:
    """Return the section of a heading, or the span where the citation says more than that."""
    if form in ("line", "characters"):
        return start, end
    # A page of a section that begins on an earlier one is all that is left of it.
    titles = (heading, heading.rpartition(_HEADING)[2])
    for each in document.headings:
        if each.title in titles:
            first, last = document.section_at(each.start)
            first, last = max(first, start), min(last, end)
            if first < last:
                return first, last
    if form or document.title in titles:
        return start, end
    raise StoreError(f"{document.source}: has no heading {heading!r}")
