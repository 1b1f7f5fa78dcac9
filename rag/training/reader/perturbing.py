"""Answerable rows -> near misses: a name, number or word swapped, a negation put in.

What people wrote for SQuAD 2.0 (Rajpurkar, Jia & Liang, ACL 2018, table 2: negation, antonym,
entity swap, mutual exclusion, impossible condition) is imitated by rule. So that a model does not
learn to know the rules by what they leave behind, names are also swapped in question and context
alike, where the answer stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.text.words import content_words, stem
from rag.training.reader.examples import Row

_NAME = re.compile(
    r"\b[A-Z][\w’'.-]*[\w](?:\s+(?:(?:of|the|de|von|and)\s+)?[A-Z][\w’'-]*[\w])*|\b[A-Z]{2,}\b"
)
_NUMBER = re.compile(r"\b\d[\d,.]*\d\b|\b\d+\b")
_AUXILIARY = re.compile(
    r"\b(is|are|was|were|did|does|do|has|have|had|can|could|will|would|should|must|may)\b", re.I
)
_NEGATION = re.compile(r"\b(?:not|never)\s|n[’']t\b", re.I)
_OPPOSITES = """
first last|largest smallest|biggest smallest|highest lowest|greatest least|longest shortest|
oldest youngest|earliest latest|before after|north south|northern southern|east west|
eastern western|increase decrease|increased decreased|more fewer|most least|above below|
old new|early late|high low|large small|long short|rich poor|male female|men women|win lose|
won lost|begin end|began ended|start stop|started stopped|open closed|inside outside|upper lower|
maximum minimum|public private|left right|strong weak|better worse|best worst|positive negative|
import export|imports exports|buy sell|bought sold|create destroy|created destroyed|gain lose|
gained lost|accept reject|accepted rejected|allow forbid|allowed forbidden|support oppose|
supported opposed|include exclude|includes excludes|included excluded|enable disable|
enabled disabled|internal external|same different|many few|always never|with without|
major minor|common rare|easy difficult|hot cold|heavy light|fast slow|young old|
mother father|son daughter|husband wife|brother sister|king queen|summer winter|day night|
morning evening|love hate|urban rural|modern ancient|rise fall|rose fell|arrive leave|
arrived left|succeed fail|succeeded failed|add remove|added removed|read write|sender recipient|
client server|input output|required optional|days weeks|months years|hours minutes|
employer employee|landlord tenant|seller buyer|teacher student|doctor patient|author reader|
north-east south-west
"""
OPPOSITE_WORDS: dict[str, str] = {}
for _pair in _OPPOSITES.replace("\n", "").split("|"):
    _one, _other = _pair.split()
    OPPOSITE_WORDS.setdefault(_one, _other)
    OPPOSITE_WORDS.setdefault(_other, _one)

_COMMON = frozenset(
    """The A An In On At It He She They This That These Those When Where What Who Which Why How
    After Before During While If As For From By With And But Or Its His Her Their We You I Our Your
    There Some Many Most All Both Each Other Also However Although Since Until Under Over""".split()  # noqa: SIM905
)
_TRIES = 4


class Siblings:
    """Words that stand near to a word in the base's embeddings: another river, not the same."""

    def __init__(self, vocabulary: Sequence[str], vectors: NDArray[np.float32]) -> None:
        self._words = [
            word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 3
        ]
        number = {word: at for at, word in enumerate(vocabulary)}
        rows = vectors[[number[word] for word in self._words]]
        self._vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        self._place = {word: at for at, word in enumerate(self._words)}
        self._known: dict[str, list[str]] = {}

    def of(self, word: str) -> list[str]:
        """Give up to thirty words near to `word`, without its own forms and the very nearest."""
        if word not in self._place:
            return []
        if word not in self._known:
            near = self._vectors @ self._vectors[self._place[word]]
            best = [self._words[at] for at in np.argsort(-near)[3:45]]
            own = stem(word)[:4]
            self._known[word] = [each for each in best if not each.startswith(own)][:30]
        return self._known[word]


