"""LangChain's own tests of retrievers and vector stores, and what ours give besides."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CORPUS
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import (
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)

from rag import RAG, ConfigError, Prompt, RagError, from_callable
from rag.integrations.langchain import LangChainEmbedder, RagAnswerer, RagRetriever, RagVectorStore
from rag.protocols import Embedder

QUESTION = "Who proposed direct preference optimization?"
FERRET = "The ferret sleeps for fourteen hours a day and hunts at dusk."
HERON = "The heron stands still in shallow water until a fish comes near."


@pytest.fixture
def store(tmp_path: Path, embedder: Embedder) -> RagVectorStore:
    settings = {"generation.model": "extractive"}
    return RagVectorStore(RAG(tmp_path / "index", embedder=embedder, settings=settings))


class TestRetrieverStandard(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _sample(self, sample: RAG) -> None:
        self.sample = sample

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return RagRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"rag": self.sample}

    @property
    def retriever_query_example(self) -> str:
        return "How does LoRA save memory?"


class TestVectorStoreStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, store: RagVectorStore) -> VectorStore:
        return store


class TestVectorStoreOfOtherEmbeddingsStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> VectorStore:
        return RagVectorStore.from_texts([], self.get_embeddings(), path=tmp_path / "index")


def test_a_retrieved_document_says_where_it_is_in_code_points(sample: RAG) -> None:
    (found,) = RagRetriever(rag=sample, k=1, where="type:pdf").invoke("What does RAG retrieve?")
    metadata = found.metadata
    document = sample.document(metadata["document_id"])
    assert document.text[metadata["start"] : metadata["end"]] == found.page_content
    assert metadata["source"].endswith("rag.pdf")
    assert metadata["page"] >= 1
    assert 0 < metadata["score"] <= 1
    place = sample.locate(found.id)
    assert (place.document.id, place.start, place.end) == (
        document.id,
        metadata["start"],
        metadata["end"],
    )
    (in_markdown,) = RagRetriever(rag=sample).invoke(QUESTION, k=1, where={"type": "markdown"})
    assert in_markdown.metadata["line"] > 1
    assert in_markdown.metadata["heading"].startswith("Learning from human preferences › ")


def test_what_was_added_comes_back_as_it_was_and_pieces_with_their_places(
    store: RagVectorStore,
) -> None:
    long = "\n\n".join(f"Paragraph {n}: {HERON} {FERRET}" for n in range(60))
    given = Document(id="a", page_content=FERRET, metadata={"source": "https://x.org", "n": 0})
    store.add_documents([given, Document(id="b", page_content=long, metadata={"n": 1})])
    assert store.similarity_search("ferret hunts at dusk", k=1, where="meta.n:0") == [given]
    (piece,) = store.similarity_search("Paragraph 41", k=1, where={"meta.n": 1})
    start, end = piece.metadata["start"], piece.metadata["end"]
    assert piece.id == f"b:{start}-{end}"
    assert long[start:end] == piece.page_content
    assert store.get_by_ids([piece.id, "a", "none"]) == [
        Document(id=piece.id, page_content=piece.page_content, metadata=_rescored(piece)),
        given,
    ]
    with pytest.raises(RagError, match="is a passage: remove the whole, b"):
        store.delete([piece.id])
    (located,) = RagRetriever(rag=store.rag, k=1, where="meta.n:0").invoke("ferret")
    assert located.metadata["source"] == "https://x.org"
    assert located.metadata["document_id"] == "a"


def _rescored(document: Document) -> dict[str, Any]:
    return {**document.metadata, "score": 1.0}


def test_files_and_texts_are_found_side_by_side_and_only_texts_are_deleted(
    store: RagVectorStore,
) -> None:
    store.rag.index(CORPUS / "training")
    (id_,) = store.add_texts([FERRET])
    files = [document for document in store.rag.documents() if document.id != id_]
    (lora,) = store.similarity_search("What is LoRA?", k=1)
    assert lora.metadata["source"].endswith("lora.md")
    with pytest.raises(RagError, match="remove the file instead"):
        store.delete([id_, files[0].id])
    assert store.delete()
    assert [document.id for document in store.rag.documents()] == [each.id for each in files]


def test_scores_relevance_and_variety(store: RagVectorStore) -> None:
    store.add_texts([FERRET, FERRET + " It naps.", HERON], ids=["a", "b", "c"])
    scored = store.similarity_search_with_score("sleeping ferret", k=3)
    assert [score for _, score in scored] == sorted((s for _, s in scored), reverse=True)
    relevant = store.similarity_search_with_relevance_scores(FERRET, k=3)
    by_id = {document.id: score for document, score in relevant}
    assert by_id["a"] == pytest.approx(1.0, abs=0.02)
    assert by_id["c"] < 0.5
    threshold = {"score_threshold": 0.9, "k": 3}
    strict = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs=threshold
    ).invoke(FERRET)
    assert {document.id for document in strict} <= {"a", "b"}
    varied = store.as_retriever(
        search_type="mmr", search_kwargs={"k": 2, "lambda_mult": 0.1}
    ).invoke(FERRET)
    assert [document.id for document in varied] == ["a", "c"]
    assert len(store.embeddings.embed_query("x")) == store.rag.embedder.dim


def test_a_filter_is_kept_and_an_unknown_argument_refused(store: RagVectorStore) -> None:
    store.add_texts([FERRET, HERON], [{"n": 0}, {"n": 1}], ids=["a", "b"])
    narrow = RagVectorStore(store.rag, where="meta.n:1")
    assert [d.id for d in narrow.similarity_search("ferret", k=5)] == ["b"]
    assert narrow.similarity_search("ferret", where="meta.n:0") == []
    for call in (store.similarity_search, store.max_marginal_relevance_search):
        with pytest.raises(TypeError, match="filter: no argument of this"):
            call("ferret", filter={"n": 0})
    with pytest.raises(ConfigError, match="path=DIR"):
        RagVectorStore.from_texts([FERRET], None)


def test_embeddings_of_langchain_embed_an_index_of_files(tmp_path: Path) -> None:
    embeddings = DeterministicFakeEmbedding(size=6)
    rag = RAG(tmp_path / "index", embedder=LangChainEmbedder(embeddings, name="fake"))
    rag.index(CORPUS / "training" / "lora.md")
    assert (rag.info().embedder, rag.info().dim) == ("fake", 6)
    assert rag.search("LoRA", k=1)
    own = RagVectorStore(rag).embeddings
    other = RagVectorStore.from_texts([FERRET], own, ids=["a"], path=tmp_path / "other")
    assert other.rag.info().embedder == "fake"


def test_an_answer_is_a_message_whose_citations_point_into_both_texts(sample: RAG) -> None:
    message = RagAnswerer(sample).invoke(QUESTION)
    assert isinstance(message, AIMessage)
    (block,) = message.content_blocks
    assert block["type"] == "text"
    (citation,) = block["annotations"]
    sentence = message.text[citation["start_index"] : citation["end_index"]]
    assert "Rafailov" in sentence
    extras = citation["extras"]
    document = sample.document(extras["document_id"])
    assert (
        document.text[extras["document_start"] : extras["document_end"]] == citation["cited_text"]
    )
    assert citation["title"] == "Learning from human preferences"
    assert "url" not in citation
    assert message.response_metadata["abstained"] is False
    none = RagAnswerer(sample).invoke("What is the price of tea in Oslo?")
    assert none.response_metadata["abstained"] is True
    assert none.content_blocks[0]["annotations"] == []


def test_the_pieces_of_a_stream_sum_up_to_the_answer(sample: RAG) -> None:
    answerer = RagAnswerer(sample, where="type:markdown")
    whole = answerer.invoke(QUESTION)
    pieces = list(answerer.stream(QUESTION))
    total = pieces[0]
    for piece in pieces[1:]:
        total += piece
    assert total.text == whole.text
    assert total.content_blocks[0]["annotations"] == whole.content_blocks[0]["annotations"]
    assert total.response_metadata["abstained"] is False


async def test_the_asynchronous_forms_give_the_same(sample: RAG) -> None:
    answerer = RagAnswerer(sample)
    whole = answerer.invoke(QUESTION)
    assert (await answerer.ainvoke(QUESTION)).content == whole.content
    assert "".join([piece.text async for piece in answerer.astream(QUESTION)]) == whole.text
    both = await answerer.abatch([QUESTION, QUESTION])
    assert [each.content for each in both] == [whole.content] * 2
    async for _ in answerer.astream(QUESTION):
        break


def test_an_answerer_takes_prompts_messages_and_states_of_graphs(sample: RAG) -> None:
    answerer = RagAnswerer(sample)
    whole = answerer.invoke(QUESTION).text
    prompt = ChatPromptTemplate.from_messages([("human", "Who proposed {what}?")])
    chain = prompt | answerer | StrOutputParser()
    assert chain.invoke({"what": "direct preference optimization"}) == whole
    assert answerer.invoke([HumanMessage(QUESTION)]).text == whole
    assert answerer.invoke({"messages": [{"role": "user", "content": QUESTION}]}).text == whole
    assert (RunnableLambda(lambda q: {"question": q}) | answerer).invoke(QUESTION).text == whole
    for wrong in ([], [AIMessage("Hello.")], {"text": QUESTION}):
        with pytest.raises(RagError, match=r"last message|messages, question or input"):
            answerer.invoke(wrong)


def test_a_follow_up_leans_on_what_was_said(sample: RAG) -> None:
    talk = [
        SystemMessage("Be brief."),
        HumanMessage(QUESTION),
        AIMessage("It was proposed by Rafailov and colleagues."),
        HumanMessage("When?"),
    ]
    assert "2023" in RagAnswerer(sample).invoke(talk).text


def sentences_of(prompt: Prompt) -> list[str]:
    """Eight sentences of the best passage, and those after it."""
    text = " ".join(hit.text for hit in prompt.hits)
    return [each for each in re.split(r"(?<=[.])\s+", text) if each[:1].isupper()][:8]


async def test_a_written_answer_comes_in_pieces_and_stops_when_nobody_listens(
    sample: RAG, embedder: Embedder
) -> None:
    heard, ended = threading.Event(), threading.Event()
    prompts: list[str] = []
    written: list[str] = []

    def write(prompt: Prompt) -> Iterator[str]:
        prompts.append(" ".join(message.content for message in prompt.messages))
        try:
            for number, sentence in enumerate(sentences_of(prompt)):
                # A sentence is told when the next one begins.
                assert number < 2 or heard.wait(60)
                written.append(sentence)
                yield f"{sentence} [1] "
        finally:
            ended.set()

    rag = RAG(sample.path, embedder=embedder, generator=from_callable("writer", write))
    answerer = RagAnswerer(rag)
    talk = [SystemMessage("Speak like a pirate."), HumanMessage(QUESTION)]
    stream = answerer.astream(talk)
    assert (await anext(stream)).text
    await stream.aclose()
    heard.set()
    assert ended.wait(60)
    stopped = len(written)
    written.clear()
    assert "Speak like a pirate." in prompts[0]
    pieces = list(answerer.stream(talk))
    assert len(written) > stopped
    assert len(pieces) > 2
    assert "".join(each.text for each in pieces) == answerer.invoke(talk).text
    assert pieces[-1].response_metadata["model_name"] == "writer"
