"""Fit the temperature of a trained judge on documents that it did not learn from.

Guo et al., ICML 2017, section 4.2: one number that all logits are divided by, which minimizes the
negative log-likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rag.training.entailment.encoding import Encoded, collate
from rag.training.entailment.model import Judge
from rag.training.entailment.pairs import Pair

_BATCH = 48
_STEPS = 60
_BINS = 10


def logits_of(model: Judge, embeddings: Tensor, rows: Sequence[Encoded]) -> Tensor:
    """Judge pairs: float32 `[pairs, 3]`, in their order."""
    found = torch.zeros(len(rows), 3)
    order = sorted(range(len(rows)), key=lambda at: len(rows[at].ids))
    for first in range(0, len(order), _BATCH):
        places = order[first : first + _BATCH]
        batch = collate([rows[at] for at in places])
        with torch.no_grad():
            words = functional.embedding(batch.ids, embeddings)
            found[places] = model(words, batch.types, batch.mask).float()
    return found


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature with the least negative log-likelihood."""
    logarithm = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithm], max_iter=_STEPS)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(logits / logarithm.exp(), labels)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return round(float(logarithm.detach().exp()), 4)


def measure(logits: Tensor, labels: Tensor, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Accuracy, in all and by the way pairs were made, and the error of calibration."""
    probabilities = logits.softmax(1)
    sure, chosen = probabilities.max(1)
    right = (chosen == labels).float()
    error = 0.0
    for low in range(_BINS):
        inside = (sure > low / _BINS) & (sure <= (low + 1) / _BINS)
        if inside.any():
            gap = float((sure[inside].mean() - right[inside].mean()).abs())
            error += gap * float(inside.float().mean())
    kinds: dict[str, list[float]] = {}
    for pair, hit in zip(pairs, right.tolist(), strict=True):
        kinds.setdefault(f"{pair.kind}, {pair.label}", []).append(hit)
    return {
        "pairs": len(pairs),
        "accuracy": round(float(right.mean()), 4),
        "expected calibration error": round(error, 4),
        "accuracy by kind": {
            kind: [round(sum(hits) / len(hits), 3), len(hits)]
            for kind, hits in sorted(kinds.items())
        },
    }
