"""Index the corpus that a dataset brings along."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rag.config import Config
from rag.engine import RAG
from rag.errors import SourceError
from rag.evaluation.dataset import Dataset
from rag.types import IngestionReport, ProgressCallback


def cache_folder(dataset: Dataset, config: Config) -> Path:
    """Return the folder for the index of a dataset's own corpus, beside the configured index.

    Each dataset, embedder with its precision, and way of chunking has a folder of its own.
    """
    built_with = (
        str(dataset.path.resolve()),
        config.embedding.model,
        config.embedding.precision,
        str(config.chunking),
        str(config.sources),
    )
    digest = hashlib.sha256("\n".join(built_with).encode()).hexdigest()[:8]
    name = f"eval-{dataset.path.resolve().name}-{digest}"
    return Path(config.index.path).parent / name


def index_corpus(
    rag: RAG, dataset: Dataset, progress: ProgressCallback | None = None
) -> IngestionReport:
    """Bring the index of `rag` up to date with the dataset's corpus.

    Raises:
        SourceError: if the dataset has no corpus.
        StoreError: if the index cannot be written.
    """
    if dataset.corpus is None:
        reason = "holds questions without documents: name the index to measure with --index"
        raise SourceError(str(dataset.path), reason)
    return rag.index(dataset.corpus, progress=progress)
