"""A RAG with the settings of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.engine import RAG
    from rag.types import ProgressCallback


def open_rag(
    index: str | None,
    config_file: Path | None,
    progress: ProgressCallback | None = None,
    settings: dict[str, Any] | None = None,
) -> RAG:
    """Settings of the command line above those of the environment and of `rag.toml`.

    Raises:
        ConfigError: if one cannot be used.
    """
    from rag.config import load_config
    from rag.engine import RAG

    config = load_config(config_file, arguments={**(settings or {}), "index.path": index})
    return RAG(config=config, progress=progress)
