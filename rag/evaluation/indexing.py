"""The index of a dataset's own corpus."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rag.config import Config
from rag.engine import RAG
from rag.errors import SourceError
from rag.evaluation.dataset import Dataset
from rag.types import IngestionReport, ProgressCallback


def cache_folder(dataset: Dataset, config: Config) -> Path:
    """Where the index of a dataset's own corpus is kept: beside the configured one.

    One folder for each dataset, embedder with its precision, and way of cutting.
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
    """Bring `rag` to the state of the dataset's corpus; what has not changed costs nothing.

    Raises:
        SourceError: if the dataset has no corpus.
        StoreError: if the index cannot be written.
    """
    if dataset.corpus is None:
        reason = "holds questions without documents: name the index to measure with --index"
        raise SourceError(str(dataset.path), reason)
    return rag.index(dataset.corpus, progress=progress)
