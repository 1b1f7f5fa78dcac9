"""Judge a claim without a model: by a regression over a few features of it and its statements.

Multinomial logistic regression: one regression a verdict, fitted by `benchmarks/checking.py --fit`.
Its features are what differs between a claim and a near sentence when one contradicts the other:
negation, antonyms and numbers (de Marneffe, Rafferty & Manning, ACL 2008, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from rag.answering.claims import lexicon
from rag.answering.claims.statements import NearStatement
from rag.answering.logistic import regression
from rag.text.languages.english import DENIALS, HEDGES, OPPOSITES

LABELS: tuple[Literal["supported", "refuted", "not enough information"], ...] = (
    "supported",
    "refuted",
    "not enough information",
)
Probabilities = tuple[float, float, float]
"""The probabilities of the three `LABELS`."""

# A statement counts e^1.5, or 4.5 times as much as one that is less similar by 0.1.
_SHARPNESS = 15
_NEAREST = 5


def judge(claim: str, statements: Sequence[NearStatement], *, by_meaning: bool) -> Probabilities:
    """Return how likely each verdict is; `by_meaning`: similarities are those of an embedder."""
    values = features(claim, statements)
    kind = "by meaning" if by_meaning else "by words"
    verdicts = [regression(f"claim {label} {kind}") for label in LABELS]
    return softmax([math.fsum([each.intercept, *each.products(values)]) for each in verdicts])


def softmax(logits: Sequence[float]) -> Probabilities:
    """Turn three logits into probabilities."""
    most = max(logits)
    parts = [math.exp(logit - most) for logit in logits]
    supported, refuted, neither = (part / math.fsum(parts) for part in parts)
    return supported, refuted, neither


def features(claim: str, statements: Sequence[NearStatement]) -> dict[str, float]:
    """Return the features of the regression. Means over statements are weighted by similarity.

    nearest, near: the greatest similarity, and the mean of the five greatest
    coverage, precision: the greatest of any statement
    numbers_missing, names_missing: the share of the claim's that no statement holds
    numbers_differ: statements that lack a number of the claim and have another one
    negated, denies, hedges: the claim holds such words
    negation_differs: statements that negate where the claim does not, or the other way round
    hedged: statements that hedge
    agreed, opposed: statements that go the same way or the other way (up or down, warm or cold)
    exact_negation, exact_opposed, exact_numbers: how well the statement with the greatest overlap
        matches, if it differs from the claim in just that
    length: the logarithm of the claim's words; a long claim is seldom covered in full
    """
    own = lexicon.words(claim)
    others = [lexicon.words(statement.text) for statement in statements]
    shares = weigh(statements)
    best = max(range(len(statements)), key=lambda at: statements[at].overlap)
    exact = statements[best].overlap ** 2
    own_numbers = lexicon.numbers(claim)
    numbers = [lexicon.numbers(statement.text) for statement in statements]
    names = lexicon.names(claim)
    titles = [word for statement in statements for word in lexicon.words(statement.hit.title)]
    everything = frozenset(titles).union(*others)
    negated = lexicon.is_negated(own)
    unlike = [lexicon.is_negated(words) != negated for words in others]
    ways = [[lexicon.direction(own, axis) * lexicon.direction(words, axis) for words in others]
            for axis in OPPOSITES]  # fmt: skip
    similarities = sorted((statement.similarity for statement in statements), reverse=True)[
        :_NEAREST
    ]

    def mean(values: Sequence[float]) -> float:
        return math.fsum(share * value for share, value in zip(shares, values, strict=True))

    return {
        "nearest": similarities[0],
        "near": math.fsum(similarities) / len(similarities),
        "coverage": max(statement.coverage for statement in statements),
        "precision": max(statement.precision for statement in statements),
        "numbers_missing": _share(own_numbers - frozenset().union(*numbers), own_numbers),
        "numbers_differ": mean([bool(own_numbers - each and each - own_numbers)
                                for each in numbers]),
        "names_missing": _share(names - everything, names),
        "negated": float(negated),
        "negation_differs": mean(unlike),
        "denies": float(not DENIALS.isdisjoint(own)),
        "hedges": float(not HEDGES.isdisjoint(own)),
        "hedged": mean([not HEDGES.isdisjoint(words) for words in others]),
        "agreed": math.fsum(mean([way > 0 for way in each]) for each in ways),
        "opposed": math.fsum(mean([way < 0 for way in each]) for each in ways),
        "exact_negation": exact * unlike[best],
        "exact_opposed": exact * _is_opposed(own, others[best]),
        "exact_numbers": exact * bool(own_numbers - numbers[best]),
        "length": math.log(len(own) + 1),
    }  # fmt: skip


def weigh(statements: Sequence[NearStatement]) -> list[float]:
    """Weigh statements by similarity, so that the weights sum to 1."""
    most = max(statement.similarity for statement in statements)
    weights = [math.exp(_SHARPNESS * (statement.similarity - most)) for statement in statements]
    return [weight / math.fsum(weights) for weight in weights]


def _share(part: frozenset[str], whole: frozenset[str]) -> float:
    return len(part) / max(1, len(whole))


def _is_opposed(claim: Sequence[str], statement: Sequence[str]) -> bool:
    """Whether the words that only the claim has and those of the statement go opposite ways."""
    own = [word for word in claim if word not in statement]
    other = [word for word in statement if word not in claim]
    return any(
        lexicon.direction(own, axis) * lexicon.direction(other, axis) < 0 for axis in OPPOSITES
    )
