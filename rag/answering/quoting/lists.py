"""A span in a list -> all items of the list that was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag.answering.quoting.asking import Request
from rag.answering.quoting.cells import TABLES, quote_column
from rag.answering.quoting.layout import Block, Layout, lines_of
from rag.answering.quoting.marks import repair
from rag.answering.quoting.pieces import MOST_OF_A_LIST, Draft, Layouts, Place, print_fact, stems
from rag.answering.reader import Span
from rag.text.languages import english
from rag.text.words import WORD

_SEPARATOR = re.compile(
    r"(?:\s*[,;]\s*(?:and/or|and|or|as well as)?\s+|\s+(?:and/or|and|or|\|)\s+)(?:\(\w{1,2}\)\s+)?"
)
_STARTER = re.compile(english.LIST_STARTERS, re.IGNORECASE)
_ITEM_NAME = re.compile(
    r"(?:\*\*[^*\n]{1,60}\*\*|[^\s.:–—][^.:–—\n]{0,59}?)(?=:\s|\s[–—-]\s)"
    r"|--?\w[^\n]{0,59}(?=\n)"
)
# Words that no item begins with: they begin a clause.
_NO_ITEM = (
    english.CONJUNCTIONS | english.PREPOSITIONS - {"like"} | frozenset(["hence", "thus", "then"])
)
_LONGEST_ITEM = 8
_LONGEST_LINE = 80
_LONGEST_LEAD = 200
# So much white space, which passages are cut at, may part a list from where it goes on.
_SEAM = 16


@dataclass(frozen=True, slots=True)
class _List:
    """Items of one kind, one below the other, with what leads to them."""

    items: tuple[Block, ...]
    first: int
    last: int
    lead: tuple[Place, ...]
    about: frozenset[str]
    negative: bool


def quote_list(request: Request, layouts: Layouts, spans: Sequence[Span]) -> Draft:
    """Return all items of the list that a span lies in, or that its sentence leads to.

    Of several lists of a passage it is the one whose lead-in and heading share most with the
    question, a negation above all. A list that goes on in the next passage of the same document is
    followed there. Without a list the items of the sentence around the span are marked, and without
    those the answer is read as a fact.
    """
    span = spans[0]
    layout = layouts[span.number]
    place = (span.start, span.end)
    at = layout.index_at(*place)
    if at is not None and layout.blocks[at].kind in TABLES:
        draft = quote_column(request, layout, at, place)
        if draft:
            return draft
    found = _choose_list(request, layouts, layout, place)
    if found and not _counts_up_itself(request, layout, place):
        return _print_list(layouts, *found)
    if at is not None:
        marks = items_in_sentence(layout, request, place) or _items_by_line(layout, at)
        if len(marks) > 1:
            draft = print_fact(request, layout, marks[0])
            draft.marks.clear()
            inside = [m for m in marks if any(_within(m, p.start, p.end) for p in draft.pieces)]
            if len(inside) < len(marks):
                draft.add(layout, [(marks[0][0], marks[-1][1])])
            draft.add(layout, [], marks)
            return draft
    return _several_facts(request, layouts, spans)


def _counts_up_itself(request: Request, layout: Layout, span: Place) -> bool:
    """Return whether a span is a list in a sentence of an item: "with SHARE and EXCLUSIVE"."""
    sentence = layout.sentence_at(*span)
    if sentence is None:
        return False
    start, end = repair(layout.text, span, sentence, request)
    items = _cut(layout.text, start, end)
    whole = (end - start) * 5 >= (sentence[1] - sentence[0]) * 4
    return not whole and len(items) > 1 and all(_is_item(layout.text, item) for item in items)


def _several_facts(request: Request, layouts: Layouts, spans: Sequence[Span]) -> Draft:
    """Read the best span as a fact, and mark other spans in what is printed."""
    draft = print_fact(request, layouts[spans[0].number], (spans[0].start, spans[0].end))
    for span in spans[1:]:
        inside = any(
            piece.number == span.number and _within((span.start, span.end), piece.start, piece.end)
            for piece in draft.pieces
        )
        if inside and span.probability >= spans[0].probability / 4:
            other = print_fact(request, layouts[span.number], (span.start, span.end))
            draft.marks += other.marks
    return draft


def _within(place: Place, start: int, end: int) -> bool:
    return start <= place[0] and place[1] <= end


def _choose_list(
    request: Request, layouts: Layouts, layout: Layout, span: Place
) -> tuple[Layout, _List] | None:
    """Return the innermost list that holds a span or that its sentence leads to.

    Another list of the same document takes its place if it agrees better with the question: in
    being negative, in the number of its items, in the words of what leads to it.
    """
    at = layout.index_at(*span)
    lists = list(find_lists(layout))
    if at is None:
        return None
    inside = [each for each in lists if each.first <= at < each.last and len(each.items) > 1]
    led = [each for each in lists if each.first == at + 1]
    led += [each for each in lists if any(_within(span, *lead) for lead in each.lead)]
    own = min(inside, key=lambda each: each.last - each.first, default=None) or next(
        iter(led), None
    )
    if own is None:
        return None
    asked = stems(request.text) & (request.words | {request.head})
    negative = not english.NEGATIONS.isdisjoint(WORD.findall(request.text.lower()))

    def score(pair: tuple[Layout, _List]) -> tuple[bool, bool, bool, bool, int]:
        each = pair[1]
        counted = request.count is not None and len(each.items) == request.count
        about = len(each.about & asked)
        return each.negative == negative, counted, about > 0, each is own, about

    document = layout.passage.hit.chunk.document_id
    others = [
        (other, each)
        for number in range(1, len(layouts) + 1)
        if (other := layouts[number]).passage.hit.chunk.document_id == document
        for each in (lists if other is layout else find_lists(other))
        if each is own or (len(each.items) > 1 and each.about & asked >= own.about & asked)
    ]
    return max(others, key=score)


def find_lists(layout: Layout) -> Iterator[_List]:
    """Yield the lists of a passage: items of one indent, or terms with their definitions."""
    blocks = layout.blocks
    seen: set[int] = set()
    for first, block in enumerate(blocks):
        if block.kind not in ("item", "term") or first in seen:
            continue
        items, last = [], first
        while last < len(blocks) and _goes_on(blocks[last], block):
            if blocks[last].kind == block.kind and blocks[last].indent == block.indent:
                seen.add(last)
                if block.kind == "item" or blocks[last - 1].kind != "term" or last == first:
                    items.append(blocks[last])
            last += 1
        yield _make_list(layout, tuple(items), first, last)


def _goes_on(block: Block, first: Block) -> bool:
    """Return whether a block belongs to the list that begins with `first`."""
    if block.kind == first.kind and block.indent == first.indent:
        return block.marker[-1:].isalnum() == first.marker[-1:].isalnum()
    if block.kind == "definition":
        return block.indent >= first.indent
    return block.indent > first.indent or block.kind == "code"


def _make_list(layout: Layout, items: tuple[Block, ...], first: int, last: int) -> _List:
    blocks, text = layout.blocks, layout.text
    lead: list[Place] = []
    above = blocks[first - 1] if first > 0 else None
    if above and above.kind in ("prose", "definition", "item", "note"):
        sentence = layout.sentences(above)[-1:]
        # A line without a mark at its end is rather a title.
        short = above.end - above.start < _LONGEST_LEAD and text[above.end - 1] == "."
        if sentence and (text[sentence[0][1] - 1] == ":" or short):
            lead = sentence
    heading = layout.heading_above(first)
    titles = [text[heading.start : heading.end]] if heading else []
    if not titles:
        titles = list(layout.passage.hit.chunk.heading[-1:])
    if above and above.kind == "prose" and not lead and "\n" not in text[above.start : above.end]:
        titles.append(text[above.start : above.end])
    about = " ".join([*titles, *(text[a:b] for a, b in lead)])
    negative = not english.NEGATIONS.isdisjoint(WORD.findall(about.lower()))
    return _List(items, first, last, tuple(lead), stems(about), negative)


def _print_list(layouts: Layouts, layout: Layout, found: _List) -> Draft:
    """Print a list whole where it is short, and else the names of its items."""
    draft = Draft()
    draft.add(layout, found.lead)
    parts = [(layout, found)]
    parts += _follow(layouts, layout, found)
    whole = [(part, block) for part, each in parts for block in part.blocks[each.first : each.last]]
    short = sum(block.end - block.outer for _, block in whole) <= MOST_OF_A_LIST
    for part, each in parts:
        named = _have_names(part.text, each.items)
        if short:
            blocks = part.blocks[each.first : each.last]
            draft.add(part, [(b.outer, b.end) for b in blocks])
        for item in each.items:
            mark = _mark_of(part, item, named=named)
            printed = (item.outer, mark[1] if item.kind == "item" else item.end)
            if not short and draft.length + printed[1] - printed[0] > MOST_OF_A_LIST:
                return draft
            draft.add(part, [] if short else [printed], [mark])
    return draft


def _follow(layouts: Layouts, layout: Layout, found: _List) -> list[tuple[Layout, _List]]:
    """Return what follows of a list at the end of a passage, in the passages that come next."""
    result: list[tuple[Layout, _List]] = []
    while found.last == len(layout.blocks):
        hit = layout.passage.hit
        following = next(
            (
                other
                for number in range(1, len(layouts) + 1)
                if (other := layouts[number]).passage.hit.chunk.document_id == hit.chunk.document_id
                and 0 <= other.passage.hit.start - hit.end <= _SEAM
            ),
            None,
        )
        if following is None or not following.blocks:
            break
        first = following.blocks[0]
        more = next(find_lists(following), None)
        like = found.items[0]
        if more is None or more.first > 0 or (first.kind, first.indent) != (like.kind, like.indent):
            break
        result.append((following, more))
        layout, found = following, more
    return result


def _have_names(text: str, items: Sequence[Block]) -> bool:
    """Return whether most items of a list begin with what they are called ("Vans: up to 3.5 t")."""
    named = sum(bool(_ITEM_NAME.match(text, item.start, item.end)) for item in items)
    return named * 2 > len(items)


def _mark_of(layout: Layout, item: Block, *, named: bool) -> Place:
    text = layout.text
    if item.kind == "term":
        return item.start, item.end
    if named and (name := _ITEM_NAME.match(text, item.start, item.end)):
        return name.span()
    first_line = next(lines_of(text, item.start, item.end))
    sentence = layout.sentences(item)[:1] or [first_line]
    start, end = sentence[0]
    return start, end - (text[end - 1] in ".;," and end - start > 1)


def items_in_sentence(layout: Layout, request: Request, span: Place) -> list[Place]:
    """Return the items that a sentence counts up in and around a span: "A, B, C and D".

    A span that holds them all is cut at its commas. It is extended to a side where a comma, "and"
    or "or" stands right beside it, item by item as long as they are short and begin like the
    others; the first begins after a colon or a word like "are", the last ends before a word that
    begins another phrase or that the question holds too.
    """
    text = layout.text
    sentence = layout.sentence_at(*span)
    if sentence is None:
        return []
    start, end = repair(text, span, sentence, request)
    marks = _cut(text, start, end)
    if not all(_is_item(text, mark) for mark in marks):
        return []
    capital = text[marks[0][0]].isupper()
    while after := _SEPARATOR.match(text, marks[-1][1], sentence[1]):
        following = _SEPARATOR.search(text, after.end(), sentence[1])
        whole = _clean(text, (after.end(), following.start() if following else sentence[1]))
        item = _cut_tail(text, whole, request)
        if not (_is_item(text, item) and _begins_like(text, item, capital=capital)):
            break
        marks.append(item)
        if item != whole:
            break
    while before := _separator_before(text, sentence[0], marks[0][0]):
        above = [m.end() for m in _SEPARATOR.finditer(text, sentence[0], before[0])]
        whole = (above[-1] if above else sentence[0], before[0])
        item = _cut_head(text, whole)
        if not (_is_item(text, item) and _begins_like(text, item, capital=capital)):
            break
        if item == whole and not above:
            # Nothing tells the first item from the beginning of the sentence.
            break
        marks.insert(0, item)
        if item != whole:
            break
    return [mark for mark in marks if mark[0] < mark[1]] if len(marks) > 1 else []


def _cut(text: str, start: int, end: int) -> list[Place]:
    cuts = [start, *(at for m in _SEPARATOR.finditer(text, start, end) for at in m.span()), end]
    parts = [(cuts[i], cuts[i + 1]) for i in range(0, len(cuts), 2)]
    return [part for part in (_clean(text, part) for part in parts) if part[0] < part[1]]


def _separator_before(text: str, start: int, end: int) -> Place | None:
    found = [m.span() for m in _SEPARATOR.finditer(text, start, end)]
    return found[-1] if found and found[-1][1] == end else None


def _is_item(text: str, part: Place) -> bool:
    words = WORD.findall(text[slice(*part)].lower())
    return (
        0 < len(words) <= _LONGEST_ITEM
        and words[0] not in _NO_ITEM
        and english.AUXILIARIES.isdisjoint(words)
        and english.PRONOUNS.isdisjoint(words)
    )


def _begins_like(text: str, item: Place, *, capital: bool) -> bool:
    """Return whether an item begins with a capital or an article where the others have capitals."""
    first = WORD.match(text, item[0])
    return (
        not capital
        or text[item[0]].isupper()
        or (first is not None and first[0].lower() in english.DETERMINERS)
    )


def _cut_head(text: str, part: Place) -> Place:
    found = list(_STARTER.finditer(text, *part))
    while found:
        start = found.pop().end()
        rest = text[start : part[1]]
        parted = not rest[:1].isalnum() or text[start - 1] in ":(–— "
        if rest.strip() and parted:
            return start + len(rest) - len(rest.lstrip(" ")), part[1]
    return part


def _cut_tail(text: str, part: Place, request: Request) -> Place:
    """End the last item before a word that goes on with the sentence."""
    start, end = _clean(text, part)
    ending = english.AUXILIARIES | english.CONJUNCTIONS | english.PRONOUNS
    ending |= english.PREPOSITIONS - {"of"}
    for number, word in enumerate(WORD.finditer(text, start, end)):
        low = word[0].lower()
        known = stems(low) & (request.words | {request.head}) and low == word[0]
        if number and (low in ending or known):
            return start, start + len(text[start : word.start()].rstrip(" ("))
    return start, end


def _clean(text: str, part: Place) -> Place:
    start, end = part
    body = text[start:end]
    start += len(body) - len(body.lstrip(" \n\t"))
    while end > start and (text[end - 1] in ".,;:!?" or text[end - 1].isspace()):
        end -= 1
    return start, end


def _items_by_line(layout: Layout, at: int) -> list[Place]:
    """Return the lines of a block that has one item a line, without markers."""
    block = layout.blocks[at]
    lines = list(lines_of(layout.text, block.start, block.end))
    if block.kind != "prose" or len(lines) < 3:
        return []
    if layout.text[lines[0][1] - 1] == ":":
        lines = lines[1:]
    begins = sum(layout.text[a].isupper() or layout.text[a].isdigit() for a, _ in lines)
    ends = sum(layout.text[b - 1] in ",.;" for _, b in lines)
    short = all(b - a <= _LONGEST_LINE for a, b in lines)
    return lines if short and begins * 5 >= len(lines) * 4 and ends * 5 <= len(lines) else []
