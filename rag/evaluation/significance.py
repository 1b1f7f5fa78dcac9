"""Compare reports: what differs between them, and how certain that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, TypeVar

from rag.errors import SourceError
from rag.evaluation.answer_metrics import LOWER_IS_BETTER
from rag.evaluation.answer_report import AnswerReport
from rag.evaluation.report import Report

R = TypeVar("R", Report, AnswerReport)

_EXCHANGES = _RESAMPLES = 9999
_BATCH = 500
_SEED = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of one configuration from the reference in one metric.

    `mean` is the mean of its value minus the reference's, over the questions with a value in both;
    `low` and `high` are the bounds of its 95 % interval (bootstrap). `p` is the two-sided p-value,
    `corrected` the same after Holm's correction for all configurations in the comparison.
    `better`, `worse` and `equal` count questions; of a metric that should be low, a lower value is
    better.
    """

    configuration: str
    metric: str
    mean: float
    low: float
    high: float
    p: float
    corrected: float
    better: int
    worse: int
    equal: int

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.corrected < 0.05


@dataclass(frozen=True, slots=True)
class Comparison(Generic[R]):
    """Reports with their differences to the first, the reference."""

    reports: tuple[R, ...]
    differences: tuple[Difference, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The compared metrics: those of single questions that all reports have."""
        return tuple(dict.fromkeys(each.metric for each in self.differences))

    def difference(self, at: int, metric: str) -> Difference:
        """Return how `reports[at]` differs from the reference, `reports[0]`, in a metric."""
        return self.differences[(at - 1) * len(self.metrics) + self.metrics.index(metric)]


def compare(reports: Sequence[R]) -> Comparison[R]:
    """Compare each report with the first, metric by metric, paired by question.

    The test is Fisher's randomisation test with 9,999 random exchanges (Smucker, Allan &
    Carterette, CIKM 2007, section 3.1), and counts the observed one among them; the interval is the
    percentile bootstrap's. Both are seeded. Holm's step-down correction (Scandinavian Journal of
    Statistics 6:2, 1979) is applied over the configurations, for each metric by itself.

    Raises:
        SourceError: if the reports are not of the same questions and judgements.
    """
    reference, others = reports[0], reports[1:]
    for other in others:
        _check_same_questions(reference, other)
    by_metric = [
        _differences(reference, others, metric)
        for metric in reference.metrics
        if all(pair_values(reference, other, metric) for other in others)
    ]
    by_report = [difference for each in zip(*by_metric, strict=True) for difference in each]
    return Comparison(tuple(reports), tuple(by_report))


def pair_values(reference: R, other: R, metric: str) -> list[tuple[float, float]]:
    """Return the values of a metric in both reports, for the questions with a value in both."""
    after = {row.id: row.metrics for row in other.rows}
    return [
        (row.metrics[metric], after[row.id][metric])
        for row in reference.rows
        if metric in row.metrics and metric in after[row.id]
    ]


def best_value(reports: Sequence[R], metric: str) -> float | None:
    """Return the best value of a metric: the lowest of those that should be low; None of none."""
    values = [report.metrics[metric] for report in reports if metric in report.metrics]
    if not values:
        return None
    return min(values) if metric in LOWER_IS_BETTER else max(values)


def _differences(reference: R, others: Sequence[R], metric: str) -> list[Difference]:
    gains = [_gains(reference, other, metric) for other in others]
    p_values = [_p_value(each) for each in gains]
    falls = metric in LOWER_IS_BETTER
    return [
        Difference(
            configuration=other.configuration,
            metric=metric,
            mean=float(gain.mean()),
            low=bounds[0],
            high=bounds[1],
            p=p,
            corrected=corrected,
            better=int((gain < 0).sum() if falls else (gain > 0).sum()),
            worse=int((gain > 0).sum() if falls else (gain < 0).sum()),
            equal=int((gain == 0).sum()),
        )
        for other, gain, bounds, p, corrected in zip(
            others, gains, map(_interval, gains), p_values, holm(p_values), strict=True
        )
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values by Holm, in the order given: max over j <= i of min(1, (m - j + 1) p_j)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    steps = (min(1.0, (len(order) - rank) * p_values[at]) for rank, at in enumerate(order))
    corrected = dict(zip(order, accumulate(steps, max), strict=True))
    return [corrected[at] for at in range(len(order))]


def _gains(reference: R, other: R, metric: str) -> Any:
    import numpy as np

    gains = np.array([after - before for before, after in pair_values(reference, other, metric)])
    # Values that differ only by rounding count as equal.
    return np.where(np.abs(gains) < 1e-12, 0.0, gains)


def _p_value(gains: Any) -> float:
    """Test by random exchanges: to exchange the values of a question flips the sign of its gain."""
    import numpy as np

    rng = np.random.default_rng(_SEED)
    observed = abs(gains.sum()) - 1e-9
    as_far, left = 0, _EXCHANGES
    while left:
        batch = min(left, _BATCH)
        signs = rng.choice((-1.0, 1.0), size=(batch, len(gains)))
        as_far += int((np.abs(signs @ gains) >= observed).sum())
        left -= batch
    return (1 + as_far) / (1 + _EXCHANGES)


def _interval(gains: Any) -> tuple[float, float]:
    import numpy as np
    from scipy.stats import bootstrap

    if len(gains) < 2:
        return float(gains[0]), float(gains[0])
    found = bootstrap(
        (gains,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _check_same_questions(reference: Report | AnswerReport, other: Report | AnswerReport) -> None:
    both = (reference, other)
    before, after = ({row.id: row.judgement for row in report.rows} for report in both)
    for question in (*before, *after):
        if before.get(question) != after.get(question):
            raise SourceError(
                other.dataset,
                f"{question!r} is not asked and judged as in {reference.configuration} "
                f"({reference.dataset}, {reference.created}): measure both again",
            )
