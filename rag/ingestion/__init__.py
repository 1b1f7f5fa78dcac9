"""Bring an index up to date with its folders: read, cut, embed and store what changed."""

from rag.ingestion.folders import ingest, remove, status, watch

__all__ = ["ingest", "remove", "status", "watch"]
