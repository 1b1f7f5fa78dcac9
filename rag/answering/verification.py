"""Find what a text claims, sentence by sentence."""

from __future__ import annotations

import re

from rag.text.sentences import split_sentences

# A claim says something of something: shorter sentences are headings, greetings and thanks.
_FEWEST_WORDS = 3
_MARK = re.compile(r"[ \t]*\[\d{1,4}\](?!\()")
_MARKUP = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|[-*+•][ \t]+|\d{1,3}[.)][ \t]+|>[ \t]?)")
_EMPHASIS = re.compile(r"\*\*|__|`")


def find_claims(text: str) -> list[tuple[int, int, str]]:
    """Return the span of each sentence, and what it claims: empty where it claims nothing."""
    return [(start, end, _claim_of(text[start:end])) for start, end in split_sentences(text)]


def _claim_of(sentence: str) -> str:
    if sentence.lstrip().startswith("#"):
        return ""
    bare = _EMPHASIS.sub("", _MARK.sub("", _MARKUP.sub("", sentence))).strip()
    if bare.endswith(("?", "？", ":")) or len(re.findall(r"\w+", bare)) < _FEWEST_WORDS:
        return ""
    return bare
