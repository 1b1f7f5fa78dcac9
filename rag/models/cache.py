"""Where fetched models, and what is known of them on this machine, are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder of fetched models: `RAG_CACHE`, or the user's cache directory."""
    import platformdirs

    folder = os.environ.get("RAG_CACHE")
    return Path(folder).expanduser() if folder else Path(platformdirs.user_cache_dir("rag"))
