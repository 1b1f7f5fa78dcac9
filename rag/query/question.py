"""Read a question as a user types it. Any text is a question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import regex

from rag.text.normalization import searchable
from rag.text.stopwords import stop_words
from rag.text.terms import stems
from rag.text.tokens import Token, fold, tokens

T = TypeVar("T")
Mark: TypeAlias = regex.Match[str]

Word = tuple[str, ...]
"""One word of a question, as its stems in the languages of the index; any of them will do."""

Phrase = tuple[Word, ...]
"""Words that follow one another in a passage."""

_QUOTED = r"""(?:"(?<said>[^"]*)"|[“„”](?<said>[^“„”]*)[“”]|«(?<said>[^«»]*)»|»(?<said>[^«»]*)«)"""
_MARKED = regex.compile(
    rf"(?<=(?:^|\s)[(\[]{{0,3}}){_QUOTED}(?=[^\p{{L}}\p{{N}}\s+#]*+(?:\s|$))"
    rf"|(?<!\S)(?P<minus>-)(?:(?P<word>\p{{L}}[\p{{L}}\p{{M}}]*+)|{_QUOTED})(?=[.,;!?]*+(?:\s|$))"
)
# key="value", {"key": 1}, \"escaped\": quotation marks of data make no phrases.
_DATA = regex.compile(r"""[=\[{\\:]"|"[:}\]=]""")
# Options, paths, variables; pipes, prompts and full stops that stand alone.
_COMMAND = regex.compile(r"(?<!\S)(?:--?\p{L}|~?/|\$\p{L}|\.{1,2}/|(?:[|$>]|\.{1,2})(?!\S))")
_VOWEL = regex.compile("[aeiouy]")
_LATIN = regex.compile(r"\p{Latin}")


@dataclass(frozen=True, slots=True)
class LexicalQuery:
    """What a question asks of the lexical index.

    `words` are its distinct words, also those in phrases; stop words only if it has no others. A
    passage must hold each of `phrases` and none of `excluded`, where a single word is a phrase of
    one. `compounds` are whole identifiers and the like. `text` is the question without what is
    excluded and without the quotation marks of its phrases.
    """

    words: tuple[Word, ...]
    compounds: tuple[str, ...]
    phrases: tuple[Phrase, ...]
    excluded: tuple[Phrase, ...]
    text: str


def parse_question(question: str, languages: Sequence[str] = ("en",)) -> LexicalQuery:
    """Read what `question` asks of passages in `languages` (ISO 639-1 codes); it never fails.

    A phrase stands in double quotation marks ("…", “…”, „…“, «…», »…«). They open after white
    space or a bracket, and only punctuation may stand between their end and the next white space.
    Data (`{"a": 1}`, `key="value"`) has neither phrases nor exclusions.

    A minus excludes the word or the phrase directly after it: `jaguar -car`, `jaguar -"car park"`.
    It stands at the beginning or after white space, and its word consists of letters. Since an
    option of a command looks the same, a bare word in Latin letters must have three of them, with
    a vowel or all capitals; anything can be excluded in quotation marks. All minuses are text
    if the question

    - has several lines,
    - looks like a command (`tar -xzf file`, `--flag`, `-x`, `find . -name foo`, `cat /etc/hosts`),
    - has nothing besides exclusions, or has an excluded word elsewhere (`java -jar app.jar`).

    Stop words are those of one language, the one of which the question has most. An acronym
    (`WHO`, `IT`) is no stop word.
    """
    languages = tuple(dict.fromkeys(languages)) or ("",)
    asked = searchable(question).strip()
    phrases, exclusions = _marks(asked, languages)
    text = _without_marks(asked, phrases, exclusions)
    found = list(tokens(text))
    return LexicalQuery(
        words=_words(text, found, languages),
        compounds=_distinct(compound for token in found for compound in token.compounds),
        phrases=_distinct(_phrase(mark["said"], languages) for mark in phrases),
        excluded=_distinct(_phrase(mark["word"] or mark["said"], languages) for mark in exclusions),
        text=text,
    )


def _marks(asked: str, languages: Sequence[str]) -> tuple[list[Mark], list[Mark]]:
    """Return the marked phrases of `asked`, and its exclusions."""
    if _DATA.search(asked):
        return [], []
    marked = [mark for mark in _MARKED.finditer(asked) if _is_meant(mark)]
    phrases = [mark for mark in marked if not mark["minus"]]
    exclusions = [mark for mark in marked if mark["minus"]]
    if not exclusions:
        return phrases, []
    rest = _without_marks(asked, phrases, exclusions)
    remaining = set(_phrase(rest, languages))
    repeated = any(
        mark["word"] and not remaining.isdisjoint(_phrase(mark["word"], languages))
        for mark in exclusions
    )
    if "\n" in asked or not remaining or repeated or _COMMAND.search(rest):
        exclusions = []
    return phrases, exclusions


def _is_meant(mark: Mark) -> bool:
    word = mark["word"]
    if word is None:
        return any(tokens(mark["said"]))
    if not _LATIN.match(word):
        return len(word) > 1 or word.lower() == word.upper()
    return len(word) > 2 and (word.isupper() or bool(_VOWEL.search(fold(word.casefold()))))


def _without_marks(asked: str, phrases: Iterable[Mark], exclusions: Iterable[Mark]) -> str:
    """Return `asked` with its phrases out of their quotation marks, and without its exclusions."""
    pieces = []
    at = 0
    for mark in sorted((*phrases, *exclusions), key=lambda mark: mark.start()):
        before = asked[at : mark.start()]
        pieces += [before.rstrip()] if mark["minus"] else [before, mark["said"].strip()]
        at = mark.end()
    return "".join((*pieces, asked[at:])).strip()


def _phrase(text: str, languages: Sequence[str]) -> Phrase:
    return tuple(_variants(word, languages) for token in tokens(text) for word in token.words)


def _variants(word: str, languages: Sequence[str]) -> Word:
    return _distinct(stem for language in languages for stem in stems(word, language))


def _words(text: str, found: Iterable[Token], languages: Sequence[str]) -> tuple[Word, ...]:
    words = list(_asked_words(text, found))
    unimportant = max(
        map(stop_words, languages), key=lambda listed: sum(word in listed for word, _ in words)
    )
    meaningful = [word for word, is_acronym in words if is_acronym or word not in unimportant]
    return _distinct(
        _variants(word, languages) for word in meaningful or [word for word, _ in words]
    )


def _asked_words(text: str, found: Iterable[Token]) -> Iterator[tuple[str, bool]]:
    """Yield the words of the question, and whether each is an acronym.

    `parseFile` and `GPUs` are also looked up in parts; `JavaScript` is a name, and no kind of Java.
    """
    shouted = text.isupper()
    for token in found:
        written = text[token.start : token.end]
        is_acronym = len(written) > 1 and written.isupper() and not shouted
        parts = token.parts if token.words and not written[:2].istitle() else ()
        yield from ((word, is_acronym) for word in (*token.words, *parts))


def _distinct(items: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(items))
