"""LangChain: the FAISS vector store of langchain-community with HuggingFaceEmbeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langchain_community.vectorstores import FAISS
from langchain_huggingface import HuggingFaceEmbeddings
from stages import Passage, Search, run


def index(passages: Sequence[Passage], store: Path, model: str) -> None:
    """Embed and save."""
    from langchain_core.documents import Document

    documents = [Document(each.text, metadata={"name": each.name}) for each in passages]
    FAISS.from_documents(documents, HuggingFaceEmbeddings(model_name=model)).save_local(str(store))


def open_store(store: Path, model: str, mode: str) -> Search:
    """The saved store."""
    found = FAISS.load_local(
        str(store), HuggingFaceEmbeddings(model_name=model), allow_dangerous_deserialization=True
    )

    def search(question: str, k: int) -> list[Passage]:
        hits = found.similarity_search(question, k=k)
        return [Passage(hit.metadata["name"], hit.page_content) for hit in hits]

    return search


if __name__ == "__main__":
    run(index, open_store)
