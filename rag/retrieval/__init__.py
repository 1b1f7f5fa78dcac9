"""Find passages for a question: search, fusion, feedback, reranking, and the choice of hits."""

from rag.retrieval.retriever import PassageRetriever

__all__ = ["PassageRetriever"]
