"""Haystack: a document store over an index, a retriever and a component that answers.

Positions count Unicode code points, half open: `document.text[start:end]`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from rag.engine import RAG
from rag.errors import ConfigError
from rag.integrations.passages import (
    Passage,
    cite,
    describe_hits,
    find_passages,
    is_text,
    judge,
    place_of,
    remove_texts,
    select,
)
from rag.types import Answer, Citation, Message
from rag.types import Document as StoredDocument

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.core.errors import SerializationError
    from haystack.dataclasses import ChatMessage, ExtractedAnswer, GeneratedAnswer
    from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
    from haystack.document_stores.types import DuplicatePolicy, FilterPolicy, apply_filter_policy
    from haystack.errors import FilterError
    from haystack.utils.filters import document_matches_filter
except ModuleNotFoundError as error:
    raise ConfigError(
        f"rag.integrations.haystack needs `{error.name}`: pip install 'checkable-rag[haystack]'"
    ) from error

__all__ = ["RagAnswerer", "RagDocumentStore", "RagRetriever"]

Filters = dict[str, Any]

_TYPES = {bool: "boolean", int: "int", float: "float"}


class RagDocumentStore:
    """An index as a document store: documents are written as texts, and stand beside files.

    The index embeds them itself: vectors, images and scores that they bring are not stored.

    Args:
        path: the index folder, which need not exist yet; None takes `index.path` of the settings.
        settings: single settings by `section.key`.
        rag: an index of yours in place of both; a pipeline with it cannot be saved.
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        settings: dict[str, Any] | None = None,
        rag: RAG | None = None,
    ) -> None:
        self._path = path
        self._settings = settings
        self._own = rag is not None
        self.rag = rag or RAG(path, settings=settings)

    def to_dict(self) -> dict[str, Any]:
        """Return the store as a pipeline is saved with it.

        Raises:
            SerializationError: if it was made with `rag=`.
        """
        if self._own:
            raise SerializationError("a RagDocumentStore made with `rag=` cannot be saved")
        saved: dict[str, Any] = default_to_dict(self, path=self._path, settings=self._settings)
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RagDocumentStore:
        """Make the store of what `to_dict` returned."""
        store: RagDocumentStore = default_from_dict(cls, data)
        return store

    def count_documents(self) -> int:
        """Count the documents of the index, those of files among them."""
        return self.rag.info().documents if self.rag.exists() else 0

    def count_documents_by_filter(self, filters: Filters) -> int:
        """Count the documents that pass filters."""
        return len(self.filter_documents(filters))

    def filter_documents(self, filters: Filters | None = None) -> list[Document]:
        """Return the documents that pass filters, whole; each one is looked at.

        Raises:
            FilterError: if the filters cannot be understood.
        """
        _check_filters(filters)
        if not self.rag.exists():
            return []
        found = (_whole(document) for document in self.rag.documents())
        return [each for each in found if not filters or document_matches_filter(filters, each)]

    def write_documents(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Write documents, and return how many; by default one of a known id is refused.

        Raises:
            ValueError: if these are no documents.
            DuplicateDocumentError: if the index has one of them already, unless `policy` says what
                to do.
            DocumentStoreError: if a document has no text.
        """
        if not isinstance(documents, list) or not all(isinstance(d, Document) for d in documents):
            raise ValueError("write_documents takes a list of Documents")
        for each in documents:
            if not (each.content or "").strip():
                raise DocumentStoreError(f"{each.id}: has no text, which is what an index holds")
        ids = [document.id for document in documents]
        known = {each.id for each in self.rag.documents(ids)} if self.rag.exists() else set()
        chosen: dict[str, Document] = {}
        written = 0
        for document in documents:
            if document.id in known or document.id in chosen:
                if policy is DuplicatePolicy.SKIP:
                    continue
                if policy is not DuplicatePolicy.OVERWRITE:
                    raise DuplicateDocumentError(f"{document.id}: is in the index already")
            chosen[document.id] = document
            written += 1
        self.rag.add_texts(
            [document.content for document in chosen.values()],
            ids=list(chosen),
            metadata=[document.meta for document in chosen.values()],
        )
        return written

    def delete_documents(self, document_ids: list[str]) -> None:
        """Remove documents that were written; an id that nothing has is passed over.

        Raises:
            RagError: if an id is that of a document from a file, or of a passage.
        """
        remove_texts(self.rag, document_ids)

    def delete_all_documents(self) -> None:
        """Remove all documents that were written; those of files stay."""
        remove_texts(self.rag, None)

    def delete_by_filter(self, filters: Filters) -> int:
        """Remove the documents that pass filters, and return how many.

        Raises:
            RagError: if one of them is from a file.
        """
        ids = [document.id for document in self.filter_documents(filters)]
        self.delete_documents(ids)
        return len(ids)

    def update_by_filter(self, filters: Filters, meta: dict[str, Any]) -> int:
        """Add metadata to the documents that pass filters, and return how many they are.

        Raises:
            RagError: if one of them is from a file.
        """
        found = self.filter_documents(filters)
        self.rag.add_texts(
            [document.content for document in found],
            ids=[document.id for document in found],
            metadata=[{**document.meta, **meta} for document in found],
        )
        return len(found)

    def count_unique_metadata_by_filter(
        self, filters: Filters, metadata_fields: list[str]
    ) -> dict[str, int]:
        """Count the different values of each field, over the documents that pass filters."""
        found = self.filter_documents(filters)
        names = [name.removeprefix("meta.") for name in metadata_fields]
        return {name: len(_distinct(found, name)) for name in names}

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return the type of each field: boolean, int, float or keyword."""
        types: dict[str, dict[str, str]] = {}
        for document in self.filter_documents():
            for name, value in document.meta.items():
                if value is not None:
                    kind = _TYPES.get(type(value), "keyword")
                    types[name] = {"type": kind}
        return types

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Return the lowest and the highest value of a field; None for both if none compare."""
        values = _distinct(self.filter_documents(), metadata_field.removeprefix("meta."))
        try:
            return {"min": min(values, default=None), "max": max(values, default=None)}
        except TypeError:
            return {"min": None, "max": None}

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Return some of the different values of a field that hold a term, and how many there are.

        They are in order of how they are written.
        """
        values = _distinct(self.filter_documents(filters), metadata_field.removeprefix("meta."))
        if search_term:
            values = [each for each in values if search_term.lower() in str(each).lower()]
        values.sort(key=lambda each: (str(each), type(each).__name__))
        return values[from_ : from_ + size], len(values)

    async def count_documents_async(self) -> int:
        """Count the documents, in a thread."""
        return await asyncio.to_thread(self.count_documents)

    async def count_documents_by_filter_async(self, filters: Filters) -> int:
        """Count the documents that pass filters, in a thread."""
        return await asyncio.to_thread(self.count_documents_by_filter, filters)

    async def filter_documents_async(self, filters: Filters | None = None) -> list[Document]:
        """Return the documents that pass filters, in a thread."""
        return await asyncio.to_thread(self.filter_documents, filters)

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Write documents, in a thread."""
        return await asyncio.to_thread(self.write_documents, documents, policy)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """Remove documents, in a thread."""
        await asyncio.to_thread(self.delete_documents, document_ids)

    async def delete_all_documents_async(self) -> None:
        """Remove all documents that were written, in a thread."""
        await asyncio.to_thread(self.delete_all_documents)

    async def delete_by_filter_async(self, filters: Filters) -> int:
        """Remove the documents that pass filters, in a thread."""
        return await asyncio.to_thread(self.delete_by_filter, filters)

    async def update_by_filter_async(self, filters: Filters, meta: dict[str, Any]) -> int:
        """Add metadata to the documents that pass filters, in a thread."""
        return await asyncio.to_thread(self.update_by_filter, filters, meta)

    async def count_unique_metadata_by_filter_async(
        self, filters: Filters, metadata_fields: list[str]
    ) -> dict[str, int]:
        """Count the different values of each field, in a thread."""
        count = self.count_unique_metadata_by_filter
        return await asyncio.to_thread(count, filters, metadata_fields)

    async def get_metadata_fields_info_async(self) -> dict[str, dict[str, str]]:
        """Return the type of each field, in a thread."""
        return await asyncio.to_thread(self.get_metadata_fields_info)

    async def get_metadata_field_min_max_async(self, metadata_field: str) -> dict[str, Any]:
        """Return the lowest and the highest value of a field, in a thread."""
        return await asyncio.to_thread(self.get_metadata_field_min_max, metadata_field)

    async def get_metadata_field_unique_values_async(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Return some of the different values of a field, in a thread."""
        find = self.get_metadata_field_unique_values
        return await asyncio.to_thread(find, metadata_field, search_term, from_, size, filters)


@component
class RagRetriever:
    """Finds the passages of an index that fit a query, with their exact places.

    A document's `meta` are those of the file or text, with `source`, `title`, `page`, `line`,
    `heading`, `start`, `end` and `document_id` as far as there are such. Haystack's filters are
    tried on every document, so that `where` is the one for a large index.

    Args:
        document_store: the index.
        top_k: how many passages to find; None takes `retrieval.top_k` of the settings.
        filters: Haystack's filters.
        where: a filter of the index that all searches keep, such as `type:pdf`.
        filter_policy: whether filters at run time replace `filters`, or narrow them.
    """

    def __init__(
        self,
        document_store: RagDocumentStore,
        *,
        top_k: int | None = None,
        filters: dict[str, Any] | None = None,
        where: str = "",
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
    ) -> None:
        self.document_store = document_store
        self.top_k = top_k
        self.filters = filters
        self.where = where
        self.filter_policy = filter_policy

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a pipeline is saved with it."""
        saved: dict[str, Any] = default_to_dict(
            self,
            document_store=self.document_store.to_dict(),
            top_k=self.top_k,
            filters=self.filters,
            where=self.where,
            filter_policy=self.filter_policy.value,
        )
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RagRetriever:
        """Make the component of what `to_dict` returned."""
        policy = FilterPolicy.from_str(data["init_parameters"]["filter_policy"])
        made: RagRetriever = default_from_dict(cls, _with_store(data, filter_policy=policy))
        return made

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """Find passages.

        Returns:
            `documents`: the passages, best first.
        """
        rag = self.document_store.rag
        chosen = apply_filter_policy(self.filter_policy, self.filters, filters)
        where: str | None = self.where
        if chosen:
            _check_filters(chosen)
            where = select(rag, lambda each: _passes(chosen, each), self.where)
        if where is None:
            return {"documents": []}
        k = self.top_k if top_k is None else top_k
        return {"documents": [_found(each) for each in find_passages(rag, query, k, where)]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """Find passages, in a thread."""
        return await asyncio.to_thread(self.run, query, filters, top_k)


@component
class RagAnswerer:
    """Answers a query from an index, and says where each sentence of the answer stands.

    Args:
        document_store: the index.
        top_k: how many passages to read; None takes `retrieval.top_k` of the settings.
        where: a filter of the index, such as `type:pdf`.
    """

    def __init__(
        self, document_store: RagDocumentStore, *, top_k: int | None = None, where: str = ""
    ) -> None:
        self.document_store = document_store
        self.top_k = top_k
        self.where = where

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a pipeline is saved with it."""
        store = self.document_store.to_dict()
        saved: dict[str, Any] = default_to_dict(
            self, document_store=store, top_k=self.top_k, where=self.where
        )
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RagAnswerer:
        """Make the component of what `to_dict` returned."""
        made: RagAnswerer = default_from_dict(cls, _with_store(data))
        return made

    @component.output_types(answers=list[GeneratedAnswer], citations=list[ExtractedAnswer])
    def run(
        self, query: str, history: list[ChatMessage] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """Answer a query, which may lean on what was said before.

        Returns:
            `answers`: the one answer, with the passages that were read. Its `meta` says whether it
            abstained, how sure it is, and as `citations` what each sentence rests on.
            `citations`: each quote with its `document`, whole, and its place there
            (`document_offset`).
        """
        asked = self._ask(query, history, top_k)
        return self._results(query, self.document_store.rag.reply(*asked).answer)

    @component.output_types(answers=list[GeneratedAnswer], citations=list[ExtractedAnswer])
    async def run_async(
        self, query: str, history: list[ChatMessage] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """Answer a query, in a thread that stops when nobody waits."""
        asked = self._ask(query, history, top_k)
        answer = await self.document_store.rag.areply(*asked).answer()
        return await asyncio.to_thread(self._results, query, answer)

    def _ask(
        self, query: str, history: list[ChatMessage] | None, top_k: int | None
    ) -> tuple[list[Message], int | None, str]:
        """Return the messages, how many passages to read, and the filter."""
        said = [Message(each.role.value, each.text or "") for each in history or ()]
        k = self.top_k if top_k is None else top_k
        return [*said, Message("user", query)], k, self.where

    def _results(self, query: str, answer: Answer) -> dict[str, Any]:
        rag = self.document_store.rag
        read = [_found(each) for each in describe_hits(rag, answer.prompt.hits)]
        meta = {**judge(answer), "citations": cite(rag, answer)}
        generated = GeneratedAnswer(data=answer.text, query=query, documents=read, meta=meta)
        return {"answers": [generated], "citations": _extracts(rag, query, answer)}


def _extracts(rag: RAG, query: str, answer: Answer) -> list[ExtractedAnswer]:
    ids = dict.fromkeys(citation.document_id for citation in answer.citations)
    documents = {each.id: _whole(each) for each in rag.documents(ids)} if ids else {}
    return [
        ExtractedAnswer(
            query=query,
            score=answer.confidence,
            data=citation.quote,
            document=documents.get(citation.document_id),
            document_offset=ExtractedAnswer.Span(citation.start, citation.end),
            meta=_place(citation),
        )
        for citation in answer.citations
    ]


def _place(citation: Citation) -> dict[str, Any]:
    place = {
        "number": citation.number,
        "source": citation.source,
        "location": citation.location,
        "page": citation.page,
        "line": citation.line,
        "heading": " › ".join(citation.heading),
    }
    return {name: value for name, value in place.items() if value not in (None, "")}


def _distinct(documents: list[Document], name: str) -> list[Any]:
    """Return the different values of a field; the number 1 differs from 1.0 and from true."""
    values = (document.meta.get(name) for document in documents)
    return list({json.dumps(v, sort_keys=True): v for v in values if v is not None}.values())


def _whole(document: StoredDocument) -> Document:
    """Return a document as it was written, or that of a file with its place."""
    own = dict(document.metadata)
    if not is_text(document):
        own |= place_of(document, 0, len(document.text))
    return Document(id=document.id, content=document.text, meta=own)


def _found(passage: Passage) -> Document:
    meta = dict(passage.metadata)
    score = meta.pop("score")
    name = passage.document.id if passage.whole else passage.id
    return Document(id=name, content=passage.text, meta=meta, score=score)


def _passes(filters: Filters, document: StoredDocument) -> bool:
    passes: bool = document_matches_filter(filters, _whole(document))
    return passes


def _check_filters(filters: Filters | None) -> None:
    if filters and "operator" not in filters and "conditions" not in filters:
        raise FilterError("filters have an `operator` with a `field`, or with `conditions`")


def _with_store(data: dict[str, Any], **others: Any) -> dict[str, Any]:
    given = data["init_parameters"]
    store = given["document_store"]
    if isinstance(store, dict):
        store = RagDocumentStore.from_dict(store)
    return {**data, "init_parameters": {**given, "document_store": store, **others}}
