"""Find what a question matches in a passage: the spans, and the words."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from rag.query.question import LexicalQuery
from rag.text.normalization import searchable
from rag.text.terms import stems, unplaced_stems
from rag.text.tokens import Token, tokens

Span = tuple[int, int]

# A grapheme cluster: a character with the marks that belong to it.
_CHARACTER = regex.compile(r"\X", regex.DOTALL)


def words_at(text: str, spans: Sequence[Span]) -> tuple[str, ...]:
    """Return the words of `text` at `spans`, each once whatever its case, as `text` writes it."""
    words = (" ".join(searchable(text[start:end]).split()) for start, end in spans)
    distinct: dict[str, str] = {}
    for word in words:
        distinct.setdefault(word.casefold(), word)
    return tuple(distinct.values())


def matching_spans(text: str, query: LexicalQuery, language: str = "en") -> tuple[Span, ...]:
    """Return the spans of `text` that match a word, compound or phrase of `query`, in order.

    Identifiers and phrases are whole, and overlapping pairs of Chinese or Japanese characters are
    the run that they make.
    """
    plain, starts, ends = _align(text)
    found = list(tokens(plain))
    spans = _phrases(found, query, language)
    wanted = {stem for word in query.words for stem in word}
    wholes = set(query.compounds)
    spans += [
        (token.start, token.end)
        for token in found
        if not wholes.isdisjoint(token.compounds)
        or not wanted.isdisjoint(stem for word in token.words for stem in stems(word, language))
        or not wanted.isdisjoint(unplaced_stems(token, language))
    ]
    return tuple((starts[start], ends[end - 1]) for start, end in _merge(spans))


def _align(text: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """Return the searchable form of `text`, and where in `text` its characters start and end."""
    plain = searchable(text)
    if plain == text:
        return text, range(len(text)), range(1, len(text) + 1)
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    # A character that becomes several is whole, and so are those that become one.
    for match in _CHARACTER.finditer(text):
        pieces.append(searchable(match[0]))
        starts += [match.start()] * len(pieces[-1])
        ends += [match.end()] * len(pieces[-1])
    return "".join(pieces), starts, ends


def _phrases(found: list[Token], query: LexicalQuery, language: str) -> list[Span]:
    places = [(stems(word, language)[0], token) for token in found for word in token.words]
    return [
        (places[at][1].start, places[at + len(phrase) - 1][1].end)
        for phrase in query.phrases
        for at in range(len(places) - len(phrase) + 1)
        if all(places[at + offset][0] in variants for offset, variants in enumerate(phrase))
    ]


def _merge(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
