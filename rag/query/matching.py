"""Find the words of a passage that a question matches."""

from __future__ import annotations

from rag.query.question import LexicalQuery
from rag.text.normalization import searchable
from rag.text.terms import stems, unplaced_stems
from rag.text.tokens import Token, tokens


def matching_words(text: str, query: LexicalQuery, language: str = "en") -> tuple[str, ...]:
    """Return the words of `text` that match a word, compound or phrase of `query`.

    Each is there once, whatever its case, as `text` writes it and in order of first appearance.
    Identifiers and phrases are whole, and overlapping pairs of Chinese or Japanese characters are
    the run that they make.
    """
    text = searchable(text)
    found = list(tokens(text))
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
    words = (" ".join(text[start:end].split()) for start, end in _merge(spans))
    distinct: dict[str, str] = {}
    for word in words:
        distinct.setdefault(word.casefold(), word)
    return tuple(distinct.values())


def _phrases(found: list[Token], query: LexicalQuery, language: str) -> list[tuple[int, int]]:
    places = [(stems(word, language)[0], token) for token in found for word in token.words]
    return [
        (places[at][1].start, places[at + len(phrase) - 1][1].end)
        for phrase in query.phrases
        for at in range(len(places) - len(phrase) + 1)
        if all(places[at + offset][0] in variants for offset, variants in enumerate(phrase))
    ]


def _merge(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
