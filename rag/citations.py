"""Generated text + Prompt -> Answer: which sentence rests on which span.

The numbers that a model writes in brackets are taken for hints. What is shown as a citation is
decided by evidence: the words of the sentence against the words of the passages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rag.errors import GenerationError, StoreError
from rag.sentences import content_words, split_sentences
from rag.types import NO_ANSWER, Answer, Citation, Document, Hit, Prompt, Sentence

# A sentence rests on a passage whose best span holds this share of its content words.
SUPPORTED = 0.5

_MARKER = re.compile(r"[ \t]*\[\s*\d+(?:\s*[,;–-]\s*\d+)*\s*\]")
# What may still become a marker when more text arrives.
_HALF_MARKER = re.compile(r"[ \t]*(?:\[[\d\s,;–-]*)?$")
_REFUSAL = re.compile(
    r"\b(?:documents?|passages?|context|text|sources?)\b.{0,60}?"
    r"\b(?:do(?:es)?\s+not|don't|doesn't|no)\b.{0,40}?"
    r"\b(?:say|says|mention|state|contain|hold|provide|include|specify|answer|information)",
    re.IGNORECASE | re.DOTALL,
)

# Words that frame an answer and are borne out by nothing.
_FRAMING = content_words("answer answers question questions passage passages document documents")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The span of a passage that bears out a sentence best, and how well (0 to 1).

    `start` and `end` count from the beginning of the passage.
    """

    number: int
    start: int
    end: int
    support: float


class CitedText:
    """Turns a generator's pieces into text whose citation marks are all borne out.

    Iterating gives the text as it comes, marks included; the joined pieces are the answer's text.
    Marks that the model wrote are taken out, and a sentence that passages bear out gets theirs
    when it ends. Afterwards `answer` makes the Answer.
    """

    def __init__(self, pieces: Iterable[str], prompt: Prompt) -> None:
        self._pieces = pieces
        self._prompt = prompt
        self._passages = [_Passage.of(hit.text) for hit in prompt.hits]
        self._shown = ""
        self._sentences: list[Sentence] = []
        self._evidence: list[Evidence] = []
        self.interrupted: str | None = None

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
                    yield self._show(raw[sent:end])
                    yield self._close(raw[:end], hinted)
                    raw, sent, hinted = raw[end:], 0, []
                held = _held_from(raw)
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
        if raw.strip() and not (sent == 0 and self._said(raw)):
            yield self._show(raw[sent:])
            yield self._close(raw, hinted)

    def answer(
        self,
        document: Callable[[str], Document],
        model: str,
        timings: Mapping[str, float],
    ) -> Answer:
        """The Answer, each quote checked against its document.

        Raises:
            StoreError: if a passage is not what its document holds at its place.
        """
        # A refusal beside supported sentences is a caveat; without any it is the reply, and an
        # answer that no passage bears out is no better than one.
        supported = any(sentence.citations for sentence in self._sentences)
        return Answer(
            question=self._prompt.question,
            text=self._shown,
            citations=self._citations(document),
            sentences=tuple(self._sentences),
            unsupported=tuple(
                s for s in self._sentences if not s.citations and not is_refusal(s.text)
            ),
            abstained=not supported and self.interrupted is None,
            prompt=self._prompt,
            model=model,
            timings=timings,
            interrupted=self.interrupted,
        )

    def _said(self, raw: str) -> bool:
        """Whether a sentence that was given already begins like this."""
        begun = raw.strip()
        return bool(begun) and any(s.text.startswith(begun) for s in self._sentences)

    def _show(self, text: str) -> str:
        if not self._shown:
            text = text.lstrip()
        self._shown += text
        return text

    def _close(self, raw: str, hinted: Sequence[int]) -> str:
        text = raw.strip()
        if not text:
            return ""
        start = len(self._shown.rstrip()) - len(text)
        found = [] if is_refusal(text) else self._supporting(text, hinted)
        numbers = tuple(sorted({evidence.number for evidence in found}))
        support = max((evidence.support for evidence in found), default=0.0)
        self._sentences.append(Sentence(text, start, start + len(text), support, numbers))
        self._evidence += found
        marks = "".join(f" [{number}]" for number in numbers)
        self._shown += marks
        return marks

    def _supporting(self, sentence: str, hinted: Sequence[int]) -> list[Evidence]:
        words = content_words(sentence) - _FRAMING
        if not words:
            return []
        best = [
            evidence
            for number, passage in enumerate(self._passages, start=1)
            if (evidence := passage.evidence(words, number)) and evidence.support >= SUPPORTED
        ]
        chosen = [evidence for evidence in best if evidence.number in hinted]
        if not chosen and best:
            chosen = [max(best, key=lambda evidence: (evidence.support, -evidence.number))]
        return chosen

    def _citations(self, document: Callable[[str], Document]) -> tuple[Citation, ...]:
        citations = {}
        documents: dict[str, Document] = {}
        for evidence in self._evidence:
            hit = self._prompt.hits[evidence.number - 1]
            name = hit.chunk.document_id
            if name not in documents:
                documents[name] = document(name)
            citation = _citation(hit, evidence, documents[name])
            citations[citation.number, citation.start, citation.end] = citation
        return tuple(citations[key] for key in sorted(citations))


def is_refusal(text: str) -> bool:
    """Whether a sentence says that the documents hold no answer."""
    return NO_ANSWER.rstrip(".").lower() in text.lower() or bool(_REFUSAL.search(text))


def refusal(prompt: Prompt, timings: Mapping[str, float]) -> Answer:
    """The Answer when nothing was found that a generator could be asked about."""
    return Answer(
        question=prompt.question,
        text=NO_ANSWER,
        citations=(),
        sentences=(Sentence(NO_ANSWER, 0, len(NO_ANSWER), 0.0),),
        unsupported=(),
        abstained=True,
        prompt=prompt,
        model="",
        timings=timings,
    )


@dataclass(frozen=True, slots=True)
class _Passage:
    spans: list[tuple[int, int]]
    words: list[frozenset[str]]

    @classmethod
    def of(cls, text: str) -> _Passage:
        # A heading names what follows it and bears nothing out.
        spans = [span for span in split_sentences(text) if text[span[0]] != "#"]
        # Windows of one or two sentences: a claim often joins a pronoun to what it stands for.
        windows = spans + [(a[0], b[1]) for a, b in pairwise(spans)]
        return cls(windows, [content_words(text[start:end]) for start, end in windows])

    def evidence(self, words: frozenset[str], number: int) -> Evidence | None:
        """The window that holds the largest share of `words`; of equal ones the shortest.

        A number in the sentence that the window lacks leaves no support: it is what a reader
        would act upon.
        """
        best = None
        for (start, end), held in zip(self.spans, self.words, strict=True):
            if any(word[0].isdigit() and word not in held for word in words):
                continue
            support = len(words & held) / len(words)
            if support and (
                best is None or (support, best.end - best.start) > (best.support, end - start)
            ):
                best = Evidence(number, start, end, support)
        return best


def _citation(hit: Hit, evidence: Evidence, document: Document) -> Citation:
    start, end = hit.start + evidence.start, hit.start + evidence.end
    quote = document.text[start:end]
    if quote != hit.text[evidence.start : evidence.end]:
        raise StoreError(
            f"{hit.source}: its passage at {hit.start}-{hit.end} is not what the stored "
            "document holds there: index it again with `rag index --rebuild`"
        )
    return Citation(
        number=evidence.number,
        document_id=document.id,
        source=document.source,
        page=document.page_at(start),
        line=document.line_at(start),
        heading=document.heading_at(start),
        start=start,
        end=end,
        quote=quote,
    )


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
