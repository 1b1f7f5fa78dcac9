"""A sentence and the passages -> which span bears it out, how well, and what no passage holds."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

from rag.answering.injection import orders, telling_windows
from rag.text.languages.english import FRAMING_WORDS, NUMERALS
from rag.text.words import FACT, content_words

if TYPE_CHECKING:
    from rag.protocols import Embedder, EntailmentModel
    from rag.types import Hit

# A sentence is borne out by a span whose support is this or more.
SUPPORTED = 0.5

# Fitted by benchmarks/calibration.py on statements made of one half of XQuAD's questions.
_INTERCEPT = -6.39
_WEIGHTS = {"share": 2.63, "cosine": 3.67, "facts": 2.30}

# So many windows, the best by words, are looked at by meaning.
_COMPARED = 6
_SHORT = 3  # words
_FRAMING = content_words(FRAMING_WORDS)


@dataclass(frozen=True, slots=True)
class Ground:
    """The span `hits[number - 1].text[start:end]` that bears a sentence out, by `support` (0-1)."""

    number: int
    start: int
    end: int
    support: float


@dataclass(frozen=True, slots=True)
class _Window:
    number: int
    start: int
    end: int
    text: str
    words: frozenset[str]
    facts: frozenset[str]


class Grounding:
    """The passages of an answer, against which its sentences are held.

    Args:
        question: what was asked; it gives a reply of few words its context.
        hits: the passages, as numbered in the prompt.
        embedder: compares meanings, besides words; None leaves words alone to decide.
        entailment: decides in place of both, among the windows that hold a sentence's numbers.
    """

    def __init__(
        self,
        question: str,
        hits: Sequence[Hit],
        embedder: Embedder | None = None,
        entailment: EntailmentModel | None = None,
    ) -> None:
        self._question = question
        self._hits = hits
        self._embedder = embedder
        self._entailment = entailment

    def grounds(self, sentence: str, hinted: Sequence[int] = ()) -> list[Ground]:
        """What bears the sentence out: in the passages `hinted` at, or else in the best one.

        Word for word counts 1. Otherwise windows of one or two sentences are compared: by the
        share of the sentence's words and facts that they hold and the cosine of the two, by a
        logistic regression. A number in the sentence that a window lacks leaves it no support: it
        is what a reader would act upon. Spans that give orders to a model bear nothing out.
        """
        words = content_words(sentence) - _FRAMING
        if not words:
            return []
        found = self._verbatim(sentence) or self._compared(sentence, words)
        best: dict[int, Ground] = {}
        for ground in found:
            kept = best.get(ground.number)
            if ground.support >= SUPPORTED and (kept is None or ground.support > kept.support):
                best[ground.number] = ground
        chosen = [ground for number, ground in sorted(best.items()) if number in hinted]
        if not chosen and best:
            chosen = [max(best.values(), key=lambda ground: (ground.support, -ground.number))]
        return chosen

    def flags(self, sentence: str) -> tuple[str, ...]:
        """The names, numbers and dates of the sentence that no passage holds, in its order."""
        return tuple(dict.fromkeys(w for w in _facts(sentence) if not _same(w) & self._held))

    @cached_property
    def _held(self) -> frozenset[str]:
        texts = [" ".join((hit.text, hit.title, *hit.chunk.heading)) for hit in self._hits]
        return frozenset().union(*(_same(word) for text in texts for word in FACT.findall(text)))

    @cached_property
    def _orders(self) -> list[list[tuple[int, int]]]:
        return [orders(hit.text) for hit in self._hits]

    @cached_property
    def _windows(self) -> list[_Window]:
        found = []
        for number, hit in enumerate(self._hits, start=1):
            # A claim often joins a pronoun to what it stands for in the sentence before.
            for start, end in telling_windows(hit.text):
                text = hit.text[start:end]
                facts = frozenset().union(*(_same(word) for word in FACT.findall(text)))
                found.append(_Window(number, start, end, text, content_words(text), facts))
        return found

    def _verbatim(self, sentence: str) -> list[Ground]:
        """Where the sentence stands word for word, whatever the white space and its full stop."""
        words = sentence.rstrip(" .").split()
        if len(words) <= _SHORT:
            return []
        pattern = re.compile(r"\s+".join(map(re.escape, words)) + r"\.?")
        found = []
        for number, hit in enumerate(self._hits, start=1):
            for match in pattern.finditer(hit.text):
                barred = self._orders[number - 1]
                if not any(a < match.end() and match.start() < b for a, b in barred):
                    found.append(Ground(number, match.start(), match.end(), 1.0))
                    break
        return found

    def _compared(self, sentence: str, words: frozenset[str]) -> list[Ground]:
        likely = self._likely(words)
        if self._embedder is None and self._entailment is None:
            supports = [share for share, _ in likely]
        elif self._entailment is not None:
            claim = self._in_context(sentence, words)
            rows = self._entailment.entail([(window.text, claim) for _, window in likely])
            supports = [float(row[0]) for row in rows]
        else:
            supports = [support(each) for each in self._measured(sentence, words, likely)]
        return [
            Ground(window.number, window.start, window.end, support)
            for (_, window), support in zip(likely, supports, strict=True)
        ]

    def measures(self, sentence: str) -> list[dict[str, float]]:
        """What its support goes by, for each of the likeliest windows.

        `share` of the sentence's words and of its `facts` (names, numbers and dates) that the
        window holds, and the `cosine` of the two. Without an embedder there are none.
        """
        words = content_words(sentence) - _FRAMING
        return self._measured(sentence, words, self._likely(words))

    def _measured(
        self, sentence: str, words: frozenset[str], likely: Sequence[tuple[float, _Window]]
    ) -> list[dict[str, float]]:
        if self._embedder is None or not likely:
            return []
        texts = [self._in_context(sentence, words), *(window.text for _, window in likely)]
        vectors = self._embedder.embed_documents(texts)
        facts = [_same(fact) for fact in _facts(sentence)]
        return [
            {
                "share": share,
                "cosine": float(cosine),
                "facts": fmean(bool(fact & window.facts) for fact in facts) if facts else 1.0,
            }
            for (share, window), cosine in zip(likely, vectors[1:] @ vectors[0], strict=True)
        ]

    def _likely(self, words: frozenset[str]) -> list[tuple[float, _Window]]:
        """The windows with the largest share of the words, of those that hold all its numbers."""
        numbers = {word for word in words if word[0].isdigit()}
        asked = content_words(self._question)
        shares = [
            (len(words & window.words) / len(words), window)
            for window in self._windows
            if numbers <= window.words and words & window.words
        ]
        # Of equal ones the one nearest to the question, then the shortest.
        shares.sort(key=lambda pair: (-pair[0], -len(asked & pair[1].words), len(pair[1].text)))
        return shares[:_COMPARED]

    def _in_context(self, sentence: str, words: frozenset[str]) -> str:
        """A reply of few words says little without what was asked."""
        return f"{self._question} {sentence}" if len(words) <= _SHORT else sentence


def support(values: dict[str, float]) -> float:
    """The probability that a window bears a sentence out, from what `Grounding.measures` gives."""
    score = _INTERCEPT + sum(_WEIGHTS[name] * value for name, value in values.items())
    return 1 / (1 + math.exp(-score))


def bears_out(premise: str, sentence: str) -> bool:
    """Whether `premise` holds every number and at least half of the other words of `sentence`."""
    words, held = content_words(sentence) - _FRAMING, content_words(premise)
    if not words or any(word[0].isdigit() and word not in held for word in words):
        return False
    return len(words & held) / len(words) >= SUPPORTED


def _facts(sentence: str) -> list[str]:
    """The names, numbers and dates of a sentence, word by word."""
    found = []
    words = [match[0] for match in FACT.finditer(sentence)]
    for at, word in enumerate(words):
        # The first word has its capital from its place, unless a name goes on after it.
        named = word[0].isupper() and (
            at > 0 or (len(words) > 1 and words[1][0].isupper() and content_words(word))
        )
        number = any(c.isdigit() for c in word) or word.lower() in NUMERALS
        if number or (named and content_words(word)):
            found.append(word)
    return found


def _same(word: str) -> frozenset[str]:
    """A word in the forms in which it counts as the same."""
    low = word.casefold()
    forms = {low, low.replace(",", ""), low.removesuffix("'s").removesuffix("’s").rstrip("s")}
    if low in NUMERALS:
        forms.add(NUMERALS[low])
    return frozenset({*forms, *re.split(r"[-'’]", low)} - {""})
