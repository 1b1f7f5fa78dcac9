"""Show one of several renditions of a document: a page as HTML, as text, and as PDF.

Renditions have the same name but for its suffixes. Since two versions of a contract have, too, and
say nearly the same, a passage is only left out if all that it says, three words in a row, stands
in the document that is shown: a number, a name, a "not" or a "may" that differs shows both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rag.types import Document, Hit

if TYPE_CHECKING:
    from rag.types import Vectors

_WORD = re.compile(r"\w+(?:[.,]\d+)*")
# Roles of reStructuredText (:func:`open`) are words that no reader sees.
_ROLE = re.compile(r":[\w:+.-]{1,40}:(?=`)")
# Reading and comparing longer ones would be felt.
_LONGEST = 500_000
# Passages of renditions are cut at other places. These say the same for the most part.
_LEAST_COSINE = 0.8
_LEAST_SHARED = 0.5
_IN_A_ROW = 3
_KINDS = {"text/html": "html", "application/pdf": "pdf", "text/plain": "txt"}

Rows = frozenset[tuple[str, ...]]


def fold_renditions(
    hits: Sequence[Hit],
    vectors: Vectors,
    prefer: Sequence[str],
    read: Callable[[set[str]], Mapping[str, Document]],
) -> list[Hit]:
    """Leave out hits whose passage a hit of a preferred rendition shows, and rank the rest anew.

    The hit that stays takes the better rank, and the locations of the others into `duplicates`.
    A hit that says what the preferred document does not say stays, and so does one whose passage
    no other hit shows.

    Args:
        vectors: float32 `[len(hits), dim]`.
        prefer: kinds of documents, by suffix; the first is preferred, others follow the last.
        read: returns documents by id; it is asked only where names agree.
    """
    ids = [hit.chunk.document_id for hit in hits]
    pairs = [
        (one, other)
        for one, other in combinations(range(len(hits)), 2)
        if ids[one] != ids[other]
        and _stem(hits[one].source) == _stem(hits[other].source)
        and float(vectors[one] @ vectors[other]) >= _LEAST_COSINE
    ]
    if not pairs:
        return list(hits)
    documents = read({ids[at] for pair in pairs for at in pair})
    order = {kind: at for at, kind in enumerate(prefer)}
    rank_of = partial(_rank_of, documents, order)
    said = {name: _rows(document.text) for name, document in documents.items()}
    shown_by: dict[int, int] = {}
    for pair in pairs:
        best, left = sorted(pair, key=lambda at: (rank_of(hits[at]), at))
        rows, other = _rows(hits[left].chunk.text), _rows(hits[best].chunk.text)
        if rank_of(hits[best]) == rank_of(hits[left]) or best in shown_by or not rows:
            # Two of one kind are two documents.
            continue
        alike = len(rows & other) >= _LEAST_SHARED * min(len(rows), len(other))
        if alike and rows <= said[ids[best]]:
            shown_by.setdefault(left, best)
    places: dict[int, list[int]] = {}
    for left, best in shown_by.items():
        if best not in shown_by:
            places.setdefault(best, []).append(left)
    folded = {left for group in places.values() for left in group}
    kept = sorted(
        (at for at in range(len(hits)) if at not in folded),
        key=lambda at: min([at, *places.get(at, ())]),
    )
    return [
        replace(
            hits[at],
            rank=rank,
            duplicates=tuple(
                dict.fromkeys(
                    (
                        *hits[at].duplicates,
                        *(hits[left].location for left in places.get(at, ())),
                    )
                )
            ),
        )
        for rank, at in enumerate(kept, start=1)
    ]


def _rank_of(documents: Mapping[str, Document], order: Mapping[str, int], hit: Hit) -> int:
    return order.get(_kind(documents[hit.chunk.document_id]), len(order))


def _stem(source: str) -> str:
    """Return the name of a document without its suffixes: `json` of `json.rst.txt`."""
    name = PurePosixPath(source.partition("#")[0].replace("\\", "/")).name.casefold()
    return name.partition(".")[0] or name


def _kind(document: Document) -> str:
    suffix = PurePosixPath(document.source.partition("#")[0]).suffix.casefold().removeprefix(".")
    return suffix or _KINDS.get(document.media_type, "")


def _rows(text: str) -> Rows:
    """Return the words of a text, three in a row; none of a text that is too long."""
    if len(text) > _LONGEST:
        return frozenset()
    words = [word.casefold() for word in _WORD.findall(_ROLE.sub("", text))]
    return frozenset(zip(*(words[at:] for at in range(_IN_A_ROW)), strict=False))
