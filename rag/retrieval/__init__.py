"""question -> list[Hit]: dense and lexical search, fusion, feedback, reranking, what is shown."""

from rag.retrieval.retriever import PassageRetriever

__all__ = ["PassageRetriever"]
