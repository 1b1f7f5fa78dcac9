"""question -> what is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rag.answering.extraction.words import tokens
from rag.text.sentences import content_words, stem

Asked = Literal["number", "date", "person", "place", "why", "how", "whether", "definition", "what"]

_WHAT = r"\b(?:what|which) (?:{})\b"
_KINDS: tuple[tuple[Asked, str], ...] = (
    ("number", r"\bhow (?:many|much)\b"),
    (
        "number",
        _WHAT.format("percentage|percent|number|amount|age|share|fraction|proportion")
        + r"|\bhow (?:old|long|far|tall|large|big|high|deep|fast|often|wide|heavy|hot|cold)\b",
    ),
    (
        "date",
        _WHAT.format("year|date|day|month|decade|century|time")
        + r"|^when\b|\bwhen (?:did|was|were|is|are|does|do|would|could|will|has|had)\b",
    ),
    ("person", r"\b(?:who|whom|whose)\b"),
    (
        "place",
        r"\bwhere\b|"
        + _WHAT.format(
            "city|country|state|place|location|town|region|area|continent|county|river|street|"
            "nation"
        ),
    ),
    ("why", r"\bwhy\b"),
    ("how", r"\bhow\b"),
    ("whether", r"^(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|may|must)\b"),
)
# "What is reward hacking?": a name, and nothing that is asked of it.
_DEFINITION = re.compile(
    r"what(?: is|'s| are| was| were) (?:an? |the )?([\w'’-]+(?: [\w'’-]+){0,3}) ?\?*"
)
# "which ancient city was", "what type of theatre did": the noun after the question word.
_HEAD = re.compile(
    r"\b(?:what|which)\s+(?:(?:type|kind|sort|name|form)s?\s+of\s+)?"
    r"((?:[\w'-]+\s+){0,2}?[\w'-]+?)\s+(?:is|are|was|were|did|do|does|has|have|had|can|could|would"
    r"|will|may|of|that|in|to|for|on|[a-z]+ed|[a-z]+s)\b",
    re.IGNORECASE,
)


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


def read_question(text: str) -> Question:
    """What a question asks for, told by its question word; English alone is understood."""
    low = text.lower().strip()
    asked: Asked = next((asked for asked, pattern in _KINDS if re.search(pattern, low)), "what")
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
