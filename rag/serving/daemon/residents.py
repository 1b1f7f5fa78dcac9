"""The RAGs that the daemon keeps, by their settings; they share models and indexes if they can."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from rag.config import Config
from rag.engine import RAG, once
from rag.serving.daemon.naming import MODELS

if TYPE_CHECKING:
    from rag.protocols import Embedder, LanguageModel
    from rag.types import Progress, ProgressCallback

# How many are kept. One with settings of its own costs little beside its models.
KEPT = 8

_MODEL_SECTIONS = {"embedder": "embedding", "generator": "generation"}

# Who is told of long work: whoever waits for it, in the thread that does it.
listener: ContextVar[ProgressCallback | None] = ContextVar("listener", default=None)

Stamp = tuple[tuple[str, int, int], ...]


class Resident(RAG):
    """A RAG that takes models and index from those that have the same settings for them."""

    def __init__(self, config: Config, stamps: dict[str, Stamp], residents: Residents) -> None:
        super().__init__(config=config, progress=_tell)
        self.stamps = stamps
        self._residents = residents
        # One lock for all: whoever loads a model of one may find that it needs another's.
        self._lock = residents.lock
        for other in residents.kept():
            if other.config.index == config.index:
                self._index = other._index

    @once
    def embedder(self) -> Embedder:
        """The embedder in use."""
        sharing = self._sharing("embedder")
        return sharing.embedder if sharing else super().embedder

    @once
    def generator(self) -> LanguageModel:
        """The generator in use."""
        sharing = self._sharing("generator")
        return sharing.generator if sharing else super().generator

    def _sharing(self, model: str) -> Resident | None:
        """Another that has loaded the same model."""
        section = _MODEL_SECTIONS[model]
        if model == "generator" and _is_served(self.config):
            return None
        for other in self._residents.kept():
            same = getattr(other.config, section) == getattr(self.config, section)
            key = f"{section}.model"
            if same and other.stamps.get(key) == self.stamps.get(key) and model in vars(other):
                return other
        return None


class Residents:
    """The RAGs of the settings that were asked with last."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._kept: OrderedDict[tuple[Config, str], Resident] = OrderedDict()

    def kept(self) -> list[Resident]:
        """All of them, the one asked last at the end."""
        with self.lock:
            return list(self._kept.values())

    def rag(self, config: Config) -> Resident:
        """The RAG with these settings.

        One whose templates, examples or local models were changed since is made anew.
        """
        stamps = _stamps(config)
        key = (config, repr(stamps))
        with self.lock:
            found = self._kept.get(key)
            if found is None:
                found = Resident(config, stamps, self)
                self._kept[key] = found
            self._kept.move_to_end(key)
            if _is_served(config):
                # What a server has may be another model by now.
                for name in ("generator", "reranker", "retriever"):
                    vars(found).pop(name, None)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found


def _tell(progress: Progress) -> None:
    tell = listener.get()
    if tell is not None:
        tell(progress)


def _is_served(config: Config) -> bool:
    return config.generation.model.startswith(("http://", "https://"))


def _stamps(config: Config) -> dict[str, Stamp]:
    """By key, the files that a RAG reads once, each with time and size."""
    found = {}
    for key in ("prompt.templates", "prompt.examples", *MODELS):
        section, name = key.split(".")
        value: str = getattr(getattr(config, section), name)
        path = Path(value).expanduser() if value.startswith("~") else Path(value)
        if value and path.is_absolute() and (files := _files(path)):
            found[key] = files
    return found


def _files(path: Path) -> Stamp:
    paths = [path]
    if path.is_dir():
        paths = [Path(top, name) for top, _, names in os.walk(path) for name in names]
    found = []
    for each in sorted(paths):
        try:
            state = each.stat()
        except OSError:
            continue
        found.append((str(each), state.st_mtime_ns, state.st_size))
    return tuple(found)
