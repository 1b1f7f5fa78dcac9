"""Generated text + Prompt -> Answer: which sentence rests on which span.

The numbers that a model writes in brackets are taken for hints. What is shown as a citation is
decided by evidence: what the passages say (see rag.answering.grounding).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rag.answering.grounding import Grounding, Support
from rag.answering.passages import Passages
from rag.errors import GenerationError
from rag.text.languages.english import REFUSAL
from rag.text.sentences import split_sentences
from rag.text.words import content_words
from rag.types import (
    NO_ANSWER,
    Answer,
    Citation,
    Document,
    Prompt,
    Sentence,
)

if TYPE_CHECKING:
    from rag.answering.extraction import Extract

_MARKER = re.compile(r"[ \t]*\[\s*\d+(?:\s*[,;–-]\s*\d+)*\s*\]")
# What may still become a marker when more text arrives.
_HALF_MARKER = re.compile(r"[ \t]*(?:\[[\d\s,;–-]*)?$")
_REFUSAL = re.compile(REFUSAL, re.IGNORECASE | re.DOTALL)


class CitedText:
    """Turns a generator's pieces into text whose citation marks are all borne out.

    Iterating gives the text as it comes, marks included; the joined pieces are the answer's text.
    Marks that the model wrote are taken out, and a sentence that passages bear out gets theirs
    when it ends. Afterwards `answer` makes the Answer.

    With `strict`, a sentence is given out when it has ended and is borne out, with all its names
    and numbers, and left out otherwise; with `first` too, nothing is read on after a first
    sentence that is not.
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
        self._prompt = prompt
        self._grounding = grounding or Grounding(prompt.question, Passages(prompt.hits))
        self._strict = strict
        self._first = first
        self._shown = ""
        self._sentences: list[Sentence] = []
        self._dropped: list[Sentence] = []
        self._evidence: list[Support] = []
        self.interrupted: str | None = None

    @property
    def supported(self) -> bool:
        """Whether any sentence so far is borne out."""
        return any(sentence.citations for sentence in self._sentences)

    def __iter__(self) -> Iterator[str]:
        # `raw` is the sentence at hand: everything of it that precedes `sent` has been given out.
        raw, sent, hinted = "", 0, []
        try:
            for piece in self._pieces:
                raw, numbers = _take_markers(raw + piece, sent)
                hinted += numbers
                while (end := _first_sentence_end(raw, sent)) is not None:
                    if not sent and self._said(raw[:end]):
                        # A model that repeats itself goes on doing so up to its limit.
                        return
                    yield self._ended(raw[:end], sent, hinted)
                    if self._first and not self.supported:
                        return
                    raw, sent, hinted = raw[end:], 0, []
                held = 0 if self._strict else _held_from(raw)
                if held > sent and not (sent == 0 and self._said(raw)):
                    yield self._show(raw[sent:held])
                    sent = held
        except GenerationError as error:
            if not self._shown and not raw:
                raise
            self.interrupted = str(error)
        finally:
            if isinstance(self._pieces, Generator):
                self._pieces.close()
        raw = raw.rstrip()
        again = sent == 0 and content_words(raw) and self._said(raw)
        if raw.strip() and not again:
            yield self._ended(raw, sent, hinted)

    def refuse(self) -> str:
        """Say that there is no answer, where nothing was left of what was written."""
        self._sentences.append(_REFUSING)
        return self._show(NO_ANSWER)

    def answer(
        self,
        document: Callable[[str], Document],
        model: str,
        timings: Mapping[str, float],
        *,
        answerability: float = 1.0,
    ) -> Answer:
        """The Answer, each quote checked against its document.

        Raises:
            StoreError: if a passage is not what its document holds at its place.
        """
        # A refusal beside supported sentences is a caveat; without any it is the reply, and an
        # answer that no passage bears out is no better than one.
        support = max((s.support for s in self._sentences if s.citations), default=0.0)
        return Answer(
            question=self._prompt.question,
            text=self._shown,
            citations=_citations(self._evidence, self._prompt, document),
            sentences=tuple(self._sentences),
            unsupported=tuple(
                s for s in self._sentences if not s.citations and not is_refusal(s.text)
            ),
            abstained=not self.supported and self.interrupted is None,
            prompt=self._prompt,
            model=model,
            timings=timings,
            interrupted=self.interrupted,
            way="generate",
            answerability=answerability,
            confidence=answerability * support,
        )

    def _said(self, raw: str) -> bool:
        """Whether a sentence that was given already begins like this."""
        begun = raw.strip()
        said = (*self._sentences, *self._dropped)
        return bool(begun) and any(s.text.startswith(begun) for s in said)

    def _show(self, text: str) -> str:
        if not self._shown:
            text = text.lstrip()
        self._shown += text
        return text

    def _ended(self, raw: str, sent: int, hinted: Sequence[int]) -> str:
        """What is left to be given out of a sentence when it has ended."""
        if self._strict:
            return self._show_if_borne_out(raw, hinted)
        return self._show(raw[sent:]) + self._close(raw, hinted)

    def _close(self, raw: str, hinted: Sequence[int]) -> str:
        text = raw.strip()
        if not text:
            return ""
        sentence, found = self._judged(text, hinted)
        return self._mark(sentence, found)

    def _show_if_borne_out(self, raw: str, hinted: Sequence[int]) -> str:
        text = raw.strip()
        if not text:
            return ""
        sentence, found = self._judged(text, hinted)
        if not found or sentence.flagged:
            self._dropped.append(sentence)
            return ""
        gap = " " if self._shown and not raw[0].isspace() else ""
        return self._show(gap + raw.rstrip()) + self._mark(sentence, found)

    def _judged(self, text: str, hinted: Sequence[int]) -> tuple[Sentence, list[Support]]:
        refuses = is_refusal(text)
        found = [] if refuses else self._grounding.supports(text, hinted)
        numbers = tuple(sorted({ground.number for ground in found}))
        support = max((ground.score for ground in found), default=0.0)
        flagged = () if refuses else self._grounding.flags(text)
        return Sentence(text, 0, len(text), support, numbers, flagged), found

    def _mark(self, sentence: Sentence, found: Sequence[Support]) -> str:
        start = len(self._shown.rstrip()) - len(sentence.text)
        self._sentences.append(replace(sentence, start=start, end=start + len(sentence.text)))
        self._evidence += found
        marks = "".join(f" [{number}]" for number in sentence.citations)
        self._shown += marks
        return marks


