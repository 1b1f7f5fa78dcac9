"""Add to a question what its best passages say: weighted terms (RM3), a moved vector (Rocchio)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag.types import Vectors


def rm3(
    question_terms: Mapping[str, float],
    feedback: Sequence[tuple[Mapping[str, float], float]],
    *,
    terms: int = 20,
    weight: float = 0.5,
) -> dict[str, float]:
    """Return the terms of the question and of its best passages, with weights that sum to 1.

    Relevance model 3: p(t) = (1 - weight) p(t|question) + weight p(t|R), where p(t|R) is the sum
    over passages of p(t|passage) times the passage's share of the scores, for the `terms` of the
    highest p(t|R), scaled to sum to 1. The strongest comes first, ties follow the alphabet.
    Lavrenko & Croft, SIGIR 2001; Abdul-Jaleel et al., TREC 2004.

    Args:
        question_terms: how often the question has each term.
        feedback: for each passage how often it has each term, and its score; a passage without
            terms or with a score of 0 or below does not count.
        terms: how many terms of the passages to take.
        weight: the weight of the passages, 0 to 1.

    Raises:
        ValueError: if `weight` is not within 0 and 1.
    """
    _check_share("weight", weight)
    usable = [(counts, score) for counts, score in feedback if counts]
    shares = _shares([score for _, score in usable])
    likelihood: defaultdict[str, float] = defaultdict(float)
    for (counts, _), share in zip(usable, shares, strict=True):
        for term, probability in _distribution(counts).items():
            likelihood[term] += share * probability
    relevance = _distribution(dict(_strongest(likelihood)[:terms]))
    asked = _distribution(question_terms)
    if not relevance or not asked:
        return dict(_strongest(relevance or asked))
    mixed = {
        term: (1 - weight) * asked.get(term, 0.0) + weight * relevance.get(term, 0.0)
        for term in asked | relevance
    }
    return dict(_strongest(mixed))


def rocchio(
    question: Vectors, passages: Vectors, scores: Sequence[float], *, weight: float = 0.5
) -> Vectors:
    """Return the question's vector, moved towards the best passages and of length 1 again.

    It is (1 - weight) question + weight centroid, where each passage counts in the centroid by its
    share of the scores, and not at all with a score of 0 or below. Rocchio, 1971, without passages
    that are not relevant; for dense vectors Li et al., TOIS 2023.

    Args:
        question: float32 `[dim]`.
        passages: float32 `[n, dim]`; without any the question stays where it is.
        scores: one for each passage.
        weight: the weight of the passages, 0 to 1.

    Raises:
        ValueError: if `weight` is not within 0 and 1, or there is not one score for each passage.
    """
    import numpy as np

    _check_share("weight", weight)
    if len(scores) != len(passages):
        raise ValueError(f"{len(passages)} passages, but {len(scores)} scores: give one for each")
    shares = np.asarray(_shares(scores), dtype=np.float32)
    if not weight or not shares.any():
        return question
    moved = (1 - weight) * question + weight * (shares @ passages)
    length = float(np.linalg.norm(moved))
    # Vectors that cancel each other out have no direction.
    return (moved / length).astype(np.float32) if length > 1e-6 else question


def _strongest(weights: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(weights.items(), key=lambda item: (-item[1], item[0]))


def _distribution(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {term: weight / total for term, weight in weights.items()} if total else {}


def _shares(scores: Sequence[float]) -> list[float]:
    counted = [max(score, 0.0) for score in scores]
    total = sum(counted)
    return [score / total for score in counted] if total else counted


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be within 0 and 1, not {value}")
