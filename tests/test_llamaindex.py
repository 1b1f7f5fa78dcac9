"""LlamaIndex's indexes, retrievers and engines work over an index of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import CORPUS
from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import MetadataMode, NodeRelationship, TextNode
from llama_index.core.tools import QueryEngineTool
from llama_index.core.vector_stores import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode

from rag import RAG, QuestionError, RagError
from rag.integrations.llamaindex import RagQueryEngine, RagRetriever, RagVectorStore
from rag.protocols import Embedder

QUESTION = "Who proposed direct preference optimization?"
FERRET = "The ferret sleeps for fourteen hours a day and hunts at dusk."
HERON = "The heron stands still in shallow water until a fish comes near."


@pytest.fixture
def store(tmp_path: Path, embedder: Embedder) -> RagVectorStore:
    settings = {"generation.model": "extractive"}
    return RagVectorStore(RAG(tmp_path / "index", embedder=embedder, settings=settings))


def test_a_node_says_where_it_is_in_code_points(sample: RAG) -> None:
    (found,) = RagRetriever(sample, k=1, where="type:pdf").retrieve("What does RAG retrieve?")
    node = found.node
    source = node.relationships[NodeRelationship.SOURCE]
    document = sample.document(source.node_id)
    assert document.text[node.start_char_idx : node.end_char_idx] == node.text
    assert node.metadata["page"] >= 1
    assert node.ref_doc_id == node.metadata["document_id"]
    assert 0 < found.score <= 1
    assert sample.locate(node.node_id).start == node.start_char_idx
    assert "document_id" not in node.get_content(metadata_mode=MetadataMode.LLM)
    assert "rag.pdf" in node.get_content(metadata_mode=MetadataMode.LLM)


async def test_a_response_has_its_citations_with_their_places(sample: RAG) -> None:
    engine = RagQueryEngine(sample)
    response = engine.query(QUESTION)
    (citation,) = response.metadata["citations"]
    assert "Rafailov" in response.response[citation["start_index"] : citation["end_index"]]
    document = sample.document(citation["document_id"])
    span = slice(citation["document_start"], citation["document_end"])
    assert document.text[span] == citation["quote"]
    assert response.source_nodes
    assert response.metadata["abstained"] is False
    assert (await engine.aquery(QUESTION)).response == response.response
    assert engine.query("What is the price of tea in Oslo?").metadata["abstained"] is True
    tool = QueryEngineTool.from_defaults(engine, name="library", description="Knows models.")
    assert tool.call(QUESTION).content == response.response


async def test_a_retriever_feeds_engines_of_llamaindex(sample: RAG) -> None:
    retriever = RagRetriever(sample, k=2)
    engine = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=MockLLM()))
    found = await retriever.aretrieve(QUESTION)
    assert engine.query(QUESTION).source_nodes == found
    assert RagQueryEngine(sample, k=2).retrieve(QUESTION) == found
    assert len(found) == 2


def test_an_index_of_llamaindex_keeps_its_nodes_here(store: RagVectorStore) -> None:
    index = VectorStoreIndex.from_documents(
        [
            Document(doc_id="d1", text=FERRET, metadata={"n": 0, "source": "notes"}),
            Document(doc_id="d2", text=HERON, metadata={"n": 1}),
        ],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=MockEmbedding(1),
    )
    (found,) = index.as_retriever(similarity_top_k=1).retrieve("sleepy ferret")
    assert found.node.text == FERRET
    assert found.node.ref_doc_id == "d1"
    assert found.node.metadata == {"n": 0, "source": "notes"}
    filters = MetadataFilters(
        filters=[MetadataFilter(key="n", value=1, operator=FilterOperator.GTE)]
    )
    (other,) = index.as_retriever(filters=filters).retrieve("sleepy ferret")
    assert other.node.ref_doc_id == "d2"
    answer = RagQueryEngine(store.client).query("How long does the ferret sleep?")
    assert "fourteen hours" in answer.response
    index.delete_ref_doc("d1")
    assert [node.ref_doc_id for node in store.get_nodes()] == ["d2"]


async def test_nodes_come_back_as_they_were_and_pieces_with_their_places(
    store: RagVectorStore,
) -> None:
    assert store.query(VectorStoreQuery(query_str="x")).nodes == []
    assert store.get_nodes() == []
    long = "\n\n".join(f"Paragraph {n}: {HERON} {FERRET}" for n in range(60))
    nodes = [TextNode(id_="a", text=FERRET, metadata={"n": 0}), TextNode(id_="b", text=long)]
    assert await store.async_add(nodes) == ["a", "b"]
    assert store.get_nodes(["b", "a", "none"]) == [nodes[1], nodes[0]]
    result = await store.aquery(
        VectorStoreQuery(query_str="ferret at dusk", node_ids=["a"], similarity_top_k=1)
    )
    assert (result.nodes, result.ids) == ([nodes[0]], ["a"])
    (piece,) = store.query(
        VectorStoreQuery(query_str="Paragraph 41", node_ids=["b"], similarity_top_k=1)
    ).nodes
    assert long[piece.start_char_idx : piece.end_char_idx] == piece.text
    assert piece.ref_doc_id == "b"
    with pytest.raises(RagError, match="is a passage"):
        store.delete_nodes([piece.node_id])
    store.delete_nodes(["a"])
    assert store.get_nodes() == [nodes[1]]


def test_files_stay_and_searches_that_cannot_be_made_are_refused(store: RagVectorStore) -> None:
    store.client.index(CORPUS / "training" / "lora.md")
    store.add([TextNode(id_="a", text=FERRET, metadata={"n": 0})])
    (found,) = store.query(VectorStoreQuery(query_str="What is LoRA?", similarity_top_k=1)).nodes
    assert found.metadata["source"].endswith("lora.md")
    narrow = RagVectorStore(store.client, where="meta.n:0")
    assert narrow.query(VectorStoreQuery(query_str="What is LoRA?")).ids == ["a"]
    with pytest.raises(QuestionError, match="which has none"):
        store.query(VectorStoreQuery(query_embedding=[0.0]))
    with pytest.raises(QuestionError, match="mode"):
        store.query(VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.SVM))
    with pytest.raises(QuestionError, match="`clear` removes all"):
        store.delete_nodes()
    store.clear()
    assert store.client.info().documents == 1
