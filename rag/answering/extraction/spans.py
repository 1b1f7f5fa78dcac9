"""question, candidate sentences -> the shortest spans that may answer, with probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rag.answering.extraction.candidates import Candidate
from rag.answering.extraction.question import Question
from rag.answering.extraction.words import Token, kinds, tokens
from rag.answering.logistic import regression
from rag.text.languages.english import (
    AUXILIARIES,
    CONJUNCTIONS,
    DETERMINERS,
    PREPOSITIONS,
    PRONOUNS,
)

_READ_SENTENCES = 6
_LONGEST = 10  # tokens
_ENDS_A_SPAN = frozenset('.;:!?()[]"“”—')
_COMPARED = 20
# The distance, in words, of a span whose sentence holds none of the question's words.
_FAR = math.exp(3) - 1
_AT, _BY, _CAUSE = {"in", "at", "on"}, {"by"}, {"because", "due", "to", "for"}


@dataclass(frozen=True, slots=True)
class Span:
    """A run of words of a candidate: `candidate.text[start:end] == text`.

    `probability` is that of the span among all spans, `agreement` its mean overlap with the
    likeliest ones, weighted by their probabilities.
    """

    candidate: Candidate
    start: int
    end: int
    text: str
    probability: float
    agreement: float


def best_span(question: Question, sentences: Sequence[Candidate]) -> Span | None:
    """Return the span that overlaps most with the likely answers; None without any.

    Every run of words is scored by a linear model of what is asked for, what the run names, what
    stands around it and how near the question's words are: the way of the logistic regression of
    Rajpurkar et al. (EMNLP 2016, section 5.2), with features that need no parser. Of the likeliest
    runs the one with the largest expected token F1 is taken (minimum Bayes risk: Kumar & Byrne,
    NAACL 2004).
    """
    runs = list(_runs(question, sentences[:_READ_SENTENCES]))
    if not runs:
        return None
    weights = regression("span").weights
    scores = [sum(weights.get(name, 0.0) * value for name, value in run.facts) for run in runs]
    highest = max(scores)
    likelihoods = [math.exp(score - highest) for score in scores]
    total = sum(likelihoods)
    order = sorted(range(len(runs)), key=lambda at: (-likelihoods[at], at))[:_COMPARED]
    bags = {at: Counter(token.low for token in runs[at].content) for at in order}

    def expected(at: int) -> float:
        return sum(likelihoods[each] * _f1(bags[at], bags[each]) for each in order) / total

    best = max(order, key=expected)
    run = runs[best]
    return Span(
        candidate=run.candidate,
        start=run.start,
        end=run.end,
        text=run.candidate.text[run.start : run.end],
        probability=likelihoods[best] / total,
        agreement=expected(best),
    )


def features(
    question: Question, sentences: Sequence[Candidate]
) -> list[tuple[str, dict[str, float]]]:
    """Return each span with its features by name, to fit the weights."""
    return [
        (run.candidate.text[run.start : run.end], dict(run.facts))
        for run in _runs(question, sentences[:_READ_SENTENCES])
    ]


@dataclass(frozen=True, slots=True)
class _Run:
    candidate: Candidate
    start: int
    end: int
    content: tuple[Token, ...]
    facts: tuple[tuple[str, float], ...]


def _runs(question: Question, sentences: Sequence[Candidate]) -> Iterator[_Run]:
    best = sentences[0].score if sentences else 0.0
    for place, sentence in enumerate(sentences):
        around = _Surroundings(question, sentence, place == 0, best - sentence.score)
        for i, first in enumerate(around.tokens):
            if first.is_mark or first.is_function:
                continue
            for j in range(i, min(len(around.tokens), i + _LONGEST)):
                last = around.tokens[j]
                if last.raw in _ENDS_A_SPAN:
                    break
                if last.is_mark or last.is_function:
                    continue
                run = around.tokens[i : j + 1]
                content = tuple(t for t in run if not t.is_mark and not t.is_function)
                if all(token.stem in question.stems for token in content):
                    continue
                facts = {k: float(v) for k, v in around.facts(i, j, content).items() if v}
                yield _Run(sentence, first.start, last.end, content, tuple(facts.items()))


class _Surroundings:
    """A sentence whose spans are compared."""

    def __init__(self, question: Question, sentence: Candidate, is_best: bool, gap: float) -> None:
        self.tokens = tokens(sentence.text)
        self._question = question
        self._asked = [
            at
            for at, token in enumerate(self.tokens)
            if token.stem in question.stems and not token.is_function
        ]
        names = question.names
        held = {token.stem for token in self.tokens}
        self._sentence = {
            "sent": sentence.score,
            "sgap": gap,
            "sfirst": is_best,
            "direct": sentence.direct,
            "cos": sentence.cosine,
            "namecov": len(names & held) / len(names) if names else 1.0,
        }

    def facts(self, i: int, j: int, content: Sequence[Token]) -> Mapping[str, float]:
        asked = self._question.asked
        run = self.tokens[i : j + 1]
        named = kinds(run)
        facts: dict[str, float] = {
            **self._sentence,
            **self._of_length(len(run)),
            **self._of_nearness(i, j, content),
            **self._of_edges(i, j),
            **self._of_inside(run),
            **self._of_head(i, j),
        }
        for kind in ("num", "date", "cap", "allcap", "unit"):
            facts[f"{asked}:{kind}"] = kind in named
        facts[f"{asked}:none"] = not named
        facts[f"{asked}:len"] = math.log(len(run))
        facts[f"{asked}:innerprep"] = facts["innerprep"]
        facts[f"{asked}:after"] = facts["after"]
        facts[f"{asked}:start"] = i == 0
        before = self._before(i)
        facts[f"{asked}:prev_in"] = before in _AT
        facts[f"{asked}:prev_by"] = before in _BY
        facts[f"{asked}:prev_bec"] = before in _CAUSE
        if asked == "number":
            facts["number:only"] = all(token.is_number or token.is_unit for token in content)
            facts["number:year"] = len(run) == 1 and run[0].is_year
        if asked == "date":
            year = len(run) == 1 and run[0].is_year
            facts["date:only"] = all(token.is_number or token.is_month for token in content)
            facts["date:asksyear"] = year and "year" in self._question.text.lower()
        return facts

    def _before(self, i: int) -> str:
        """The word before a span, or before the article in front of it."""
        if not i:
            return ""
        if i > 1 and self.tokens[i - 1].low in DETERMINERS:
            return self.tokens[i - 2].low
        return self.tokens[i - 1].low

    def _of_length(self, length: int) -> dict[str, float]:
        return {"len1": length == 1, "len2": length == 2, "len3": length == 3, "len>5": length > 5}

    def _of_nearness(self, i: int, j: int, content: Sequence[Token]) -> dict[str, float]:
        stems = self._question.stems
        share = sum(token.stem in stems for token in content) / len(content)
        away = [min(abs(at - i), abs(at - j)) for at in self._asked if not i <= at <= j]
        left = [at for at in self._asked if at < i]
        right = [at for at in self._asked if at > j]
        return {
            "qin": share,
            "qin0": share == 0,
            "dist": math.log1p(min(away, default=_FAR)),
            "near5": sum(each <= 5 for each in away) / max(1, len(stems)),
            "near10": sum(each <= 10 for each in away) / max(1, len(stems)),
            "after": len(left) > len(right),
            "adjL": bool(left) and left[-1] == i - 1,
            "adjR": bool(right) and right[0] == j + 1,
        }

    def _of_edges(self, i: int, j: int) -> dict[str, float]:
        words = self.tokens
        first, last = words[i], words[j]
        left = words[i - 1] if i else None
        right = words[j + 1] if j + 1 < len(words) else None
        before = self._before(i)
        left_name = left is not None and left.is_name and not left.is_function
        right_name = right is not None and right.is_name
        left_number = left is not None and (left.is_number or left.is_month)
        right_number = right is not None and right.is_number
        return {
            "start": left is None,
            "prevprep": before in PREPOSITIONS,
            "prevaux": before in AUXILIARIES,
            "prevdet": left is not None and left.low in DETERMINERS,
            "prevpunct": left is not None and left.is_mark,
            "prevcont": left is not None and not left.is_mark and not left.is_function,
            "quote": left is not None and left.raw in "\"“'‘",
            "nextcont": right is not None and not right.is_mark and not right.is_function,
            "nextpunct": right is None or right.is_mark,
            "nextprep": right is not None and right.low in PREPOSITIONS,
            "nextof": right is not None and right.low == "of",
            "nextaux": right is not None and right.low in AUXILIARIES,
            "splitcap": (first.is_name and left_name) or (last.is_name and right_name),
            "splitnum": (first.is_number and left_number)
            or ((last.is_number or last.is_month) and right_number),
            "ly": first.low.endswith("ly"),
            "edstart": first.low.endswith(("ed", "ing")),
            "edend": last.low.endswith(("ed", "ing")),
        }

    def _of_inside(self, run: Sequence[Token]) -> dict[str, float]:
        return {
            "innerprep": sum(token.low in PREPOSITIONS for token in run),
            "innerconj": sum(token.low in CONJUNCTIONS for token in run),
            "inneraux": sum(token.low in AUXILIARIES | PRONOUNS for token in run),
            "innercomma": sum(token.raw == "," for token in run),
            "innerdet": sum(token.low in DETERMINERS for token in run),
        }

    def _of_head(self, i: int, j: int) -> dict[str, float]:
        head = self._question.head
        if not head:
            return {}
        at = [each for each, token in enumerate(self.tokens) if token.stem == head]
        return {
            "headin": any(i <= each <= j for each in at),
            "headlast": j in at,
            "headnext": j + 1 in at,
            "headprev": any(i - 4 <= each < i for each in at),
        }


def _f1(one: Counter[str], other: Counter[str]) -> float:
    return 2 * (one & other).total() / (one.total() + other.total())
