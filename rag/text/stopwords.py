"""The words that a question holds whatever it is about, by language (ISO 639-1).

They are articles, pronouns, prepositions, conjunctions, auxiliaries and question words. The lists
are short, since BM25 gives little weight to what every passage holds. Words are left out that mean
something in another of these languages, or have a second sense in their own (`will`, `may`, the
German `war`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_LISTS = Path(__file__).parent / "languages" / "stopwords"


@cache
def stop_words(language: str) -> frozenset[str]:
    """Return the stop words of a language; none where there is no list of them."""
    # What a document says of its language names no file elsewhere.
    file = _LISTS / f"{language}.txt"
    known = language.isalpha() and file.is_file()
    return frozenset(file.read_text(encoding="utf-8").split()) if known else frozenset()
