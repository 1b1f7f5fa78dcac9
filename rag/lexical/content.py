"""The terms of a passage that say what it is about."""

from __future__ import annotations

from rag.lexical.stopwords import STOP_WORDS
from rag.lexical.terms import stems
from rag.lexical.tokens import tokens
from rag.normalization import searchable


def content_terms(text: str, language: str = "en") -> list[str]:
    """The stems of the words of `text` in order, without stop words and single characters."""
    stop_words = STOP_WORDS.get(language, frozenset())
    return [
        stems(word, language)[0]
        for token in tokens(searchable(text))
        for word in token.words
        if len(word) > 1 and word not in stop_words
    ]
