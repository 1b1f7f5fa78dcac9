"""LangChain: a retriever, a vector store and a Runnable that answers, over an index.

Positions count Unicode code points, half open: `document.text[start:end]`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rag.engine import RAG
from rag.errors import ConfigError, EmbeddingError, QuestionError
from rag.integrations.passages import (
    Passage,
    cite,
    describe,
    find_documents,
    find_passages,
    judge,
    remove_texts,
)
from rag.types import Message

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
    )
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_messages
    from langchain_core.prompt_values import PromptValue
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import Runnable, RunnableConfig, run_in_executor
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance
except ModuleNotFoundError as error:
    raise ConfigError(
        f"rag.integrations.langchain needs `{error.name}`: pip install 'checkable-rag[langchain]'"
    ) from error

if TYPE_CHECKING:
    from rag.types import Answer, Vectors

__all__ = ["LangChainEmbedder", "RagAnswerer", "RagEmbeddings", "RagRetriever", "RagVectorStore"]

# A text, messages, or the state of a graph or chain that holds one of them.
Question = str | PromptValue | Sequence[Any] | Mapping[str, Any]

_ROLES = {"human": "user", "ai": "assistant", "system": "system"}
_KEYS = ("messages", "question", "input")
# The pieces of a stream with the same index are one block.
_BLOCK = {"type": "text", "index": 0}
_WORD = re.compile(r"\w+|[^\w\s]")


class RagRetriever(BaseRetriever):
    """Finds the passages of an index that fit a question, with their exact places.

    A document's metadata are those of the file or text, with `source`, `title`, `page`, `line`,
    `heading`, `start`, `end`, `document_id` and `score` as far as there are such. Its id is one
    that `RAG.locate` finds.

    Args:
        rag: the index.
        k: how many passages to find; None takes `retrieval.top_k` of the settings.
        where: a filter on documents, such as `type:pdf`.
    """

    rag: RAG
    k: int | None = None
    where: str | dict[str, Any] = ""

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun | None = None,
        k: int | None = None,
        where: str | Mapping[str, Any] | None = None,
    ) -> list[Document]:
        wanted = self.k if k is None else k
        chosen = self.where if where is None else where
        return [_located(each) for each in find_passages(self.rag, query, wanted, chosen)]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun | None = None,
        k: int | None = None,
        where: str | Mapping[str, Any] | None = None,
    ) -> list[Document]:
        return await run_in_executor(None, self._get_relevant_documents, query, k=k, where=where)


class RagVectorStore(VectorStore):
    """An index as a vector store: documents are added as texts, and found beside files.

    A document that was added, and is found as a whole, comes back as it was. A passage of a longer
    one, or of a file, has the metadata that `RagRetriever` gives, with its place.

    Args:
        rag: the index, which need not exist yet.
        where: a filter on documents that all searches keep, such as `type:pdf`.
    """

    def __init__(self, rag: RAG, *, where: str = "") -> None:
        self.rag = rag
        self._where = where

    @property
    def embeddings(self) -> Embeddings:
        """The embedder of the index."""
        return RagEmbeddings(self.rag)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Index texts, and return their ids; one of a known id takes the place of the former.

        Without an id, a text gets one by its contents.
        """
        _refuse(kwargs)
        names = None if ids is None else [name or "" for name in ids]
        return list(self.rag.add_texts(list(texts), ids=names, metadata=metadatas))

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Remove texts by their ids, or all of them; documents of files stay.

        Raises:
            RagError: if an id is that of a document from a file, or of a passage.
        """
        _refuse(kwargs)
        remove_texts(self.rag, ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return what has these ids: documents whole, or passages that a search has found."""
        return [
            _stored(each if isinstance(each, Passage) else describe(each, 0, len(each.text), 1.0))
            for each in find_documents(self.rag, ids)
        ]

    def similarity_search(
        self, query: str, k: int = 4, *, where: str | Mapping[str, Any] = "", **kwargs: Any
    ) -> list[Document]:
        """Return the best passages for a question, best first."""
        _refuse(kwargs)
        return [_stored(each) for each in self._find(query, k, where)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, *, where: str | Mapping[str, Any] = "", **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the best passages, each with its score: higher is better, within one search."""
        _refuse(kwargs)
        return [(_stored(each), each.score) for each in self._find(query, k, where)]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, *, where: str | Mapping[str, Any] = "", **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the best passages, each with its cosine to the question, but at least 0."""
        _refuse(kwargs)
        found = self._find(query, k, where)
        if not found:
            return []
        asked, vectors = self._embed(query, found)
        cosines = [min(1.0, max(0.0, float(each))) for each in vectors @ asked]
        return [(_stored(each), score) for each, score in zip(found, cosines, strict=True)]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        where: str | Mapping[str, Any] = "",
        **kwargs: Any,
    ) -> list[Document]:
        """Return `k` of the `fetch_k` best passages, chosen for nearness and variety."""
        _refuse(kwargs)
        found = self._find(query, max(k, fetch_k), where)
        if not found:
            return []
        asked, vectors = self._embed(query, found)
        chosen = maximal_marginal_relevance(asked, list(vectors), lambda_mult=lambda_mult, k=k)
        return [_stored(found[at]) for at in chosen]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | Path | None = None,
        **kwargs: Any,
    ) -> RagVectorStore:
        """Index texts in the folder `path`, and return the store.

        Args:
            texts: the texts.
            embedding: embeds texts and questions; None takes the embedder of the settings.
            metadatas: what is kept with each text.
            ids: their ids; None makes some.
            path: the index folder.
            kwargs: other arguments of `RAG`.

        Raises:
            ConfigError: without a `path`.
        """
        if path is None:
            raise ConfigError("from_texts: name the folder of the index: from_texts(..., path=DIR)")
        if embedding is not None:
            kwargs["embedder"] = (
                embedding.rag.embedder
                if isinstance(embedding, RagEmbeddings)
                else LangChainEmbedder(embedding)
            )
        store = cls(RAG(path, **kwargs))
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def _find(self, query: str, k: int, where: str | Mapping[str, Any]) -> list[Passage]:
        if not self.rag.exists():
            return []
        if where and self._where:
            if not isinstance(where, str):
                raise QuestionError("the store has a filter: pass `where` as text too")
            where = f"({self._where}) ({where})"
        return find_passages(self.rag, query, k, where or self._where)

    def _embed(self, query: str, found: Sequence[Passage]) -> tuple[Vectors, Vectors]:
        embedder = self.rag.embedder
        return embedder.embed_query(query), embedder.embed_documents([each.text for each in found])


