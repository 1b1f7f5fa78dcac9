"""Find text that gives instructions to a language model instead of stating facts.

Documents may come from anybody; Greshake et al. (AISec 2023) call it indirect prompt injection
when one of them speaks to the model that reads it. Patterns recognise such sentences by their
wording: no model reads them, so none can be persuaded. A lie that is stated as a fact is not found.
"""

from __future__ import annotations

import base64
import contextlib
import re
import tomllib
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from rag.text.sentences import split_sentences

# `<name>` is a list of patterns in `injection.toml`. Chinese has no spaces, so no ends of words.
_STRONG = r"\b<strong>\b|<chinese>"
_DIRECTIVE = r"(?:<lead_in> )*<directives>\b"
_CONTEXT = r"\b<contexts>\b"
_CALL = r"<calls>\b"
_NAME = re.compile(r"<(\w+)>")
_GOES_ON = re.compile(r"\n\s*")

# The label of a turn in a conversation, which a document imitates; prose does not hold it. A
# sentence after such a label is an instruction if it wants something done.
_TURN = re.compile(
    r"<\|(?:im_start|start_header_id|start|header_start)\|>\s*(?:system|user|assistant|developer)"
    r"|<start_of_turn>|\[/?inst\]|<<sys>>|<\|(?:system|user|assistant)\|>"
    r"|^[\s>*#\[(<_/!-]*(?:new|system|admin(?:istrator)?|assistant|developer|ai|llm) (?:message"
    r"|prompt|instructions?|orders?|override)[\])>*_]*\s*[:>=]"
    r"|^[\s>*-]*#{2,} *(?:instruction|response):",
    re.IGNORECASE,
)
_SPEAKER = re.compile(
    r"^[\s>*#\[(<_/!-]*(?:system|assistant|developer|admin(?:istrator)?|user|human|ai)"
    r"[\])>*_]*\s*[:>=]|^(?:(?:dear|hey|hello|hi) )?(?:ai|llm|assistant|chatbot|gpt)\s*[,!]",
    re.IGNORECASE,
)
_ENCODED = re.compile(r"[A-Za-z0-9+/]{24,4096}={0,2}")
_SPACED = re.compile(r"(?<!\w)(?:\w[^\w\n]{1,3}){11,}\w(?!\w)")
_RUN_TOGETHER = re.compile(
    r"(?:ignore|disregard|forget)\w{0,20}?(?:previous|above|prior|earlier|your|all)\w{0,20}?"
    r"(?:instruction|prompt|rule|context|text)"
)
_NEAR = 2
# A line that begins with a small letter continues the sentence before; any other begins a new one.
_LINE_END = re.compile(r"\n(?=[^\S\n]*[^\sa-z])")
_CLAUSE_END = re.compile(r"[.:](?=\s|$)|[,;!?()\[\]{}<>\"“”„«»*#|—–]+|(?<=\s)-(?=\s)")
_NO_WORD = re.compile(r"\W+")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
# Cyrillic and Greek letters that look like Latin ones. The patterns are translated as well, so that
# the Russian ones still match.
_LOOKALIKES = str.maketrans("аеорсухіјѕԁкмтгαορνικτ", "aeopcyxijsdkmtraopvikt")


@cache
def _wording(pattern: str) -> re.Pattern[str]:
    """Compile a pattern with the lists of `injection.toml` that it names."""
    text = files("rag.answering").joinpath("injection.toml").read_text("utf-8")
    lists = tomllib.loads(text)

    def expand(mark: re.Match[str]) -> str:
        if mark[1].isdigit():
            return rf"(?:\w+ ){{0,{mark[1]}}}?"
        return f"(?:{_NAME.sub(expand, _GOES_ON.sub('', '|'.join(lists[mark[1]])))})"

    return re.compile(_NAME.sub(expand, pattern).translate(_LOOKALIKES))


