"""Passages as they would be without a part of a document, over an index that holds it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from rag.config import MOST_PASSAGES
from rag.errors import SourceError
from rag.evaluation.dataset import Dataset
from rag.evaluation.matching import match
from rag.types import Document, Hit

Spans = Sequence[tuple[int, int]]


def find_hidden(dataset: Dataset, documents: Iterable[Document]) -> dict[str, dict[str, Spans]]:
    """Return what each question is asked without: question -> document's id -> spans of its text.

    Raises:
        SourceError: if a document is not in the index or shorter than that, or a name is ambiguous.
    """
    names = {part.source for parts in dataset.hidden.values() for part in parts}
    found = match(names, documents, dataset.corpus) if names else {}
    hidden: dict[str, dict[str, Spans]] = {}
    for question, parts in dataset.hidden.items():
        spans: dict[str, list[tuple[int, int]]] = {}
        for part in parts:
            document = found.get(part.source)
            if document is None or part.end > len(document.text):
                held = "no such document" if document is None else f"{len(document.text):,} of it"
                raise SourceError(
                    str(dataset.path),
                    f"{question}: hides {part}, of which the index holds {held}: index it, or make "
                    "the questions again",
                )
            spans.setdefault(document.id, []).append((part.start, part.end))
        hidden[question] = {document_id: sorted(each) for document_id, each in spans.items()}
    return hidden


def search_without(
    search: Callable[[int], list[Hit]],
    k: int,
    hidden: Mapping[str, Spans],
    document: Callable[[str], Document],
) -> list[Hit]:
    """Return the `k` best passages that are left where parts of documents are hidden.

    `search` finds so many passages. They come in the order in which it finds them, although it
    knows what is hidden: what stood around it is found more often than in an index that never held
    it, and a question whose answer is hidden is the harder to refuse. What a stage of search
    measured of a passage that is cut is taken off it, since it was measured of the whole.
    """
    wanted = k
    while True:
        found = search(wanted)
        left = [piece for hit in found for piece in _visible(hit, hidden, document)]
        if len(left) >= k or len(found) < wanted or wanted >= MOST_PASSAGES:
            return [replace(hit, rank=rank) for rank, hit in enumerate(left[:k], start=1)]
        wanted = min(2 * wanted, MOST_PASSAGES)


def _visible(
    hit: Hit, hidden: Mapping[str, Spans], document: Callable[[str], Document]
) -> Iterator[Hit]:
    """Yield a hit as it is, or the stretches of it that are left."""
    spans = hidden.get(hit.chunk.document_id, ())
    cuts = [(start, end) for start, end in spans if start < hit.end and hit.start < end]
    if not cuts:
        yield hit
        return
    at = hit.start
    whole = document(hit.chunk.document_id)
    for start, end in [*cuts, (hit.end, hit.end)]:
        if re.search(r"\w", whole.text[at:start]):
            yield _cut(hit, at, start, whole)
        at = max(at, end)


def _cut(hit: Hit, start: int, end: int, document: Document) -> Hit:
    """Make a hit of the stretch `document.text[start:end]`, without the white space around it."""
    text = document.text[start:end]
    start += len(text) - len(text.lstrip())
    text = text.strip()
    chunk = replace(
        hit.chunk,
        text=text,
        start=start,
        end=start + len(text),
        heading=document.heading_at(start),
        page=document.page_at(start),
        line=document.line_at(start),
    )
    return replace(hit, chunk=chunk, widened=None, trace=(), terms=(), duplicates=())
