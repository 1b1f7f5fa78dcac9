"""The best sentences of the best passages, word for word: no model at all."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag.config import GenerationConfig
from rag.sentences import content_words, split_sentences
from rag.types import NO_ANSWER, Message, Prompt

_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|"
    r"thousand|million|billion|trillion|half|third|quarter|percent)\b",
    re.IGNORECASE,
)
_ASKS_NUMBER = re.compile(
    r"\b(?:how (?:many|much|long|far|often|large|big|old|tall|high|deep|fast)|when|what year|"
    r"which year|what percentage|what share|what number)\b",
    re.IGNORECASE,
)
_ASKS_NAME = re.compile(r"\b(?:who|whom|whose|where)\b", re.IGNORECASE)
_NAME = re.compile(r"(?<=[\w,;:] )[A-Z]\w+")
# A sentence that adds to the best one must be nearly as good.
_NEARLY = 0.85
_MOST_SENTENCES = 2


@dataclass(frozen=True, slots=True)
class _Candidate:
    number: int
    text: str
    words: frozenset[str]
    context: frozenset[str]


class ExtractiveGenerator:
    """Quotes instead of writing. Deterministic, and nothing to load."""

    name = "extractive"
    context_tokens = 1_000_000

    def __init__(self, config: GenerationConfig) -> None:
        self.max_tokens = config.max_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The number of words: nothing limits what is read."""
        return sum(len(message.content.split()) for message in messages)

    def stream(self, prompt: Prompt) -> Iterator[str]:
        """The best sentence, then what is nearly as good, each with its passage's number.

        Scored by the share of the question's words (weighted by how rare they are among the
        passages' sentences) that a sentence holds, and for a part its passage; with a bonus for
        what kind of thing is asked for, and for the passage's rank.
        """
        candidates = _candidates(prompt)
        scores = _scores(prompt.question, candidates)
        order = sorted(range(len(candidates)), key=lambda at: (-scores[at], at))
        if not order or scores[order[0]] <= 0:
            yield NO_ANSWER
            return
        best = scores[order[0]]
        taken: list[str] = []
        left = self.max_tokens
        for at in order:
            text = " ".join(candidates[at].text.split())
            if len(taken) == _MOST_SENTENCES or scores[at] < _NEARLY * best:
                break
            if text in taken or (taken and len(text.split()) > left):
                continue
            yield f"{' ' if taken else ''}{text} [{candidates[at].number}]"
            taken.append(text)
            left -= len(text.split())


def _candidates(prompt: Prompt) -> list[_Candidate]:
    found = []
    for number, hit in enumerate(prompt.hits, start=1):
        passage = hit.text
        context = content_words(" ".join((passage, hit.title, *hit.chunk.heading)))
        for start, end in split_sentences(passage):
            words = content_words(passage[start:end])
            # A heading or a list's lead-in is no answer.
            if len(words) >= 3 and not passage[start:end].startswith("#"):
                found.append(_Candidate(number, passage[start:end], words, context))
    return found


def _scores(question: str, candidates: Sequence[_Candidate]) -> list[float]:
    asked = content_words(question)
    held_by = Counter(word for candidate in candidates for word in candidate.words)
    weights = {word: math.log(1 + (len(candidates) + 1) / (held_by[word] + 0.5)) for word in asked}
    total = sum(weights.values())
    if not total:
        return [0.0] * len(candidates)
    scores = []
    for candidate in candidates:
        direct = sum(weights[word] for word in asked & candidate.words) / total
        around = sum(weights[word] for word in asked & candidate.context) / total
        if not direct:
            scores.append(0.0)
            continue
        score = direct + 0.4 * around + 0.1 / candidate.number
        if _ASKS_NUMBER.search(question) and _NUMBER.search(candidate.text):
            score += 0.2
        if _ASKS_NAME.search(question) and any(
            name.casefold() not in question.casefold() for name in _NAME.findall(candidate.text)
        ):
            score += 0.15
        scores.append(score)
    return scores
