"""The store: SQLite is the truth, FAISS files are checksummed caches of it."""

from rag.index.store import FileRecord, Index, Manifest, Writer, check_embedder

__all__ = ["FileRecord", "Index", "Manifest", "Writer", "check_embedder"]
