"""Haystack: pipelines of embedders of sentence-transformers and an InMemoryDocumentStore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from haystack import Pipeline
from haystack.document_stores.in_memory import InMemoryDocumentStore
from stages import Passage, Search, run

FILE = "documents.json"


def index(passages: Sequence[Passage], store: Path, model: str) -> None:
    """Embed, write and save."""
    from haystack import Document
    from haystack.components.writers import DocumentWriter
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersDocumentEmbedder,
    )

    documents = InMemoryDocumentStore(embedding_similarity_function="cosine")
    pipeline = Pipeline()
    pipeline.add_component("embedder", SentenceTransformersDocumentEmbedder(model=model))
    pipeline.add_component("writer", DocumentWriter(document_store=documents))
    pipeline.connect("embedder.documents", "writer.documents")
    given = [Document(id=each.name, content=each.text) for each in passages]
    pipeline.run({"embedder": {"documents": given}})
    store.mkdir()
    documents.save_to_disk(str(store / FILE))


def open_store(store: Path, model: str, mode: str) -> Search:
    """A pipeline over the saved store."""
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersTextEmbedder,
    )

    documents = InMemoryDocumentStore.load_from_disk(str(store / FILE))
    pipeline = Pipeline()
    # A bar of progress for each question is for people to see, and would be timed as well.
    embedder = SentenceTransformersTextEmbedder(model=model, progress_bar=False)
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(document_store=documents))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")

    def search(question: str, k: int) -> list[Passage]:
        asked = {"embedder": {"text": question}, "retriever": {"top_k": k}}
        hits = pipeline.run(asked)["retriever"]["documents"]
        return [Passage(hit.id, hit.content) for hit in hits]

    return search


if __name__ == "__main__":
    run(index, open_store)
