"""How good an answer is: against gold answers, against what it cites, and when it abstains."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from rag.text.languages.english import FRAMING_WORDS
from rag.text.words import content_words

# (premise, sentence) -> whether the premise supports the sentence.
Verifier = Callable[[str, str], bool]

EXACT_MATCH, F1, CONTAINS = "EM", "F1", "contains"
RECALL, PRECISION, GOLD_CITED = "citation recall", "citation precision", "gold cited"
# The suffix of a metric that a model for natural language inference judges.
NLI = " (NLI)"
# The metrics of single questions, in the order in which they are shown.
ROW_METRICS = (
    *(EXACT_MATCH, F1, CONTAINS),
    *(RECALL, PRECISION, RECALL + NLI, PRECISION + NLI, GOLD_CITED),
)

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
        numbers = {int(number) for number in re.findall(r"\d+", match[0])}
        return "" if numbers <= set(cited) else match[0]

    return _MARK.sub(replacement, text)


def shares_words(premise: str, sentence: str) -> bool:
    """Whether `premise` holds the numbers and at least half of the other words of `sentence`."""
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


def abstention(abstained: Sequence[bool], unanswerable: Sequence[bool]) -> dict[str, float]:
    """Return precision, recall and F1 of abstaining, which is right where there is no answer.

    Undefined values are left out: precision if no answer abstained, and all three if every question
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
