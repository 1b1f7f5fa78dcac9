"""Training files -> examples: contexts of several sentences, groups of passages, near misses."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from rag.text.sentences import split_sentences
from rag.text.words import content_words
from rag.training.reader import perturbing, synthetic
from rag.training.reader.examples import (
    Example,
    Row,
    Span,
    holds_answer,
    is_held_out,
    join_sentences,
    read_judged,
    read_rows,
    shift,
)

# One document of this many is kept to choose and calibrate by.
HELD_OUT = 12
# Answers that say nothing to a person who reads only them.
_EMPTY = frozenset(
    """he she it they him her them his its their this that these those who which i we you my our
    your us me other others also however there here is was are were be been a an the thing things
    one ones such some any each both either many most very more""".split()  # noqa: SIM905
)
_MOST_WORDS = 30

Maker = Callable[[Path, Random, dict[str, Any]], list[Example]]


def make_qamr(data: Path, rng: Random, options: dict[str, Any]) -> list[Example]:
    """Make examples of questions about single sentences, set among the sentences of an article.

    Options: `count`, `silent` (the share whose sentence is left out), `grouped` (the share that
    is read beside other passages).
    """
    rows = [row for row in _to_train_on(read_rows(data / options["file"])) if _is_telling(row)]
    documents: dict[str, list[str]] = {}
    for row in read_rows(data / options["file"]):
        sentences = documents.setdefault(row.document, [])
        if row.context not in sentences:
            sentences.append(row.context)
    everything = [each for sentences in documents.values() for each in sentences]
    swapper = Swapper(everything, options, rng)
    rng.shuffle(rows)
    examples: list[Example] = []
    # A sentence has dozens of questions: two or three in a pass are enough.
    for row in rows[: options["count"]]:
        mates = documents[row.document]
        if rng.random() < options["silent"]:
            examples.append(_without_sentence(row, mates, everything, rng))
            continue
        example = swapper.change(_among_sentences(row, mates, everything, rng))
        if rng.random() < options["grouped"]:
            others = [_passage_of(mates, everything, rng, row) for _ in range(rng.randint(1, 2))]
            example = beside(example, [each for each in others if not holds_answer(each, row)], rng)
        examples.append(example)
    return examples


def make_sentences(data: Path, rng: Random, options: dict[str, Any]) -> list[Example]:
    """Make examples of questions about single sentences, each read alone: many in little time.

    Options: `count`, `silent` (the share that gets another sentence of its article).
    """
    rows = _to_train_on(read_rows(data / options["file"]))
    documents: dict[str, list[str]] = {}
    for row in rows:
        documents.setdefault(row.document, []).append(row.context)
    rng.shuffle(rows)
    examples = []
    for row in rows[: options["count"]]:
        other = rng.choice(documents[row.document])
        if rng.random() < options["silent"] and not holds_answer(other, row):
            examples.append(Example(row.question, (other,)))
        else:
            examples.append(row.example)
    return examples


def make_contexts(data: Path, rng: Random, options: dict[str, Any]) -> list[Example]:
    """Make examples of questions over whole passages.

    Options: `count`, `silent` (the share whose answering sentence is taken out, or that gets
    another passage), `grouped` (the share that is read beside passages of other documents).
    """
    rows = [row for row in _to_train_on(read_rows(data / options["file"])) if _is_short(row)]
    rng.shuffle(rows)
    contexts = sorted({row.context for row in rows})
    by_words = _Index(contexts)
    swapper = Swapper(contexts, options, rng)
    examples: list[Example] = []
    for row in rows[: options["count"]]:
        others = [
            each
            for each in by_words.similar(row.question, 6)
            if each != row.context and not holds_answer(each, row)
        ]
        if rng.random() < options["silent"]:
            taken = take_out(row)
            if taken is None or rng.random() < 0.3:
                taken = rng.choice(others) if others else rng.choice(contexts)
            if not holds_answer(taken, row):
                group = [taken, *others[: rng.randint(0, 2)]]
                examples.append(Example(row.question, tuple(dict.fromkeys(group))))
            continue
        example = swapper.change(row.example)
        if others and rng.random() < options["grouped"]:
            example = beside(example, others[: rng.randint(1, 2)], rng)
        examples.append(example)
    return examples


class Swapper:
    """Turn some of the rows into near misses, and swap names where the answer stays.

    Options: `swapped` (the share of rows that become near misses), `renamed` (the share that get
    another name in question and context), `base` (whose embeddings say what words are near).
    """

    def __init__(self, texts: Sequence[str], options: dict[str, Any], rng: Random) -> None:
        self._swapped, self._renamed = options.get("swapped", 0.0), options.get("renamed", 0.0)
        self._rng = rng
        if self._swapped or self._renamed:
            self._names = perturbing.Names(texts)
            self._siblings = perturbing.cached_siblings(options)

    def change(self, example: Example) -> Example:
        """Change an example of one passage, or give it back as it is."""
        drawn = self._rng.random()
        if not example.answers or drawn >= self._swapped + self._renamed:
            return example
        answers = tuple((start, end) for _, start, end in example.answers)
        row = Row(example.question, example.passages[0], "", answers)
        if drawn < self._swapped:
            made = perturbing.near_miss(row, self._rng, self._names, self._siblings)
        else:
            made = perturbing.rename(row, self._rng, self._names)
        return made.example if made is not None else example


def take_out(row: Row) -> str | None:
    """Return the context without the sentences that hold an answer; None if too little is left."""
    spans = split_sentences(row.context)
    kept = [
        row.context[start:end]
        for start, end in spans
        if not any(start < last and first < end for first, last in row.answers)
    ]
    text = join_sentences(kept)
    return text if len(text.split()) >= 15 else None


def beside(example: Example, others: Sequence[str], rng: Random) -> Example:
    """Put an example's passages among others, in any order."""
    passages = [*example.passages, *(each for each in others if each not in example.passages)]
    order = list(range(len(passages)))
    rng.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    answers = tuple(Span(place[number], start, end) for number, start, end in example.answers)
    return Example(example.question, tuple(passages[old] for old in order), answers)


