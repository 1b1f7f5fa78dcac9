"""The statements of passages, one or two sentences each, that a claim is compared with."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.answering.passages import Passages
from rag.text.words import content_words
from rag.types import Hit

_MOST = 24
_MARKS = re.compile(r"[\"“”„«»]|(?<!\S)[-−](?=\S)")


@dataclass(frozen=True, slots=True)
class NearStatement:
    """A statement of a passage, `hit.text[start:end] == text`, and how near it is to the claim.

    `similarity` is the cosine with the claim by the embedder; without one it is `coverage`, the
    share of the claim's content words that the statement or its title holds, where rare words count
    more. `precision` is the share of the statement's words that the claim holds.
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

    def meets(self, other: NearStatement) -> bool:
        """Whether the two statements overlap in their document."""
        return (
            self.hit.chunk.document_id == other.hit.chunk.document_id
            and self.hit.start + self.start < other.hit.start + other.end
            and other.hit.start + other.start < self.hit.start + self.end
        )


def search_text(claim: str) -> str:
    """Turn a claim into a search: its quotation marks and minuses are text, not operators."""
    return " ".join(_MARKS.sub(" ", claim).split())


def find_statements(claim: str, passages: Passages) -> list[NearStatement]:
    """Find the statements most similar to a claim, most similar first.

    Headings and instructions to a model are in no statement.
    """
    found = [(passage, statement) for passage in passages for statement in passage.windows]
    words = content_words(claim)
    coverages = _coverages(
        words, [statement.words | passage.title_words for passage, statement in found]
    )
    if passages.embedder is None:
        similarities = coverages
    else:
        similarities = _cosines(claim, [statement.text for _, statement in found], passages)
    statements = []
    for (passage, near), coverage, similarity in zip(found, coverages, similarities, strict=True):
        precision = len(words & near.words) / max(1, len(near.words))
        place = (passage.hit, near.start, near.end, near.text)
        statements.append(NearStatement(*place, similarity, coverage, precision))
    return sorted(statements, key=lambda statement: -statement.similarity)[:_MOST]


def _coverages(words: frozenset[str], held: Sequence[frozenset[str]]) -> list[float]:
    rarity = {
        word: math.log((len(held) + 1) / (0.5 + sum(word in each for each in held)))
        for word in words
    }
    total = math.fsum(rarity.values()) or 1.0
    return [math.fsum(rarity[word] for word in words & each) / total for each in held]


def _cosines(claim: str, texts: Sequence[str], passages: Passages) -> list[float]:
    # Both are embedded as documents: some models embed questions in another way.
    asked, *found = passages.vectors([claim, *texts])
    return [float(each @ asked) for each in found]
