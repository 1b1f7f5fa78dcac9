"""Documents on their way into the index, and the thread that embeds their passages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rag.index import FileRecord
from rag.ingestion.tally import Tally
from rag.protocols import Embedder
from rag.types import Chunk, Document, Problem

if TYPE_CHECKING:
    from rag.types import Vectors

# So many passages are embedded between two looks at whether to stop.
_PASSAGES_AT_ONCE = 64
# More at once where they take less: a request to stop should be heard soon.
_SECONDS_TO_STOP = 0.3
_CHARACTERS_IN_A_BATCH = 8 << 20
_ITEMS_IN_A_BATCH = 1024


class Embedding:
    """A thread that embeds one list of passages after the other, beside the caller's work."""

    def __init__(self, embedder: Embedder, tally: Tally) -> None:
        self._embedder = embedder
        self._tally = tally
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")
        self._stopped = threading.Event()
        self._at_once = _PASSAGES_AT_ONCE

    def submit(self, passages: Sequence[str]) -> Future[dict[str, Vectors]]:
        """Return the future vectors by passage."""
        return self._executor.submit(self._embed, passages)

    def stop(self) -> None:
        """End the thread; what is not done yet is given up."""
        self._stopped.set()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _embed(self, passages: Sequence[str]) -> dict[str, Vectors]:
        vectors: dict[str, Vectors] = {}
        # Longest first: batches of like length carry little padding, and memory peaks at once.
        ordered = sorted(passages, key=len, reverse=True)
        while ordered and not self._stopped.is_set():
            part, ordered = ordered[: self._at_once], ordered[self._at_once :]
            started = time.perf_counter()
            vectors.update(zip(part, self._embedder.embed_documents(part), strict=True))
            seconds = time.perf_counter() - started
            if seconds < _SECONDS_TO_STOP and len(part) == self._at_once:
                # A GPU waits longer for the next few passages than it works on them.
                self._at_once *= 2
            self._tally.clock.add("embed", seconds)
            self._tally.embedded += len(part)
            self._tally.tokens += sum(len(self._embedder.token_offsets(each)) for each in part)
        return vectors


@dataclass(frozen=True, slots=True)
class EndOfFile:
    """The end of a file, or the `problem` that ended reading; `seconds` is what reading took."""

    record: FileRecord
    seconds: float
    unchanged: bool = False
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A new or changed document; `passages` are what is embedded for each of its chunks."""

    record: FileRecord
    document: Document
    chunks: tuple[Chunk, ...]
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SameDocument:
    """A document with the content that the index holds."""

    record: FileRecord
    document: Document


Item = NewDocument | SameDocument | EndOfFile


@dataclass(slots=True)
class Batch:
    """Some hundred passages with their documents, and the vectors of them that are there."""

    items: list[Item] = field(default_factory=list)
    _passages: int = 0
    _characters: int = 0
    _vectors: dict[str, Vectors] = field(default_factory=dict)
    _new: list[str] = field(default_factory=list)
    _shared: list[str] = field(default_factory=list)
    _coming: Future[dict[str, Vectors]] | None = None

    def add(self, item: Item) -> None:
        """Take an item; those of one file come in order."""
        self.items.append(item)
        if isinstance(item, NewDocument):
            self._passages += len(item.passages)
            self._characters += len(item.document.text)

    def is_full(self, passages: int) -> bool:
        """Return whether the batch has so many passages, or is large otherwise."""
        return (
            self._passages >= passages
            or self._characters >= _CHARACTERS_IN_A_BATCH
            or len(self.items) >= _ITEMS_IN_A_BATCH
        )

    def embed(
        self,
        embedding: Embedding,
        known_vectors: Callable[[Sequence[str]], dict[str, Vectors]],
        before: Batch | None,
    ) -> None:
        """Let each passage be embedded once, unless it is known or comes with the batch before."""
        documents = (item for item in self.items if isinstance(item, NewDocument))
        passages = dict.fromkeys(passage for each in documents for passage in each.passages)
        coming = set(before._new) if before else set()
        self._shared = [passage for passage in passages if passage in coming]
        others = [passage for passage in passages if passage not in coming]
        self._vectors = known_vectors(others)
        self._new = [passage for passage in others if passage not in self._vectors]
        if self._new:
            self._coming = embedding.submit(self._new)

    def is_embedded(self, within: float) -> bool:
        """Wait so many seconds for the vectors; return whether they are there."""
        if self._coming is None:
            return True
        if not wait([self._coming], timeout=within).done:
            return False
        self._vectors.update(self._coming.result())
        self._coming = None
        return True

    def share(self, before: Batch) -> None:
        """Take the vectors that were embedded with the batch before."""
        self._vectors.update({passage: before._vectors[passage] for passage in self._shared})

    def vectors_of(self, item: NewDocument) -> Vectors:
        """Return a row for each passage of a document."""
        import numpy as np

        return np.array([self._vectors[passage] for passage in item.passages], dtype=np.float32)
