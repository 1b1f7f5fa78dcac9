"""Metrics of rankings by qrels, computed by ranx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rag.errors import ConfigError

CUTOFFS = (1, 5, 10, 20, 100)
METRICS = ("nDCG@10", *(f"recall@{k}" for k in CUTOFFS), "MRR@10", "MAP")


def score(
    qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Return the metrics of each question of `qrels`: question id -> metric -> value.

    nDCG@10 gains 2^rel - 1 for a document of relevance rel (Burges et al., ICML 2005), which for
    binary judgements equals the linear gain (Järvelin & Kekäläinen, TOIS 2002). Recall, reciprocal
    rank and average precision take every relevance above 0 as relevant. A question without a
    ranking has 0 in all.

    Raises:
        ConfigError: if ranx is not installed.
    """
    ranx = ranx_metrics()
    judged, ranked = _arrays(qrels, run)
    values = {
        "nDCG@10": ranx.ndcg_burges(judged, ranked, 10),
        **{f"recall@{k}": ranx.recall(judged, ranked, k) for k in CUTOFFS},
        "MRR@10": ranx.reciprocal_rank(judged, ranked, 10),
        "MAP": ranx.average_precision(judged, ranked),
    }
    return {
        question: {metric: float(values[metric][row]) for metric in METRICS}
        for row, question in enumerate(qrels)
    }


def ranx_metrics() -> Any:
    """Import the module `ranx.metrics`.

    Raises:
        ConfigError: if ranx is not installed.
    """
    try:
        from numba import config

        # Numba takes 12 s to compile these functions, and Python a fraction of one to run them.
        before, config.DISABLE_JIT = config.DISABLE_JIT, True
        try:
            from ranx import metrics
        finally:
            config.DISABLE_JIT = before
    except ImportError:
        raise ConfigError("measuring needs ranx: pip install 'checkable-rag[eval]'") from None
    return metrics


def _arrays(
    qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Sequence[str]]
) -> tuple[Any, Any]:
    """Return rows of (document, value) for each question, the best first, as ranx reads them.

    The relevant documents of each question are numbered from 0; any other is -1.
    """
    import numpy as np

    most_relevant = max((len(gains) for gains in qrels.values()), default=0)
    longest = max((len(run.get(question, ())) for question in qrels), default=0)
    judged = np.full((len(qrels), max(most_relevant, 1), 2), (-1, 0), dtype=np.int64)
    ranked = np.full((len(qrels), max(longest, 1), 2), (-1, 0), dtype=np.int64)
    for row, (question, gains) in enumerate(qrels.items()):
        best_first = sorted(gains.items(), key=lambda pair: -pair[1])
        numbers = {document: number for number, (document, _) in enumerate(best_first)}
        for number, (_, gain) in enumerate(best_first):
            judged[row, number] = number, gain
        for rank, document in enumerate(run.get(question, ())):
            ranked[row, rank] = numbers.get(document, -1), longest - rank
    return judged, ranked
