"""Logistic regressions over named features, with the weights that the benchmarks fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec


class Logistic(msgspec.Struct, frozen=True):
    """A logistic regression: an intercept, and a weight for each feature by name."""

    intercept: float
    weights: dict[str, float]

    def probability(self, values: Mapping[str, float]) -> float:
        """Return the probability of what the regression was fitted to, for these features."""
        return sigmoid(self.intercept + sum(self.products(values)))

    def products(self, values: Mapping[str, float]) -> list[float]:
        """Multiply each feature by its weight; one without a weight counts 0."""
        return [self.weights.get(name, 0.0) * value for name, value in values.items()]


@cache
def regression(name: str) -> Logistic:
    """Load the regression of this name from `weights.json`, which the benchmarks write.

    `span`, `answerability` and `support` are fitted by `benchmarks/calibration.py` on one half of
    XQuAD's English questions, `claim ...` by `benchmarks/checking.py --fit`.
    """
    text = files("rag.answering").joinpath("weights.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Logistic])[name]


def sigmoid(score: float) -> float:
    """Return the probability whose logit is `score`."""
    # Below this, `exp` overflows, and the probability is 0 to the last digit of a float.
    return 1 / (1 + math.exp(-score)) if score > -700 else 0.0
