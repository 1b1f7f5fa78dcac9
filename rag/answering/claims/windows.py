"""Hits -> the windows of one or two sentences that a claim is held against."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.answering.injection import telling_windows
from rag.answering.quoting import checked_quote
from rag.protocols import Embedder
from rag.text.words import content_words
from rag.types import Document, Evidence, Hit

_MOST = 24
_MARKS = re.compile(r"[\"“”„«»]|(?<!\S)[-−](?=\S)")


@dataclass(frozen=True, slots=True)
class Window:
    """`hit.text[start:end] == text`, and how near it is to the claim.

    `similarity` is the cosine with the claim by the embedder; without one it is `coverage`, the
    share of the claim's content words that the window or its title holds, rare words counting
    more. `precision` is the share of the window's words that the claim holds.
    """

    hit: Hit
    start: int
    end: int
    text: str
    similarity: float
    coverage: float
    precision: float

    @property
    def overlap(self) -> float:
        """The harmonic mean of coverage and precision."""
        both = self.coverage + self.precision
        return 2 * self.coverage * self.precision / both if both else 0.0

    def meets(self, other: Window) -> bool:
        """Whether the two have text in common."""
        return (
            self.hit.chunk.document_id == other.hit.chunk.document_id
            and self.hit.start + self.start < other.hit.start + other.end
            and other.hit.start + other.start < self.hit.start + self.end
        )


def as_question(claim: str) -> str:
    """A claim to search for: quotation marks and minuses in it are text, no marks of a search."""
    return " ".join(_MARKS.sub(" ", claim).split())


def find_windows(claim: str, hits: Sequence[Hit], embedder: Embedder | None = None) -> list[Window]:
    """The windows most similar to a claim, most similar first.

    Headings, and sentences that give orders to a model, are in no window.
    """
    spans = [(hit, start, end) for hit in hits for start, end in telling_windows(hit.text)]
    texts = [hit.text[start:end] for hit, start, end in spans]
    words = content_words(claim)
    held = [content_words(text) for text in texts]
    coverages = _coverages(
        words,
        [own | content_words(hit.title) for own, (hit, _, _) in zip(held, spans, strict=True)],
    )
    similarities = coverages if embedder is None else _cosines(claim, texts, embedder)
    windows = [
        Window(*span, text, similarity, coverage, len(words & own) / max(1, len(own)))
        for span, text, own, coverage, similarity in zip(
            spans, texts, held, coverages, similarities, strict=True
        )
    ]
    return sorted(windows, key=lambda window: -window.similarity)[:_MOST]


def as_evidence(window: Window, supports: bool, score: float, document: Document) -> Evidence:
    """A window as evidence for or against, its quote checked against the document.

    Raises:
        StoreError: if the hit is not what its document holds at its place.
    """
    start, end = window.hit.start + window.start, window.hit.start + window.end
    return Evidence(
        relation="for" if supports else "against",
        score=score,
        document_id=document.id,
        source=document.source,
        page=document.page_at(start),
        line=document.line_at(start),
        heading=document.heading_at(start),
        start=start,
        end=end,
        quote=checked_quote(window.hit, window.start, window.end, document),
    )


def _coverages(words: frozenset[str], held: Sequence[frozenset[str]]) -> list[float]:
    rarity = {
        word: math.log((len(held) + 1) / (0.5 + sum(word in each for each in held)))
        for word in words
    }
    total = math.fsum(rarity.values()) or 1.0
    return [math.fsum(rarity[word] for word in words & each) / total for each in held]


def _cosines(claim: str, texts: Sequence[str], embedder: Embedder) -> list[float]:
    # Two statements are compared: a model that reads questions otherwise is not to read one here.
    asked, *found = embedder.embed_documents([claim, *texts])
    return [float(each @ asked) for each in found]
