"""text, passages -> Answer: each sentence cites the passages that support it.

The numbers that a model writes in brackets are hints. What the passages say decides what is shown
as a citation (see rag.answering.grounding).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from rag.answering.grounding import Grounding, Support
from rag.answering.passages import Passages, Stretch
from rag.errors import GenerationError, IncompleteError, RetractedError
from rag.parsing import read_whole
from rag.text.excerpts import join_lines
from rag.text.languages.english import REFUSAL
from rag.text.sentences import split_sentences
from rag.text.words import content_words
from rag.types import NO_ANSWER, NO_MATCH, Answer, Citation, Document, Prompt, Sentence

if TYPE_CHECKING:
    from rag.answering.extraction import Extract

_MARKER = re.compile(r"[ \t]*\[\s*\d+(?:\s*[,;–-]\s*\d+)*\s*\]")
# What may still become a marker when more text arrives.
_HALF_MARKER = re.compile(r"[ \t]*(?:\[[\d\s,;–-]*)?$")
# A sentence that has ended, with marks or quotation marks after its end.
_ENDED = re.compile(r"""[.!?…。！？։؟।][\]\[\d\s"'”’»)*_`]*$""")
_REFUSAL = re.compile(REFUSAL, re.IGNORECASE | re.DOTALL)


class CitedText:
    """A generator's text with citation marks that passages support.

    Iterating yields the text as it comes, marks included; the joined pieces are the answer's text.
    The model's own marks are removed, and a sentence that passages support gets their marks when
    it ends. Afterwards `draft` returns the whole. A generator that fails or comes to its limit
    leaves `interrupted` set, and what it had written; `incomplete` says that it was the limit, and
    `wrote` that there was any text.

    With `strict`, a sentence is shown when it has ended, and only if passages support it with all
    its names and numbers; with `first` too, reading stops after a first sentence that they do not
    support.
    """

    def __init__(
        self,
        pieces: Iterable[str],
        prompt: Prompt,
        grounding: Grounding | None = None,
        *,
        strict: bool = False,
        first: bool = False,
    ) -> None:
        self._pieces = pieces
        self._grounding = grounding or Grounding(prompt.question, Passages(prompt.hits))
        self._strict = strict
        self._first = first
        self._shown = ""
        self._sentences: list[Sentence] = []
        self._dropped: list[Sentence] = []
        self._supports: list[Support] = []
        self.interrupted: str | None = None
        self.incomplete = False
        self.wrote = False
        self._broken = self._refuses = False
        self._fragment: Sentence | None = None

    @property
    def shown(self) -> bool:
        """Whether any text has been yielded."""
        return bool(self._shown)

    @property
    def failed(self) -> bool:
        """Whether the generator failed, rather than came to its limit."""
        return self.interrupted is not None and not self.incomplete

    @property
    def supported(self) -> bool:
        """Whether passages support any sentence so far."""
        return any(sentence.citations for sentence in self._sentences)

    def __iter__(self) -> Iterator[str]:
        # `raw` is the sentence at hand, of which `raw[:sent]` has been yielded.
        raw, sent, hinted = "", 0, []
        try:
            for piece in self._pieces:
                self.wrote = self.wrote or bool(piece.strip())
                raw, numbers = _take_markers(raw + piece, sent)
                hinted += numbers
                while (end := _first_sentence_end(raw, sent)) is not None:
                    if not sent and self._repeats(raw[:end]):
                        # A model that repeats itself goes on doing so up to its limit.
                        return
                    yield self._end(raw[:end], sent, hinted)
                    if self._first and not self.supported:
                        return
                    raw, sent, hinted = raw[end:], 0, []
                ready = 0 if self._strict else _hold_from(raw)
                if ready > sent and not (sent == 0 and self._repeats(raw)):
                    yield self._show(raw[sent:ready])
                    sent = ready
        except RetractedError:
            raise
        except GenerationError as error:
            self.incomplete = isinstance(error, IncompleteError)
            if not self._shown and not raw and not (self.incomplete and self.wrote):
                raise
            self.interrupted = str(error)
        finally:
            if isinstance(self._pieces, Generator):
                self._pieces.close()
        raw = raw.rstrip()
        self._broken = self.interrupted is not None and not _ENDED.search(raw)
        again = sent == 0 and content_words(raw) and self._repeats(raw)
        if raw.strip() and not again:
            yield self._end(raw, sent, hinted)

    def refuse(self) -> str:
        """Return the text that there is no answer, where nothing of what was written is left."""
        self._sentences.append(_REFUSING)
        self._refuses = True
        return self._show(NO_ANSWER)

    def draft(self, model: str) -> Draft:
        """Return what was written, to be checked and cited."""
        # A refusal beside supported sentences is a caveat; without any it is the reply, and an
        # answer that no passage supports is no better than one.
        return Draft(
            text=self._shown,
            sentences=tuple(self._sentences),
            supports=tuple(self._supports),
            abstains=not self.supported and (self._refuses or self.interrupted is None),
            way="generate",
            model=model,
            interrupted=self.interrupted,
            fragment=self._fragment,
        )

    def _repeats(self, raw: str) -> bool:
        """Return whether an earlier sentence begins like this."""
        begun = raw.strip()
        earlier = (*self._sentences, *self._dropped)
        return bool(begun) and any(s.text.startswith(begun) for s in earlier)

    def _show(self, text: str) -> str:
        if not self._shown:
            text = text.lstrip()
        self._shown += text
        return text

    def _end(self, raw: str, sent: int, hinted: Sequence[int]) -> str:
        """Show what is left of a sentence that has ended, or all of it if it was held back."""
        if self._strict:
            return self._show_if_supported(raw, hinted)
        shown = self._show(raw[sent:])
        return shown + (self._mark(*self._judge(raw.strip(), hinted)) if raw.strip() else "")

    def _show_if_supported(self, raw: str, hinted: Sequence[int]) -> str:
        if not raw.strip():
            return ""
        sentence, found = self._judge(raw.strip(), hinted)
        if not found or sentence.flagged:
            self._dropped.append(sentence)
            return ""
        gap = " " if self._shown and not raw[0].isspace() else ""
        return self._show(gap + raw.rstrip()) + self._mark(sentence, found)

    def _judge(self, text: str, hinted: Sequence[int]) -> tuple[Sentence, list[Support]]:
        if is_refusal(text):
            return _make_sentence(text, [], ()), []
        found = self._grounding.supports(text, hinted)
        # The last word of a broken sentence may be half a number, and the rest of it is not known.
        flags = () if self._broken and not self._strict else self._grounding.flags(text)
        return _make_sentence(text, found, flags), found

    def _mark(self, sentence: Sentence, found: Sequence[Support]) -> str:
        start = len(self._shown.rstrip()) - len(sentence.text)
        self._sentences.append(replace(sentence, start=start, end=start + len(sentence.text)))
        if self._broken:
            self._fragment = self._sentences[-1]
        self._supports += found
        marks = "".join(f" [{number}]" for number in sentence.citations)
        self._shown += marks
        return marks


