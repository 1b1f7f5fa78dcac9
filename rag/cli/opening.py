"""A RAG with the settings of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.config import Config
    from rag.engine import RAG
    from rag.serving.daemon.client import DaemonRAG
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


def open_to_ask(
    index: str | None,
    config_file: Path | None,
    progress: ProgressCallback | None = None,
    settings: dict[str, Any] | None = None,
) -> RAG | DaemonRAG:
    """As `open_rag`, for a command that asks and does no more.

    Raises:
        ConfigError: if a setting cannot be used.
    """
    from rag.config import load_config

    config = load_config(config_file, arguments={**(settings or {}), "index.path": index})
    return to_ask(config, progress)


def to_ask(config: Config, progress: ProgressCallback | None = None) -> RAG | DaemonRAG:
    """The daemon's RAG with these settings where a daemon runs, or one of this process."""

    def local() -> RAG:
        from rag.engine import RAG

        return RAG(config=config, progress=progress)

    if config.daemon.use:
        from rag.serving.daemon.place import running

        place = running()
        if place is not None:
            from rag.serving.daemon.client import DaemonRAG

            return DaemonRAG(config, place, local, progress)
    return local()
