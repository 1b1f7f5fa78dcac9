"""question, passages -> the sentences that may hold the answer, best first."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise

from rag.answering.extraction.question import Question
from rag.answering.passages import Passage, Passages, Stretch

# So many sentences, the best by words, are compared by meaning too.
_EMBEDDED = 12
# What stands for the cosine where there is none.
_NO_COSINE = 0.5


@dataclass(frozen=True, slots=True)
class Candidate(Stretch):
    """A sentence of a passage: `passages[number - 1].text[start:end] == text`.

    `direct` is the share of the question's words that it holds, weighted by their rarity among the
    candidates, `around` the same for its passage with title and headings, `near` for the sentences
    beside it; `cosine` is its similarity to the question.
    """

    text: str
    words: frozenset[str]
    context: frozenset[str]
    beside: frozenset[str]
    direct: float = 0.0
    around: float = 0.0
    near: float = 0.0
    cosine: float = _NO_COSINE

    @property
    def score(self) -> float:
        """How well it suits the question."""
        return self.direct + 0.4 * self.around + 0.3 * self.near + 0.1 / self.number + self.cosine


def rank_sentences(question: Question, passages: Passages) -> list[Candidate]:
    """Return the sentences of the passages, best first, without instructions to a model.

    Without an embedder they are compared by words alone.
    """
    found = [
        each for number, passage in passages.with_numbers() for each in _sentences(number, passage)
    ]
    held_by = Counter(word for each in found for word in each.words)
    rarity = {
        word: math.log(1 + (len(found) + 1) / (held_by[word] + 0.5)) for word in question.words
    }
    # `fsum` gives the same sum in whatever order a set yields its words, which differs by process.
    total = math.fsum(rarity.values()) or 1.0

    def share(words: frozenset[str]) -> float:
        return math.fsum(rarity[word] for word in question.words & words) / total

    scored = [
        replace(
            each,
            direct=share(each.words),
            around=share(each.context),
            near=share(each.beside - each.words),
        )
        for each in found
    ]
    scored.sort(key=_order)
    if passages.embedder is not None and scored:
        best = scored[:_EMBEDDED]
        vectors = passages.vectors([each.text for each in best])
        cosines = vectors @ passages.embedder.embed_query(question.text)
        scored = sorted(
            (replace(each, cosine=float(c)) for each, c in zip(best, cosines, strict=True)),
            key=_order,
        )
    return scored


def _sentences(number: int, passage: Passage) -> list[Candidate]:
    beside = [frozenset[str]() for _ in passage.statements]
    for at, (left, right) in enumerate(pairwise(passage.statements)):
        beside[at] |= right.words
        beside[at + 1] |= left.words
    return [
        Candidate(number, each.start, each.end, each.text, each.words, passage.context_words, near)
        for each, near in zip(passage.statements, beside, strict=True)
        # A heading or a list's lead-in is no answer.
        if len(each.words) >= 2
    ]


def _order(candidate: Candidate) -> tuple[float, int, int]:
    return (-candidate.score, candidate.number, candidate.start)
