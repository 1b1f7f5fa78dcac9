"""A number, date, name or any other fact -> the sentence that states it, with the fact marked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.answering.extraction.words import kinds, tokens
from rag.answering.quoting.asking import Request
from rag.answering.quoting.layout import Layout
from rag.answering.quoting.lists import find_lists
from rag.answering.quoting.pieces import Draft, Layouts, Place, print_fact, stems
from rag.answering.reader import Span
from rag.text.words import content_words

_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)*(?![\w.]*\d)")


def quote_fact(request: Request, layouts: Layouts, spans: Sequence[Span]) -> Draft:
    """Return the sentence around the best span, or the one that names the version asked for.

    Of "the first step" it is the first item of the list that the span lies in or leads to. A span
    in a heading stands for the sentence below it.
    """
    span = spans[0]
    layout = layouts[span.number]
    place = (span.start, span.end)
    at = layout.index_at(*place)
    if request.ordinal is not None and at is not None:
        item = _item_by_number(layout, at, request.ordinal)
        if item:
            draft = Draft()
            draft.add(layout, [item], [item])
            return draft
    if at is not None and layout.blocks[at].kind == "heading":
        below = next(
            (b for b in layout.blocks[at + 1 :] if b.kind not in ("heading", "footer")), None
        )
        if below is not None:
            place = layout.sentences(below)[0]
    return print_fact(request, layout, _asked_version(request, layout, place) or place)


def _item_by_number(layout: Layout, at: int, number: int) -> Place | None:
    lists = [each for each in find_lists(layout) if each.first - 1 <= at < each.last]
    chosen = max(lists, key=lambda each: each.last - each.first, default=None)
    if chosen is None or number > len(chosen.items):
        return None
    item = chosen.items[number - 1 if number > 0 else -1]
    return layout.sentences(item)[0]


def _asked_version(request: Request, layout: Layout, span: Place) -> Place | None:
    """Return the place in a neighbouring sentence that names the number the question names.

    "Version 14 takes 5 nodes. Version 15 takes 8." asked of version 15 is 8, where the reader took
    5. Both sentences must have the number after the same word, and the place be of the same kind.
    """
    asked = set(_NUMBER.findall(request.text))
    sentence, at = layout.sentence_at(*span), layout.index_at(*span)
    if not asked or sentence is None or at is None:
        return None
    text = layout.text
    named_so = _named_numbers(request.text, (0, len(request.text)))
    own = {w: n for w, n in _named_numbers(text, sentence).items() if w in named_so}
    if not own or asked & set(own.values()):
        return None
    for place in layout.sentences(layout.blocks[at]):
        named = _named_numbers(text, place)
        same = [word for word, number in named.items() if number in asked and word in own]
        if place == sentence or not same:
            continue
        wanted = kinds(tokens(text[slice(*span)]))
        numbers = {named[word] for word in same}
        for token in tokens(text[slice(*place)]):
            fits = wanted and wanted & {"num", "date"} and token.is_number
            if fits and token.raw not in numbers:
                return place[0] + token.start, place[0] + token.end
        return place
    return None


def _named_numbers(text: str, place: Place) -> dict[str, str]:
    """Return the numbers of a sentence that follow a name or noun, by it: {"version": "15"}."""
    found = re.finditer(r"\b([A-Za-z][\w-]*)\s+v?(\d+(?:\.\d+)*)\b(?!\s*%)", text[slice(*place)])
    return {word: m[2] for m in found if content_words(m[1]) for word in stems(m[1])}