class _Index:
    """Find the passages that share the rarest words with a question."""

    def __init__(self, passages: Sequence[str]) -> None:
        self._passages = passages
        self._of_word: dict[str, list[int]] = {}
        for number, passage in enumerate(passages):
            for word in content_words(passage):
                self._of_word.setdefault(word, []).append(number)

    def similar(self, question: str, count: int) -> list[str]:
        scores: dict[int, float] = {}
        for word in sorted(content_words(question)):
            numbers = self._of_word.get(word, [])
            for number in numbers:
                scores[number] = scores.get(number, 0.0) + 1 / (3 + len(numbers))
        best = sorted(scores, key=lambda number: (-scores[number], number))[:count]
        return [self._passages[number] for number in best]


def _to_train_on(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not is_held_out(row.document, HELD_OUT)]


def _is_short(row: Row) -> bool:
    return any(len(row.context[start:end].split()) <= _MOST_WORDS for start, end in row.answers)


def _is_telling(row: Row) -> bool:
    """Say whether a question about a sentence can be asked of a whole article."""
    start, end = row.answers[0]
    answer = re.findall(r"\w+", row.context[start:end].casefold())
    asked = content_words(row.question)
    shared = asked & content_words(row.context)
    return len(shared) >= 2 and not all(word in _EMPTY for word in answer)


def _among_sentences(
    row: Row, mates: Sequence[str], everything: Sequence[str], rng: Random
) -> Example:
    """Return the sentence of a question in its place among one to five more of its article."""
    at, extra = mates.index(row.context), rng.choice([1, 1, 2, 2, 3, 5])
    before = rng.randint(0, extra)
    chosen = list(mates[max(0, at - before) : at])
    after = list(mates[at + 1 : at + 1 + extra - before])
    if len(chosen) + len(after) == 0:
        strangers = rng.sample(list(everything), min(extra, len(everything)))
        chosen = [each for each in strangers if each != row.context][: rng.randint(0, extra)]
    prefix = join_sentences(chosen)
    prefix += " " if prefix else ""
    text = prefix + join_sentences([row.context, *after])
    # Sentences are trimmed when they are joined.
    by = len(prefix) - (len(row.context) - len(row.context.lstrip()))
    spans = tuple(Span(0, *span) for span in shift(row.answers, by))
    return Example(row.question, (text,), spans)


