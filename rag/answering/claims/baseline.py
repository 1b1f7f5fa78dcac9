"""A verdict without a model: a few features of the claim and its windows, and a regression.

Multinomial logistic regression: one regression a verdict, fitted by `benchmarks/checking.py --fit`.
Its features are what differs between a claim and a near sentence when one contradicts the other:
negation, antonyms and numbers (de Marneffe, Rafferty & Manning, ACL 2008, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from rag.answering.claims import lexicon
from rag.answering.claims.windows import Window
from rag.answering.logistic import regression
from rag.text.languages.english import DENIALS, HEDGES, OPPOSITES

LABELS: tuple[Literal["supported", "refuted", "not enough information"], ...] = (
    "supported",
    "refuted",
    "not enough information",
)
Probabilities = tuple[float, float, float]
"""Of supported, refuted and not enough information."""

# How much more a window counts than one that is less similar by 0.1: e^1.5, or 4.5 times.
_SHARPNESS = 15
_NEAREST = 5


def judge(claim: str, windows: Sequence[Window], *, by_meaning: bool) -> Probabilities:
    """How likely each verdict is; `by_meaning` says that similarities are an embedder's."""
    values = features(claim, windows)
    kind = "by meaning" if by_meaning else "by words"
    verdicts = [regression(f"claim {label} {kind}") for label in LABELS]
    return softmax([math.fsum([each.intercept, *each.products(values)]) for each in verdicts])


def softmax(logits: Sequence[float]) -> Probabilities:
    """Three logits as probabilities."""
    most = max(logits)
    parts = [math.exp(logit - most) for logit in logits]
    supported, refuted, neither = (part / math.fsum(parts) for part in parts)
    return supported, refuted, neither


def features(claim: str, windows: Sequence[Window]) -> dict[str, float]:
    """What the regression sees. Means over windows are weighted by similarity.

    nearest, near: the greatest similarity, and the mean of the five greatest
    coverage, precision: the greatest of any window
    numbers_missing, names_missing: the share of the claim's that no window holds
    numbers_differ: windows that lack a number of the claim and have another one
    negated, denies, hedges: the claim does
    negation_differs: windows that negate where the claim does not, or the other way round
    hedged: windows that hedge
    agreed, opposed: windows that go the same way or the other way (up or down, warm or cold)
    exact_negation, exact_opposed, exact_numbers: how well the window with the greatest overlap
        matches, if it differs from the claim in just that
    length: the logarithm of the claim's words; a long claim is seldom covered in full
    """
    said = lexicon.words(claim)
    read = [lexicon.words(window.text) for window in windows]
    shares = _shares(windows)
    best = max(range(len(windows)), key=lambda at: windows[at].overlap)
    exact = windows[best].overlap ** 2
    said_numbers = lexicon.numbers(claim)
    numbers = [lexicon.numbers(window.text) for window in windows]
    names = lexicon.names(claim)
    titles = [word for window in windows for word in lexicon.words(window.hit.title)]
    everything = frozenset(titles).union(*read)
    negated = lexicon.negated(said)
    unlike = [lexicon.negated(words) != negated for words in read]
    ways = [[lexicon.direction(said, axis) * lexicon.direction(words, axis) for words in read]
            for axis in OPPOSITES]  # fmt: skip
    similarities = sorted((window.similarity for window in windows), reverse=True)[:_NEAREST]

    def mean(values: Sequence[float]) -> float:
        return math.fsum(share * value for share, value in zip(shares, values, strict=True))

    return {
        "nearest": similarities[0],
        "near": math.fsum(similarities) / len(similarities),
        "coverage": max(window.coverage for window in windows),
        "precision": max(window.precision for window in windows),
        "numbers_missing": _share(said_numbers - frozenset().union(*numbers), said_numbers),
        "numbers_differ": mean([bool(said_numbers - each and each - said_numbers)
                                for each in numbers]),
        "names_missing": _share(names - everything, names),
        "negated": float(negated),
        "negation_differs": mean(unlike),
        "denies": float(not DENIALS.isdisjoint(said)),
        "hedges": float(not HEDGES.isdisjoint(said)),
        "hedged": mean([not HEDGES.isdisjoint(words) for words in read]),
        "agreed": math.fsum(mean([way > 0 for way in each]) for each in ways),
        "opposed": math.fsum(mean([way < 0 for way in each]) for each in ways),
        "exact_negation": exact * unlike[best],
        "exact_opposed": exact * _swapped(said, read[best]),
        "exact_numbers": exact * bool(said_numbers - numbers[best]),
        "length": math.log(len(said) + 1),
    }  # fmt: skip


def _shares(windows: Sequence[Window]) -> list[float]:
    """How much each window counts, by its similarity; together 1."""
    most = max(window.similarity for window in windows)
    weights = [math.exp(_SHARPNESS * (window.similarity - most)) for window in windows]
    return [weight / math.fsum(weights) for weight in weights]


def _share(part: frozenset[str], whole: frozenset[str]) -> float:
    return len(part) / max(1, len(whole))


def _swapped(said: Sequence[str], read: Sequence[str]) -> bool:
    """Whether what only one of them says goes one way, and what only the other says the other."""
    own = [word for word in said if word not in read]
    other = [word for word in read if word not in said]
    return any(
        lexicon.direction(own, axis) * lexicon.direction(other, axis) < 0 for axis in OPPOSITES
    )
