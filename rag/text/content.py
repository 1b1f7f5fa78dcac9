"""Find the terms of a passage that say what it is about."""

from __future__ import annotations

from functools import lru_cache

from rag.text.normalization import searchable
from rag.text.stopwords import STOP_WORDS
from rag.text.terms import stems
from rag.text.tokens import tokens


def content_terms(text: str, language: str = "en") -> list[str]:
    """Return the stems of the words of `text` in order, without stop words and single letters."""
    return [term for stretch in searchable(text).split() for term in _content_of(stretch, language)]


@lru_cache(maxsize=2**14)
def _content_of(stretch: str, language: str) -> tuple[str, ...]:
    stop_words = STOP_WORDS.get(language, frozenset())
    return tuple(
        stems(word, language)[0]
        for token in tokens(stretch)
        for word in token.words
        if len(word) > 1 and word not in stop_words
    )
