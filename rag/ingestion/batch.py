"""Documents on their way into the index, and the thread that embeds their passages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rag.chunking import embedded_texts
from rag.index import FileRecord
from rag.protocols import Embedder
from rag.types import Chunk, Document, Problem

if TYPE_CHECKING:
    from rag.types import Vectors

# Embedded between two looks at whether to stop.
_PASSAGES_AT_ONCE = 64
# More at once where they take less: to be stopped is to be heard soon.
_SECONDS_TO_STOP = 0.3


@dataclass(frozen=True, slots=True)
class Put:
    """A new or changed document; `passages` are what is embedded for each of its chunks."""

    record: FileRecord
    document: Document
    chunks: tuple[Chunk, ...]
    passages: tuple[str, ...]

    @classmethod
    def of(cls, record: FileRecord, document: Document, chunks: Sequence[Chunk]) -> Put:
        """The document with what is to be embedded for it."""
        return cls(record, document, tuple(chunks), tuple(embedded_texts(document, chunks)))


@dataclass(frozen=True, slots=True)
class Kept:
    """A document whose content is what the index holds."""

    record: FileRecord
    document: Document


@dataclass(frozen=True, slots=True)
class Ended:
    """A file was read: to its end, or to the `problem` that it has; `seconds` is what that took."""

    record: FileRecord
    seconds: float
    unchanged: bool = False
    problem: Problem | None = None


@dataclass(slots=True)
class Batch:
    """Some hundred passages with their documents; `vectors` by passage, as they become known."""

    items: list[Put | Kept | Ended] = field(default_factory=list)
    passages: int = 0
    characters: int = 0
    vectors: dict[str, Vectors] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    coming: Future[dict[str, Vectors]] | None = None

    def add(self, item: Put | Kept | Ended) -> None:
        """Take an item; those of one file come in order."""
        self.items.append(item)
        if isinstance(item, Put):
            self.passages += len(item.passages)
            self.characters += len(item.document.text)

    def wanted(self) -> Iterator[str]:
        """The passages of the batch, each once."""
        return iter(
            dict.fromkeys(
                passage for item in self.items if isinstance(item, Put) for passage in item.passages
            )
        )


class Embedding:
    """Embeds beside the work of the calling thread, one list of passages after the other."""

    def __init__(self, embedder: Embedder) -> None:
        self.passages = 0
        self.tokens = 0
        self.seconds = 0.0
        self._embedder = embedder
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")
        self._stopped = threading.Event()
        self._at_once = _PASSAGES_AT_ONCE

    def submit(self, passages: Sequence[str]) -> Future[dict[str, Vectors]]:
        """Vectors by passage, when they are done."""
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
            taken = time.perf_counter() - started
            if taken < _SECONDS_TO_STOP and len(part) == self._at_once:
                # A GPU waits for its orders longer than it works on a few.
                self._at_once *= 2
            self.seconds += taken
            self.passages += len(part)
            self.tokens += sum(len(self._embedder.token_offsets(passage)) for passage in part)
        return vectors
