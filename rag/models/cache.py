"""Where fetched models, and what is known of them on this machine, are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder of fetched models: `RAG_CACHE`, or the user's cache directory."""
    import platformdirs

    folder = os.environ.get("RAG_CACHE")
    # Unlike pathlib's, this function leaves the home of nobody as it is.
    named = os.path.expanduser(folder or "")  # noqa: PTH111
    return Path(named or platformdirs.user_cache_dir("rag"))
