"""Fuse the rankings of several searches into one, as ids with scores."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Id = TypeVar("Id", bound=Hashable)


def rrf(rankings: Sequence[Sequence[Id]], *, c: int = 60) -> dict[Id, float]:
    """Fuse rankings by reciprocal rank: score(d) = sum over rankings of 1 / (c + rank(d)).

    The best comes first; ties keep the order of first appearance. Cormack, Clarke & Büttcher,
    SIGIR 2009.

    Raises:
        ValueError: if `c` is negative.
    """
    if c < 0:
        raise ValueError(f"c must not be negative, is {c}")
    scores: dict[Id, float] = {}
    for ranking in rankings:
        for rank, each in enumerate(ranking, start=1):
            scores[each] = scores.get(each, 0.0) + 1 / (c + rank)
    return _best_first(scores)


def convex(
    dense: Mapping[Id, float], lexical: Mapping[Id, float], *, weight: float
) -> dict[Id, float]:
    """Fuse scores by a convex combination: weight · dense + (1 - weight) · lexical, best first.

    Each side is divided by its own highest score, so that it reaches from 0 to 1; a cosine below 0
    counts as 0, as does an id that one side lacks. Ties keep the order of `dense`, then of
    `lexical`. Bruch, Gai & Ingber, TOIS 2023, find such a combination better than reciprocal
    ranks, and little sensitive to the way of scaling.

    Raises:
        ValueError: if `weight` is not within 0 and 1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be within 0 and 1, is {weight}")
    scaled_dense, scaled_lexical = _scale(dense), _scale(lexical)
    return _best_first(
        {
            each: weight * scaled_dense.get(each, 0.0)
            + (1 - weight) * scaled_lexical.get(each, 0.0)
            for each in dict.fromkeys((*dense, *lexical))
        }
    )


def _scale(scores: Mapping[Id, float]) -> dict[Id, float]:
    highest = max(scores.values(), default=0.0)
    if highest <= 0:
        return dict.fromkeys(scores, 0.0)
    return {each: max(0.0, score) / highest for each, score in scores.items()}


def _best_first(scores: Mapping[Id, float]) -> dict[Id, float]:
    return dict(sorted(scores.items(), key=lambda pair: -pair[1]))
