"""question, hits, sentences -> the probability that the passages hold the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.answering.extraction.candidates import Candidate
from rag.answering.extraction.question import Question
from rag.answering.logistic import regression

if TYPE_CHECKING:
    from rag.types import Hit


def answerability(question: Question, hits: Sequence[Hit], sentences: Sequence[Candidate]) -> float:
    """Return the probability that the passages answer the question, by a logistic regression.

    `measures` says what it is computed from. 0 without passages.
    """
    if not hits or not sentences:
        return 0.0
    return regression("answerability").probability(measures(question, hits, sentences))


def measures(
    question: Question, hits: Sequence[Hit], sentences: Sequence[Candidate]
) -> dict[str, float]:
    """Return what distinguishes an answer from mere nearness.

    `passage` and `sentence` are the largest cosines of a passage and of a sentence to the question,
    `around` is the share of its words, by their rarity, in the passage of the best sentence, and
    `names` that of its names and numbers which any passage holds (1 if it has none).
    """
    cosines = [hit.cosine for hit in hits if hit.cosine is not None]
    sentence = max(each.cosine for each in sentences)
    held = frozenset[str]().union(*(each.context for each in sentences))
    names = question.names
    return {
        # A search by words alone takes no cosines of passages.
        "passage": max(cosines, default=sentence),
        "sentence": sentence,
        "around": sentences[0].around,
        "names": len(names & held) / len(names) if names else 1.0,
    }
