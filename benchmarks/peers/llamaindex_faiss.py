"""LlamaIndex: VectorStoreIndex over a FaissVectorStore with HuggingFaceEmbedding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.faiss import FaissVectorStore
from stages import Passage, Search, run


def index(passages: Sequence[Passage], store: Path, model: str) -> None:
    """Embed and persist."""
    import faiss
    from llama_index.core.schema import TextNode

    embedding = HuggingFaceEmbedding(model_name=model)
    dim = len(embedding.get_text_embedding("dimension"))
    storage = StorageContext.from_defaults(
        vector_store=FaissVectorStore(faiss_index=faiss.IndexFlatL2(dim))
    )
    nodes = [TextNode(id_=each.name, text=each.text) for each in passages]
    made = VectorStoreIndex(nodes, storage_context=storage, embed_model=embedding)
    made.storage_context.persist(persist_dir=str(store))


def open_store(store: Path, model: str, mode: str) -> Search:
    """A retriever over the persisted index."""
    storage = StorageContext.from_defaults(
        vector_store=FaissVectorStore.from_persist_dir(str(store)), persist_dir=str(store)
    )
    found = load_index_from_storage(storage, embed_model=HuggingFaceEmbedding(model_name=model))

    def search(question: str, k: int) -> list[Passage]:
        hits = found.as_retriever(similarity_top_k=k).retrieve(question)
        return [Passage(hit.node.node_id, hit.node.get_content()) for hit in hits]

    return search


if __name__ == "__main__":
    run(index, open_store)
