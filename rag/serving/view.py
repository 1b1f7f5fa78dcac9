"""What one caller may see of a RAG: each question is asked within the caller's own filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError, FilterError, StoreError

if TYPE_CHECKING:
    from rag.answering.stream import AnswerStream
    from rag.answering.tools import Tools
    from rag.engine import RAG
    from rag.query.filters import Filter
    from rag.sources import DrawnPage
    from rag.types import (
        Answer,
        Document,
        Explanation,
        Listing,
        Message,
        Place,
        Verdict,
        Verification,
    )
    from rag.viewing.proof import Proof


class View:
    """The documents of `rag` that pass a filter, as if there were no others.

    A document that does not pass is answered like one that does not exist. Words of questions
    are not corrected where a filter holds, since corrections come from all documents.

    Args:
        rag: what is asked.
        name: what errors call the index.
        where: the filter, which no question can leave out; empty for all documents.

    Raises:
        ConfigError: if the filter cannot be understood, asks for pages or headings, or the RAG
            corrects questions though there is a filter.
    """

    def __init__(self, rag: RAG, name: str, where: str = "") -> None:
        self._rag = rag
        self._name = name
        self._own = parse_rights(where)
        if self._own is not None and rag.config.retrieval.correct:
            raise ConfigError(
                "a RAG that corrects questions by the words of all documents must not be seen "
                "through a filter: set `retrieval.correct` to false"
            )

    @property
    def tools(self) -> Tools:
        """What answers are made with."""
        return self._rag.tools

    def explain(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> Explanation:
        """Search as `RAG.explain` does."""
        return self._rag.explain(question, k, self._within(where))

    def stream(
        self,
        question: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        schema: Mapping[str, Any] | None = None,
        tools: Tools | None = None,
    ) -> AnswerStream:
        """Answer as `RAG.stream` does."""
        within = self._within(where)
        return self._rag.stream(question, k, within, schema=schema, tools=tools)

    def reply(
        self,
        messages: Sequence[Message],
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        schema: Mapping[str, Any] | None = None,
        tools: Tools | None = None,
    ) -> AnswerStream:
        """Answer as `RAG.reply` does."""
        within = self._within(where)
        return self._rag.reply(messages, k, within, schema=schema, tools=tools)

    def check(
        self,
        claim: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        by_generator: bool = False,
    ) -> Verdict:
        """Check a claim as `RAG.check` does."""
        return self._rag.check(claim, k, self._within(where), by_generator=by_generator)

    def verify(
        self,
        text: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        is_over: Callable[[], bool] = lambda: False,
    ) -> Verification:
        """Check each sentence of a text as `RAG.verify` does."""
        return self._rag.verify(text, k, self._within(where), is_over=is_over)

    def list_documents(
        self, where: str | Mapping[str, Any] = "", limit: int = 100, offset: int = 0
    ) -> Listing:
        """List documents as `RAG.list_documents` does."""
        return self._rag.list_documents(self._within(where), limit, offset)

    def document(self, document_id: str) -> Document:
        """Return a stored document.

        Raises:
            StoreError: if there is none, or the caller may not see it.
        """
        for document in self._find(document_id):
            if document.id == document_id:
                return document
        raise StoreError(f"{self._name}: holds no document {document_id!r}")

    def locate(self, place: str) -> Place:
        """Return the place that a citation names, as `RAG.locate` does."""
        from rag.viewing.finding import find_place

        return find_place(place, self._find, self._name)

    def prove(self, answer: Answer) -> Proof:
        """Return the proof of an answer, as `RAG.prove` does."""
        return self._rag.prove(answer)

    def file_of(self, document_id: str) -> str:
        """Return the path or address of a document's file, as `RAG.file_of` does."""
        return self._rag.file_of(self.document(document_id).id)

    def draw(self, document_id: str, start: int, end: int) -> DrawnPage:
        """Draw the page of a PDF that a span begins on, as `RAG.draw` does.

        Raises:
            StoreError: if there is no such document, or the caller may not see it.
        """
        from rag.types import Place

        document = self.document(document_id)
        first = min(max(0, start), len(document.text))
        return self._rag.draw(Place(document, first, max(first, min(end, len(document.text)))))

    def _find(self, name: str) -> list[Document]:
        from rag.query.filters import matches

        own = self._own
        found = self._rag.find_all(name)
        return [each for each in found if own is None or matches(own, each)]

    def _within(self, where: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
        """Return a filter that lets through what passes both the caller's own and `where`."""
        if self._own is None:
            return where
        from rag.query.filters import And, parse_filter

        asked = parse_filter(where) if where else None
        return str(self._own if asked is None else And((self._own, asked)))


def parse_rights(where: str) -> Filter | None:
    """Return the filter of a caller; None for all documents.

    Raises:
        ConfigError: if it cannot be understood, or asks for pages or headings.
    """
    if not where.strip():
        return None
    from rag.query.filters import parse_filter

    try:
        parsed = parse_filter(where)
    except FilterError as error:
        raise ConfigError(f"`where` of a user: {error}") from error
    if parsed is not None and _reads_passages(parsed):
        raise ConfigError(
            "`where` of a user: names `page` or `heading`, but rights go by whole documents"
        )
    return parsed


def _reads_passages(part: Filter) -> bool:
    from rag.query.filters import Not, Test, field_of

    if isinstance(part, Test):
        return field_of(part.field).of_chunk
    return any(map(_reads_passages, [part.part] if isinstance(part, Not) else part.parts))
