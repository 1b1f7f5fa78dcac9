"""What every kind of answer is put together from: the span to trust, sentences, what they need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from rag.answering.passages import Passages, Stretch
from rag.answering.quoting.asking import Request
from rag.answering.quoting.layout import Block, Layout
from rag.answering.quoting.marks import repair
from rag.answering.reader import Span
from rag.text.languages import english
from rag.text.words import WORD, content_words, stem

Place = tuple[int, int]

MOST = 400
"""How many characters are printed of an answer that is no list and no steps."""
MOST_OF_A_LIST = 1200

# A span this much less probable than the best one may still be the one that was asked for.
_NEAR = 2.3
_HEADING_NUMBER = re.compile(r"^[\W_]*(?:\d+(?:\.\d+)*\.?|[a-z](?:\.\d+)+\.?)?\s+")
_CONDITION = re.compile(english.CONDITION_START, re.IGNORECASE)
_LEANS = re.compile(english.LEANS_BACK, re.IGNORECASE)
_CLAUSE = re.compile(
    r"(?<=[;:])\s+|\s+[–—]\s+"
    r"|(?<=,)\s+(?=(?:and|but|or|which|who|while|whereas|although|because|so|when|where|if)\b)"
)


@dataclass(slots=True)
class Draft:
    """A quotation in the making: pieces to print, marks within them, and the verdict."""

    pieces: list[Stretch] = field(default_factory=list)
    marks: list[Stretch] = field(default_factory=list)
    verdict: Literal["yes", "no"] | None = None

    def add(self, layout: Layout, places: Iterable[Place], marks: Iterable[Place] = ()) -> None:
        """Add pieces and marks of one passage."""
        self.pieces += [Stretch(layout.number, *place) for place in places]
        self.marks += [Stretch(layout.number, *mark) for mark in marks]

    @property
    def length(self) -> int:
        """How many characters its pieces have."""
        return sum(piece.end - piece.start for piece in self.pieces)


class Layouts:
    """The passages of a question as laid out, each made when first asked for."""

    def __init__(self, passages: Passages) -> None:
        self._passages = passages
        self._made: dict[int, Layout] = {}

    def __getitem__(self, number: int) -> Layout:
        if number not in self._made:
            self._made[number] = Layout(number, self._passages[number - 1])
        return self._made[number]

    def __len__(self) -> int:
        return len(self._passages)

    def entry_of(self, span: Stretch) -> str:
        """Return the terms of the definition that a span lies in; empty where it lies in none."""
        layout = self[span.number]
        at = layout.index_at(span.start, span.end)
        terms = layout.terms_of(at) if at is not None else []
        return " ".join(layout.text[term.start : term.end] for term in terms)

    def refers(self, span: Stretch) -> bool:
        """Return whether a span lies in a section that only names what else there is to read.

        What "See Also" lists is about something else than the question, whatever its words.
        """
        passage = self._passages[span.number - 1]
        path = passage.hit.chunk.heading
        heads = [path[-1]] if path else []
        if any(name in passage.text.lower() for name in english.REFERRING_HEADINGS):
            layout = self[span.number]
            at = layout.index_at(span.start, span.end)
            above = layout.heading_above(at) if at is not None else None
            heads += [layout.text[above.start : above.end]] if above else []
        return bool(heads) and _bare_heading(heads[-1]) in english.REFERRING_HEADINGS


def usable_spans(layouts: Layouts, spans: Sequence[Span]) -> list[Span]:
    """Return the spans outside instructions to a model, headings, footers and references.

    Where nothing else is left, those in headings, footers and references stay. A span that reaches
    over several blocks is cut to the one that it shares most with.
    """
    settled = [_settle(layouts[span.number], span) for span in spans]
    allowed = [s for s in settled if s and not layouts[s.number].passage.withholds(s.start, s.end)]
    body = [
        span
        for span in allowed
        if not _is_outside(layouts[span.number], span) and not layouts.refers(span)
    ]
    return body or allowed


def choose_span(request: Request, layouts: Layouts, spans: Sequence[Span]) -> Span:
    """Return the span to trust: the best, or a near one whose evidence names what is asked for.

    A name or number of the question ("version 15") that the best span's sentence, headings and
    title lack decides for one that has it.
    """

    def named(span: Span) -> int:
        return len(request.names & evidence_stems(layouts[span.number], span))

    best = spans[0]
    if not request.names or named(best) == len(request.names):
        return best
    near = [span for span in spans if span.log_odds >= best.log_odds - _NEAR]
    return max(near, key=lambda span: (named(span), span.log_odds))


def evidence_stems(layout: Layout, place: Stretch) -> frozenset[str]:
    """Return the stems of a span's sentence, of its terms, headings and title."""
    hit = layout.passage.hit
    at = layout.index_at(place.start, place.end)
    around = layout.sentence_at(place.start, place.end) or (place.start, place.end)
    terms = layout.terms_of(at) if at is not None else []
    parts = [layout.text[slice(*around)], *(layout.text[b.start : b.end] for b in terms)]
    return stems(" ".join((*parts, hit.title, *hit.chunk.heading)))


