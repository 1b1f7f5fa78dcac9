"""sources -> chunking -> embedding -> index: what changed, and nothing else."""

from rag.ingestion.folders import add, ingest, remove, status, watch

__all__ = ["add", "ingest", "remove", "status", "watch"]
