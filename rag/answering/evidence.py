"""question, passages -> how probably they hold the answer, and the answer word for word."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from rag.answering.citations import Draft, quote, quote_stretches
from rag.answering.extraction import (
    Candidate,
    Question,
    answerability,
    candidates_of,
    extract,
)
from rag.answering.extraction.question import parse_question
from rag.answering.logistic import regression
from rag.answering.passages import Passage, Passages, Stretch
from rag.answering.quoting import quote_answer
from rag.answering.reader import SHIPPED
from rag.answering.silence import find_signs

if TYPE_CHECKING:
    from rag.answering.reader.reading import Reading
    from rag.answering.tools import Reader

# A name of a program: with an underscore or a dot within, or an option.
_IDENTIFIER = re.compile(r"(?<!\S)--?[A-Za-z][\w-]*|\b\w+(?:[_.]\w+)+\b")
# The term of a definition, as formats with terms and definitions are laid out.
_TERM = re.compile(r"^(\S.{0,100})\n: ", re.MULTILINE)
# So many spans are weighed, the best by the reader.
_WEIGHED = 5
# Stands for the distance of a span to the next where there is no other.
_FAR_AHEAD = 10.0
# Stands for the cosine of a passage that was found by its words alone.
_NO_COSINE = 0.4


class Evidence(Protocol):
    """What passages hold for a question.

    `probability` is that they hold the answer.
    """

    @property
    def probability(self) -> float: ...

    def quote(self) -> Draft | None:
        """Draft the answer word for word; None if nothing in the passages answers."""
        ...


def find_evidence(question: str, passages: Passages, reader: Reader | None) -> Evidence:
    """Read the passages with a reader, or compare their words with the question without one.

    Raises:
        GenerationError: if the reader fails.
    """
    if reader is None:
        parsed, sentences = candidates_of(question, passages)
        probability = answerability(parsed, passages.hits, sentences)
        return _ByWords(parsed, sentences, probability)
    reading = reader.read(question, [passage.readable for passage in passages])
    # The regression was fitted to the reader of this package; others have their own scale.
    if reader.name != SHIPPED or not reading.spans:
        return _ByReader(question, passages, reading, reader.name, reading.probability)
    reading, probability = weigh_spans(question, passages, reading)
    return _ByReader(question, passages, reading, reader.name, probability)


def weigh_spans(question: str, passages: Passages, reading: Reading) -> tuple[Reading, float]:
    """Put the span first that most probably answers; return its probability too.

    In a manual, the entry of what is asked for excludes all others: the default of
    `max_connections` stands in no other entry. A reader overlooks that a sentence is about another
    setting or year than the question, which `measures` shows: of its best five spans, another is
    better than the first now and then. On two articles of SQuAD 2.0, each by a regression fitted
    on the other, F1 is 0.593 for 0.562.
    """
    weighed = regression("reading")
    asked = _identifiers(question)
    named = [span for span in reading.spans if _entry(passages, span) & asked]
    spans = named or list(reading.spans)
    chances = []
    for at, span in enumerate(spans[:_WEIGHED]):
        first = replace(reading, spans=(span, *spans[:at], *spans[at + 1 :]))
        chances.append((weighed.probability(measures(question, passages, first)), -at, first))
    probability, _, best = max(chances, key=lambda each: each[:2])
    return best, probability


def _identifiers(text: str) -> frozenset[str]:
    return frozenset(match[0] for match in _IDENTIFIER.finditer(text))


def _entry(passages: Passages, span: Stretch) -> frozenset[str]:
    """Return the identifiers in the term of the definition that a span lies in."""
    terms = _TERM.findall(passages[span.number - 1].text, 0, span.start)
    return _identifiers(terms[-1]) if terms else frozenset()


def measures(question: str, passages: Passages, reading: Reading) -> dict[str, float]:
    """Return what distinguishes passages that answer from passages that are merely near.

    `reader` are the log-odds that the passages answer, `span` those of the best span in its own
    passage, `ahead` by how much they are above those of the best span of another place; `passage`
    is the largest cosine of a passage to the question, `home` that of the passage with the best
    span and `place` one over its rank; `names` is the share of the question's names and numbers
    that this passage holds, and `words` that of its words. The signs of `silence` come beside them.
    """
    best = reading.spans[0]
    parsed = parse_question(question)
    home = passages[best.number - 1]
    context = home.context_words
    cosines = [_cosine(passage) for passage in passages]
    others = [span.log_odds for span in reading.spans[1:]]
    signs = find_signs(question, passages, best)
    if _entry(passages, best) & _identifiers(question):
        # The entry names what its sentences are about.
        signs["names_missing_in_sentence"] = 0.0
    return {
        "reader": reading.log_odds,
        "span": best.log_odds,
        "ahead": best.log_odds - others[0] if others else _FAR_AHEAD,
        "passage": max(cosines),
        "home": cosines[best.number - 1],
        "place": 1 / best.number,
        "names": _share(parsed.names, context),
        "words": _share(parsed.words, context),
        **signs,
    }


def _cosine(passage: Passage) -> float:
    """Return the cosine of a passage to the question; a search by words alone takes none."""
    found = (stage.score for stage in passage.hit.trace if stage.name == "dense")
    return next(found, _NO_COSINE)


def _share(words: frozenset[str], among: frozenset[str]) -> float:
    return len(words & among) / len(words) if words else 1.0


@dataclass(frozen=True, slots=True)
class _ByWords:
    """Sentences that share words and meaning with the question."""

    question: Question
    sentences: list[Candidate]
    probability: float

    def quote(self) -> Draft | None:
        found = extract(self.question, self.sentences)
        return None if found is None else quote(found, "extractive")


@dataclass(frozen=True, slots=True)
class _ByReader:
    """Spans that a reader found."""

    question: str
    passages: Passages
    reading: Reading
    model: str
    probability: float

    def quote(self) -> Draft | None:
        if not self.reading.spans:
            return None
        found = quote_answer(self.question, self.passages, self.reading.spans)
        if not found.stretches:
            return None
        opening = f"{found.verdict.capitalize()}." if found.verdict else ""
        return quote_stretches(self.passages, found.stretches, found.marks, self.model, opening)