def _without_sentence(
    row: Row, mates: Sequence[str], everything: Sequence[str], rng: Random
) -> Example:
    asked = content_words(row.question)
    fit = asked & content_words(row.context)
    # Another sentence of the article that shares as much with the question may answer it too.
    others = [
        each
        for each in mates
        if each != row.context and len(asked & content_words(each)) < len(fit)
    ]
    at = rng.randrange(len(others)) if others else 0
    chosen = others[at : at + rng.choice([2, 2, 3, 4])]
    if len(chosen) < 2:
        chosen += rng.sample(list(everything), 2)
    return Example(
        row.question, (join_sentences([each for each in chosen if each != row.context]),)
    )


def _passage_of(mates: Sequence[str], everything: Sequence[str], rng: Random, row: Row) -> str:
    others = [each for each in mates if each != row.context]
    if len(others) < 2 or rng.random() < 0.3:
        others = rng.sample(list(everything), 4)
    at = rng.randrange(len(others))
    return join_sentences(
        [each for each in others[at : at + rng.randint(2, 3)] if each != row.context]
    )


def make_judged(data: Path, rng: Random, options: dict[str, Any]) -> list[Example]:
    """Make examples of a folder with `corpus.jsonl` and `queries.jsonl`, its near misses with them.

    Options: `folder`, `passes` (how often each question is read), `grouped` (the share that is
    read beside the paragraphs of the corpus that share most with the question), `leave_out`
    (titles that are not read).
    """
    left_out = frozenset(options.get("leave_out", ()))
    rows = [row for row in read_judged(data / options["folder"]) if row.document not in left_out]
    paragraphs = sorted({row.context for row in rows})
    by_words = _Index(paragraphs)
    swapper = Swapper(paragraphs, options, rng)
    examples: list[Example] = []
    for _ in range(options["passes"]):
        for row in rows:
            example = swapper.change(row.example)
            if rng.random() < options["grouped"]:
                others = [
                    each
                    for each in by_words.similar(row.question, 5)
                    if each != row.context and not holds_answer(each, row)
                ]
                example = beside(example, others[: rng.randint(1, 2)], rng)
            examples.append(example)
    return examples


def make_manuals(data: Path, rng: Random, options: dict[str, Any]) -> list[Example]:
    """Make examples of a file of questions over manuals, made by `manuals`.

    Options: `file`, `count`, `grouped`. Rows without answers are read as silent.
    """
    rows = read_rows(data / options["file"], silent=True)
    by_words = _Index(sorted({row.context for row in rows}))
    rng.shuffle(rows)
    examples = []
    for row in rows[: options["count"]]:
        example = row.example
        if rng.random() < options["grouped"]:
            others = [
                each
                for each in by_words.similar(row.question, 4)
                if each != row.context and not holds_name(each, row)
            ]
            example = beside(example, others[: rng.randint(1, 2)], rng)
        examples.append(example)
    return examples


def holds_name(text: str, row: Row) -> bool:
    """Say whether a text speaks of what a manual's question names by a word of its own.

    Such a word is one with an underscore, a capital inside, or a dash before it.
    """
    named = re.findall(r"--?[a-z][\w-]+|\w+_\w+|\b\w+[a-z][A-Z]\w+", row.question)
    return any(each in text for each in named) if named else True


def make_synthetic(data: Path, rng: Random, options: dict[str, Any]) -> list[Example]:
    """Make examples by template: tables, settings, definitions, lists, yes or no, how-tos.

    Options: `count`.
    """
    del data
    return synthetic.make(rng, options["count"])


MAKERS: dict[str, Maker] = {
    "manuals": make_manuals,
    "synthetic": make_synthetic,
    "qamr": make_qamr,
    "sentences": make_sentences,
    "contexts": make_contexts,
    "judged": make_judged,
}
