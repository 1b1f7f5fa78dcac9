"""Haystack's own tests of document stores, and what our components give in its pipelines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import CORPUS

# Haystack counts the components of each pipeline on a server of its makers.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack import Document, Pipeline
from haystack.core.errors import SerializationError
from haystack.dataclasses import ChatMessage
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy, FilterPolicy
from haystack.errors import FilterError
from haystack.testing.document_store import (
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    DocumentStoreBaseExtendedTests,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldUniqueValuesTest,
)
from haystack.testing.document_store_async import (
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    CountUniqueMetadataByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    GetMetadataFieldMinMaxAsyncTest,
    GetMetadataFieldsInfoAsyncTest,
    GetMetadataFieldUniqueValuesAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
)

from rag import RAG, RagError
from rag.integrations.haystack import RagAnswerer, RagDocumentStore, RagRetriever
from rag.protocols import Embedder

QUESTION = "Who proposed direct preference optimization?"
FERRET = "The ferret sleeps for fourteen hours a day and hunts at dusk."
HERON = "The heron stands still in shallow water until a fish comes near."


@pytest.fixture
def store(tmp_path: Path, embedder: Embedder) -> RagDocumentStore:
    settings = {"generation.model": "extractive"}
    return RagDocumentStore(rag=RAG(tmp_path / "index", embedder=embedder, settings=settings))


@pytest.fixture
def document_store(store: RagDocumentStore) -> RagDocumentStore:
    return store


class Compared:
    """An index has vectors of its own, and documents in the order of their sources."""

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        assert _facts(received) == _facts(expected)


def _facts(documents: list[Document]) -> list[tuple[str, str | None, dict[str, Any]]]:
    return sorted((each.id, each.content, each.meta) for each in documents)


class TestDocumentStoreStandard(
    Compared,
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldUniqueValuesTest,
    DocumentStoreBaseExtendedTests,
):
    @pytest.fixture
    def document_store(self, store: RagDocumentStore) -> RagDocumentStore:
        return store

    def test_write_documents(self, document_store: RagDocumentStore) -> None:
        """By default a document of a known id is refused."""
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document])
        self.assert_documents_are_equal(document_store.filter_documents(), [document])


class TestDocumentStoreAsyncStandard(
    Compared,
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    CountUniqueMetadataByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    GetMetadataFieldMinMaxAsyncTest,
    GetMetadataFieldsInfoAsyncTest,
    GetMetadataFieldUniqueValuesAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
):
    async def test_write_documents_async(self, document_store: RagDocumentStore) -> None:
        document = Document(content="test doc")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async([document])


def test_what_has_no_text_is_refused_and_files_are_never_deleted(
    document_store: RagDocumentStore,
) -> None:
    with pytest.raises(DocumentStoreError, match="has no text"):
        document_store.write_documents([Document(content=None, meta={"a": 1})])
    document_store.rag.index(CORPUS / "training" / "lora.md")
    document_store.write_documents([Document(id="a", content=FERRET)])
    assert document_store.count_documents() == 2
    (file,) = document_store.filter_documents(
        {"field": "meta.source", "operator": "!=", "value": None}
    )
    assert file.meta["source"].endswith("lora.md")
    with pytest.raises(RagError, match="remove the file instead"):
        document_store.delete_documents([file.id])
    document_store.delete_all_documents()
    assert document_store.filter_documents() == [file]


def test_a_retrieved_document_says_where_it_is_in_code_points(sample: RAG) -> None:
    retriever = RagRetriever(RagDocumentStore(rag=sample), top_k=1, where="type:pdf")
    (found,) = retriever.run("What does RAG retrieve?")["documents"]
    document = sample.document(found.meta["document_id"])
    assert document.text[found.meta["start"] : found.meta["end"]] == found.content
    assert found.meta["page"] >= 1
    assert 0 < found.score <= 1
    assert sample.locate(found.id).start == found.meta["start"]
    assert len(retriever.run("What does RAG retrieve?", top_k=3)["documents"]) == 3


def test_filters_replace_or_narrow_and_where_is_always_kept(
    document_store: RagDocumentStore,
) -> None:
    document_store.write_documents(
        [
            Document(id="a", content=FERRET, meta={"n": 0, "kind": "x"}),
            Document(id="b", content=HERON, meta={"n": 1, "kind": "x"}),
            Document(id="c", content="The newt sheds its skin.", meta={"n": 2, "kind": "y"}),
        ]
    )
    x = {"field": "meta.kind", "operator": "==", "value": "x"}
    most = {"field": "meta.n", "operator": ">=", "value": 1}

    def ids(found: dict[str, Any]) -> set[str]:
        return {document.id for document in found["documents"]}

    assert ids(RagRetriever(document_store, filters=x).run("animal")) == {"a", "b"}
    assert ids(RagRetriever(document_store, filters=x).run("animal", filters=most)) == {"b", "c"}
    merging = RagRetriever(document_store, filters=x, filter_policy=FilterPolicy.MERGE)
    assert ids(merging.run("animal", filters=most)) == {"b"}
    held = RagRetriever(document_store, where="meta.n<2")
    assert ids(held.run("animal")) == {"a", "b"}
    assert ids(held.run("animal", filters=most)) == {"b"}
    nothing = {"field": "meta.n", "operator": "==", "value": 9}
    assert held.run("animal", filters=nothing) == {"documents": []}
    with pytest.raises(FilterError):
        held.run("animal", filters={"field": "meta.n"})


def test_an_answer_has_its_citations_with_their_places(sample: RAG) -> None:
    result = RagAnswerer(RagDocumentStore(rag=sample)).run(QUESTION)
    (answer,) = result["answers"]
    (citation,) = answer.meta["citations"]
    assert "Rafailov" in answer.data[citation["start_index"] : citation["end_index"]]
    assert answer.meta["abstained"] is False
    assert answer.documents
    (extract,) = result["citations"]
    span = extract.document_offset
    assert extract.document.content[span.start : span.end] == extract.data == citation["quote"]
    assert extract.to_dict()["document_offset"] == {"start": span.start, "end": span.end}
    none = RagAnswerer(RagDocumentStore(rag=sample)).run("What is the price of tea in Oslo?")
    assert none["answers"][0].meta["abstained"] is True
    assert none["citations"] == []


def test_a_follow_up_leans_on_what_was_said(sample: RAG) -> None:
    said = [
        ChatMessage.from_user(QUESTION),
        ChatMessage.from_assistant("It was proposed by Rafailov and colleagues."),
    ]
    result = RagAnswerer(RagDocumentStore(rag=sample)).run("When?", history=said)
    assert "2023" in result["answers"][0].data


async def test_components_run_in_saved_pipelines_and_asynchronously(
    sample: RAG, tmp_path: Path
) -> None:
    store = RagDocumentStore(str(tmp_path / "index"), settings={"generation.model": "extractive"})
    store.write_documents([Document(id="a", content=FERRET)], DuplicatePolicy.OVERWRITE)
    pipeline = Pipeline()
    pipeline.add_component("retriever", RagRetriever(store, top_k=1))
    pipeline.add_component("answerer", RagAnswerer(store, where="id:a"))
    loaded = Pipeline.loads(pipeline.dumps(), allowed_modules=["rag.integrations.haystack"])
    asked = {"query": "How long does the ferret sleep?"}
    result = loaded.run({"retriever": asked, "answerer": asked})
    assert result["retriever"]["documents"][0].id == "a"
    assert "fourteen hours" in result["answerer"]["answers"][0].data
    again = await loaded.get_component("answerer").run_async(**asked)
    assert again["answers"][0].data == result["answerer"]["answers"][0].data
    found = await loaded.get_component("retriever").run_async(**asked)
    assert found["documents"] == result["retriever"]["documents"]
    with pytest.raises(SerializationError, match="cannot be saved"):
        RagRetriever(RagDocumentStore(rag=sample)).to_dict()
