"""Hits -> the windows of one or two sentences that a claim is held against."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.answering.passages import Passages
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


def find_windows(claim: str, passages: Passages) -> list[Window]:
    """The windows most similar to a claim, most similar first.

    Headings, and sentences that give orders to a model, are in no window.
    """
    found = [(passage, window) for passage in passages for window in passage.windows]
    words = content_words(claim)
    coverages = _coverages(words, [window.words | passage.title_words for passage, window in found])
    if passages.embedder is None:
        similarities = coverages
    else:
        similarities = _cosines(claim, [window.text for _, window in found], passages)
    windows = [
        Window(
            passage.hit,
            window.start,
            window.end,
            window.text,
            similarity,
            coverage,
            len(words & window.words) / max(1, len(window.words)),
        )
        for (passage, window), coverage, similarity in zip(
            found, coverages, similarities, strict=True
        )
    ]
    return sorted(windows, key=lambda window: -window.similarity)[:_MOST]


def as_evidence(window: Window, supports: bool, score: float, document: Document) -> Evidence:
    """A window as evidence for or against, its quote checked against the document.

    Raises:
        StoreError: if the hit is not what its document holds at its place.
    """
    return Evidence.of(
        window.hit,
        window.start,
        window.end,
        document,
        relation="for" if supports else "against",
        score=score,
    )


def _coverages(words: frozenset[str], held: Sequence[frozenset[str]]) -> list[float]:
    rarity = {
        word: math.log((len(held) + 1) / (0.5 + sum(word in each for each in held)))
        for word in words
    }
    total = math.fsum(rarity.values()) or 1.0
    return [math.fsum(rarity[word] for word in words & each) / total for each in held]


def _cosines(claim: str, texts: Sequence[str], passages: Passages) -> list[float]:
    # Two statements are compared: a model that reads questions otherwise is not to read one here.
    asked, *found = passages.vectors([claim, *texts])
    return [float(each @ asked) for each in found]