@dataclass(slots=True)
class _Unit:
    """A sentence, a line or a comment, `text[start:end]`, with what its wording shows."""

    start: int
    end: int
    paragraph: int
    labels: bool
    directs: bool
    half: bool
    instructs: bool

    @classmethod
    def of(cls, text: str, start: int, end: int, paragraph: int) -> _Unit:
        strong, directive = _wording(_STRONG), _wording(_DIRECTIVE)
        seen = fold(text[start:end])
        words = _join_words(seen)
        labels = bool(_TURN.search(seen) or _wording(_CALL).search(words))
        directs = any(directive.match(_join_words(clause)) for clause in _CLAUSE_END.split(seen))
        context = bool(_wording(_CONTEXT).search(words))
        instructs = (
            bool(strong.search(words))
            or (directs and (context or labels or bool(_SPEAKER.search(seen))))
            or any(_RUN_TOGETHER.search(_join_words(run[0], "")) for run in _SPACED.finditer(seen))
            or any(strong.search(_join_words(fold(hint))) for hint in decode(text[start:end]))
        )
        return cls(start, end, paragraph, labels, directs, directs or context, instructs)


def find_instructions(
    text: str, sentences: Sequence[tuple[int, int]] | None = None
) -> list[tuple[int, int]]:
    """Find the spans of `text` that give instructions to a model: sentences, lines or comments.

    A sentence does so if it wants earlier instructions dropped, one answer given in any case, the
    prompt shown and the like; or if it wants something done and also speaks of a model, its user,
    or any question. A sentence near one that does half of this does so too. `sentences` are the
    spans of all sentences of `text`, if they are known.
    """
    if sentences is None:
        sentences = split_sentences(text)
    units = [
        _Unit.of(text, start, end, number)
        for number, paragraph in enumerate(_split_paragraphs(text))
        for start, end in _split_units(text, *paragraph, sentences)
    ]
    for at, unit in enumerate(units):
        unit.instructs |= unit.directs and any(
            each.labels for each in units[max(at - _NEAR, 0) : at]
        )
    for ordered in (units, units[::-1]):
        for at, unit in enumerate(ordered):
            before = [each for each in ordered[max(at - _NEAR, 0) : at] if each.instructs]
            beside = any(each.paragraph == unit.paragraph for each in before)
            unit.instructs |= unit.half if beside else bool(before) and unit.labels
    for left, unit, right in zip(units, units[1:], units[2:], strict=False):
        unit.instructs |= left.instructs and right.instructs and left.paragraph == right.paragraph
    return [(unit.start, unit.end) for unit in units if unit.instructs]


def _split_paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans between blank lines; a comment is a paragraph of its own."""
    at = 0
    while at < len(text):
        start = text.find("<!--", at)
        end = text.find("-->", start) + 3 if start >= 0 else 2
        # Text without an end mark is no comment.
        start, end = (start, end) if end > 2 else (len(text), len(text))
        for gap in _BLANK_LINE.finditer(text, at, start):
            yield at, gap.start()
            at = gap.end()
        yield at, start
        if start < end:
            yield start, end
        at = end


def _split_units(
    text: str, start: int, end: int, sentences: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    if text.startswith("<!--", start) and text.endswith("-->", start, end):
        yield start, end
        return
    for first, last in _sentences_within(text, start, end, sentences):
        at = first
        for line in _LINE_END.finditer(text, at, last):
            yield at, line.start()
            at = line.end()
        yield at, last


def _sentences_within(
    text: str, start: int, end: int, sentences: Sequence[tuple[int, int]]
) -> Sequence[tuple[int, int]]:
    first = bisect_right(sentences, start, key=lambda span: span[1])
    found = sentences[first : bisect_left(sentences, end, key=lambda span: span[0])]
    if found and (found[0][0] < start or found[-1][1] > end):
        # A comment stands in the middle of a sentence.
        return [(start + a, start + b) for a, b in split_sentences(text[start:end])]
    return found


def fold(text: str) -> str:
    """Lower the case, and remove what hides a word: accents, invisible and look-alike letters."""
    if text.isascii():
        return text.lower()
    return "".join(map(_fold_character, text)).translate(_LOOKALIKES)


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    # NFKC turns full-width and ornamental letters into plain ones, NFD separates accents.
    parts = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", character).casefold())
    return "".join(each for each in parts if unicodedata.category(each) not in ("Mn", "Cf"))


def _join_words(text: str, space: str = " ") -> str:
    return _NO_WORD.sub(space, text.replace("_", " ")).strip()


def decode(text: str) -> Iterator[str]:
    """Yield what stands in Base64 in a text, if it is text itself."""
    for match in _ENCODED.finditer(text):
        with contextlib.suppress(ValueError):
            padded = match[0] + "=" * (-len(match[0]) % 4)
            yield base64.b64decode(padded, validate=True).decode()
