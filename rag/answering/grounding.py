"""sentence, passages -> the spans that support it, how well, and what no passage holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

from rag.answering.logistic import regression
from rag.answering.passages import Passages, Statement, Stretch
from rag.text.languages.english import FRAMING_WORDS, NUMERALS
from rag.text.words import FACT, content_words

if TYPE_CHECKING:
    from rag.protocols import EntailmentModel

# A span supports a sentence if it scores this or more.
SUPPORTED = 0.5

# So many windows, the best by words, are looked at by meaning.
_COMPARED = 6
_SHORT = 3  # words
_FRAMING = content_words(FRAMING_WORDS)


@dataclass(frozen=True, slots=True)
class Support(Stretch):
    """A stretch of a passage that supports a sentence, with its score (0 to 1)."""

    score: float


Likely = tuple[float, int, Statement]
"""A share of words, and the window that holds it with the number of its passage."""


class Grounding:
    """The passages of an answer, against which its sentences are compared.

    Args:
        question: what was asked; it gives a reply of few words its context.
        passages: as numbered in the prompt. Their embedder compares meanings, besides words.
        entailment: decides in place of both, among the windows that hold a sentence's numbers.
    """

    def __init__(
        self, question: str, passages: Passages, entailment: EntailmentModel | None = None
    ) -> None:
        self._question = question
        self._passages = passages
        self._entailment = entailment
        self._forms: dict[str, frozenset[str]] = {}

    def supports(self, sentence: str, hinted: Sequence[int] = ()) -> list[Support]:
        """Return what supports the sentence: in the passages `hinted` at, or else in the best one.

        Word for word scores 1. Otherwise windows of one or two sentences are compared: by the
        share of the sentence's words and facts that they hold and the cosine of the two, by a
        logistic regression. A number in the sentence that a window lacks leaves it no support: it
        is what a reader would act upon. Instructions to a model support nothing.
        """
        words = content_words(sentence) - _FRAMING
        if not words:
            return []
        best: dict[int, Support] = {}
        for found in self._verbatim(sentence) or self._compare(sentence, words):
            other = best.get(found.number)
            if found.score >= SUPPORTED and (other is None or found.score > other.score):
                best[found.number] = found
        chosen = [found for number, found in sorted(best.items()) if number in hinted]
        if not chosen and best:
            chosen = [max(best.values(), key=lambda found: (found.score, -found.number))]
        return chosen

    def flags(self, sentence: str) -> tuple[str, ...]:
        """Return the names, numbers and dates of the sentence that no passage holds, in order."""
        return tuple(
            dict.fromkeys(w for w in _facts(sentence) if not _forms(w) & self._known_forms)
        )

    def measures(self, sentence: str) -> list[dict[str, float]]:
        """Return what its support is computed from, for each of the likeliest windows.

        `share` of the sentence's words and of its `facts` (names, numbers and dates) that the
        window holds, and the `cosine` of the two. Without an embedder there are none.
        """
        words = content_words(sentence) - _FRAMING
        return self._measure(sentence, words, self._likely(words))

    @cached_property
    def _known_forms(self) -> frozenset[str]:
        """All words of the passages, their titles and headings, in all their forms."""
        return _all_forms(
            " ".join((each.readable, each.hit.title, *each.hit.chunk.heading))
            for each in self._passages
        )

    @cached_property
    def _question_words(self) -> frozenset[str]:
        return content_words(self._question)

    def _verbatim(self, sentence: str) -> list[Support]:
        """Find the sentence word for word, whatever the white space and its full stop."""
        words = sentence.rstrip(" .").split()
        if len(words) <= _SHORT:
            return []
        pattern = re.compile(r"\s+".join(map(re.escape, words)) + r"\.?")
        found = []
        for number, passage in self._passages.with_numbers():
            for match in pattern.finditer(passage.text):
                if not passage.withholds(*match.span()):
                    found.append(Support(number, *match.span(), 1.0))
                    break
        return found

    def _compare(self, sentence: str, words: frozenset[str]) -> list[Support]:
        likely = self._likely(words)
        if self._entailment is not None:
            claim = self._in_context(sentence, words)
            rows = self._entailment.entail([(window.text, claim) for _, _, window in likely])
            scores = [float(row[0]) for row in rows]
        elif self._passages.embedder is not None:
            scores = [support(each) for each in self._measure(sentence, words, likely)]
        else:
            scores = [share for share, _, _ in likely]
        return [
            Support(number, window.start, window.end, score)
            for (_, number, window), score in zip(likely, scores, strict=True)
        ]

    def _measure(
        self, sentence: str, words: frozenset[str], likely: Sequence[Likely]
    ) -> list[dict[str, float]]:
        if self._passages.embedder is None or not likely:
            return []
        texts = [self._in_context(sentence, words), *(window.text for _, _, window in likely)]
        vectors = self._passages.vectors(texts)
        facts = [_forms(fact) for fact in _facts(sentence)]
        return [
            {
                "share": share,
                "cosine": float(cosine),
                "facts": fmean(bool(fact & self._forms_in(window)) for fact in facts)
                if facts
                else 1.0,
            }
            for (share, _, window), cosine in zip(likely, vectors[1:] @ vectors[0], strict=True)
        ]

    def _forms_in(self, window: Statement) -> frozenset[str]:
        if window.text not in self._forms:
            self._forms[window.text] = _all_forms([window.text])
        return self._forms[window.text]

    def _likely(self, words: frozenset[str]) -> list[Likely]:
        """Return the windows with the largest share of the words, if they hold all its numbers."""
        numbers = {word for word in words if word[0].isdigit()}
        shares = [
            (len(words & window.words) / len(words), number, window)
            for number, passage in self._passages.with_numbers()
            for window in passage.windows
            if numbers <= window.words and words & window.words
        ]
        # Of equal ones the one nearest to the question, then the shortest.
        shares.sort(
            key=lambda at: (-at[0], -len(self._question_words & at[2].words), len(at[2].text))
        )
        return shares[:_COMPARED]

    def _in_context(self, sentence: str, words: frozenset[str]) -> str:
        """Put the question before a reply of few words, which says little without it."""
        return f"{self._question} {sentence}" if len(words) <= _SHORT else sentence


def support(values: dict[str, float]) -> float:
    """Return the probability that a window supports a sentence, from `Grounding.measures`."""
    return regression("support").probability(values)


def _facts(sentence: str) -> list[str]:
    """Return the names, numbers and dates of a sentence, word by word."""
    found = []
    words = [match[0] for match in FACT.finditer(sentence)]
    for at, word in enumerate(words):
        # The first word has its capital from its place, unless a name goes on after it.
        is_name = word[0].isupper() and (
            at > 0 or (len(words) > 1 and words[1][0].isupper() and content_words(word))
        )
        is_number = any(c.isdigit() for c in word) or word.lower() in NUMERALS
        if is_number or (is_name and content_words(word)):
            found.append(word)
    return found


def _all_forms(texts: Iterable[str]) -> frozenset[str]:
    return frozenset().union(*(_forms(word) for text in texts for word in FACT.findall(text)))


def _forms(word: str) -> frozenset[str]:
    """Return a word in the forms that count as the same word."""
    low = word.casefold()
    forms = {low, low.replace(",", ""), low.removesuffix("'s").removesuffix("’s").rstrip("s")}
    if low in NUMERALS:
        forms.add(NUMERALS[low])
    return frozenset({*forms, *re.split(r"[-'’]", low)} - {""})
