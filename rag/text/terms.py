"""Make the terms that the index has of a passage: stemmed by language, without accents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from rag.text.normalization import searchable
from rag.text.stopwords import stop_words
from rag.text.tokens import Token, fold, tokens

if TYPE_CHECKING:
    import Stemmer

# Longer stretches without white space hardly occur twice.
_REMEMBERED = 64
_NORWEGIAN = {"nb": "no", "nn": "no"}
# Two threads must not use a stemmer at once.
_STEMMING = Lock()


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms by which a passage is found. None is empty or holds white space.

    `words` are stemmed, in lower case and in the order of the text, stop words included. After the
    last of them follow terms without a place in the text, each once: the parts of camelCase names,
    the single characters of Chinese and Korean runs, and the stems that accented words have when
    written without accents, where those differ. `compounds` are whole identifiers, numbers,
    addresses and hyphenated words.
    """

    words: tuple[str, ...]
    compounds: tuple[str, ...]


def analyse(text: str, language: str = "en") -> Terms:
    """Return the terms of `text`, stemmed by the Snowball algorithm for `language`.

    `language` is an ISO 639-1 code; words of a language without a stemmer stay as they are.
    Snowball: Porter, 2001 (for English: "Porter2").
    """
    words: list[str] = []
    unplaced: dict[str, None] = {}
    compounds: list[str] = []
    for stretch in searchable(text).split():
        terms_of = _terms_of if len(stretch) <= _REMEMBERED else _terms_of.__wrapped__
        placed, others, whole = terms_of(stretch, language)
        words += placed
        if others:
            unplaced.update(others)
        if whole:
            compounds += whole
    if unplaced:
        seen = set(words)
        words += [term for term in unplaced if term not in seen]
    return Terms(tuple(words), tuple(compounds))


@lru_cache(maxsize=2**15)
def _terms_of(
    stretch: str, language: str
) -> tuple[tuple[str, ...], dict[str, None], tuple[str, ...]]:
    """Return the terms with a place, those without, and the compounds of text between spaces."""
    found = list(tokens(stretch))
    return (
        tuple(stems(word, language)[0] for token in found for word in token.words),
        dict.fromkeys(term for token in found for term in unplaced_stems(token, language)),
        tuple(compound for token in found for compound in token.compounds),
    )


def content_terms(text: str, language: str = "en") -> list[str]:
    """Return the stems of the words of `text` in order, without stop words and single letters."""
    return [term for stretch in searchable(text).split() for term in _content_of(stretch, language)]


@lru_cache(maxsize=2**14)
def _content_of(stretch: str, language: str) -> tuple[str, ...]:
    unimportant = stop_words(language)
    return tuple(
        stems(word, language)[0]
        for token in tokens(stretch)
        for word in token.words
        if len(word) > 1 and word not in unimportant
    )


def unplaced_stems(token: Token, language: str) -> list[str]:
    """Return the terms by which `token` is found besides its words in their places."""
    return [
        *(stem for word in token.words for stem in stems(word, language)[1:]),
        *(stem for part in token.parts for stem in stems(part, language)),
    ]


@lru_cache(maxsize=2**16)
def stems(word: str, language: str) -> tuple[str, ...]:
    """Return the stem of `word` without accents, and the stem of `word` typed without accents.

    The second is left out where both are the same. Snowball recognizes endings by their accents,
    so it must see them: of the accented inflected forms of a French dictionary 93% met their lemma
    when accents were folded after stemming, 66% when they were folded before.
    """
    bare = fold(word)
    first = fold(_stem(word, language)) or word
    return (first,) if bare == word else tuple(dict.fromkeys((first, *stems(bare, language))))


def _stem(word: str, language: str) -> str:
    with _STEMMING:
        stemmer = _stemmer(language)
        return (stemmer.stemWord(word) if stemmer else word) or word


@lru_cache(maxsize=64)
def _stemmer(language: str) -> Stemmer.Stemmer | None:
    import Stemmer

    code = _NORWEGIAN.get(language, language)
    # Snowball knows languages by other names too, `porter` for one. An index may name any.
    if len(code) != 2 or not code.isascii():
        return None
    try:
        return Stemmer.Stemmer(code, 0)
    except KeyError:
        return None
