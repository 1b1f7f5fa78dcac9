"""Correct the typing errors of a question by the words of the index.

What is far from certain stays as it was typed: a name that the documents do not hold must not
become another that they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import regex

from rag.query import LexicalQuery, parse_question
from rag.text.languages.english import DERIVING_BEGINNINGS, DERIVING_ENDINGS
from rag.text.stopwords import stop_words
from rag.text.terms import stems
from rag.text.tokens import fold

if TYPE_CHECKING:
    from rag.index import Snapshot

# Shorter words have too many neighbours; a longer one may have two errors. docs/retrieval.md has
# what these rules change, and do not change, of the questions of SQuAD 2.0.
_SHORTEST = 4
_LONG = 8
# An ending may differ between a word and the stem that the index has of it.
_ENDING = 1
_CANDIDATES = 12
_PASSAGES = 10

# Letters alone, with nothing but punctuation around: no part of a path, a number, an identifier.
_WORD = regex.compile(
    rf"(?<![^\s(\[])[\p{{Latin}}\p{{Greek}}\p{{Cyrillic}}]{{{_SHORTEST},32}}(?=[.,;:!?)\]]*(?:\s|$))"
)
_LETTERS = regex.compile(r"[\p{L}\p{M}]+")
_IN_A_SENTENCE = regex.compile(r"[\p{Ll},;] $")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A word of the index that may be meant: how far it is, and how many passages have its stem."""

    distance: int
    passages: int
    word: str


def correct(question: str, snapshot: Snapshot, is_known: Callable[[str], bool]) -> str:
    """Return `question` with typing errors corrected, by Damerau-Levenshtein distance.

    A word is corrected that occurs nowhere in the index, in any form, to the nearest that does, of
    those the more frequent: at a distance of 1, or 2 from eight letters on (a swap of neighbours
    counts 1; Damerau, CACM 1964), and with the same first letter. Left alone are words of fewer
    than four letters, or with anything but letters; what stands in quotation marks or after a
    minus; capitalised words, but for the first one, which may be names; and what `is_known` to be
    a word. No word becomes a name, which the passages only ever capitalise.
    """
    if question.isupper():
        return question
    languages = snapshot.languages or ("en",)
    pieces: list[str] = []
    at = 0
    for start, end in _typed_words(question, languages):
        typed = question[start:end]
        meant = _correct_word(typed.casefold(), snapshot, languages, is_known)
        if meant:
            pieces += [question[at:start], meant.capitalize() if typed[0].isupper() else meant]
            at = end
    return "".join([*pieces, question[at:]])


def _typed_words(question: str, languages: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the spans of the words that may hold a typing error."""
    asked = parse_question(question, languages)
    # What is meant word for word is not touched, nor the rest of a question that has such marks.
    marked = {stem for part in (*asked.phrases, *asked.excluded) for word in part for stem in word}
    first = next((match.start() for match in regex.finditer(r"\p{L}", question)), 0)
    for match in _WORD.finditer(question):
        word = match[0]
        if not (word.islower() or (match.start() == first and word[1:].islower())):
            continue
        forms = {stem for language in languages for stem in stems(word.casefold(), language)}
        if marked.isdisjoint(forms):
            yield match.span()


def _correct_word(
    typed: str, snapshot: Snapshot, languages: Sequence[str], is_known: Callable[[str], bool]
) -> str:
    """Return the word that is meant by one that may be wrong; "" if none is known to be."""
    if any(typed in stop_words(language) for language in languages):
        return ""
    if any(snapshot.frequency(s) for language in languages for s in stems(typed, language)):
        return ""
    most = 2 if len(typed) >= _LONG else 1
    near: list[tuple[int, int, str]] = []
    for term, count in snapshot.terms_with_prefix(fold(typed)[0]):
        if len(term) <= len(typed) + most and term.isalpha():
            distance = prefix_distance(term, fold(typed), most + _ENDING)
            if distance <= most + _ENDING:
                near.append((distance, -count, term))
    found: list[_Candidate] = []
    for _, count, term in sorted(near)[:_CANDIDATES]:
        found += [
            _Candidate(distance, -count, word)
            for word in _words_with(term, snapshot)
            if (distance := edit_distance(word, typed, most)) <= most
        ]
    if not found or any(map(is_known, _bases(typed))):
        return ""

    def order(each: _Candidate) -> tuple[int, bool, int, bool, int, str]:
        # Letters that changed places say more of what is meant than how frequent it is; of the
        # forms of one word it is the one that ends alike.
        others = sorted(each.word) != sorted(typed)
        ends_apart = each.word[-1] != typed[-1]
        longer = abs(len(each.word) - len(typed))
        return each.distance, others, -each.passages, ends_apart, longer, each.word

    return min(found, key=order).word


def _bases(word: str) -> Iterator[str]:
    """Yield a word, and what it may be derived from."""
    yield word
    for beginning in DERIVING_BEGINNINGS:
        if word.startswith(beginning) and len(word) - len(beginning) >= _SHORTEST:
            yield word[len(beginning) :]
    for ending in DERIVING_ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            yield word[: -len(ending)]


def _words_with(stem: str, snapshot: Snapshot) -> set[str]:
    """Return the words that some passages have a stem of, without those that are names."""
    query = LexicalQuery(((stem,),), (), (), (), stem)
    ids = [each for each, _ in snapshot.matching(query, _PASSAGES)]
    all_words: set[str] = set()
    small: set[str] = set()
    names: set[str] = set()
    for passage in snapshot.passages(ids).values():
        text = passage.whole
        for match in _LETTERS.finditer(text):
            word = match[0].casefold()
            # Cheaper than its stem, which most words need not have.
            if word[0] != stem[0] and fold(word)[0] != stem[0]:
                continue
            if stem not in stems(word, passage.language):
                continue
            all_words.add(word)
            if match[0].islower():
                small.add(word)
            elif _IN_A_SENTENCE.search(text[max(0, match.start() - 2) : match.start()]):
                names.add(word)
    return all_words - (names - small)


def edit_distance(one: str, other: str, most: int) -> int:
    """Return the Damerau-Levenshtein distance of two words, or `most` + 1 if it is more.

    It counts letters that are missing, added or replaced, and neighbours that changed places
    (optimal string alignment: no part is edited twice).
    """
    return _last_row(one, other, most)[-1] if abs(len(one) - len(other)) <= most else most + 1


def prefix_distance(stem: str, word: str, most: int) -> int:
    """Return the smallest distance between `stem` and a beginning of `word`; `most` + 1 if more."""
    return min(_last_row(stem, word, most))


def _last_row(one: str, other: str, most: int) -> list[int]:
    """Return the distances between `one` and each beginning of `other`, none above `most` + 1."""
    far = most + 1
    before: list[int] = []
    row = [min(far, column) for column in range(len(other) + 1)]
    for at, letter in enumerate(one, start=1):
        earlier, before = before, row
        row = [min(far, at)]
        for column, compared in enumerate(other, start=1):
            cost = min(before[column] + 1, row[-1] + 1, before[column - 1] + (letter != compared))
            swapped = (
                at > 1 and column > 1 and letter == other[column - 2] and one[at - 2] == compared
            )
            if swapped:
                cost = min(cost, earlier[column - 2] + 1)
            row.append(min(cost, far))
        if min(row) == far:
            return [far] * (len(other) + 1)
    return row
