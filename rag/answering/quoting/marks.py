"""a reader's span -> the words it means: whole words, a number with its unit, a whole name."""

from __future__ import annotations

import re

from rag.answering.extraction.words import Token, tokens
from rag.answering.quoting.asking import Request
from rag.text.languages.english import MONTHS, NUMBER_WORDS, UNITS
from rag.text.words import stem

_CHUNK = re.compile(r"[^\s—]+")
_OPENING = "([{\"'“‘«*_`<"
_CLOSING = ".,;:!?)]}\"'”’»*_`>…"
_PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}
# Scripts that put no space between words: nothing tells where one ends.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_SYMBOL = re.compile(
    r"(?:[kMGTP]?i?B|[kMGT]?bit|[kcmµn]?m|k?g|t|l|ml|[kMG]?Hz|[kMG]?W|[kM]?Wh|V|A|bar|[kMh]?Pa|psi|"
    r"°?[CFK]|°|%|ms|s|min|h|d|EUR|USD|GBP|CHF|NOK|SEK|DKK|euros?|cents?|dollars?|pounds?|francs?|"
    r"kroner|kronor|rpm|dB|mph|km/h|m/s|m[²³]|MB/s|GB/s|bytes?|kilobytes?|megabytes?|gigabytes?|"
    r"bits?|°?degrees?|kilometres?|kilometers?|metres?|meters?|litres?|liters?|grams?|kilograms?|"
    r"tonnes?|tons?|hours?|minutes?|seconds?|milliseconds?|days?|weeks?|months?|years?|watts?|"
    r"kilowatts?|volts?|amperes?|percent|per cent|racks?|seats?|pages?)"
)
# A telephone number: groups of digits, from its country's on.
_PHONE = re.compile(r"(?<![\w.])(?:\+|\(?0)\d[\d()/ -]{5,}\d(?![\w.]\w)")
_LONGEST_BRACKET = 80
_LONGEST_NAME = 6


def repair(
    text: str, span: tuple[int, int], within: tuple[int, int], request: Request
) -> tuple[int, int]:
    """Return the whole words that a span means, within a sentence or another part of the text.

    A number takes its unit with it unless the question names the unit's noun, a name its other
    capitalised words, a date its day, month and year.
    """
    start, end = max(span[0], within[0]), min(span[1], within[1])
    words = [core for m in _CHUNK.finditer(text, *within) if (core := _core(text, *m.span()))]
    if not words or end <= start:
        return within
    first, last = _find_touched(words, start, end)
    found = tokens(text[words[first][0] : words[last][1]])
    if _is_numeric(found):
        first, last = _extend_number(text, words, first, last, request)
    elif request.asked in ("person", "place"):
        first, last = _extend_name(text, words, first, last)
    if request.asked == "date":
        first, last = _extend_date(text, words, first, last, request)
    stop = words[last][1]
    # "John Myhill's": the span names him, and the ending speaks of what he has.
    if end == stop - 2 and text[end:stop] in ("'s", "’s"):
        stop = end
    begin = words[first][0]
    for number in _PHONE.finditer(text, *within):
        if number.start() < stop and begin < number.end():
            begin, stop = min(begin, number.start()), max(stop, number.end())
    # Where no space parts words, the reader knows better where one ends.
    begin = start if _UNSPACED.match(text, start) else begin
    stop = end if _UNSPACED.match(text, end - 1) else stop
    return _balance(text, begin, stop, within)


