"""Settings that mean the same in another working directory; errors with paths as given."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
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
_NAMED = frozenset({"extractive", "none", "embedder", "late-interaction", "likelihood"})


@dataclass(frozen=True, slots=True)
class Named:
    """Settings with absolute paths.

    `given` are the paths that were not, by what they are now. `by_model` says that one of a model
    is among them, in errors about which both ways of writing it occur.
    """

    config: Config
    given: dict[str, str]
    by_model: bool

    def as_given(self, text: str) -> str:
        """An error's text with paths as the user wrote them."""
        for absolute, path in self.given.items():
            if path == ".":
                text = text.replace(f"{absolute}/", "")
            text = text.replace(absolute, path)
        return text


def named(config: Config) -> Named:
    """The settings with absolute paths, as seen from the working directory.

    Raises:
        OSError: if that is gone.
    """
    folder = Path.cwd()
    given = {}
    by_model = False
    for key in (*PATHS, *MODELS):
        section, name = key.split(".")
        settings: Any = getattr(config, section)
        value: str = getattr(settings, name)
        is_model = key in MODELS
        if not value or Path(value).is_absolute() or (is_model and not _is_local(value)):
            continue
        absolute = folder / value
        given[str(absolute)] = str(Path(value))
        by_model = by_model or is_model
        config = replace(config, **{section: replace(settings, **{name: str(absolute)})})
    return Named(config, given, by_model)


def _is_local(model: str) -> bool:
    """Whether a model is taken from the working directory."""
    if model in _NAMED or not Path(model).exists():
        return False
    if os.sep in model:
        return True
    from rag.models import CATALOGUE

    known = {*CATALOGUE, *plugins("rag.embedders"), *plugins("rag.generators")}
    return model not in known
