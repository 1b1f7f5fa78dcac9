"""Read, cut, embed and write: files are read ahead in processes, passages embedded in a thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

from rag.chunking import chunk_document, chunk_size, embedded_texts, embedding_limit
from rag.config import ChunkingConfig, Config
from rag.errors import StoreError
from rag.index import FileRecord, Manifest, Writer, check_embedder, text_path
from rag.ingestion.batch import Batch, Embedding, EndOfFile, NewDocument, SameDocument
from rag.ingestion.plan import Plan, reading_settings
from rag.ingestion.tally import SECONDS_BETWEEN_EVENTS, Tally
from rag.protocols import Embedder
from rag.sources import Finished, Result, Root, SourceFile, read_files
from rag.types import Chunk, Document, FileOutcome, Problem

# Few at first, so that there is something to see soon; later enough for batches of like length
# (padding is 19% of the tokens with 128, 6% with 512), and few enough for a small memory.
_PASSAGES_AT_FIRST = 64
_PASSAGES_IN_A_BATCH = 512
# Whoever searches during a long run should not have to compare all that is new one by one.
_PASSAGES_WITHOUT_CACHE = 20_000


def check_settings(
    writer: Writer, embedder: Embedder, config: ChunkingConfig, directory: Path
) -> None:
    """Raise StoreError unless the index, if there is one, was built with these settings.

    Raises:
        StoreError: naming both settings and the cure.
    """
    known = writer.manifest()
    if known is None:
        return
    check_embedder(known, embedder, directory)
    if config.size not in (0, known.chunk_size) or config.overlap != known.chunk_overlap:
        raise StoreError(
            f"{directory}: its passages were cut to {known.chunk_size} tokens with "
            f"{known.chunk_overlap} overlap, the settings say {config.size} and "
            f"{config.overlap}: run `rag index --rebuild PATH...`, or set "
            "`chunking.size` and `chunking.overlap` back"
        )


@dataclass(slots=True)
class Pipeline:
    """The way of a plan's files into the index.

    Use it as a context: what was written is committed when the user interrupts. What is done
    `at_once` is one transaction: of a rebuild, readers keep the old index until the new is whole.
    """

    writer: Writer
    embedder: Embedder
    config: Config
    plan: Plan
    tally: Tally
    at_once: bool = False
    _embedding: Embedding = field(init=False)
    _batch: Batch = field(default_factory=Batch)
    _batch_size: int = _PASSAGES_AT_FIRST
    _before: Batch | None = None
    _size: int = 0
    _overlap: int = 0
    _limit: int = 0
    _problems: dict[str, list[Problem]] = field(default_factory=dict)
    _passages: Counter[str] = field(default_factory=Counter)
    _uncommitted: int = 0
    _uncached: int = 0
    _last_commit: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._embedding = Embedding(self.embedder, self.tally)
        known = self.writer.manifest()
        if known is not None:
            self._size, self._overlap = known.chunk_size, known.chunk_overlap

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._embedding.stop()
        # Each document is whole; of what is done at once, readers are to see all or nothing.
        if kind is not None and issubclass(kind, KeyboardInterrupt) and not self.at_once:
            self.writer.commit()

    def take_in(self, found: Iterable[SourceFile | Problem], roots: Sequence[Root]) -> None:
        """Take in what has changed of the files that were found below `roots`."""
        within = [root.place for root in roots]
        for result in read_files(self.plan.files_to_read(found), self.config.sources, within):
            self._gather(result)
            if self._batch.is_full(self._batch_size):
                self._submit()
            self.tally.show(result.file.source)
        self._flush()
        self.writer.set_reading_settings(reading_settings(self.config.sources))

    def take_texts(self, documents: Iterable[Document]) -> None:
        """Take in documents that are in no file."""
        for document in documents:
            size, now = len(document.text.encode()), time.time_ns()
            path = text_path(document.id)
            record = FileRecord(path, document.source, size, now, document.content_hash)
            state = self.writer.file(path)
            if state is not None and state.complete:
                self.plan.hashes[path] = state.record.sha256
            self._add(record, document)
            self._batch.add(EndOfFile(record, 0.0))
            if self._batch.is_full(self._batch_size):
                self._submit()
            self.tally.show(document.source)
        self._flush()

    def finish(self) -> None:
        """Commit, and bring the caches of the index up to date."""
        self.writer.commit()
        with self.tally.clock("write"):
            self.writer.refresh_cache()

    def _gather(self, result: Result) -> None:
        """Put what was read into the batch."""
        file, item = result.file, result.item
        if isinstance(item, Document):
            self._add(_record(file), item)
        elif isinstance(item, Finished):
            self._batch.add(EndOfFile(_record(file, item.sha256), result.seconds, item.unchanged))
        elif result.last:
            problem = self.plan.judge(item, file.path)
            self._batch.add(EndOfFile(_record(file), result.seconds, problem=problem))
        else:
            self._problems.setdefault(file.path, []).append(item)

    def _add(self, record: FileRecord, document: Document) -> None:
        """Put a document into the batch, cut into chunks if it is new."""
        if self.writer.holds(document):
            self._batch.add(SameDocument(record, document))
            return
        with self.tally.clock("chunk"):
            chunks = self._cut(document)
            passages = tuple(embedded_texts(document, chunks))
            self._batch.add(NewDocument(record, document, chunks, passages))

    def _cut(self, document: Document) -> tuple[Chunk, ...]:
        # Asked for when the first text needs cutting: a run that finds nothing new loads no model.
        self._limit = self._limit or embedding_limit(self.embedder)
        if not self._size:
            self._size = chunk_size(self.config.chunking, self.embedder)
            self._overlap = self.config.chunking.overlap
        limits = {"size": self._size, "overlap": self._overlap, "limit": self._limit}
        return tuple(chunk_document(document, self.embedder.token_offsets, **limits))

    def _flush(self) -> None:
        # The last passages, and then nothing: each call writes the batch of the one before.
        self._submit()
        self._submit()

    def _submit(self) -> None:
        """Let the gathered passages be embedded, and meanwhile write the batch before."""
        batch, before = self._batch, self._before
        self._batch, self._before = Batch(), batch
        self._batch_size = min(2 * self._batch_size, _PASSAGES_IN_A_BATCH)
        # Looked up before anything that they may come from is replaced.
        batch.embed(self._embedding, self.writer.known_vectors, before)
        if before is not None:
            self._write(before)
            batch.share(before)

    def _write(self, batch: Batch) -> None:
        while not batch.is_embedded(within=SECONDS_BETWEEN_EVENTS):
            self.tally.show()
        with self.tally.clock("write"):
            for item in batch.items:
                if isinstance(item, NewDocument):
                    self._write_document(item, batch)
                elif isinstance(item, SameDocument):
                    with self._blame(item):
                        file_id = self.writer.begin_file(item.record)
                        self.writer.keep_document(file_id, item.document)
                else:
                    self._end_file(item)
            self._commit_if_due()

    def _write_document(self, item: NewDocument, batch: Batch) -> None:
        if self.writer.manifest() is None:
            self.writer.set_manifest(
                Manifest(
                    embedder=self.embedder.name,
                    fingerprint=self.embedder.fingerprint,
                    dim=self.embedder.dim,
                    chunk_size=self._size,
                    chunk_overlap=self._overlap,
                    revision=getattr(self.embedder, "revision", ""),
                )
            )
        rows = batch.vectors_of(item)
        with self._blame(item):
            file_id = self.writer.begin_file(item.record)
            self.writer.put_document(file_id, item.document, item.chunks, item.passages, rows)
            self.tally.passages += len(item.chunks)
            self._uncommitted += len(item.chunks)
            self._passages[item.record.path] += len(item.chunks)

    @contextmanager
    def _blame(self, item: NewDocument | SameDocument) -> Iterator[None]:
        """Make a problem of the file of a document that the store refuses."""
        try:
            yield
        except StoreError as error:
            problem = Problem(item.document.source, str(error), lasting=False)
            self._problems.setdefault(item.record.path, []).append(problem)

    def _end_file(self, item: EndOfFile) -> None:
        record, failure = item.record, item.problem
        self.tally.time_reading(record.source, item.seconds)
        problems = self._problems.pop(record.path, [])
        passages = self._passages.pop(record.path, 0)
        earlier_sha256 = self.plan.hashes.pop(record.path, None)
        outcome: Literal["added", "updated", "unchanged", "failed", "skipped"]
        if item.unchanged:
            self.writer.keep_file(record)
            state = self.writer.file(record.path)
            problems = list(state.problems) if state else []
            outcome = "unchanged"
        elif failure is not None:
            self.writer.fail_file(record, [*problems, failure])
            outcome = failure.kind
        else:
            self.writer.end_file(self.writer.begin_file(record), record, problems)
            if earlier_sha256 is None:
                outcome = "added"
            else:
                # A file may have been read for the sake of its problems, and give no more.
                same = earlier_sha256 == record.sha256 and not passages
                outcome = "unchanged" if same else "updated"
        self.tally.unchanged += outcome == "unchanged"
        report = self.tally.list_problem if item.unchanged else self.tally.note
        for problem in problems:
            report(problem)
        if failure is not None:
            self.tally.list_problem(failure)
        reason = failure.reason if failure else ""
        self.tally.finish_file(
            record.size, FileOutcome(record.source, outcome, reason, passages, item.seconds)
        )

    def _commit_if_due(self) -> None:
        settings = self.config.ingestion
        due = (
            self._uncommitted >= settings.commit_passages
            or time.monotonic() - self._last_commit >= settings.commit_seconds
        )
        if due and not self.at_once:
            self.writer.commit()
            self._uncached += self._uncommitted
            self._uncommitted = 0
            if self._uncached >= _PASSAGES_WITHOUT_CACHE:
                self.writer.refresh_cache()
                self._uncached = 0
            self._last_commit = time.monotonic()


def _record(file: SourceFile, sha256: str = "") -> FileRecord:
    return FileRecord(file.path, file.source, file.size, file.mtime_ns, sha256)
