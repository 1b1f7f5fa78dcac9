"""question -> what is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rag.answering.extraction.words import tokens
from rag.text.languages.english import DEFINITION_QUESTION, QUESTION_HEAD, QUESTION_KINDS, Asked
from rag.text.words import content_words, stem

_DEFINITION = re.compile(DEFINITION_QUESTION)
_HEAD = re.compile(QUESTION_HEAD, re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """A question taken apart.

    `words` are its content words; `stems` those of them that a span can stand near to; `head` is
    the noun that it asks for ("team" of "which team"), or empty; `names` are its names and numbers.
    """

    text: str
    asked: Asked
    words: frozenset[str]
    stems: frozenset[str]
    head: str
    names: frozenset[str]


def parse_question(text: str) -> Question:
    """Return what a question asks for, by its question word; English alone is understood."""
    low = text.lower().strip()
    kinds = (asked for asked, pattern in QUESTION_KINDS if re.search(pattern, low))
    asked: Asked = next(kinds, "what")
    found = tokens(text)
    named = _DEFINITION.fullmatch(low)
    if named and not any(token.is_function for token in tokens(named[1])):
        asked = "definition"
    match = _HEAD.search(text)
    nouns = (
        [stem(word.lower()) for word in match[1].split() if content_words(word)] if match else []
    )
    return Question(
        text=text,
        asked=asked,
        words=content_words(text),
        stems=frozenset(token.stem for token in found if not token.is_function),
        head=nouns[-1] if nouns else "",
        # The first word has its capital from its place.
        names=frozenset(t.stem for t in found[1:] if t.is_name or t.raw[0].isdigit()),
    )
