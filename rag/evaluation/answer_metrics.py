"""How good answers are: against gold answers, by what is refused, and by how sure they are."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from rag.parsing import read_whole
from rag.text.languages.english import FRAMING_WORDS
from rag.text.words import content_words

# (premise, sentence) -> whether the premise supports the sentence.
Verifier = Callable[[str, str], bool]

EXACT_MATCH, F1, CONTAINS, GOLD_CITED = "EM", "F1", "contains", "gold cited"
# Of the questions with an answer, `contains`, `wrong` and `lost` are the shares of those that were
# answered right, answered otherwise, and refused.
WRONG, LOST = "wrong", "lost"
# Of those without an answer, the share that was refused.
REFUSED = "refused"
AUROC, AURC = "AUROC", "AURC"
# Generated sentences against their own quotes. What judges them is named with the metric.
BY_WORDS, BY_NLI = " (shared words)", " (NLI)"
RECALL, PRECISION = "citation recall", "citation precision"
# The metrics of single questions, in the order in which they are shown.
ROW_METRICS = (
    *(F1, EXACT_MATCH, CONTAINS, GOLD_CITED, WRONG, LOST, REFUSED),
    *(RECALL + BY_WORDS, PRECISION + BY_WORDS, RECALL + BY_NLI, PRECISION + BY_NLI),
)
LOWER_IS_BETTER = frozenset((WRONG, LOST, AURC))

_FRAMING = content_words(FRAMING_WORDS)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARK = re.compile(r"\s*\[\s*\d+(?:\s*,\s*\d+)*\s*\]")


def normalise(text: str) -> list[str]:
    """Return the tokens of an answer in lower case, without punctuation and articles.

    SQuAD's normalisation (Rajpurkar et al., EMNLP 2016, section 6.1): ASCII punctuation is removed
    first, then the articles.
    """
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """Return 1 if the answer equals a gold answer after normalisation, else 0."""
    return float(normalise(answer) in map(normalise, gold))


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """Return the harmonic mean of token precision and recall, for the best gold answer.

    Rajpurkar et al., EMNLP 2016, section 6.1. Where one side has no tokens, only equality counts.
    """
    return max(_f1(normalise(answer), normalise(each)) for each in gold)


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    return 2 * (Counter(answer) & Counter(gold)).total() / (len(answer) + len(gold))


def contains(text: str, gold: Sequence[str]) -> float:
    """Return 1 if the text holds the normalised tokens of a gold answer in a row, else 0."""
    tokens = f" {' '.join(normalise(text))} "
    return float(any(f" {' '.join(words)} " in tokens for words in map(normalise, gold) if words))


def remove_marks(text: str, cited: Collection[int]) -> str:
    """Remove citation marks such as `[2]` from a text; other numbers in brackets stay."""

    def replacement(match: re.Match[str]) -> str:
        numbers = {read_whole(number) for number in re.findall(r"\d+", match[0])}
        return "" if numbers <= set(cited) else match[0]

    return _MARK.sub(replacement, text)


def shares_words(premise: str, sentence: str) -> bool:
    """Return whether `premise` holds the numbers and half of the other words of `sentence`."""
    words, found = content_words(sentence) - _FRAMING, content_words(premise)
    if not words or any(word[0].isdigit() and word not in found for word in words):
        return False
    return len(words & found) / len(words) >= 0.5


def judge_citations(
    sentence: str, quotes: Sequence[str], verify: Verifier
) -> tuple[bool, tuple[bool, ...]]:
    """Judge whether the quotes together support the sentence, and which of them are needed.

    The recall of a sentence and the precision of its citations by ALCE (Gao et al., EMNLP 2023,
    citation quality): a citation counts unless all quotes together do not support the sentence, or
    the citation alone does not while the others without it do.
    """
    if not quotes or not verify("\n".join(quotes), sentence):
        return False, (False,) * len(quotes)
    if len(quotes) == 1:
        return True, (True,)
    rests = ["\n".join([*quotes[:at], *quotes[at + 1 :]]) for at in range(len(quotes))]
    return True, tuple(
        verify(quote, sentence) or not verify(rest, sentence)
        for quote, rest in zip(quotes, rests, strict=True)
    )


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """The risk of giving only the answers whose confidence is `confidence` or more.

    `coverage` is their share of all questions, `risk` their mean loss, both from 0 to 1.
    """

    confidence: float
    coverage: float
    risk: float


def risk_coverage(
    confidences: Sequence[float], losses: Sequence[float | None]
) -> tuple[tuple[RiskPoint, ...], float | None]:
    """Return the risk by coverage, the surest answers first, and the area under it (AURC).

    El-Yaniv & Wiener, JMLR 11, 2010; the area as the mean risk over all answers, Geifman, Uziel &
    El-Yaniv, ICLR 2019, section 3. A loss of None says that the question was refused: the curve
    ends at the share of questions that were answered. Answers of equal confidence are given
    together; for the area, each of them counts with the mean loss of all of them, so that the order
    of the questions does not matter. The area is None without an answer.
    """
    groups: dict[float, list[float]] = {}
    for confidence, loss in zip(confidences, losses, strict=True):
        if loss is not None:
            groups.setdefault(confidence, []).append(loss)
    points, area, answered, lost = [], 0.0, 0, 0.0
    for confidence in sorted(groups, reverse=True):
        mean = sum(groups[confidence]) / len(groups[confidence])
        for _ in groups[confidence]:
            answered, lost = answered + 1, lost + mean
            area += lost / answered
        points.append(RiskPoint(confidence, answered / len(losses), lost / answered))
    return tuple(points), area / answered if answered else None


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """Return the probability that a positive scores higher than a negative; ties count half.

    The area under the ROC curve by the rank sum (Hanley & McNeil, Radiology 143:1, 1982; Mann &
    Whitney): (sum of the positives' ranks - n (n + 1) / 2) / (n m) for n positives and m negatives.
    None if there is no positive, or no negative.
    """
    import numpy as np

    chosen = np.array(positive, dtype=bool)
    positives, negatives = int(chosen.sum()), int((~chosen).sum())
    if not positives or not negatives:
        return None
    _, value, count = np.unique(np.array(scores), return_inverse=True, return_counts=True)
    # Equal scores share the mean of their ranks.
    ranks = (np.cumsum(count) - (count - 1) / 2)[value]
    least = positives * (positives + 1) / 2
    return float((ranks[chosen].sum() - least) / (positives * negatives))
