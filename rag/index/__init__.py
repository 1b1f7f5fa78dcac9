"""The store: SQLite holds the truth; FAISS and tantivy files are checksummed caches of it."""

from rag.index.contents import Contents
from rag.index.rows import (
    FileRecord,
    FileState,
    Manifest,
    StoredChunk,
    StoredRoot,
    is_text,
    text_path,
)
from rag.index.snapshot import Passage, Snapshot
from rag.index.store import Index, check_embedder
from rag.index.vectors.kinds import CacheSettings
from rag.index.writer import Writer

__all__ = [
    "CacheSettings",
    "Contents",
    "FileRecord",
    "FileState",
    "Index",
    "Manifest",
    "Passage",
    "Snapshot",
    "StoredChunk",
    "StoredRoot",
    "Writer",
    "check_embedder",
    "is_text",
    "text_path",
]
