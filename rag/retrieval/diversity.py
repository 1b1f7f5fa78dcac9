"""Choose hits that each say something else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rag.text.normalization import searchable
from rag.types import Chunk, Hit, Stage

if TYPE_CHECKING:
    from rag.types import Vectors

# Marks of comments, quotations and lists at the start of a line; before a number they are signs.
_LINE_MARK = re.compile(r"(?m)^(?:[ \t]*(?:[#>*/;%|]+|--?)(?=[ \t]+[^\d\s]|[ \t]*$))+")
_EMPHASIS = re.compile(r"(\*{1,3}|`+)(?=\w)([^*`]+)(?<=[\w.,:;!?)])\1(?!\w)")
_PLAIN = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "-"})
_NUMBER = re.compile(r"\d+")
# A text of so many words says what it is about, whatever the headings above it.
_ENOUGH_WORDS = 20
# Vectors stored as float16 have length 1 but for the last bits.
_SAME_VECTOR = 0.999


def collapse(hits: Sequence[Hit], vectors: Vectors, threshold: float) -> list[Hit]:
    """Leave out hits that a better one says word for word, and rank the others anew.

    A hit is left out if a better one has the same text, or holds all of it as whole sentences and
    the cosine of their vectors is at least `threshold`. White space, emphasis, kinds of quotation
    marks and dashes, and marks at the starts of lines may differ, but no word. So a licence shows
    once however many files hold it, and two versions of a clause that differ in a number, a name
    or a "not" both show, however near their vectors are.

    A text of fewer than 20 words means what the headings above it say: the vectors, which include
    the headings, must be near even if the texts are the same. Headings with other numbers always
    tell texts apart. Passages that overlap within one document are left out only if they are the
    same.

    The hit that stays takes the locations of the others into its `duplicates`. Scores stay as they
    are; a threshold of 0 leaves out nothing.

    Raises:
        ValueError: if there is not one vector for each hit.
    """
    similarities = _similarities(hits, vectors)
    if not threshold:
        return list(hits)
    near = similarities >= min(threshold, _SAME_VECTOR)
    texts = [_fold(hit.chunk.text) for hit in hits]
    chosen: dict[int, list[str]] = {}
    for at, hit in enumerate(hits):
        for better, places in chosen.items():
            if _heading_numbers(hits[better]) == _heading_numbers(hit) and (
                _is_same(texts[better], texts[at], near=near[better, at])
                or (
                    near[better, at]
                    and not _overlap(hits[better].chunk, hit.chunk)
                    and _stands_in(texts[at], texts[better])
                )
            ):
                places += [hit.location, *hit.duplicates]
                break
        else:
            chosen[at] = list(hit.duplicates)
    return [
        replace(hits[at], rank=rank, duplicates=tuple(dict.fromkeys(places)))
        for rank, (at, places) in enumerate(chosen.items(), start=1)
    ]


def diversify(hits: Sequence[Hit], vectors: Vectors, diversity: float, k: int) -> list[Hit]:
    """Choose the `k` hits of the highest marginal relevance, and rank them anew.

    Each next hit has the highest (1 - diversity) relevance - diversity similarity: relevance is
    its score, scaled so that the hits' scores reach from 0 to 1, and similarity its highest cosine
    with a hit chosen before it. Ties keep their order; a diversity of 0 returns the first `k` as
    they are. Carbonell & Goldstein, SIGIR 1998.

    The trace has the value by which a hit was chosen. `score` still says how well the passage
    suits the question by itself, so it need not fall with the rank.

    Raises:
        ValueError: if `diversity` is not within 0 and 1, or there is not one vector for each hit.
    """
    import numpy as np

    if not 0 <= diversity <= 1:
        raise ValueError(f"`diversity` must be within 0 and 1, not {diversity}")
    similarities = _similarities(hits, vectors)
    if not diversity or not hits:
        return list(hits[:k])
    scores = np.array([hit.score for hit in hits])
    reach = np.ptp(scores)
    relevance = (scores - scores.min()) / reach if reach else np.ones(len(hits))
    nearest = np.zeros(len(hits))
    left = np.ones(len(hits), dtype=bool)
    taken: list[Hit] = []
    for rank in range(1, min(k, len(hits)) + 1):
        values = (1 - diversity) * relevance - diversity * nearest
        at = int(np.argmax(np.where(left, values, -np.inf)))
        left[at] = False
        nearest = np.maximum(nearest, similarities[at]) if taken else similarities[at]
        stage = Stage("mmr", rank, float(values[at]))
        taken.append(replace(hits[at], rank=rank, trace=(*hits[at].trace, stage)))
    return taken


def _similarities(hits: Sequence[Hit], vectors: Vectors) -> Vectors:
    if len(vectors) != len(hits):
        raise ValueError(f"{len(hits)} hits, but {len(vectors)} vectors: give one for each")
    cosines: Vectors = vectors @ vectors.T
    return cosines


def _fold(text: str) -> str:
    plain = searchable(text)
    # Most text has no such marks, and `isascii` is faster than looking for them.
    if not plain.isascii():
        plain = plain.translate(_PLAIN)
    plain = _LINE_MARK.sub("", plain)
    if "*" in plain or "`" in plain:
        plain = _EMPHASIS.sub(r"\2", plain)
    return " ".join(plain.split())


def _is_same(text: str, other: str, *, near: bool) -> bool:
    return text == other and (near or len(text.split()) >= _ENOUGH_WORDS)


def _stands_in(text: str, whole: str) -> bool:
    """Return whether `whole` has `text` from the start of a sentence to the end of one."""
    end = "(?: |$)" if text.endswith((".", "!", "?")) else "$"
    return re.search(rf"(?:^|(?<=[.!?]) ){re.escape(text)}{end}", whole) is not None


def _heading_numbers(hit: Hit) -> list[str]:
    """Return the numbers of the headings: of a version, a year, a model."""
    return _NUMBER.findall(" ".join(hit.chunk.heading))


def _overlap(chunk: Chunk, other: Chunk) -> bool:
    same = chunk.document_id == other.document_id
    return same and chunk.start < other.end and other.start < chunk.end
