"""What a reader finds: spans of passages, and how probably they answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.answering.logistic import sigmoid
from rag.answering.passages import Stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A logit that stands for "never", small enough to vanish in every sum of probabilities.
NEVER = -1e4


@dataclass(frozen=True, slots=True)
class Span(Stretch):
    """The span `[start:end]` of passage `number` (from 1), in code points.

    `log_odds` are those of this span against no answer in its passage; `probability` that this is
    the answer, among all spans of all passages and no answer.
    """

    log_odds: float
    probability: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader found in the passages of one question.

    Attributes:
        spans: the best ones that do not overlap, the best first.
        probability: that the passages hold an answer, and the best span is it.
        log_odds: the same before calibration; `-inf` without passages.
    """

    spans: tuple[Span, ...]
    probability: float
    log_odds: float


def weigh(
    scores: Iterable[tuple[Stretch, float]],
    total: float,
    most: int,
    *,
    temperature: float = 1.0,
    bias: float = 0.0,
) -> Reading:
    """Return the reading of scored spans, compared over all passages.

    Clark & Gardner, ACL 2018, section 4.2: the spans of all passages of a question and one "no
    answer" are normalized together.

    Args:
        scores: spans with their log-odds against no answer.
        total: the log of the summed odds of all spans, also of those not in `scores`.
        most: how many spans the reading holds.
        temperature: that of the calibration: probability = logistic((total - bias) / temperature).
        bias: that of the calibration.
    """
    probability = sigmoid((total - bias) / temperature)
    chosen: list[Span] = []
    for span, score in sorted(scores, key=lambda each: -each[1]):
        if len(chosen) == most:
            break
        if not any(_overlap(span, other) for other in chosen):
            share = math.exp(min(0.0, score - total))
            chosen.append(Span(span.number, span.start, span.end, score, share * probability))
    return Reading(tuple(chosen), probability, total)


def log_sum(values: NDArray[Any] | Sequence[float]) -> float:
    """Return log(sum(exp(values))); NEVER without values."""
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        return NEVER
    largest = float(array.max())
    return largest + math.log(float(np.exp(array - largest).sum()))


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without white space around it, which some tokens begin with."""
    quote = text[start:end]
    start += len(quote) - len(quote.lstrip())
    return start, start + len(quote.strip())


def _overlap(one: Stretch, other: Stretch) -> bool:
    return one.number == other.number and one.start < other.end and other.start < one.end
