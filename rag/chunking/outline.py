"""Find the headings above an offset, and those that are embedded with a chunk."""

from __future__ import annotations

from rag.types import Document, Heading


class Outline:
    """The heading paths of a document, looked up for offsets that mostly grow.

    Each look-up walks on from the offset before, which keeps the time linear in the headings.
    """

    def __init__(self, document: Document) -> None:
        self._headings = document.headings
        self._title = document.title
        self._title_level = _title_level(document)
        self._path: list[Heading] = []
        self._next = 0
        self._offset = 0

    def path(self, offset: int) -> tuple[str, ...]:
        """Return the same path as `Document.heading_at(offset)`."""
        return tuple(heading.title for heading in self._walk(offset))

    def titles_above(self, offset: int) -> list[str]:
        """Return the titles above a chunk at `offset`, without its own and the document's."""
        path = self._walk(offset)
        named = path and (path[0].title == self._title or path[0].level == self._title_level)
        return [heading.title for heading in path[bool(named) :] if heading.end <= offset]

    def _walk(self, offset: int) -> list[Heading]:
        if offset < self._offset:
            self._path, self._next = [], 0
        self._offset = offset
        while self._next < len(self._headings) and self._headings[self._next].start <= offset:
            heading = self._headings[self._next]
            while self._path and self._path[-1].level >= heading.level:
                self._path.pop()
            self._path.append(heading)
            self._next += 1
        return self._path


def _title_level(document: Document) -> int | None:
    """Return the level of the one heading that is above all others, which is then the title.

    Source code has no such heading, since its only class is not its title.
    """
    if document.markup not in ("plain", "markdown", "rst"):
        return None
    levels = [heading.level for heading in document.headings]
    highest = min(levels, default=None)
    return highest if levels.count(highest or 0) == 1 else None