def open_siblings(location: str) -> Siblings:
    """Read the vocabulary and word embeddings of a model in transformers' form."""
    from pathlib import Path

    from safetensors.numpy import load_file

    vocabulary = (Path(location) / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tensors = load_file(str(Path(location) / "model.safetensors"))
    name = next(each for each in tensors if each.endswith("word_embeddings.weight"))
    return Siblings(vocabulary, tensors[name].astype(np.float32))


class Names:
    """The names and numbers of a corpus, to swap others for."""

    def __init__(self, texts: Sequence[str]) -> None:
        found = {name for text in texts for name in names_of(text)}
        self.names = sorted(name for name in found if len(name) > 3)

    def other(self, name: str, rng: Random) -> str:
        """Give a name of as many words where there is one."""
        size = len(name.split())
        for _ in range(8):
            chosen = rng.choice(self.names)
            if len(chosen.split()) == size and chosen.casefold() != name.casefold():
                return chosen
        return rng.choice(self.names)


def names_of(text: str) -> list[str]:
    """Find the capitalised phrases of a text that are not merely a sentence's first word."""
    found = []
    for match in _NAME.finditer(text):
        name = match[0]
        first, _, rest = name.partition(" ")
        if first in _COMMON:
            name = rest
        at_start = match.start() == 0 or text[: match.start()].rstrip().endswith((".", "?", "!"))
        if name and not (at_start and " " not in name and name == match[0]):
            found.append(name)
    return list(dict.fromkeys(found))


def near_miss(row: Row, rng: Random, names: Names, siblings: Siblings) -> Row | None:
    """Change a row so that its context no longer answers it; None where no rule fits."""
    rules: list[tuple[float, Callable[[], Row | None]]] = [
        (4.0, lambda: _swap_name(row, rng, names)),
        (1.5, lambda: _swap_number(row, rng)),
        (2.0, lambda: _swap_name_in_context(row, rng, names)),
        (1.0, lambda: _negate(row, rng)),
        (2.5, lambda: _swap_opposite(row, rng)),
        (2.5, lambda: _swap_word(row, rng, siblings)),
    ]
    for _ in range(_TRIES):
        (rule,) = rng.choices([each for _, each in rules], [weight for weight, _ in rules])
        made = rule()
        if (made is not None and made.question != row.question) or (
            made and made.context != row.context
        ):
            return made
    return None


def rename(row: Row, rng: Random, names: Names) -> Row | None:
    """Swap a name in question and context alike, outside the answer, which stays right."""
    name = _shared_name(row, rng)
    if name is None:
        return None
    other = names.other(name, rng)
    changed = _replace_in_context(row, name, other)
    return changed and _with_question(changed, _replace(row.question, name, other))


def _swap_name(row: Row, rng: Random, names: Names) -> Row | None:
    name = _shared_name(row, rng)
    if name is None:
        return None
    answers = " ".join(row.context[start:end] for start, end in row.answers).casefold()
    near = [
        each
        for each in names_of(row.context)
        if each.casefold() not in answers
        and each.casefold() not in row.question.casefold()
        and not set(each.casefold().split()) & set(name.casefold().split())
    ]
    other = rng.choice(near) if near and rng.random() < 0.6 else names.other(name, rng)
    return _silent(row, _replace(row.question, name, other))


def _swap_name_in_context(row: Row, rng: Random, names: Names) -> Row | None:
    name = _shared_name(row, rng)
    if name is None:
        return None
    changed = _replace_in_context(row, name, names.other(name, rng))
    return changed and _silent(changed, row.question)


def _swap_number(row: Row, rng: Random) -> Row | None:
    numbers = [each for each in _NUMBER.findall(row.question) if each in row.context]
    if not numbers:
        return None
    number = rng.choice(numbers)
    answers = [row.context[start:end] for start, end in row.answers]
    others = [
        each
        for each in _NUMBER.findall(row.context)
        if each != number and len(each) == len(number) and not any(each in one for one in answers)
    ]
    if others and rng.random() < 0.5:
        other = rng.choice(others)
    else:
        digits = list(number)
        at = rng.choice([at for at, digit in enumerate(digits) if digit.isdigit()])
        digits[at] = rng.choice([each for each in "123456789" if each != digits[at]])
        other = "".join(digits)
    return _silent(row, row.question.replace(number, other))


def _negate(row: Row, rng: Random) -> Row | None:
    if _NEGATION.search(row.question):
        return None
    match = _AUXILIARY.search(row.question)
    if match is None:
        return None
    word = match[0]
    if word.lower() in {"may", "will", "can"} or rng.random() < 0.5:
        changed = word + rng.choice([" not", " never"])
        # "Did not he": people put it behind the subject, which a rule does not find.
    else:
        changed = word + "n't"
    return _silent(row, row.question[: match.start()] + changed + row.question[match.end() :])


def _swap_opposite(row: Row, rng: Random) -> Row | None:
    words = [
        match
        for match in re.finditer(r"[\w-]+", row.question)
        if match[0].lower() in OPPOSITE_WORDS
    ]
    if not words:
        return None
    match = rng.choice(words)
    other = OPPOSITE_WORDS[match[0].lower()]
    return _silent(row, row.question[: match.start()] + other + row.question[match.end() :])


def _swap_word(row: Row, rng: Random, siblings: Siblings) -> Row | None:
    said = content_words(row.context)
    words = [
        match
        for match in re.finditer(r"\b[a-z]{4,}\b", row.question)
        if stem(match[0]) in said and siblings.of(match[0])
    ]
    if not words:
        return None
    match = rng.choice(words)
    choice = [each for each in siblings.of(match[0]) if stem(each) not in said]
    if not choice:
        return None
    other = rng.choice(choice)
    return _silent(row, row.question[: match.start()] + other + row.question[match.end() :])


def _shared_name(row: Row, rng: Random) -> str | None:
    """Return a name of the context that the question holds, and no answer does."""
    asked = row.question.casefold()
    answers = [row.context[start:end].casefold() for start, end in row.answers]
    shared = [
        name
        for name in names_of(row.context)
        if _whole(name).search(asked) and not any(name.casefold() in each for each in answers)
    ]
    return rng.choice(shared) if shared else None


def _whole(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name.casefold())}(?!\w)")


def _replace(text: str, name: str, other: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", lambda _: other, text, flags=re.I)


def _replace_in_context(row: Row, name: str, other: str) -> Row | None:
    """Return the row with a name swapped throughout its context, its answers moved along."""
    parts: list[str] = []
    answers = [list(span) for span in row.answers]
    at = moved = 0
    for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", row.context, re.I):
        start, end = match.span()
        if any(start < last and first < end for first, last in row.answers):
            return None
        parts += [row.context[at:start], other]
        at = end
        moved = len(other) - (end - start)
        for span, (first, _) in zip(answers, row.answers, strict=True):
            if first >= end:
                span[0] += moved
                span[1] += moved
    if not parts:
        return None
    text = "".join([*parts, row.context[at:]])
    return Row(row.question, text, row.document, tuple((one, two) for one, two in answers))


def _with_question(row: Row, question: str) -> Row:
    return Row(question, row.context, row.document, row.answers)


def _silent(row: Row, question: str) -> Row:
    return Row(question, row.context, row.document, ())


def cached_siblings(options: dict[str, Any]) -> Siblings:
    """Open the siblings of the base that a stage names."""
    from rag.models import resolve

    return open_siblings(resolve(options["base"], kind="embedder").location)
