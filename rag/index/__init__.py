"""The store: SQLite is the truth, FAISS files are checksummed caches of it."""

from rag.index.reading import Passage, Reading
from rag.index.rows import FileRecord, FileState, Manifest, StoredRoot
from rag.index.store import Index, check_embedder
from rag.index.writer import Writer

__all__ = [
    "FileRecord",
    "FileState",
    "Index",
    "Manifest",
    "Passage",
    "Reading",
    "StoredRoot",
    "Writer",
    "check_embedder",
]