def _core(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return a word without the marks around it that are not its own."""
    while start < end and text[start] in _OPENING:
        start += 1
    while end > start and text[end - 1] in _CLOSING:
        opening = _PAIRS.get(text[end - 1])
        if opening and text.count(opening, start, end) >= text.count(text[end - 1], start, end):
            break
        end -= 1
    return (start, end) if start < end else None


def _find_touched(words: list[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """Return the first and the last word that share anything with a span, or the nearest one."""
    at = [i for i, word in enumerate(words) if word[0] < end and start < word[1]]
    if at:
        return at[0], at[-1]
    near = min(
        range(len(words)), key=lambda i: min(abs(words[i][0] - end), abs(words[i][1] - start))
    )
    return near, near


def _is_numeric(found: list[Token]) -> bool:
    return bool(found) and (found[-1].is_number or found[-1].is_unit or found[0].is_number)


def _extend_number(
    text: str, words: list[tuple[int, int]], first: int, last: int, request: Request
) -> tuple[int, int]:
    def word(at: int) -> str:
        return text[slice(*words[at])] if 0 <= at < len(words) else ""

    def together(at: int) -> bool:
        """Return whether only a blank, or a currency's mark, parts a word from the next one."""
        return 0 <= at < len(words) - 1 and text[words[at][1] : words[at + 1][0]].strip() == ""

    # A unit alone takes its number, and a number the larger one that it is the end of.
    while together(first - 1) and _is_number(word(first - 1)) and not _ends_number(word(first - 1)):
        first -= 1
    if not _is_number(word(last)) and not _is_number(word(first)):
        return first, last
    while together(last) and _is_number(word(last)) and _is_scale(word(last + 1)):
        last += 1
    following = word(last + 1)
    if (
        together(last)
        and _is_number(word(last))
        and stem(following.lower()) not in _find_counted_nouns(request)
        and (_SYMBOL.fullmatch(following) or following.lower() in UNITS)
    ):
        last += 1
    return first, last


def _find_counted_nouns(request: Request) -> frozenset[str]:
    """Return the stems of what "how many" asks for, which its number need not repeat."""
    nouns = re.findall(r"\bhow many (\w+)(?: (\w+))?", request.text.lower())
    return frozenset(stem(word) for pair in nouns for word in pair if word)


def _is_number(word: str) -> bool:
    return bool(re.match(r"[-−–+~≈<>≤≥£$€]?\d", word)) or word.lower() in NUMBER_WORDS


def _ends_number(word: str) -> bool:
    return bool(re.fullmatch(r"(?:19|20)\d\d", word))


def _is_scale(word: str) -> bool:
    return word.lower() in ("hundred", "thousand", "million", "billion", "trillion", "dozen")


def _extend_name(text: str, words: list[tuple[int, int]], first: int, last: int) -> tuple[int, int]:
    """Extend a name over the capitalised words beside it."""

    def joins(at: int) -> bool:
        word = text[slice(*words[at])]
        return word[0].isupper() and not tokens(word)[0].is_function if tokens(word) else False

    if not joins(first) or not joins(last):
        return first, last
    while first > 1 and joins(first - 1) and _is_blank(text, words, first - 1):
        first -= 1
    while last + 1 < len(words) and last - first < _LONGEST_NAME and joins(last + 1):
        if not _is_blank(text, words, last):
            break
        last += 1
    return first, last


def _extend_date(
    text: str, words: list[tuple[int, int]], first: int, last: int, request: Request
) -> tuple[int, int]:
    """Extend a date to its day, month and year, unless only one of them is asked for."""
    if request.head or re.search(r"\b(?:what|which) (?:year|month|day)\b", request.text.lower()):
        return first, last

    def is_dated(at: int) -> bool:
        word = text[slice(*words[at])].lower()
        return word in MONTHS - {"may"} or bool(
            re.fullmatch(r"\d{1,2}(?:st|nd|rd|th)?|\d{4}", word)
        )

    def named(at: int) -> bool:
        return text[slice(*words[at])].lower() in MONTHS

    if not any(named(at) for at in range(max(0, first - 2), min(len(words), last + 3))):
        return first, last
    while first > 0 and (is_dated(first - 1) or (named(first - 1) and is_dated(first))):
        first -= 1
    while last + 1 < len(words) and (is_dated(last + 1) or named(last + 1)):
        last += 1
    return first, last


def _is_blank(text: str, words: list[tuple[int, int]], at: int) -> bool:
    return text[words[at][1] : words[at + 1][0]].strip() == ""


def _balance(text: str, start: int, end: int, within: tuple[int, int]) -> tuple[int, int]:
    """Close a bracket that a span opens, and open one that it closes, or leave it out."""
    for closing, opening in _PAIRS.items():
        span = text[start:end]
        if span.count(opening) > span.count(closing):
            close = text.find(closing, end, min(within[1], end + _LONGEST_BRACKET))
            if close >= 0:
                end = close + 1
            else:
                cut = text.rindex(opening, start, end)
                end = start + len(text[start:cut].rstrip()) if cut > start else end
        elif span.count(closing) > span.count(opening):
            opened = text.rfind(opening, max(within[0], start - _LONGEST_BRACKET), start)
            start = opened if opened >= 0 else start
    return start, end
