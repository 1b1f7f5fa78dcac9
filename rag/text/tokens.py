"""Cut a text into tokens: words, identifiers with their parts, and pairs of Chinese characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import regex

LONGEST = 255
"""The most characters of a term: longer words are cut, longer compounds left out.

tantivy takes terms of up to 65,530 bytes.
"""

_JAPANESE_OR_CHINESE = r"[\p{Han}\p{Hiragana}\p{Katakana}ー]"
_SOUTH_EAST_ASIAN = r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_RUN = rf"""
    (?:{_JAPANESE_OR_CHINESE}\p{{M}}*+)++
    | (?:\p{{Hangul}}\p{{M}}*+)++
    | (?:(?=\p{{L}}){_SOUTH_EAST_ASIAN}\p{{M}}*+)++
"""
_UNSPACED = rf"[{_JAPANESE_OR_CHINESE}\p{{Hangul}}{_SOUTH_EAST_ASIAN}]"
_LETTER = rf"[\p{{Nd}}[[\p{{L}}\p{{N}}]--{_UNSPACED}]]"
# English endings after an apostrophe belong to their word, French articles before one do not.
_WORD = rf"{_LETTER}[{_LETTER}\p{{M}}]*+(?:['’](?i:s|t|d|m|re|ve|ll)(?![\p{{L}}\p{{M}}\p{{N}}]))?"
# Bounded, so that a long row of numbers is read once.
_GROUPED_NUMBER = r"\d{1,3}(?:,\d{2,3}){0,6},\d{3}(?!\d)"
_SIGN = r"(?<=\p{L})(?:\+\+(?!\p{L})|\+(?![\p{L}\p{N}+])|\#(?![\p{L}\p{N}]))"
_ATOM = rf"(?:{_GROUPED_NUMBER}|{_WORD})(?:{_SIGN})?"
_JOINT = r"(?:://|::|->|_++|[-‐.:/\\@'’&+=~]|(?<=\d),(?=\d))"
_LEAD = r"""(?<![^\s(\[{"'“„«])(?:[.@$](?=\p{L})|\#(?=[\p{L}\p{N}]))"""

_FLAGS = regex.V1 | regex.VERBOSE
_TOKEN = regex.compile(
    rf"(?P<run>{_RUN})|(?P<lead>{_LEAD})?(?P<body>{_ATOM}(?:{_JOINT}{_ATOM})*+)", _FLAGS
)
_ONE_WORD = regex.compile(_WORD, _FLAGS)
_POSSESSIVE = regex.compile(r"['’][sS]$")
_CHARACTER_WITH_MEANING = regex.compile(r"[\p{Han}\p{Hangul}]")
_CHARACTER = regex.compile(r".\p{M}*+", _FLAGS | regex.DOTALL)
_GROUPING = regex.compile(rf"(?<!\d){_GROUPED_NUMBER}", _FLAGS)
_SECTION_END = regex.compile(r"[/\\:=@&~]++|->")
_INITIALS = regex.compile(r"\p{L}(?:\.\p{L})++")
_PLURAL_ACRONYM = regex.compile(r"(?P<acronym>\p{Lu}{2,})s")
_CASE_CHANGE = regex.compile(r"(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll}\p{L})", regex.V1)
_NUMBERED = regex.compile(
    r"(?P<before>[\p{L}\p{M}]{3,}+(?=\d)|\d++(?=\p{L}{2})(?!(?:st|nd|rd|th)$))"
    r"(?P<after>\d++|[\p{L}\p{M}]++)"
)
# Arabic vowel signs and the stroke that lengthens a word, Hebrew points: written for learners.
_UNWRITTEN = regex.compile(
    r"[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652]"
)
_FOREIGN_DIGIT = regex.compile(r"[^\P{Nd}0-9]")
_ACCENTED = regex.compile(r"([\p{Latin}\p{Greek}\p{N}])\p{M}++", regex.V1)
_LETTERS_OF_THEIR_OWN = str.maketrans(
    {"ø": "o", "đ": "d", "ł": "l", "ħ": "h", "ı": "i", "ð": "d", "ё": "е"}
    | {"æ": "ae", "œ": "oe", "þ": "th"}
)


@dataclass(frozen=True, slots=True)
class Token:
    """A stretch of text, from `start` to `end`, with the words by which it is found, not stemmed.

    `words` stand in the text one after another. `parts` have no place among them: they are the
    parts of a camelCase name, and the single characters of a Chinese or Korean run. `compounds`
    are whole identifiers.
    """

    start: int
    end: int
    words: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    compounds: tuple[str, ...] = ()


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of searchable `text`; none reaches over white space.

    Runs of Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese are cut into overlapping pairs
    of characters, as Lucene's CJKAnalyzer does; marks count with their character.
    """
    for match in _TOKEN.finditer(text):
        if match["run"]:
            yield from _characters(match["run"], match.start())
        else:
            yield _token(match["lead"] or "", match["body"], match.start())


def _characters(run: str, start: int) -> Iterator[Token]:
    spans = [match.span() for match in _CHARACTER.finditer(run)]
    if len(spans) == 1:
        yield Token(start, start + len(run), words=(run[:LONGEST],))
        return
    for (first, _), (_, last) in pairwise(spans):
        yield Token(start + first, start + last, words=(run[first:last][:LONGEST],))
    for first, last in spans:
        if _CHARACTER_WITH_MEANING.match(run, first):
            yield Token(start + first, start + last, parts=(run[first:last][:LONGEST],))


def _token(lead: str, body: str, start: int) -> Token:
    end = start + len(lead) + len(body)
    if not lead and (
        body.isdecimal()
        or (body.isalpha() and (body.islower() or body.isupper() or body[1:].islower()))
    ):
        return Token(start, end, words=(_plain(body),))
    body = _GROUPING.sub(lambda number: number[0].replace(",", ""), body)
    body = _POSSESSIVE.sub("", body)
    pieces = [body.replace(".", "")] if _INITIALS.fullmatch(body) else _ONE_WORD.findall(body)
    named = lead + body if len(pieces) == 1 else body
    return Token(
        start,
        end,
        words=tuple(word for piece in pieces for word in _cut(piece)),
        parts=tuple(
            word
            for piece in pieces
            for part in _camel_parts(piece)
            if len(part) > 1
            for word in _cut(part)
        ),
        compounds=tuple(dict.fromkeys(_compounds(named))),
    )


def _compounds(name: str) -> Iterator[str]:
    """Yield `name`, the sections of a path, address or assignment, and their parts between dots."""
    sections = _SECTION_END.split(name)
    names = [part for section in sections for part in section.split(".")]
    for whole in (name, *sections, *names):
        if 0 < len(whole) <= LONGEST and _is_compound(whole):
            yield fold(_plain(whole))


def _is_compound(name: str) -> bool:
    return not _ONE_WORD.fullmatch(name) or bool(_camel_parts(name)) or len(_cut(name)) > 1


def _camel_parts(name: str) -> list[str]:
    """Return the parts of `name` between changes of case, and `GPU` for `GPUs`."""
    if plural := _PLURAL_ACRONYM.fullmatch(name):
        return [plural["acronym"]]
    parts: list[str] = _CASE_CHANGE.split(name)
    return parts if len(parts) > 1 else []


def _cut(piece: str) -> tuple[str, ...]:
    """Return `piece` in lower case; `HTML5` and `5GB` in two parts, `x86` and `2nd` in one."""
    word = _plain(piece).removesuffix("'s")
    numbered = _NUMBERED.fullmatch(word)
    return numbered.group("before", "after") if numbered else (word,)


def _plain(word: str) -> str:
    """Return `word` in lower case with plain digits, apostrophes and hyphens, cut if too long."""
    word = word[:LONGEST].casefold()
    if word.isascii():
        return word
    word = _UNWRITTEN.sub("", word) or word
    # Python may know fewer digits than `regex` does.
    word = _FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0], digit[0])), word)
    return word.replace("’", "'").replace("‐", "-")


@lru_cache(maxsize=2**14)
def fold(word: str) -> str:
    """Return `word` without the accents of Latin and Greek letters; other marks carry meaning."""
    if word.isascii():
        return word
    bare = _ACCENTED.sub(r"\1", unicodedata.normalize("NFD", word))
    return unicodedata.normalize("NFC", bare).translate(_LETTERS_OF_THEIR_OWN)
