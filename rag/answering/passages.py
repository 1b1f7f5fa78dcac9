"""hits -> passages, each read once: its sentences, what is withheld, words and vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from rag.answering.telling import find_withheld
from rag.errors import RagError
from rag.text.sentences import split_sentences
from rag.text.words import content_words

if TYPE_CHECKING:
    from rag.protocols import Embedder
    from rag.types import Document, Hit, Vectors

Span = tuple[int, int]

# So many characters of the document around a passage are looked at: a passage may begin or end in
# the middle of a sentence that tells what to say, and hold only what it says.
_AROUND = 400


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of passage `number` (from 1), `[start:end]` of its text."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One or two sentences that may be evidence, `[start:end]` of a passage's text."""

    start: int
    end: int
    text: str
    words: frozenset[str]


class Passage:
    """A hit as answers read it. Each property is made at first use, and once.

    `document` gives the document of an id, for what stands around the passage.
    """

    def __init__(self, hit: Hit, document: Callable[[str], Document] | None = None) -> None:
        self.hit = hit
        self.text = hit.text
        self._document = document

    @cached_property
    def sentences(self) -> list[Span]:
        """The spans of all its sentences."""
        return split_sentences(self.text)

    @cached_property
    def withheld(self) -> list[Span]:
        """The spans that give instructions to a model, or say what to answer: no evidence."""
        before, after = self._around()
        if not before and not after:
            return find_withheld(self.text, self.sentences)
        skipped, length = len(before), len(self.text)
        found = (
            (max(start - skipped, 0), min(end - skipped, length))
            for start, end in find_withheld(before + self.text + after)
        )
        return [(start, end) for start, end in found if start < end]

    @cached_property
    def readable(self) -> str:
        """Its text with spaces in place of what is withheld: what is left stands where it stood."""
        text = self.text
        for start, end in self.withheld:
            text = text[:start] + " " * (end - start) + text[end:]
        return text

    @cached_property
    def statements(self) -> list[Statement]:
        """Its sentences without headings, questions and what overlaps what is withheld."""
        return [
            self._make_statement(start, end)
            for start, end in self.sentences
            if self.text[start] != "#"
            and not _asks(self.text[start:end])
            and not self.withholds(start, end)
        ]

    def is_asked(self, start: int, end: int) -> bool:
        """Return whether a span stands in questions alone, which tell nothing."""
        held = [(first, last) for first, last in self.sentences if first < end and start < last]
        return bool(held) and all(_asks(self.text[first:last]) for first, last in held)

    @cached_property
    def windows(self) -> list[Statement]:
        """Its statements, then each two neighbours as one.

        A claim often joins a pronoun to what it stands for in the sentence before.
        """
        joined = [
            self._make_statement(left.start, right.end)
            for left, right in pairwise(self.statements)
            if not self.text[left.end : right.start].strip()
        ]
        return self.statements + joined

    @cached_property
    def title_words(self) -> frozenset[str]:
        """The content words of its document's title."""
        return content_words(self.hit.title)

    @cached_property
    def context_words(self) -> frozenset[str]:
        """The content words of its text, its document's title and its headings."""
        return content_words(" ".join((self.text, self.hit.title, *self.hit.chunk.heading)))

    def withholds(self, start: int, end: int) -> bool:
        """Return whether a span overlaps what is withheld."""
        return any(a < end and start < b for a, b in self.withheld)

    def _around(self) -> tuple[str, str]:
        """Return what stands before and after the passage in its document, if that is there."""
        if self._document is None:
            return "", ""
        try:
            text = self._document(self.hit.chunk.document_id).text
        except RagError:
            # Whoever quotes the passage reads the document too, and tells what is wrong with it.
            return "", ""
        start = self.hit.start
        end = start + len(self.text)
        if text[start:end] != self.text:
            return "", ""
        return text[max(start - _AROUND, 0) : start], text[end : end + _AROUND]

    def _make_statement(self, start: int, end: int) -> Statement:
        text = self.text[start:end]
        return Statement(start, end, text, content_words(text))


class Passages:
    """The passages of one question, in the order of their hits, and the vectors of their texts.

    Args:
        hits: what was found; a passage's number is its place among them, from 1.
        embedder: compares meanings; None leaves words alone to decide.
        document: gives the document of an id; without it, what a passage tells its reader to say
            is not recognised where the passage holds but a part of the sentence.
    """

    def __init__(
        self,
        hits: Iterable[Hit],
        embedder: Embedder | None = None,
        document: Callable[[str], Document] | None = None,
    ) -> None:
        self.embedder = embedder
        document = None if document is None else cache(document)
        self._passages = tuple(Passage(hit, document) for hit in hits)
        self._vectors: dict[str, Vectors] = {}

    @property
    def hits(self) -> tuple[Hit, ...]:
        """The hits that the passages were made of."""
        return tuple(passage.hit for passage in self._passages)

    def with_numbers(self) -> Iterator[tuple[int, Passage]]:
        """Yield each passage with its number."""
        return enumerate(self._passages, start=1)

    def among(self, hits: Iterable[Hit]) -> Passages:
        """Return those of `hits` alone, numbered anew, with all that was read of them."""
        chosen = Passages((), self.embedder)
        own = {id(passage.hit): passage for passage in self._passages}
        chosen._passages = tuple(own[id(hit)] for hit in hits)
        chosen._vectors = self._vectors
        return chosen

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Return float32 `[len(texts), dim]`, and embed what was not embedded before.

        An embedder that pads the texts of a batch to one length, as those of torch do, may give a
        vector that differs in its last digits by what else is in the batch. Those of ONNX do not.
        """
        import numpy as np

        if self.embedder is None:
            raise ValueError("vectors take an embedder")
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            rows = self.embedder.embed_documents(new)
            self._vectors.update(zip(new, rows, strict=True))
        # One array of exactly these rows: the product of a larger one rounds its rows otherwise.
        return np.stack([self._vectors[text] for text in texts])

    def __iter__(self) -> Iterator[Passage]:
        return iter(self._passages)

    def __len__(self) -> int:
        return len(self._passages)

    def __getitem__(self, at: int) -> Passage:
        return self._passages[at]


def _asks(sentence: str) -> bool:
    """Return whether a sentence is a question."""
    return sentence.rstrip("\"'”’»*_) ").endswith(("?", "？", "؟"))