def stems(text: str) -> frozenset[str]:
    """Return the stems of all words of a text, and of the parts of those with hyphens.

    "mode" has two, since "modes" loses its "es".
    """
    found = WORD.findall(text.lower())
    parts = (part for word in found for part in re.split(r"[-/_]", word) if part)
    bare = {stem(word) for word in (*found, *parts)}
    return frozenset(bare | {word[:-1] for word in bare if len(word) > 3 and word.endswith("e")})


def print_fact(request: Request, layout: Layout, span: Place, draft: Draft | None = None) -> Draft:
    """Add the sentence around a span, its mark, and what the sentence needs to be understood.

    That are its footnote, the condition that follows it, the term that it defines, and the sentence
    before one that begins with a pronoun: as long as they fit.
    """
    draft = draft or Draft()
    at = layout.index_at(*span)
    sentence = layout.sentence_at(*span)
    if at is None or sentence is None:
        draft.add(layout, [span], [span])
        return draft
    block = layout.blocks[at]
    if qualified := _qualify(request, layout, block, sentence):
        sentence, span = qualified
    mark = repair(layout.text, span, sentence, request)
    core = shorten(layout.text, sentence, mark)
    room = MOST - (core[1] - core[0])
    pieces = [core]
    for extra in _extras(request, layout, at, sentence):
        length = extra[1] - extra[0]
        if length <= room and not layout.passage.withholds(*extra):
            pieces.append(extra)
            room -= length
    draft.add(layout, pieces, [mark])
    return draft


def _qualify(
    request: Request, layout: Layout, block: Block, sentence: Place
) -> tuple[Place, Place] | None:
    """Return the one sentence of a block that speaks of the default, the maximum or the like.

    It is asked for where the reader's sentence speaks of another value. Its number is the answer,
    or what follows its verb.
    """
    asked = english.QUALIFIERS & frozenset(WORD.findall(request.text.lower()))

    def holds(place: Place) -> bool:
        return asked <= frozenset(WORD.findall(layout.text[slice(*place)].lower()))

    if not asked or request.manner != "fact" or holds(sentence):
        return None
    found = [place for place in layout.sentences(block) if holds(place)]
    if len(found) != 1:
        return None
    text = layout.text
    value = re.compile(r"(?<![\w.])\d[\w.,]*|\b(?:is|are|to)\s+(?:\w+ly\s+)?\S+")
    match = value.search(text, *found[0])
    return (found[0], (text.rindex(" ", 0, match.end()) + 1, match.end())) if match else None


def _extras(request: Request, layout: Layout, at: int, sentence: Place) -> list[Place]:
    """Return what else a sentence needs, the most important first."""
    block = layout.blocks[at]
    text, sentences = layout.text, layout.sentences(block)
    place, last = _places(sentences, sentence)
    note = layout.note_of(*sentence)
    found = [(note.start, note.end)] if note else []
    terms = layout.terms_of(at)
    if terms and block.kind != "term":
        found += [(term.start, term.end) for term in terms]
    if last + 1 < len(sentences) and _CONDITION.match(text, sentences[last + 1][0]):
        found.append(sentences[last + 1])
    if block.kind == "code":
        found += explaining(layout, at)
    elif place > 0 and leans_back(text[slice(*sentence)]):
        found.append(sentences[place - 1])
    elif place == 0 and leans_back(text[slice(*sentence)]) and at > 0:
        above = layout.blocks[at - 1]
        if above.kind == "prose" and block.kind == "prose":
            found.append(layout.sentences(above)[-1])
    elif block.kind == "term" and at + 1 < len(layout.blocks):
        below = next((b for b in layout.blocks[at + 1 :] if b.kind != "term"), None)
        if below is not None and below.kind == "definition":
            found.append(layout.sentences(below)[0])
    elif block.kind == "item" and len(sentences) == 1:
        found += lead_in(layout, at)
    return found + _telling_neighbours(request, layout, sentence, sentences)


