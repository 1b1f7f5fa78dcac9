"""question, passages -> the spans that answer, and how surely, by a trained model."""

from __future__ import annotations

from rag.answering.reader.reading import Reading, Span
from rag.answering.tools import Reader
from rag.config import AnsweringConfig
from rag.types import ProgressCallback

__all__ = ["SHIPPED", "Reading", "Span", "load_reader"]

SHIPPED = "mpnet-reader"
"""The name of the reader that comes with this package."""


def load_reader(
    config: AnsweringConfig, device: str = "auto", progress: ProgressCallback | None = None
) -> Reader:
    """Return the reader that `config.reader` names; its weights are loaded at first use.

    Raises:
        ModelError: if there is no such model, or it cannot be fetched.
    """
    if config.reader == SHIPPED:
        from rag.answering.reader.onnx import load_shipped

        return load_shipped()
    from rag.answering.reader.transformer import load_transformer

    return load_transformer(config, device, progress=progress)
