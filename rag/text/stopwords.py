"""The words that a question holds whatever it is about, by language (ISO 639-1).

They are articles, pronouns, prepositions, conjunctions, auxiliaries and question words. The lists
are short, since BM25 gives little weight to what every passage holds. Words are left out that mean
something in another of these languages, or have a second sense in their own (`will`, `may`, the
German `war`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rag.text.words import WORD

_LISTS = Path(__file__).parent / "languages" / "stopwords"


@cache
def stop_words(language: str) -> frozenset[str]:
    """Return the stop words of a language; none where there is no list of them."""
    # What a document says of its language names no file elsewhere.
    file = _LISTS / f"{language}.txt"
    known = language.isalpha() and file.is_file()
    return frozenset(file.read_text(encoding="utf-8").split()) if known else frozenset()


def reads_as_english(text: str) -> bool:
    """Return whether no other language has more of a question's words than English.

    It tells the German "Was kostet eine Nacht?" from a question that begins with a verb. Names,
    which keep the words of their language, do not count.
    """
    first, *others = WORD.findall(text) or [""]
    words = {first.lower(), *(each for each in others if each.islower())}
    known = len(words & stop_words("en"))
    return all(len(words & stop_words(other)) <= known for other in _other_languages())


@cache
def _other_languages() -> tuple[str, ...]:
    return tuple(sorted(file.stem for file in _LISTS.glob("*.txt") if file.stem != "en"))
