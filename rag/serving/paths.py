"""Settings whose paths mean the same in the daemon's working directory as in the command's."""

from __future__ import annotations

import os
from operator import attrgetter
from pathlib import Path

from rag.config import Config, replace_settings
from rag.plugins import plugins

PATHS = (
    *("index.path", "prompt.templates", "prompt.examples"),
    *(
        "serve.certificate",
        "serve.key",
        "serve.folder",
        "serve.users",
        "serve.state",
        "serve.audit",
    ),
)
# A folder or file, or a name that means the same everywhere.
MODELS = (
    "embedding.model",
    "generation.model",
    "retrieval.rerank",
    "retrieval.rerank_model",
    "answering.reader",
    "answering.entailment",
)
_KEYWORDS = frozenset({"extractive", "none", "embedder", "late-interaction", "likelihood"})


def make_paths_absolute(config: Config) -> Config:
    """Replace each path in the settings that is relative to the working directory.

    Raises:
        OSError: if the working directory is gone.
    """
    folder = Path.cwd()
    named = {key: attrgetter(key)(config) for key in (*PATHS, *MODELS)}
    return replace_settings(
        config,
        {
            key: str(folder / value)
            for key, value in named.items()
            if value and not Path(value).is_absolute() and (key in PATHS or _is_local(value))
        },
    )


def _is_local(model: str) -> bool:
    """Whether a model is a folder or file, seen from the working directory."""
    if model in _KEYWORDS or not Path(model).exists():
        return False
    if os.sep in model:
        return True
    from rag.models import CATALOGUE

    known = {*CATALOGUE, *plugins("rag.embedders"), *plugins("rag.generators")}
    return model not in known
