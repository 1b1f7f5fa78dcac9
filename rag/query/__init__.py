"""Read what a user asks: words, phrases and exclusions of a question, and filters of documents."""

from __future__ import annotations

from rag.query.matching import matching_spans, words_at
from rag.query.question import LexicalQuery, Phrase, Word, parse_question

__all__ = ["LexicalQuery", "Phrase", "Word", "matching_spans", "parse_question", "words_at"]
