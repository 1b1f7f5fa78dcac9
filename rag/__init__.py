"""Retrieval-augmented question answering with answers that can be checked.

    from rag import RAG

    rag = RAG("indexes/default")
    rag.index(["docs/"])
    answer = rag.ask("What does the lease say about pets?")
    print(answer.text, answer.citations)

Names are imported when first used: `import rag` loads no model library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.answering import AnswerStream
    from rag.config import Config, load_config
    from rag.conversation import Conversation
    from rag.engine import RAG
    from rag.errors import (
        ConfigError,
        DaemonError,
        EmbeddingError,
        GenerationError,
        LockedError,
        ModelError,
        QuestionError,
        RagError,
        SourceError,
        StoreError,
    )
    from rag.types import (
        Answer,
        Chunk,
        Chunker,
        Citation,
        Compaction,
        Copied,
        Document,
        Embedder,
        EntailmentModel,
        Evidence,
        Examination,
        Explanation,
        FileOutcome,
        Finding,
        Generator,
        Heading,
        Hit,
        IndexStatus,
        IngestionReport,
        LikelihoodModel,
        Loadable,
        Message,
        Page,
        Problem,
        Progress,
        Prompt,
        Reader,
        Reranker,
        Retriever,
        Sentence,
        Stage,
        TokenEmbedder,
        VectorSearch,
        Verdict,
        Window,
        Work,
    )

_HOMES = {
    "rag.answering": ("AnswerStream",),
    "rag.config": ("Config", "load_config"),
    "rag.conversation": ("Conversation",),
    "rag.engine": ("RAG",),
    "rag.errors": (
        "ConfigError",
        "DaemonError",
        "EmbeddingError",
        "GenerationError",
        "LockedError",
        "ModelError",
        "QuestionError",
        "RagError",
        "SourceError",
        "StoreError",
    ),
    "rag.types": (
        "Answer",
        "Chunk",
        "Chunker",
        "Citation",
        "Compaction",
        "Copied",
        "Document",
        "Embedder",
        "EntailmentModel",
        "Evidence",
        "Examination",
        "Explanation",
        "FileOutcome",
        "Finding",
        "Generator",
        "Heading",
        "Hit",
        "IndexStatus",
        "IngestionReport",
        "LikelihoodModel",
        "Loadable",
        "Message",
        "Page",
        "Problem",
        "Progress",
        "Prompt",
        "Reader",
        "Reranker",
        "Retriever",
        "Sentence",
        "Stage",
        "TokenEmbedder",
        "VectorSearch",
        "Verdict",
        "Window",
        "Work",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__version__ = "0.1.0"

__all__ = [
    "RAG",
    "Answer",
    "AnswerStream",
    "Chunk",
    "Chunker",
    "Citation",
    "Compaction",
    "Config",
    "ConfigError",
    "Conversation",
    "Copied",
    "DaemonError",
    "Document",
    "Embedder",
    "EmbeddingError",
    "EntailmentModel",
    "Evidence",
    "Examination",
    "Explanation",
    "FileOutcome",
    "Finding",
    "GenerationError",
    "Generator",
    "Heading",
    "Hit",
    "IndexStatus",
    "IngestionReport",
    "LikelihoodModel",
    "Loadable",
    "LockedError",
    "Message",
    "ModelError",
    "Page",
    "Problem",
    "Progress",
    "Prompt",
    "QuestionError",
    "RagError",
    "Reader",
    "Reranker",
    "Retriever",
    "Sentence",
    "SourceError",
    "Stage",
    "StoreError",
    "TokenEmbedder",
    "VectorSearch",
    "Verdict",
    "Window",
    "Work",
    "load_config",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'rag' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