def is_refusal(text: str) -> bool:
    """Whether a sentence says that the documents hold no answer."""
    return NO_ANSWER.rstrip(".").lower() in text.lower() or bool(_REFUSAL.search(text))


def refusal(prompt: Prompt, timings: Mapping[str, float], *, answerability: float = 0.0) -> Answer:
    """The Answer when nothing was found that could answer."""
    return Answer(
        question=prompt.question,
        text=NO_ANSWER,
        citations=(),
        sentences=(_REFUSING,),
        unsupported=(),
        abstained=True,
        prompt=prompt,
        model="",
        timings=timings,
        way="none",
        answerability=answerability,
        confidence=answerability,
    )


def quotation(
    extract: Extract,
    prompt: Prompt,
    document: Callable[[str], Document],
    timings: Mapping[str, float],
    *,
    model: str,
    answerability: float,
) -> Answer:
    """The Answer that an extract is; its citation quotes the sentence around it.

    Raises:
        StoreError: if a passage is not what its document holds at its place.
    """
    text = " ".join(extract.text.split())
    ground = Support(extract.number, extract.sentence_start, extract.sentence_end, 1.0)
    return Answer(
        question=prompt.question,
        text=f"{text} [{extract.number}]",
        citations=_citations([ground], prompt, document),
        sentences=(Sentence(text, 0, len(text), 1.0, (extract.number,)),),
        unsupported=(),
        abstained=False,
        prompt=prompt,
        model=model,
        timings=timings,
        way="extract",
        answerability=answerability,
        confidence=answerability,
    )


def structured(
    text: str,
    data: Any,
    prompt: Prompt,
    grounding: Grounding,
    document: Callable[[str], Document],
    timings: Mapping[str, float],
    *,
    model: str,
    answerability: float,
) -> Answer:
    """The Answer that JSON is: each value in it is held against the passages like a sentence.

    Values that are neither text nor a number say nothing that a passage could bear out.

    Raises:
        StoreError: if a passage is not what its document holds at its place.
    """
    sentences, evidence, end = [], [], 0
    for value in _leaves(data):
        found = grounding.supports(value)
        evidence += found
        # As it is written in JSON, which may escape some of it.
        start = max(text.find(value, end), end)
        end = min(start + len(value), len(text))
        sentences.append(
            Sentence(
                text=text[start:end],
                start=start,
                end=end,
                support=max((ground.score for ground in found), default=0.0),
                citations=tuple(sorted({ground.number for ground in found})),
                flagged=grounding.flags(value),
            )
        )
    support = max((sentence.support for sentence in sentences), default=0.0)
    return Answer(
        question=prompt.question,
        text=text,
        citations=_citations(evidence, prompt, document),
        sentences=tuple(sentences),
        unsupported=tuple(sentence for sentence in sentences if not sentence.citations),
        abstained=bool(sentences) and not evidence,
        prompt=prompt,
        model=model,
        timings=timings,
        way="generate",
        answerability=answerability,
        confidence=answerability * support,
        data=data,
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


def _citations(
    evidence: Sequence[Support], prompt: Prompt, document: Callable[[str], Document]
) -> tuple[Citation, ...]:
    citations = {}
    documents: dict[str, Document] = {}
    for ground in evidence:
        hit = prompt.hits[ground.number - 1]
        name = hit.chunk.document_id
        if name not in documents:
            documents[name] = document(name)
        citation = Citation.of(hit, ground.start, ground.end, documents[name], number=ground.number)
        citations[citation.number, citation.start, citation.end] = citation
    return tuple(citations[key] for key in sorted(citations))


def _take_markers(raw: str, sent: int) -> tuple[str, list[int]]:
    """The text without the marks in what was not given out yet, and the marks' numbers."""
    numbers: list[int] = []

    def note(match: re.Match[str]) -> str:
        numbers.extend(int(number) for number in re.findall(r"\d+", match[0]))
        return ""

    return raw[:sent] + _MARKER.sub(note, raw[sent:]), numbers


def _first_sentence_end(raw: str, sent: int) -> int | None:
    """Where the first sentence ends, once there is text after it.

    More text can move a boundary to before what was given out: such a one comes too late.
    """
    spans = split_sentences(raw)
    # A lone list number ("1.") or mark belongs to what follows it.
    first = raw[slice(*spans[0])] if spans else ""
    joined = not content_words(first) or first.rstrip(".)").isdigit()
    return next((end for _, end in spans[joined:-1] if end >= sent), None)


def _held_from(raw: str) -> int:
    """From where on the text must wait: it may become a mark, or a mark may have to go before it.

    White space at the end waits as well, since a sentence's marks go before it.
    """
    match = _HALF_MARKER.search(raw)
    end = match.start() if match else len(raw)
    return len(raw[:end].rstrip())