def _telling_neighbours(
    request: Request, layout: Layout, sentence: Place, sentences: Sequence[Place]
) -> list[Place]:
    """Return the sentence beside one that holds two or more words of the question that it lacks."""
    if request.manner in ("whether", "comparison", "facts"):
        return []
    place, last = _places(sentences, sentence)
    missing = request.words - content_words(layout.text[slice(*sentence)])
    beside = [sentences[i] for i in (last + 1, place - 1) if 0 <= i < len(sentences)]
    told = {each: len(missing & content_words(layout.text[slice(*each)])) for each in beside}
    return sorted((each for each in beside if told[each] > 1), key=lambda each: -told[each])[:1]


def _places(sentences: Sequence[Place], sentence: Place) -> tuple[int, int]:
    """Return the places of the first and the last sentence that a stretch of them holds."""
    held = [i for i, s in enumerate(sentences) if s[0] < sentence[1] and sentence[0] < s[1]]
    return (held[0], held[-1]) if held else (0, 0)


def leans_back(sentence: str) -> bool:
    """Return whether a sentence begins with a word that points to the one before it."""
    return _LEANS.match(sentence) is not None


def explaining(layout: Layout, at: int) -> list[Place]:
    """Return the sentence right before a code block, or the one after it if there is none."""
    blocks = layout.blocks
    if at > 0 and blocks[at - 1].kind in ("prose", "item", "definition"):
        return [layout.sentences(blocks[at - 1])[-1]]
    if at > 0 and blocks[at - 1].kind == "term":
        return [(blocks[at - 1].start, blocks[at - 1].end)]
    if at + 1 < len(blocks) and blocks[at + 1].kind == "prose":
        return [layout.sentences(blocks[at + 1])[0]]
    return []


def lead_in(layout: Layout, at: int) -> list[Place]:
    """Return the sentence that ends in a colon above the list around an item."""
    blocks = layout.blocks
    indent = blocks[at].indent
    while at > 0 and (blocks[at].kind in ("item", "term", "definition", "code")):
        at -= 1
        if blocks[at].kind in ("prose", "definition", "item") and blocks[at].indent <= indent:
            last = layout.sentences(blocks[at])[-1:]
            if last and layout.text[last[0][1] - 1] == ":":
                return last
    return []


def shorten(text: str, sentence: Place, mark: Place) -> Place:
    """Return a sentence, or of one that is too long those of its clauses around the mark."""
    start, end = sentence
    if end - start <= MOST:
        return sentence
    cuts = [m.span() for m in _CLAUSE.finditer(text, start, end)]
    firsts = [start, *(after for _, after in cuts)]
    lasts = [*(before for before, _ in cuts), end]
    first = max(i for i, at in enumerate(firsts) if at <= mark[0])
    last = min(i for i, at in enumerate(lasts) if at >= mark[1])
    while True:
        wider = [
            (a, b)
            for a, b in ((first, last + 1), (first - 1, last))
            if a >= 0 and b < len(lasts) and lasts[b] - firsts[a] <= MOST
        ]
        if not wider:
            return firsts[first], lasts[last]
        first, last = wider[0]


def _settle(layout: Layout, span: Span) -> Span | None:
    """Return a span as far as it lies in the body of a block, or the block nearest to it.

    A span of marks alone ("- ") stands for the block that they belong to.
    """
    at = layout.index_at(span.start, span.end)
    if at is None:
        if not layout.blocks:
            return None
        block = min(
            layout.blocks, key=lambda b: min(abs(b.outer - span.end), abs(b.end - span.start))
        )
    else:
        block = layout.blocks[at]
    start, end = max(span.start, block.start), min(span.end, block.end)
    if not layout.text[start:end].strip():
        start, end = layout.sentences(block)[0]
    sentence = layout.sentence_at(start, end)
    if sentence and layout.text[sentence[1] - 1] == "?":
        start, end = _after_question(layout, sentence) or (start, end)
    return replace(span, start=start, end=end)


def _after_question(layout: Layout, sentence: Place) -> Place | None:
    """Return the sentence after a question in the text, which answers it: the question does not."""
    at = layout.index_at(*sentence)
    blocks = layout.blocks[at:] if at is not None else ()
    following = (
        place
        for block in blocks
        if block.kind in ("prose", "item", "definition")
        for place in layout.sentences(block)
        if place[0] >= sentence[1] and layout.text[place[1] - 1] != "?"
    )
    return next(following, None)


def _bare_heading(heading: str) -> str:
    """Return a heading in small letters, without its number and marks: "12.3. See Also:"."""
    return _HEADING_NUMBER.sub("", f" {heading.lower()}").strip(" \t#*_:=-.")


def _is_outside(layout: Layout, span: Stretch) -> bool:
    """Return whether a span lies in a heading or in what stands on each page."""
    at = layout.index_at(span.start, span.end)
    return at is None or layout.blocks[at].kind in ("heading", "footer")
