"""Tokens -> the terms of a passage: stemmed by language, accents folded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from rag.text.normalization import searchable
from rag.text.tokens import Token, fold, tokens

if TYPE_CHECKING:
    import Stemmer

# Longer stretches without white space hardly come twice.
_REMEMBERED = 64
_NORWEGIAN = {"nb": "no", "nn": "no"}
# A stemmer must not be used by two threads at once.
_STEMMING = Lock()


@dataclass(frozen=True, slots=True)
class Terms:
    """What is indexed of a passage.

    `words` are stemmed, in small letters, in the order of the text, stop words included. After
    the last follow terms that the passage is found by as well but that have no place in it, each
    once: the parts of camelCase names, the single characters of Chinese and Korean runs, and the
    stems of accented words written without accents where those differ. `compounds` are
    identifiers, numbers, addresses and hyphenated words kept whole. No term is empty or holds
    white space.
    """

    words: tuple[str, ...]
    compounds: tuple[str, ...]


def analyse(text: str, language: str = "en") -> Terms:
    """The terms of `text`, stemmed by the Snowball algorithm for `language`.

    `language` is an ISO 639-1 code; words of a language without a stemmer stay as they are.
    Snowball: Porter, 2001 (English: "Porter2").
    """
    words: list[str] = []
    unplaced: dict[str, None] = {}
    compounds: list[str] = []
    for stretch in searchable(text).split():
        read = _read if len(stretch) <= _REMEMBERED else _read.__wrapped__
        placed, others, whole = read(stretch, language)
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
def _read(stretch: str, language: str) -> tuple[tuple[str, ...], dict[str, None], tuple[str, ...]]:
    """The terms with a place, those without, and the compounds of what stands between spaces."""
    found = list(tokens(stretch))
    return (
        tuple(stems(word, language)[0] for token in found for word in token.words),
        dict.fromkeys(term for token in found for term in unplaced_stems(token, language)),
        tuple(compound for token in found for compound in token.compounds),
    )


def unplaced_stems(token: Token, language: str) -> list[str]:
    """The terms that `token` is found by besides its words where they stand."""
    return [
        *(stem for word in token.words for stem in stems(word, language)[1:]),
        *(stem for part in token.parts for stem in stems(part, language)),
    ]


@lru_cache(maxsize=2**16)
def stems(word: str, language: str) -> tuple[str, ...]:
    """The stem of `word` with accents folded after stemming, and the one folded before if another.

    Snowball tells endings by their accents, so those must be there when it stems: of accented
    inflected forms in a French dictionary 93% met their lemma so, 66% if folded before. What is
    typed without accents meets the second stem.
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
    # Snowball knows languages by other names too, `porter` for one.
    if len(code) != 2:
        return None
    try:
        return Stemmer.Stemmer(code, 0)
    except KeyError:
        return None