class RagAnswerer(Runnable[Question, AIMessage]):
    """Answers a question from an index, as a message with citations.

    The message has one block of text, whose annotations are LangChain's `citation`s: where a
    sentence stands in the text (`start_index`, `end_index`), what is cited (`cited_text`), and in
    `extras` where that stands (`document_id`, `document_start`, `document_end`, `page`, `line`).
    `response_metadata` says whether the documents hold an answer (`abstained`), and how sure it is.

    A question is text, messages (the last one asks), or a mapping with `messages`, `question` or
    `input`.

    Args:
        rag: the index.
        k: how many passages to read; None takes `retrieval.top_k` of the settings.
        where: a filter on documents, such as `type:pdf`.
    """

    def __init__(
        self, rag: RAG, *, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> None:
        self.rag = rag
        self.k = k
        self.where = where

    def invoke(
        self,
        input: Question,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer a question."""
        _refuse(kwargs)
        return self._call_with_config(self._answer, input, config)

    async def ainvoke(
        self,
        input: Question,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer a question, in a thread that stops when nobody waits."""
        _refuse(kwargs)
        return await self._acall_with_config(self._aanswer, input, config)

    def stream(
        self,
        input: Question,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any | None,
    ) -> Iterator[AIMessage]:
        """Answer piece by piece; the last piece has the citations, and their sum the whole."""
        _refuse(kwargs)
        yield from self.transform(iter([input]), config)

    def transform(
        self,
        input: Iterator[Question],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any | None,
    ) -> Iterator[AIMessage]:
        """Answer what a chain hands over, piece by piece."""
        _refuse(kwargs)
        yield from self._transform_stream_with_config(input, self._pieces, config)

    async def astream(
        self,
        input: Question,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any | None,
    ) -> AsyncGenerator[AIMessage, None]:
        """Answer piece by piece, in a thread; it stops when nobody listens."""
        _refuse(kwargs)

        async def given() -> AsyncIterator[Question]:
            yield input

        # A loop that is left does not close what it was reading.
        async with aclosing(self.atransform(given(), config)) as pieces:
            async for piece in pieces:
                yield piece

    async def atransform(
        self,
        input: AsyncIterator[Question],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any | None,
    ) -> AsyncGenerator[AIMessage, None]:
        """Answer what a chain hands over, piece by piece, in a thread."""
        _refuse(kwargs)
        found = self._atransform_stream_with_config(input, self._apieces, config)
        async with aclosing(cast("AsyncGenerator[AIMessage, None]", found)) as pieces:
            async for piece in pieces:
                yield piece

    def _answer(self, question: Question) -> AIMessage:
        answer = self.rag.reply(_messages(question), self.k, self.where).answer
        return self._message(answer)

    async def _aanswer(self, question: Question) -> AIMessage:
        answer = await self.rag.areply(_messages(question), self.k, self.where).answer()
        return await run_in_executor(None, self._message, answer)

    def _pieces(self, questions: Iterator[Question]) -> Iterator[AIMessage]:
        *_, question = questions
        stream = self.rag.reply(_messages(question), self.k, self.where)
        try:
            for text in stream:
                yield _piece(text)
            yield self._last_piece(stream.answer)
        finally:
            stream.close()

    async def _apieces(self, questions: AsyncIterator[Question]) -> AsyncIterator[AIMessage]:
        *_, question = [each async for each in questions]
        stream = self.rag.areply(_messages(question), self.k, self.where)
        try:
            async for text in stream:
                yield _piece(text)
            yield await run_in_executor(None, self._last_piece, await stream.answer())
        finally:
            await stream.aclose()

    def _message(self, answer: Answer) -> AIMessage:
        block = {"type": "text", "text": answer.text, "annotations": self._annotate(answer)}
        return AIMessage(content=[block], response_metadata=_metadata(answer))

    def _last_piece(self, answer: Answer) -> AIMessageChunk:
        return AIMessageChunk(
            content=[{**_BLOCK, "text": "", "annotations": self._annotate(answer)}],
            response_metadata=_metadata(answer),
            chunk_position="last",
        )

    def _annotate(self, answer: Answer) -> list[dict[str, Any]]:
        annotations = []
        for each in cite(self.rag, answer):
            own = ("start_index", "end_index", "title", "quote")
            source = each["source"]
            annotations.append(
                {
                    "type": "citation",
                    **({"url": source} if "://" in source else {}),
                    "title": each["title"],
                    "start_index": each["start_index"],
                    "end_index": each["end_index"],
                    "cited_text": each["quote"],
                    "extras": {name: value for name, value in each.items() if name not in own},
                }
            )
        return annotations


class RagEmbeddings(Embeddings):
    """The embedder of an index, as LangChain's."""

    def __init__(self, rag: RAG) -> None:
        self.rag = rag

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed passages."""
        found: list[list[float]] = self.rag.embedder.embed_documents(texts).tolist()
        return found

    def embed_query(self, text: str) -> list[float]:
        """Embed a question."""
        found: list[float] = self.rag.embedder.embed_query(text).tolist()
        return found


class LangChainEmbedder:
    """LangChain's embeddings as an Embedder of ours: `RAG(embedder=LangChainEmbedder(...))`.

    They do not say how they count tokens, so that passages are measured in words and signs.

    Args:
        embeddings: embeds texts and questions.
        max_words: how many words and signs a text may have.
        name: the name of the model, which the index remembers; None takes its own.
    """

    special_tokens = 0
    fingerprint = ""

    def __init__(
        self, embeddings: Embeddings, *, max_words: int = 256, name: str | None = None
    ) -> None:
        self._embeddings = embeddings
        self._dim = 0
        self.max_tokens = max_words
        own = getattr(embeddings, "model", None) or getattr(embeddings, "model_name", None)
        parts = [type(embeddings).__name__, *([own] if isinstance(own, str) else [])]
        self.name = name or f"langchain:{'/'.join(parts)}"

    @property
    def dim(self) -> int:
        """The length of a vector, which is known once a text was embedded."""
        if not self._dim:
            self.embed_query("length")
        return self._dim

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Return the span of each word and sign."""
        return [match.span() for match in _WORD.finditer(text)]

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed passages."""
        return self._normalize(self._embeddings.embed_documents(list(texts)), len(texts))

    def embed_query(self, text: str) -> Vectors:
        """Embed a question."""
        row: Vectors = self._normalize([self._embeddings.embed_query(text)], 1)[0]
        return row

    def _normalize(self, vectors: list[list[float]], count: int) -> Vectors:
        import numpy as np

        found = np.asarray(vectors, dtype=np.float32).reshape(count, -1)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        if not np.all(np.isfinite(found)) or not np.all(lengths > 0):
            raise EmbeddingError(f"{self.name}: gave a vector without a direction")
        self._dim = found.shape[1] if count else self._dim
        normalized: Vectors = found / lengths
        return normalized


def _piece(text: str) -> AIMessageChunk:
    return AIMessageChunk(content=[{**_BLOCK, "text": text}])


def _located(passage: Passage) -> Document:
    return Document(id=passage.id, page_content=passage.text, metadata=dict(passage.metadata))


def _stored(passage: Passage) -> Document:
    """Return a passage as a vector store does: what was added whole, as it was added."""
    if not passage.whole:
        if (passage.start, passage.end) == (0, len(passage.document.text)):
            metadata = dict(passage.metadata)
            return Document(id=passage.document.id, page_content=passage.text, metadata=metadata)
        return _located(passage)
    document = passage.document
    return Document(id=document.id, page_content=document.text, metadata=dict(document.metadata))


def _messages(question: Question) -> list[Message]:
    if isinstance(question, Mapping):
        found = [question[key] for key in _KEYS if key in question]
        if not found:
            raise QuestionError("a question in a mapping has the key messages, question or input")
        return _messages(found[0])
    if isinstance(question, PromptValue):
        return _messages(question.to_messages())
    if isinstance(question, str):
        return [Message("user", question)]
    given = [question] if isinstance(question, BaseMessage) else list(question)
    return [
        Message(_ROLES[each.type], str(each.text))
        for each in convert_to_messages(given)
        if each.type in _ROLES and str(each.text).strip()
    ]


def _metadata(answer: Answer) -> dict[str, Any]:
    facts = judge(answer)
    reason = "stop" if answer.interrupted is None else "incomplete"
    return {"model_name": facts.pop("model"), "finish_reason": reason, **facts}


def _refuse(unknown: Mapping[str, Any]) -> None:
    """Raise TypeError for arguments that nothing here understands, such as a `filter`."""
    if unknown:
        raise TypeError(
            f"{', '.join(unknown)}: no argument of this; a filter is `where=`, such as "
            '`where="type:pdf"`'
        )
