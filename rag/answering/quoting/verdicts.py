"""A question for yes or no -> the sentence that decides it, and which way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from rag.answering.quoting.asking import Request
from rag.answering.quoting.cells import TABLES
from rag.answering.quoting.layout import Block, Layout
from rag.answering.quoting.pieces import MOST, Draft, Layouts, Place, print_fact, stems
from rag.answering.reader import Span
from rag.text.languages import english
from rag.text.words import WORD, stem

_ONLY = re.compile(english.ONLY, re.IGNORECASE)
_EXCEPTING = re.compile(english.EXCEPTING, re.IGNORECASE)
# "little", "lack" and the like say that there is less of something, not that it is not so.
_STRONG = frozenset(["not", "no", "never", "none", "nor", "neither", "cannot", "nobody", "nothing"])
# A sentence that holds less of the question's words decides nothing.
_LEAST_SAID = 1 / 3
_AT_ONCE = re.compile(english.AT_ONCE, re.IGNORECASE)
_ONE_AT_A_TIME = re.compile(english.ONE_AT_A_TIME, re.IGNORECASE)
_SAYING_NOTHING = re.compile(r"\bnot only\b|\bor not\b|\bno (?:later|more|less) than\b")
_QUANTITY = re.compile(r"(?<![\w.,-])([-−]?\d[\d,]*(?:\.\d+)?)\s*([a-zA-Z°%€$£]*)")
_LIMIT = re.compile(
    rf"\b(?:(?P<least>{english.AT_LEAST})|(?P<most>{english.AT_MOST}))\s+(?:about\s+|a\s+|of\s+)?"
    r"(?P<number>[-−]?\d[\d,]*(?:\.\d+)?)\s*(?P<unit>[a-zA-Z°%€$£]*)",
    re.IGNORECASE,
)
_RANGE = re.compile(
    rf"\b({'|'.join(english.WEEK)})s?\s*(?:to|through|until|till|[-–])\s*"
    rf"({'|'.join(english.WEEK)})s?\b"
)


def quote_verdict(request: Request, layouts: Layouts, spans: Sequence[Span]) -> Draft:
    """Return the sentence that decides, with its verdict.

    It is the reader's sentence, or one of the same block that holds more of the question's own
    words ("On Sundays it is closed"). The verdict is "no" where one of the two is negative and the
    other is not: by a negation, a word that forbids, or an opposite; where a rule says "only" and
    what is asked is not in it; where a limit or a number rules out the one that is asked. An item
    of a list takes the side of what leads to the list. There is no verdict where the sentence holds
    less than a third of what the question names.
    """
    span = spans[0]
    layout = layouts[span.number]
    place = _deciding(request, layout, (span.start, span.end))
    at = layout.index_at(*place)
    draft = print_fact(request, layout, place)
    sentence = layout.sentence_at(*place)
    if at is None or sentence is None:
        return draft
    block = layout.blocks[at]
    above = _what_leads(layout, at)
    if above and layout.text[above.start : above.end]:
        size = draft.length + above.end - above.start
        if size <= MOST and (above.start, above.end) not in [
            (p.start, p.end) for p in draft.pieces
        ]:
            draft.add(layout, [(above.start, above.end)])
    # The whole sentence decides.
    if not (sentence[0] <= span.start and span.end <= sentence[1]) or block.kind in TABLES:
        draft.marks.clear()
        inside = draft.pieces[0]
        draft.add(layout, [], [(inside.start, inside.end)])
    lead = layout.text[above.start : above.end] if above else ""
    hit = layout.passage.hit
    printed = (layout.text[piece.start : piece.end] for piece in draft.pieces)
    if _says_enough(request.text, " ".join((*printed, lead, hit.title, *hit.chunk.heading))):
        draft.verdict = judge(request.text, layout.text[slice(*sentence)], lead)
    return draft


def _deciding(request: Request, layout: Layout, span: Place) -> Place:
    """Return the span, or the sentence near it that holds more of what the question names."""
    at = layout.index_at(*span)
    sentence = layout.sentence_at(*span)
    if at is None or sentence is None:
        return span
    asked = _specific(request.text)
    block = layout.blocks[at]
    near = list(layout.sentences(block))
    if block.kind == "item":
        near += [s for b in layout.blocks if b.kind == "item" for s in layout.sentences(b)]

    def weigh_place(place: Place) -> int:
        return _weigh(asked & _expand(layout.text[slice(*place)]))

    best = max(near, key=lambda place: (weigh_place(place), place == sentence))
    return best if weigh_place(best) > weigh_place(sentence) else span


def _what_leads(layout: Layout, at: int) -> Block | None:
    """Return the lead-in or the heading that a list's item takes its side from."""
    block = layout.blocks[at]
    if block.kind != "item":
        return None
    while at > 0 and layout.blocks[at].kind in ("item", "code"):
        at -= 1
    above = layout.blocks[at]
    leads = above.kind == "heading" or layout.text[above.end - 1] in ":."
    return above if above.kind in ("heading", "prose") and leads else None


def _says_enough(question: str, text: str) -> bool:
    """Return whether what is printed holds so much of a question that it can decide it."""
    asked, said = _specific(question), _expand(text)
    words = frozenset(WORD.findall(text.lower()))
    opposite = {
        stem(word)
        for pair in english.ANTONYMS
        for one, other in (pair, pair[::-1])
        if words & other
        for word in one
    }
    return len(asked & (said | opposite)) >= _LEAST_SAID * len(asked)


