"""Widen hits by the text around them, and join neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from rag.text.sentences import split_sentences
from rag.types import Chunk, Document, Hit, Widened

# Splitting long text into sentences takes time, so this much is looked at for each of them.
_SENTENCE_CHARACTERS = 600


def widen(
    hits: Sequence[Hit],
    documents: Mapping[str, Document],
    context: Literal["passage", "window", "section"],
    *,
    sentences: int = 2,
    limit: int = 6000,
) -> list[Hit]:
    """Return the hits with the text of their documents around each.

    `passage` adds nothing. `section` adds the rest of the innermost section around the chunk, with
    the sections below that one. `window` adds up to `sentences` sentences of it on either side.
    Neither goes beyond the section, so a chunk that is all of it stays as it is. The widened text
    has at most `limit` characters, unless the chunk itself has more; it is cut between sentences,
    or else lines.

    `documents` are by id. A hit stays as it is if its document is missing or has changed since it
    was found, or if nothing stands around it.
    """
    if context == "passage":
        return list(hits)
    widened = []
    for hit in hits:
        document = _document(hit, documents)
        if document is None:
            widened.append(hit)
            continue
        if context == "window":
            start, end = _sentences_around(document, hit.chunk, sentences)
        else:
            start, end = _section_of(document, hit.chunk)
        start, end = _shorten(document, hit.chunk, start, end, limit)
        widened.append(_widen_to(hit, document, start, end))
    return widened


def merge(hits: Sequence[Hit], documents: Mapping[str, Document]) -> list[Hit]:
    """Join hits of one document whose texts overlap, or have only white space between them.

    The best of them stays in its place with its score. Its widened text becomes the span of all of
    them, in the document's order, and it takes their `terms` and `duplicates`. Hits that do not
    touch stay apart. Ranks are counted anew.

    `documents` are by id. A hit stays alone if its document is missing or has changed since it was
    found.
    """
    runs: list[list[int]] = []
    owner: Document | None = None
    reached = 0
    for at in sorted(range(len(hits)), key=lambda at: (hits[at].chunk.document_id, hits[at].start)):
        hit = hits[at]
        document = _document(hit, documents)
        if document and document is owner and not document.text[reached : hit.start].strip():
            runs[-1].append(at)
            reached = max(reached, hit.end)
        else:
            runs.append([at])
            owner, reached = document, hit.end
    ordered = sorted(sorted(run) for run in runs)
    return [
        replace(_join([hits[at] for at in run], documents), rank=rank)
        for rank, run in enumerate(ordered, start=1)
    ]


def _document(hit: Hit, documents: Mapping[str, Document]) -> Document | None:
    document = documents.get(hit.chunk.document_id)
    if document is None or document.text[hit.start : hit.end] != hit.text:
        return None
    return document


def _join(hits: Sequence[Hit], documents: Mapping[str, Document]) -> Hit:
    best = hits[0]
    if len(hits) == 1:
        return best
    start, end = min(hit.start for hit in hits), max(hit.end for hit in hits)
    joined = _widen_to(best, documents[best.chunk.document_id], start, end)
    return replace(
        joined,
        terms=tuple(dict.fromkeys(term for hit in hits for term in hit.terms)),
        duplicates=tuple(dict.fromkeys(place for hit in hits for place in hit.duplicates)),
    )


def _widen_to(hit: Hit, document: Document, start: int, end: int) -> Hit:
    chunk = hit.chunk
    start = chunk.start - len(document.text[start : chunk.start].lstrip())
    end = chunk.end + len(document.text[chunk.end : end].rstrip())
    if (start, end) == (chunk.start, chunk.end):
        return hit
    return replace(hit, widened=Widened(document.text[start:end], start, end))


def _sentences_around(document: Document, chunk: Chunk, sentences: int) -> tuple[int, int]:
    start, end = _section_of(document, chunk)
    low = max(start, chunk.start - sentences * _SENTENCE_CHARACTERS)
    before = _sentences(document, low, chunk.start)
    # The first and the last sentence in sight may not be whole.
    before = before[1:] if low > start else before
    before = before[max(0, len(before) - sentences) :]
    high = min(end, chunk.end + sentences * _SENTENCE_CHARACTERS)
    after = _sentences(document, chunk.end, high)
    after = (after[:-1] if high < end else after)[:sentences]
    return before[0][0] if before else chunk.start, after[-1][1] if after else chunk.end


def _section_of(document: Document, chunk: Chunk) -> tuple[int, int]:
    # A chunk may begin with headings above its own that have no text.
    start, end = document.section_at(chunk.end - 1)
    return min(start, chunk.start), max(end, chunk.end)


def _shorten(document: Document, chunk: Chunk, start: int, end: int, limit: int) -> tuple[int, int]:
    """Cut the span to `limit` characters, with half of the room for each side that needs it."""
    room = max(0, limit - len(chunk.text))
    before, after = chunk.start - start, end - chunk.end
    if before + after <= room:
        return start, end
    room_before = min(before, max(room // 2, room - after))
    room_after = min(after, room - room_before)
    if room_before < before:
        start = _first_start(document, chunk.start - room_before, chunk.start)
    if room_after < after:
        end = _last_end(document, chunk.end, chunk.end + room_after)
    return start, end


def _first_start(document: Document, start: int, end: int) -> int:
    """Return where the first whole sentence, or else line, begins after a cut at `start`."""
    sight = min(end, start + 2 * _SENTENCE_CHARACTERS)
    whole = _sentences(document, start, sight)[1:]
    if whole:
        return whole[0][0]
    line = document.text.find("\n", start, sight) + 1
    return line or end


def _last_end(document: Document, start: int, end: int) -> int:
    """Return where the last whole sentence, or else line, ends before a cut at `end`."""
    sight = max(start, end - 2 * _SENTENCE_CHARACTERS)
    whole = _sentences(document, sight, end)[:-1]
    return whole[-1][1] if whole else max(start, document.text.rfind("\n", sight, end))


def _sentences(document: Document, start: int, end: int) -> list[tuple[int, int]]:
    """Return the spans of the sentences in `text[start:end]`, without headings."""
    language = str(document.metadata.get("language") or "en")
    spans = split_sentences(document.text[start:end], language)
    return [
        (start + first, start + last)
        for first, last in spans
        if not any(h.start <= start + first and start + last <= h.end for h in document.headings)
    ]
