"""Settings whose paths mean the same in the daemon's working directory as in the command's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from rag.config import Config
from rag.plugins import plugins

PATHS = ("index.path", "prompt.templates", "prompt.examples")
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
    for key in (*PATHS, *MODELS):
        section, name = key.split(".")
        settings: Any = getattr(config, section)
        value: str = getattr(settings, name)
        if not value or Path(value).is_absolute():
            continue
        if key in PATHS or _is_local(value):
            settings = replace(settings, **{name: str(folder / value)})
            config = replace(config, **{section: settings})
    return config


def _is_local(model: str) -> bool:
    """Whether a model is a folder or file, seen from the working directory."""
    if model in _KEYWORDS or not Path(model).exists():
        return False
    if os.sep in model:
        return True
    from rag.models import CATALOGUE

    known = {*CATALOGUE, *plugins("rag.embedders"), *plugins("rag.generators")}
    return model not in known
