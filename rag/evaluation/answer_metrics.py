"""How good an answer is: against gold answers, against what it cites, and when it abstains."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Sequence

# (premise, sentence) -> whether the premise bears the sentence out.
Verifier = Callable[[str, str], bool]

EXACT_MATCH, F1, CONTAINS = "EM", "F1", "contains"
RECALL, PRECISION, GOLD_CITED = "citation recall", "citation precision", "gold cited"
# What is added to the name of a metric that a model for natural language inference judges.
NLI = " (NLI)"
# The metrics of single questions, in the order in which they are shown.
ROW_METRICS = (
    *(EXACT_MATCH, F1, CONTAINS),
    *(RECALL, PRECISION, RECALL + NLI, PRECISION + NLI, GOLD_CITED),
)

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARK = re.compile(r"\s*\[\s*\d+(?:\s*,\s*\d+)*\s*\]")


def normalised(text: str) -> list[str]:
    """The tokens of an answer in lower case, without punctuation and articles.

    SQuAD's normalisation (Rajpurkar et al., EMNLP 2016, section 6.1): punctuation is that of
    ASCII, and goes before the articles do.
    """
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1 if the answer is one of the gold answers once both are normalised, else 0."""
    return float(normalised(answer) in map(normalised, gold))


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of the tokens, of the gold answer it fits best.

    Rajpurkar et al., EMNLP 2016, section 6.1. Without tokens on one side only equality counts.
    """
    return max(_f1(normalised(answer), normalised(each)) for each in gold)


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    return 2 * (Counter(answer) & Counter(gold)).total() / (len(answer) + len(gold))


def contains(text: str, gold: Sequence[str]) -> float:
    """1 if the normalised tokens of a gold answer stand in the text one after another, else 0."""
    tokens = f" {' '.join(normalised(text))} "
    return float(any(f" {' '.join(words)} " in tokens for words in map(normalised, gold) if words))


def without_marks(text: str, cited: Collection[int]) -> str:
    """The text without its citation marks, such as `[2]`; other numbers in brackets stay."""

    def kept(match: re.Match[str]) -> str:
        numbers = {int(number) for number in re.findall(r"\d+", match[0])}
        return "" if numbers <= set(cited) else match[0]

    return _MARK.sub(kept, text)


def judge_citations(
    sentence: str, quotes: Sequence[str], verify: Verifier
) -> tuple[bool, tuple[bool, ...]]:
    """Whether the quotes together bear out the sentence, and which of them are to the point.

    The recall of a sentence and the precision of its citations by ALCE (Gao et al., EMNLP 2023,
    citation quality): a citation counts unless the sentence is not borne out at all, or the
    citation alone does not bear it out while the others without it do.
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


def abstention(abstained: Sequence[bool], unanswerable: Sequence[bool]) -> dict[str, float]:
    """Precision, recall and F1 of abstaining, where right means that there is no answer.

    What is not defined is left out: precision if nothing abstained, and all if every question
    has an answer.
    """
    if not any(unanswerable):
        return {}
    right = sum(a and u for a, u in zip(abstained, unanswerable, strict=True))
    precision = {"abstention precision": right / sum(abstained)} if any(abstained) else {}
    return {
        **precision,
        "abstention recall": right / sum(unanswerable),
        "abstention F1": 2 * right / (sum(abstained) + sum(unanswerable)),
    }


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """The probability that a positive scores higher than a negative, equal scores counting half.

    The area under the ROC curve by the rank sum (Hanley & McNeil, Radiology 143:1, 1982; Mann &
    Whitney): (sum of the positives' ranks - n (n + 1) / 2) / (n m) for n positives and m negatives.
    None, where one of the two is missing.
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
