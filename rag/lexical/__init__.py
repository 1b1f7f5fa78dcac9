"""Text and questions as the lexical index sees them: words, identifiers, phrases, exclusions."""

from __future__ import annotations

from rag.lexical.content import content_terms
from rag.lexical.matching import matching_words
from rag.lexical.question import LexicalQuery, Phrase, Word, parse_question
from rag.lexical.terms import Terms, analyse

__all__ = [
    "LexicalQuery",
    "Phrase",
    "Terms",
    "Word",
    "analyse",
    "content_terms",
    "matching_words",
    "parse_question",
]
