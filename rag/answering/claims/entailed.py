"""Judge a claim by what an entailment model says of each statement.

A model of any kind is combined by the strongest entailment and the strongest contradiction. For the
model of this package, whose errors are known, a regression weighs both beside what the baseline
sees, fitted by `benchmarks/checking.py --fit`: its word alone cannot refute by a sentence that
speaks of something else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.answering.claims import baseline
from rag.answering.claims.baseline import LABELS, Probabilities, softmax
from rag.answering.claims.statements import NearStatement
from rag.answering.logistic import regression
from rag.text.words import content_words

if TYPE_CHECKING:
    from rag.protocols import EntailmentModel

# Statements that hold less of the claim than this share of what the best one holds speak of
# something else, however they contradict it.
_ABOUT = 0.6
# A probability nearer to 0 or 1 says no more.
_LEAST = 0.002
_END = re.compile(r"[\s.!…]+$")


def ask(
    claim: str, statements: Sequence[NearStatement], entailment: EntailmentModel
) -> list[Probabilities]:
    """Ask what each statement says of the claim: supported, refuted, neither.

    A title that holds words of the claim which the statement lacks is put before it.
    """
    rows = entailment.entail([(_premise(claim, statement), claim) for statement in statements])
    return [(entails, contradicts, neither) for entails, neither, contradicts in rows.tolist()]


def find_word_for_word(claim: str, statements: Sequence[NearStatement]) -> NearStatement | None:
    """Find a statement that is the claim, whatever its white space, capitals and full stop."""
    sought = _bare(claim)
    return next((each for each in statements if _bare(each.text) == sought), None)


def weigh_by_similarity(
    each: Sequence[Probabilities], statements: Sequence[NearStatement]
) -> list[Probabilities]:
    """Let statements count the less, the less similar they are to the claim."""
    nearest = max(statement.similarity for statement in statements)
    found = []
    for statement, (supports, refutes, _) in zip(statements, each, strict=True):
        weight = max(0.0, statement.similarity) / nearest if nearest > 0 else 1.0
        found.append((weight * supports, weight * refutes, 1 - weight * (supports + refutes)))
    return found


def weigh_by_words(
    each: Sequence[Probabilities], statements: Sequence[NearStatement]
) -> list[Probabilities]:
    """Let statements that hold too few of the claim's words neither support nor refute."""
    most = max(statement.coverage for statement in statements)
    return [
        found if statement.coverage >= _ABOUT * most else (0.0, 0.0, 1.0)
        for statement, found in zip(statements, each, strict=True)
    ]


def combine(each: Sequence[Probabilities]) -> Probabilities:
    """Combine statements: the strongest entailment against the strongest contradiction.

    With S and R for the two: S (1 - R) supported, R (1 - S) refuted. Passages that contradict each
    other decide nothing. Systems for FEVER take the maximum over sentences, too (Thorne et al.,
    NAACL 2018, and later ones).
    """
    supported = max(found[0] for found in each)
    refuted = max(found[1] for found in each)
    sides = supported * (1 - refuted), refuted * (1 - supported)
    return (*sides, 1 - sum(sides))


def judge(
    claim: str,
    statements: Sequence[NearStatement],
    each: Sequence[Probabilities],
    *,
    by_meaning: bool,
) -> Probabilities:
    """Return how likely each verdict is, by the regression."""
    values = features(claim, statements, each)
    kind = "by entailment" if by_meaning else "by entailment and words"
    verdicts = [regression(f"claim {label} {kind}") for label in LABELS]
    return softmax([math.fsum([way.intercept, *way.products(values)]) for way in verdicts])


def features(
    claim: str, statements: Sequence[NearStatement], each: Sequence[Probabilities]
) -> dict[str, float]:
    """Return the features of the regression: the baseline's, and those of the model.

    supports, refutes: the log-odds of the surest statement of those that are about the claim
    supports_best, refutes_best: the log-odds of the statement that holds most of the claim
    supports_mean, refutes_mean: means weighted by similarity
    """
    near = weigh_by_words(each, statements)
    best = max(range(len(statements)), key=lambda at: statements[at].overlap)
    shares = baseline.weigh(statements)
    means = [
        math.fsum(share * found[side] for share, found in zip(shares, each, strict=True))
        for side in (0, 1)
    ]
    return {
        **baseline.features(claim, statements),
        "supports": _log_odds(max(found[0] for found in near)),
        "refutes": _log_odds(max(found[1] for found in near)),
        "supports_best": _log_odds(each[best][0]),
        "refutes_best": _log_odds(each[best][1]),
        "supports_mean": means[0],
        "refutes_mean": means[1],
    }


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(bounded / (1 - bounded))


def _premise(claim: str, statement: NearStatement) -> str:
    title = statement.hit.title
    lacking = content_words(claim) - content_words(statement.text)
    return f"{title}: {statement.text}" if lacking & content_words(title) else statement.text


def _bare(text: str) -> str:
    return _END.sub("", " ".join(text.casefold().split()))