def is_refusal(text: str) -> bool:
    """Return whether a sentence says that the documents hold no answer, or that none were read."""
    return (
        text == NO_MATCH
        or NO_ANSWER.rstrip(".").lower() in text.lower()
        or bool(_REFUSAL.search(text))
    )


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of an answer with what supports it, before its quotes are checked.

    `fragment` is the last sentence if it was cut: nobody knows what it would have said.
    """

    text: str
    sentences: tuple[Sentence, ...]
    supports: tuple[Support, ...]
    abstains: bool
    way: Literal["generate", "extract", "none"]
    model: str = ""
    interrupted: str | None = None
    fragment: Sentence | None = None
    data: Any = None
    spans: tuple[tuple[int, int], ...] = ()

    def finish(
        self,
        prompt: Prompt,
        document: Callable[[str], Document],
        timings: Mapping[str, float],
        answerability: float,
    ) -> Answer:
        """Return the Answer, each quote checked against its document.

        Raises:
            StoreError: if a passage is not what its document holds at its place.
        """
        unsupported = (
            sentence
            for sentence in self.sentences
            if not sentence.citations and sentence is not self.fragment
        )
        support = max((sentence.support for sentence in self.sentences), default=0.0)
        return Answer(
            question=prompt.question,
            text=self.text,
            citations=_cite(self.supports, prompt, document),
            sentences=self.sentences,
            # A value of JSON cannot be a caveat.
            unsupported=tuple(
                each for each in unsupported if self.data is not None or not is_refusal(each.text)
            ),
            abstained=self.abstains,
            prompt=prompt,
            model=self.model,
            timings=timings,
            interrupted=self.interrupted,
            way=self.way,
            answerability=answerability,
            confidence=answerability if self.way == "none" else answerability * support,
            data=self.data,
            spans=self.spans,
        )


def refuse(reason: str = NO_ANSWER) -> Draft:
    """Draft the answer that there is none, and why."""
    sentence = Sentence(reason, 0, len(reason), 0.0)
    return Draft(reason, (sentence,), (), abstains=True, way="none")


def quote(extract: Extract, model: str) -> Draft:
    """Draft the answer that an extract is; its citation quotes the sentence around it."""
    text = " ".join(extract.text.split())
    return Draft(
        text=f"{text} [{extract.number}]",
        sentences=(Sentence(text, 0, len(text), 1.0, (extract.number,)),),
        supports=(Support(extract.number, extract.sentence_start, extract.sentence_end, 1.0),),
        abstains=False,
        way="extract",
        model=model,
    )


def quote_stretches(
    passages: Passages,
    stretches: Sequence[Stretch],
    marks: Sequence[Stretch],
    model: str,
    opening: str = "",
) -> Draft:
    """Draft an answer of stretches of passages, word for word, in which `marks` are the answer.

    Args:
        passages: what is quoted from.
        stretches: what is printed, in this order; each is a sentence of the answer.
        marks: each lies within one of `stretches`.
        model: the name of what chose them.
        opening: goes before the quotes, such as "No.".
    """
    text, sentences, spans = opening, [], []
    for at, stretch in enumerate(stretches):
        inside = [
            (mark.start - stretch.start, mark.end - stretch.start)
            for mark in marks
            if mark.number == stretch.number
            and stretch.start <= mark.start
            and mark.end <= stretch.end
        ]
        raw = passages[stretch.number - 1].text[stretch.start : stretch.end]
        piece, moved = join_lines(raw, inside, _LINE_BREAK)
        follows = at > 0 and stretches[at - 1].number == stretch.number
        if text and (_LINE.match(piece) or "\n" in text):
            text += "\n"
        elif text:
            # What is left out between two sentences of a passage shows.
            text += " … " if follows else " "
        begin = len(text)
        text += piece
        sentences.append(Sentence(piece, begin, len(text), 1.0, (stretch.number,)))
        spans += [(begin + first, begin + last) for first, last in moved]
        if at + 1 == len(stretches) or stretches[at + 1].number != stretch.number:
            text += f" [{stretch.number}]"
    return Draft(
        text=text,
        sentences=tuple(sentences),
        supports=tuple(Support(each.number, each.start, each.end, 1.0) for each in stretches),
        abstains=False,
        way="extract",
        model=model,
        spans=tuple(spans),
    )


# A line that begins an item or a row, and one that follows an empty line, stays a line.
_LINE = re.compile(r"[-*•|+]|\d+[.)]\s")
_LINE_BREAK = re.compile(r"[^\S\n]*\n(?:\s*\n)?(?=\s*(?:[-*•|+]|\d+[.)]\s|\(?[a-z][.)]\s))|\n\s*\n")


def cite_json(text: str, data: Any, grounding: Grounding, model: str) -> Draft:
    """Draft the answer that JSON is: each value is compared with the passages like a sentence.

    Values that are neither text nor a number say nothing that a passage could support.
    """
    sentences: list[Sentence] = []
    supports: list[Support] = []
    end = 0
    for value in _leaves(data):
        found = grounding.supports(value)
        supports += found
        # As it is written in JSON, which may escape some of it.
        start = max(text.find(value, end), end)
        end = min(start + len(value), len(text))
        sentences.append(_make_sentence(text[start:end], found, grounding.flags(value), start))
    return Draft(
        text=text,
        sentences=tuple(sentences),
        supports=tuple(supports),
        abstains=bool(sentences) and not supports,
        way="generate",
        model=model,
        data=data,
    )


def _make_sentence(
    text: str, found: Sequence[Support], flagged: tuple[str, ...], start: int = 0
) -> Sentence:
    return Sentence(
        text=text,
        start=start,
        end=start + len(text),
        support=max((support.score for support in found), default=0.0),
        citations=tuple(sorted({support.number for support in found})),
        flagged=flagged,
    )


_REFUSING = Sentence(NO_ANSWER, 0, len(NO_ANSWER), 0.0)


def _leaves(data: Any) -> Iterator[str]:
    if isinstance(data, Mapping):
        for value in data.values():
            yield from _leaves(value)
    elif isinstance(data, list):
        for value in data:
            yield from _leaves(value)
    elif isinstance(data, str | int | float) and not isinstance(data, bool) and str(data).strip():
        yield str(data)


def _cite(
    supports: Sequence[Support], prompt: Prompt, document: Callable[[str], Document]
) -> tuple[Citation, ...]:
    citations = {}
    stored = cache(document)
    for support in supports:
        number, hit = support.number, prompt.hits[support.number - 1]
        source = stored(hit.chunk.document_id)
        citation = Citation.of(hit, support.start, support.end, source, number=number)
        citations[number, citation.start, citation.end] = citation
    return tuple(citations[key] for key in sorted(citations))


def _take_markers(raw: str, sent: int) -> tuple[str, list[int]]:
    """Return the text without the marks after `raw[:sent]`, and the numbers in these marks."""
    numbers: list[int] = []

    def note(match: re.Match[str]) -> str:
        numbers.extend(read_whole(number) for number in re.findall(r"\d+", match[0]))
        return ""

    return raw[:sent] + _MARKER.sub(note, raw[sent:]), numbers


def _first_sentence_end(raw: str, sent: int) -> int | None:
    """Return where the first sentence ends, once there is text after it.

    More text can move a boundary into `raw[:sent]`, which was yielded already: it comes too late.
    """
    spans = split_sentences(raw)
    # A lone list number ("1.") or mark belongs to what follows it.
    first = raw[slice(*spans[0])] if spans else ""
    joined = not content_words(first) or first.rstrip(".)").isdigit()
    return next((end for _, end in spans[joined:-1] if end >= sent), None)


def _hold_from(raw: str) -> int:
    """Return from where on the text must wait, since it may become a mark or follow one.

    White space at the end waits as well: a sentence's marks go before it.
    """
    match = _HALF_MARKER.search(raw)
    end = match.start() if match else len(raw)
    return len(raw[:end].rstrip())
