"""Bring an index up to date with its folders: read, cut, embed and store what changed."""

from rag.ingestion.folders import ingest, remove, status, watch
from rag.ingestion.texts import add_texts, remove_texts

__all__ = ["add_texts", "ingest", "remove", "remove_texts", "status", "watch"]
