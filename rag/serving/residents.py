"""The RAGs that the daemon keeps open, one for each set of settings; they share what they can."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextvars import ContextVar
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from rag.config import Config
from rag.engine import RAG
from rag.once import once
from rag.serving.paths import MODELS

if TYPE_CHECKING:
    from rag.protocols import Embedder, LanguageModel
    from rag.types import Progress, ProgressCallback

# How many RAGs stay open. One more costs little beside its models.
MOST = 8

# Where a thread reports long work: to the client that waits for it.
listener: ContextVar[ProgressCallback | None] = ContextVar("listener", default=None)

Stamp = tuple[tuple[str, int, int], ...]


class Resident(RAG):
    """A RAG that shares models and index with residents that have the same settings for them."""

    def __init__(self, config: Config, stamps: dict[str, Stamp], residents: Residents) -> None:
        super().__init__(config=config, progress=_report)
        self.stamps = stamps
        self._residents = residents
        # One lock for all, since a resident may take a model from another while it holds the lock.
        self._lock = residents.lock
        for other in residents.all():
            if other.config.index == config.index:
                self._index = other._index

    @once
    def embedder(self) -> Embedder:
        """The embedder in use."""
        sharing = self._find_sharing("embedder", "embedding")
        return sharing.embedder if sharing else super().embedder

    @once
    def generator(self) -> LanguageModel:
        """The generator in use."""
        sharing = self._find_sharing("generator", "generation")
        return sharing.generator if sharing else super().generator

    def _find_sharing(self, model: str, section: str) -> Resident | None:
        """Find another resident that has loaded the same model, by the settings in `section`."""
        if model == "generator" and _is_served(self.config):
            return None
        for other in self._residents.all():
            same = getattr(other.config, section) == getattr(self.config, section)
            key = f"{section}.model"
            if same and other.stamps.get(key) == self.stamps.get(key) and model in vars(other):
                return other
        return None


class Residents:
    """The RAGs of the settings that were used last, `most` of them."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.lock = threading.RLock()
        self._by_settings: OrderedDict[tuple[Config, str], Resident] = OrderedDict()

    def all(self) -> list[Resident]:
        """Return all residents, the one that was asked last at the end."""
        with self.lock:
            return list(self._by_settings.values())

    def rag(self, config: Config) -> Resident:
        """Return the RAG with these settings.

        It is made anew if its templates, examples or local models have changed.
        """
        stamps = _list_files(config)
        key = (config, repr(stamps))
        with self.lock:
            found = self._by_settings.get(key)
            if found is None:
                found = Resident(config, stamps, self)
                self._by_settings[key] = found
            self._by_settings.move_to_end(key)
            if _is_served(config):
                # The server may have another model by now.
                for name in ("generator", "reranker", "retriever"):
                    vars(found).pop(name, None)
            while len(self._by_settings) > self._most:
                self._by_settings.popitem(last=False)
            return found


def _report(progress: Progress) -> None:
    report = listener.get()
    if report is not None:
        report(progress)


def _is_served(config: Config) -> bool:
    return config.generation.model.startswith(("http://", "https://"))


def _list_files(config: Config) -> dict[str, Stamp]:
    """List the files that a RAG reads once, by setting, each with time and size."""
    found = {}
    for key in ("prompt.templates", "prompt.examples", *MODELS):
        value: str = attrgetter(key)(config)
        path = Path(os.path.expanduser(value))  # noqa: PTH111
        if value and path.is_absolute() and (files := _file_states(path)):
            found[key] = files
    return found


def _file_states(path: Path) -> Stamp:
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
