"""sources -> chunking -> embedding -> index: what changed, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rag import sources
from rag.chunking import chunk_document, chunk_size
from rag.config import ChunkingConfig
from rag.errors import SourceError, StoreError
from rag.index import FileRecord, Index, Manifest, Writer, check_embedder
from rag.types import (
    Chunk,
    Document,
    Embedder,
    IngestionReport,
    Progress,
    ProgressCallback,
    no_progress,
)

if TYPE_CHECKING:
    from rag.types import Vectors

# Enough chunks in one go for batches of like length; few enough for a small memory.
_CHUNKS_IN_FLIGHT = 512
_SECONDS_BETWEEN_COMMITS = 30.0
# Embedded between two signs of progress.
_PASSAGES_PER_SIGN = 64


def ingest(
    index: Index,
    embedder: Embedder,
    config: ChunkingConfig,
    paths: Sequence[str | Path],
    *,
    rebuild: bool = False,
    progress: ProgressCallback | None = None,
) -> IngestionReport:
    """Bring the index to the state of `paths`.

    An unchanged file costs a look at its size and time, a changed one replaces its chunks, one
    that is gone from a given folder goes with its chunks. A file that cannot be read is reported,
    and what was indexed of it before stays. Passages that the index knows are not embedded again.
    Commits at file boundaries; what was committed survives an interruption.

    Args:
        rebuild: forget everything first, and take on another embedder or chunking; readers see
            the old index until all is done.

    Raises:
        SourceError: if a path does not exist, or none of the given files can be read.
        StoreError: if the index was built otherwise, or cannot be written.
    """
    started = time.perf_counter()
    found, skipped = sources.discover(paths)
    with index.write() as writer:
        run = _Run(writer, embedder, config, rebuild, progress or no_progress)
        run.take_manifest(index.directory)
        run.discovered(found, skipped, [Path(path) for path in paths])
        for file in found:
            run.read(file)
        run.finish()
    run.timings["total"] = (time.perf_counter() - started) * 1000
    return run.report(skipped, index)


@dataclass(slots=True)
class _PendingFile:
    record: FileRecord
    documents: list[tuple[Document, list[Chunk]]]
    known: bool


@dataclass(slots=True)
class _Run:
    writer: Writer
    embedder: Embedder
    config: ChunkingConfig
    rebuild: bool
    progress: ProgressCallback
    size: int = 0
    overlap: int = 0
    files: dict[str, FileRecord] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    unchanged: int = 0
    embedded: int = 0
    done: int = 0
    total: int = 0
    pending: list[_PendingFile] = field(default_factory=list)
    pending_chunks: int = 0
    last_commit: float = field(default_factory=time.monotonic)
    timings: dict[str, float] = field(
        default_factory=lambda: {"read": 0.0, "chunk": 0.0, "embed": 0.0, "write": 0.0}
    )

    def take_manifest(self, directory: Path) -> None:
        if self.rebuild:
            self.writer.clear()
        known = self.writer.manifest()
        if known is not None:
            check_embedder(known, self.embedder, directory)
            if self.config.size not in (0, known.chunk_size) or (
                self.config.overlap != known.chunk_overlap
            ):
                raise StoreError(
                    f"{directory}: its passages were cut to {known.chunk_size} tokens with "
                    f"{known.chunk_overlap} overlap, the settings say {self.config.size} and "
                    f"{self.config.overlap}: run `rag index --rebuild PATH...`, or set "
                    "`chunking.size` and `chunking.overlap` back"
                )
            self.size, self.overlap = known.chunk_size, known.chunk_overlap
        self.files = self.writer.files()

    def discovered(
        self,
        found: Sequence[sources.SourceFile],
        skipped: Sequence[tuple[str, str]],
        paths: Sequence[Path],
    ) -> None:
        self.total = len(found)
        present = {str(file.path) for file in found} | {_absolute(source) for source, _ in skipped}
        roots = [str(path.resolve()) + os.sep for path in paths if path.is_dir()]
        for path, record in self.files.items():
            if path not in present and any(path.startswith(root) for root in roots):
                self.writer.remove_file(path)
                self.removed.append(record.source)

    def read(self, file: sources.SourceFile) -> None:
        path = str(file.path)
        known = self.files.get(path)
        if known and (known.size, known.mtime_ns) == (file.size, file.mtime_ns):
            self.unchanged += 1
            self._advance(file.source)
            return
        try:
            with self._timed("read"):
                record = FileRecord(path, file.source, file.size, file.mtime_ns, _sha256(file.path))
            if known and known.sha256 == record.sha256:
                self.writer.keep_file(record)
                self.unchanged += 1
                self._advance(file.source)
                return
            documents = self._chunked(file, record)
        except SourceError as error:
            self.failed.append((error.source, error.reason))
            self._advance(file.source)
            return
        self.pending.append(_PendingFile(record, documents, known is not None))
        self.pending_chunks += sum(len(chunks) for _, chunks in documents)
        if self.pending_chunks >= _CHUNKS_IN_FLIGHT:
            self._flush()

    def finish(self) -> None:
        self._flush()
        if self.total and len(self.failed) == self.total and not self.files:
            source, reason = self.failed[0]
            raise SourceError(source, reason)
        if self.size:
            self.writer.commit()
            with self._timed("write"):
                self.writer.refresh_cache()

    def report(self, skipped: Sequence[tuple[str, str]], index: Index) -> IngestionReport:
        counts = index.counts()
        return IngestionReport(
            added=tuple(self.added),
            updated=tuple(self.updated),
            removed=tuple(self.removed),
            unchanged=self.unchanged,
            skipped=tuple(skipped),
            failed=tuple(self.failed),
            documents=counts["documents"],
            chunks=counts["chunks"],
            embedded=self.embedded,
            timings=self.timings,
        )

    def _chunked(
        self, file: sources.SourceFile, record: FileRecord
    ) -> list[tuple[Document, list[Chunk]]]:
        unchanged = self.writer.content_hashes(record.path)
        documents = []
        for document in self._read_documents(file):
            chunks: list[Chunk] = []
            if unchanged.get(document.id) != document.content_hash:
                self._settle_sizes()
                with self._timed("chunk"):
                    chunks = list(
                        chunk_document(
                            document,
                            self.embedder.token_offsets,
                            size=self.size,
                            overlap=self.overlap,
                        )
                    )
            documents.append((document, chunks))
        return documents

    def _read_documents(self, file: sources.SourceFile) -> Iterator[Document]:
        reader = iter(sources.read(file))
        while True:
            with self._timed("read"):
                document = next(reader, None)
            if document is None:
                return
            _check_characters(document)
            yield document

    def _settle_sizes(self) -> None:
        # Left until a text needs cutting: a run that finds nothing new loads no model.
        if not self.size:
            self.size = chunk_size(self.config, self.embedder)
            self.overlap = self.config.overlap

    def _flush(self) -> None:
        if not self.pending:
            return
        chunks = [
            chunk for file in self.pending for _, chunks in file.documents for chunk in chunks
        ]
        vectors = self._vectors([chunk.text for chunk in chunks])
        with self._timed("write"):
            if self.size and self.writer.manifest() is None:
                self.writer.set_manifest(
                    Manifest(
                        embedder=self.embedder.name,
                        fingerprint=self.embedder.fingerprint,
                        dim=self.embedder.dim,
                        chunk_size=self.size,
                        chunk_overlap=self.overlap,
                    )
                )
            for file in self.pending:
                self._put(file, vectors)
            # A rebuild is one transaction: readers keep the old index until the new one is whole.
            overdue = time.monotonic() - self.last_commit > _SECONDS_BETWEEN_COMMITS
            if overdue and not self.rebuild:
                self.writer.commit()
                self.last_commit = time.monotonic()
        self.pending = []
        self.pending_chunks = 0

    def _put(self, file: _PendingFile, vectors: dict[str, Vectors]) -> None:
        import numpy as np

        rows = [
            (
                document,
                chunks,
                np.array([vectors[chunk.text] for chunk in chunks], dtype=np.float32),
            )
            for document, chunks in file.documents
        ]
        source = file.record.source
        try:
            self.writer.put_file(file.record, rows)
        except StoreError as error:
            self.failed.append((source, str(error)))
        else:
            (self.updated if file.known else self.added).append(source)
        self._advance(source)

    def _vectors(self, passages: Sequence[str]) -> dict[str, Vectors]:
        vectors = self.writer.known_vectors(passages)
        new = [passage for passage in dict.fromkeys(passages) if passage not in vectors]
        # Longest first: batches of like length carry little padding, and memory peaks at once.
        new.sort(key=len, reverse=True)
        for at in range(0, len(new), _PASSAGES_PER_SIGN):
            part = new[at : at + _PASSAGES_PER_SIGN]
            with self._timed("embed"):
                vectors.update(zip(part, self.embedder.embed_documents(part), strict=True))
            self.embedded += len(part)
            self.progress(Progress("embed", self.embedded, None, "passages"))
        return vectors

    def _advance(self, source: str) -> None:
        self.done += 1
        self.progress(Progress("index", self.done, self.total, "files", source))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.timings[stage] += (time.perf_counter() - started) * 1000


def _check_characters(document: Document) -> None:
    everything = (document.title, document.text, json.dumps(document.metadata, ensure_ascii=False))
    for text in everything:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise SourceError(
                document.source.encode(errors="replace").decode(),
                f"holds half a character pair (U+{ord(text[error.start]):04X}): "
                "write the file anew as UTF-8",
            ) from error


def _absolute(source: str) -> str:
    return str(Path(source).resolve())


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(str(path), f"cannot be read: {error.strerror or error}") from error