def judge(question: str, sentence: str, lead: str = "") -> Literal["yes", "no"]:
    """Return whether a sentence that decides a question affirms it; `lead` leads to its list.

    Parity decides: each opposite of the two turns the answer.
    """
    asked = _specific(question)
    part, turned = _scope(asked, sentence)
    if _is_ruled_out(question, asked, sentence):
        return "no"
    limit = _meets_limit(question, sentence)
    for_question, for_sentence = _negations(question), _negations(part)
    negative = (for_question != for_sentence) != (turned != _negations(lead))
    negative = negative != _are_opposite(question, part)
    negative = negative != (limit is False)
    return "no" if negative else "yes"


def _scope(asked: frozenset[str], sentence: str) -> tuple[str, bool]:
    """Return the part of a sentence that speaks of what is asked, and whether it turns the rest.

    "Not allowed, except assistance dogs" turns for assistance dogs; "not in 2020 but in 2022" has
    two parts.
    """
    if match := _EXCEPTING.search(sentence):
        before, after = sentence[: match.start()], sentence[match.end() :]
        stop = re.search(r"[,;.]\s", after)
        excepted = stems(after[: stop.start()] if stop else after)
        # What distinguishes the exception: "assistance", not "dogs".
        own = excepted - stems(before) - frozenset(map(stem, english.PROSE_STOP_WORDS))
        return (before, True) if own & asked else (before, False)
    parts = re.split(r",?\s+but\s+|;\s+|,\s+(?:while|whereas|and)\s+", sentence)
    if len(parts) > 1:
        held = [_weigh(asked & _expand(part)) for part in parts]
        if held.count(max(held)) == 1:
            return parts[held.index(max(held))], False
    return sentence, False


def _weigh(words: frozenset[str]) -> int:
    """Return how much of what a question turns on its words are: days and numbers above all."""
    return sum(3 if word in english.WEEK or word[0].isdigit() else 1 for word in words)


def _negations(text: str) -> bool:
    """Return whether a text is negative: an odd number of negations."""
    words = [word.replace("’", "'") for word in WORD.findall(text.lower())]
    count: int = sum(
        word in _STRONG or word in english.FORBIDDING or word.endswith("n't") for word in words
    )
    # "not only", "not impossible" and "whether or not" say nothing against.
    count -= len(_SAYING_NOTHING.findall(text.lower()))
    return count % 2 == 1


def _are_opposite(question: str, sentence: str) -> bool:
    first = frozenset(WORD.findall(question.lower()))
    second = frozenset(WORD.findall(sentence.lower()))
    turns = 0
    for one, other in english.ANTONYMS:
        asked = bool(first & one) - bool(first & other)
        said = bool(second & one) - bool(second & other)
        turns += asked * said < 0
    excludes = _ONE_AT_A_TIME.search(sentence) and not _negations(sentence)
    return (turns + bool(_AT_ONCE.search(question) and excludes)) % 2 == 1


def _is_ruled_out(question: str, asked: frozenset[str], sentence: str) -> bool:
    """Return whether an exclusive rule, or another number of the same unit, rules it out."""
    if match := _ONLY.search(sentence):
        rule = _expand(sentence)
        days = asked & frozenset(english.WEEK)
        if days:
            return bool(days - rule)
        admitted = _expand(sentence[match.end() :])
        subject = _expand(sentence[: match.start()])
        missing = asked - rule
        return bool(missing) and not (asked - subject <= admitted)
    if _LIMIT.search(sentence) or _negations(sentence):
        return False
    said = {(number, unit) for number, unit in _quantities(sentence)}
    for number, unit in _quantities(question):
        same = [other for other, its in said if its == unit and unit]
        if same and number not in same:
            return True
    return False


def _meets_limit(question: str, sentence: str) -> bool | None:
    """Return whether a quantity of the question keeps a limit of the sentence; None without one."""
    limit = _LIMIT.search(sentence)
    if limit is None or limit["number"] in question:
        return None
    number, unit = _number(limit["number"]), _unit(limit["unit"])
    for asked, its in _quantities(question):
        if its == unit:
            return asked >= number if limit["least"] else asked <= number
    return None


def _quantities(text: str) -> list[tuple[float, str]]:
    return [(_number(m[1]), _unit(m[2])) for m in _QUANTITY.finditer(text)]


def _number(digits: str) -> float:
    return float(digits.replace(",", "").replace("−", "-"))


def _unit(word: str) -> str:
    return stem(word.lower())


def _specific(question: str) -> frozenset[str]:
    """Return the stems of what a question names, with the days that its words stand for."""
    return _expand(question) - frozenset(map(stem, english.PROSE_STOP_WORDS))


def _expand(text: str) -> frozenset[str]:
    """Return the stems of a text, with each day of a range, of weekdays and of weekends."""
    low = text.lower()
    found = set(stems(low))
    days = {day for day in english.WEEK if re.search(rf"\b{day}s?\b", low)}
    for first, last in _RANGE.findall(low):
        a, b = english.WEEK.index(first), english.WEEK.index(last)
        days |= set(english.WEEK[a : b + 1] if a <= b else english.WEEK[a:] + english.WEEK[: b + 1])
    if re.search(english.WORKDAYS, low):
        days |= set(english.WEEK[:5])
    if re.search(english.WEEKEND, low):
        days |= set(english.WEEK[5:])
    return frozenset(found | days)
