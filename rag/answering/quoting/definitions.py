"""What something is -> the sentence that defines it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag.answering.quoting.asking import Request
from rag.answering.quoting.layout import Layout
from rag.answering.quoting.pieces import MOST, Draft, Layouts, Place, print_fact, shorten
from rag.answering.reader import Span
from rag.text.languages.english import DEFINING_VERBS

# A name of several words right before a bracket: "National Science Foundation Network (".
_NAME_AT_END = re.compile(r"(?:(?:[A-Z][\w-]*|\w+-\w+)\s+){1,7}[A-Z][\w-]*(?=\s*$)")
_BRACKETED = r"\(\s*(?:[\"'“‘*_`]*)({})(?:[\"'”’*_`]*)\s*\)"


@dataclass(frozen=True, slots=True)
class _Definition:
    """A sentence that defines, the part of it that does, and how surely it does."""

    layout: Layout
    sentence: Place
    mark: Place
    weight: float


def quote_definition(request: Request, layouts: Layouts, spans: Sequence[Span]) -> Draft:
    """Return the sentence that says what the term of a question is, and mark what it says.

    A glossary's entry comes before an abbreviation's words in brackets, and those before a sentence
    "X is …". The passages of the reader's spans come first. Where nothing defines the term, the
    reader's span is read as a fact.
    """
    held = {span.number for span in spans}
    found = [
        definition
        for number in sorted(held) or ()
        for definition in _find(layouts[number], request.term)
        if not definition.layout.passage.withholds(*definition.sentence)
    ]
    best = spans[0]

    def rank(each: _Definition) -> tuple[float, int]:
        inside = each.layout.number == best.number and (
            each.sentence[0] < best.end and best.start < each.sentence[1]
        )
        beside = each.layout.number == best.number
        return each.weight + 1.5 * inside + 0.5 * beside, -each.sentence[0]

    if not found:
        return print_fact(request, layouts[best.number], (best.start, best.end))
    chosen = max(found, key=rank)
    draft = Draft()
    start, end = chosen.sentence
    if end - start > MOST:
        start, end = shorten(chosen.layout.text, chosen.sentence, (chosen.mark[0],) * 2)
    mark = max(start, chosen.mark[0]), min(end, chosen.mark[1])
    draft.add(chosen.layout, [(start, end)], [mark])
    return draft


def _find(layout: Layout, term: str) -> Iterator[_Definition]:
    pattern = _pattern_of(term)
    yield from _entries(layout, pattern)
    for block in layout.blocks:
        if block.kind in ("prose", "item", "definition", "note"):
            for sentence in layout.sentences(block):
                yield from _in_sentence(layout, sentence, pattern, term)


def _pattern_of(term: str) -> str:
    """Return a pattern for a term in the singular or plural, however it is spaced."""
    words = [re.escape(word) for word in re.split(r"[\s-]+", term) if word]
    if words and len(words[-1]) > 3 and words[-1].endswith("s"):
        words[-1] = words[-1][:-1] + "s?"
    return r"[\s-]+".join(words) + r"(?:s|es)?"


def _entries(layout: Layout, pattern: str) -> Iterator[_Definition]:
    """Yield the entries of a glossary: a term, and below it what it means."""
    entry = re.compile(rf"[\"'“`*]*{pattern}[\"'”`*]*(?:\s*[(\[<=,].*)?", re.IGNORECASE)
    blocks, text = layout.blocks, layout.text
    for at, block in enumerate(blocks):
        if block.kind != "term" or not entry.fullmatch(text[block.start : block.end]):
            continue
        below = next((each for each in blocks[at + 1 :] if each.kind != "term"), None)
        if below is None or below.kind != "definition":
            continue
        start, end = layout.sentences(below)[0]
        named = re.match(rf"(?:an?|the)?\s*{pattern}\b", text[start:end], re.IGNORECASE)
        if named or start - block.start > MOST:
            yield _Definition(layout, (start, end), (start, end), 5)
        else:
            yield _Definition(layout, (block.start, end), (start, end), 5)


def _in_sentence(layout: Layout, sentence: Place, pattern: str, term: str) -> Iterator[_Definition]:
    text = layout.text[slice(*sentence)]
    offset = sentence[0]

    def make(start: int, end: int, weight: float) -> Iterator[_Definition]:
        body = text[start:end]
        start += len(body) - len(body.lstrip())
        end = start + len(body.strip().rstrip(".;,:"))
        if start < end:
            yield _Definition(layout, sentence, (offset + start, offset + end), weight)

    bracketed = re.search(_BRACKETED.format(pattern), text, re.IGNORECASE)
    if bracketed and (start := _expansion_before(text, bracketed.start(), term)) is not None:
        yield from make(start, bracketed.start(), 4)
    elif bracketed and (named := _NAME_AT_END.search(text[: bracketed.start()])):
        yield from make(*named.span(), 3.5)
    after = re.search(rf"\b{pattern}\s*\(([^()]{{3,80}})\)", text, re.IGNORECASE)
    if after and _spells(after[1], term):
        yield from make(*after.span(1), 4)
    subject = (
        rf"(?:^|[\"'“‘*_`(,;]\s*|\b(?:an?|the|by|word|term)\s+)[\"'“‘*_`]*{pattern}[\"'”’*_`]*"
    )
    verb = re.search(
        rf"{subject}(?:\s*\([^()]*\))?,?\s+(?:\w+ly\s+)?{DEFINING_VERBS}\b"
        r"(?:\s+(?:that|normally|usually|generally|simply|just))?\s+(?=\S)",
        text,
        re.IGNORECASE,
    )
    if verb:
        noun = re.match(r"(?:an?|the|one of|any|when|that)\b", text[verb.end() :])
        first = 1.0 if not text[: verb.start()].strip(" \"'“*`") else 0.0
        also = text.startswith("also ", verb.end())
        yield from make(verb.end(), len(text), 2 + first + (0.5 if noun else 0) - also)
    dash = re.match(
        rf"[\"'“*_`]*{pattern}[\"'”*_`]*(?:\s*\([^()]*\))?(?::|\s+[–—-]+)\s+", text, re.I
    )
    if dash:
        yield from make(dash.end(), len(text), 3.5)
    called = re.search(
        rf"\b(?:called|known as|termed|named|referred to as)\s+(?:an? |the )?[\"'“*_`]*{pattern}\b",
        text,
        re.IGNORECASE,
    )
    if called:
        yield from make(0, len(text), 2.5)


def _expansion_before(text: str, end: int, term: str) -> int | None:
    """Return where the words begin before a bracket whose first letters spell the term."""
    letters = [letter for letter in term.lower() if letter.isalnum()]
    words = list(re.finditer(r"[^\W_]+(?:'[^\W_]+)?", text[:end]))
    at = len(letters) - 1
    for word in reversed(words[-2 * len(letters) - 2 :]):
        if at >= 0 and word[0][0].lower() == letters[at]:
            if at == 0:
                return word.start()
            at -= 1
        elif len(word[0]) > 3:
            return None
    return None


def _spells(words: str, term: str) -> bool:
    """Return whether the first letters of words spell a term, small words left out or not."""
    return _expansion_before(words, len(words), term) is not None or len(term) > 6
