"""One run of indexing: files are read ahead in processes, passages embedded beside the rest."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

from rag.chunking import chunk_document, chunk_size, embedding_limit
from rag.config import Config
from rag.errors import SourceError, StoreError
from rag.index import FileRecord, FileState, Manifest, Writer, check_embedder
from rag.ingestion.batch import Batch, Embedding, Ended, Kept, Put
from rag.protocols import Embedder
from rag.sources import Read, Result, Root, SourceFile, read_files
from rag.types import (
    Document,
    FileOutcome,
    IngestionReport,
    Problem,
    Progress,
    ProgressCallback,
    Work,
)

if TYPE_CHECKING:
    from rag.types import Vectors

# Few at first, so that there is something to see soon; later enough for batches of like length
# (padding is 19% of the tokens with 128, 6% with 512), and few enough for a small memory.
_PASSAGES_AT_FIRST = 64
_PASSAGES_IN_A_BATCH = 512
_CHARACTERS_IN_A_BATCH = 8 << 20
_ITEMS_IN_A_BATCH = 1024
_SECONDS_BETWEEN_SIGNS = 0.2
# Who searches while a long run goes on is not to compare with all that is new, one by one.
_PASSAGES_WITHOUT_CACHE = 20_000
# Settings of sources that say which files are read, or how many at once, and not what can be.
_CHOOSING = frozenset({"include", "exclude", "hidden", "workers"})


class Totals(Protocol):
    """How much there is to do; None while that is not known."""

    @property
    def files(self) -> int | None: ...

    @property
    def bytes(self) -> int | None: ...


def is_unchanged(state: FileState, file: SourceFile) -> bool:
    """Whether a file is as it was when it was read, to its end or to a problem."""
    same = (state.record.size, state.record.mtime_ns) == (file.size, file.mtime_ns)
    return same and (state.complete or bool(state.problems))


def may_pass(state: FileState) -> bool:
    """Whether a file has a problem that another try may not meet, though it is unchanged."""
    return not all(problem.lasting for problem in state.problems)


@dataclass(slots=True)
class Run:
    """A run's state. Use as a context: what was done is committed when it is interrupted."""

    writer: Writer
    embedder: Embedder
    config: Config
    progress: ProgressCallback
    rebuild: bool = False
    retry: bool = False
    # Those that are gone through.
    roots: Sequence[Root] = ()
    # Files that the user named one by one: there is no passing over them.
    named: frozenset[str] = frozenset()
    totals: Totals | None = None
    _embedding: Embedding = field(init=False)
    _batch: Batch = field(default_factory=Batch)
    _batch_size: int = _PASSAGES_AT_FIRST
    _running: Batch | None = None
    _size: int = 0
    _overlap: int = 0
    _limit: int = 0
    _last_known_file: int = 0
    _seen: set[int] = field(default_factory=set)
    # Folders that could not be gone through, and so tell nothing of what is gone.
    _blind: list[str] = field(default_factory=list)
    _file_problems: dict[str, list[Problem]] = field(default_factory=dict)
    _file_passages: Counter[str] = field(default_factory=Counter)
    # Files that were complete before this run, and are read again, with the hash of what they held.
    _known: dict[str, str] = field(default_factory=dict)
    _added: list[str] = field(default_factory=list)
    _updated: list[str] = field(default_factory=list)
    _removed: list[str] = field(default_factory=list)
    _renamed: list[tuple[str, str]] = field(default_factory=list)
    _failed: list[Problem] = field(default_factory=list)
    _skipped: list[Problem] = field(default_factory=list)
    _unchanged: int = 0
    _files: int = 0
    _bytes: int = 0
    _passages: int = 0
    _slowest: tuple[str, float] = ("", 0.0)
    _uncommitted: int = 0
    _uncached: int = 0
    _last_commit: float = field(default_factory=time.monotonic)
    _last_sign: float = 0.0
    _item: str = ""
    _started: float = field(default_factory=time.perf_counter)
    _timings: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("discover", "read", "chunk", "embed", "write"), 0.0)
    )

    def __enter__(self) -> Run:
        self._embedding = Embedding(self.embedder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._embedding.stop()
        # Each document is whole; of a rebuild, readers are to see all or nothing.
        if kind is not None and issubclass(kind, KeyboardInterrupt) and not self.rebuild:
            self.writer.commit()

    def take_manifest(self, directory: Path) -> None:
        """Go by what the index was built with, or forget all of it for a rebuild.

        Raises:
            StoreError: if the settings are others, naming both and the cure.
        """
        if self.rebuild:
            self.writer.clear()
        self._last_known_file = self.writer.last_file_id()
        # With other limits, or another encoding, what failed may be read now.
        self.retry |= self.writer.reading_settings() != _reading_settings(self.config)
        known = self.writer.manifest()
        if known is None:
            return
        check_embedder(known, self.embedder, directory)
        wanted = self.config.chunking
        if wanted.size not in (0, known.chunk_size) or wanted.overlap != known.chunk_overlap:
            raise StoreError(
                f"{directory}: its passages were cut to {known.chunk_size} tokens with "
                f"{known.chunk_overlap} overlap, the settings say {wanted.size} and "
                f"{wanted.overlap}: run `rag index --rebuild PATH...`, or set "
                "`chunking.size` and `chunking.overlap` back"
            )
        self._size, self._overlap = known.chunk_size, known.chunk_overlap

    def read(self, found: Iterable[SourceFile | Problem]) -> None:
        """Take in what has changed of the files that were found."""
        for result in read_files(self._jobs(found), self.config.sources):
            self._take(result)
        # The last passages, and then nothing: each call writes the batch of the one before.
        self._submit()
        self._submit()

    def prune(self, path: str, kept: Callable[[str], bool] | None = None) -> None:
        """Take out the files below `path` that were not seen in this run and are not `kept`."""
        for file_id, record in self.writer.files_below(path, up_to=self._last_known_file):
            if file_id in self._seen or (kept is not None and kept(record.path)):
                continue
            if any(is_below(record.path, folder) for folder in self._blind):
                continue
            twin = self.writer.same_content(record, after=self._last_known_file)
            if twin:
                self._renamed.append((record.source, twin))
            self.writer.remove_file(file_id)
            self._removed.append(record.source)
            self._sign(record.source, FileOutcome(record.source, "removed"))

    def note(self, problem: Problem) -> None:
        """Report a problem that is of no file of the index."""
        self._list(problem)
        self._sign(problem.source, FileOutcome(problem.source, problem.kind, problem.reason))

    def check_taken(self) -> None:
        """Nothing, if something was taken, there was nothing to take, or the index held some.

        Raises:
            SourceError: the first reason otherwise.
        """
        problems = [*self._failed, *self._skipped]
        if problems and self.writer.manifest() is None:
            raise SourceError(problems[0].source, problems[0].reason)

    def finish(self) -> None:
        """Commit, and bring the FAISS cache up to date."""
        self.writer.set_reading_settings(_reading_settings(self.config))
        self.writer.commit()
        with self._timed("write"):
            self.writer.refresh_cache()

    def report(self, counts: dict[str, int]) -> IngestionReport:
        """What the run did, by source, with the counts of the index after it."""
        self._timings["embed"] = self._embedding.seconds * 1000
        self._timings["total"] = (time.perf_counter() - self._started) * 1000
        return IngestionReport(
            added=tuple(sorted(self._added)),
            updated=tuple(sorted(self._updated)),
            removed=tuple(sorted(self._removed)),
            renamed=tuple(sorted(self._renamed)),
            unchanged=self._unchanged,
            skipped=tuple(sorted(self._skipped, key=_source)),
            failed=tuple(sorted(self._failed, key=_source)),
            documents=counts["documents"],
            chunks=counts["chunks"],
            embedded=self._embedding.passages,
            tokens=self._embedding.tokens,
            slowest=self._slowest,
            timings=self._timings,
        )

    def _jobs(
        self, found: Iterable[SourceFile | Problem]
    ) -> Iterator[tuple[SourceFile, str | None]]:
        items = iter(found)
        while True:
            with self._timed("discover"):
                item = next(items, None)
            if item is None:
                return
            if isinstance(item, Problem):
                paths = paths_of(item.source, self.roots)
                if item.kind == "failed":
                    self._blind += paths
                self.note(self._judged(item, *paths))
                continue
            state = self.writer.file(item.path)
            known_sha256 = None
            if state is not None:
                self._seen.add(state.id)
                again = may_pass(state) or (self.retry and bool(state.problems))
                if is_unchanged(state, item) and not again:
                    self._remember(item, state)
                    continue
                if state.complete:
                    self._known[item.path] = state.record.sha256
                    known_sha256 = None if again else state.record.sha256
            yield item, known_sha256

    def _remember(self, file: SourceFile, state: FileState) -> None:
        self._unchanged += state.complete
        for problem in state.problems:
            self._list(problem)
        self._done(file.size, FileOutcome(file.source, "unchanged"))

    def _take(self, result: Result) -> None:
        file, item = result.file, result.item
        if isinstance(item, Document):
            self._take_document(file, item)
        elif isinstance(item, Read):
            self._batch.add(Ended(_record(file, item.sha256), result.seconds, item.unchanged))
        elif result.last:
            problem = self._judged(item, file.path)
            self._batch.add(Ended(_record(file), result.seconds, problem=problem))
        else:
            self._file_problems.setdefault(file.path, []).append(item)
        if (
            self._batch.passages >= self._batch_size
            or self._batch.characters >= _CHARACTERS_IN_A_BATCH
            or len(self._batch.items) >= _ITEMS_IN_A_BATCH
        ):
            self._submit()
        self._sign(file.source)

    def _take_document(self, file: SourceFile, document: Document) -> None:
        if self.writer.holds(document):
            self._batch.add(Kept(_record(file), document))
            return
        if not self._limit:
            # Left until a text needs cutting: a run that finds nothing new loads no model.
            self._limit = embedding_limit(self.embedder)
        if not self._size:
            self._size = chunk_size(self.config.chunking, self.embedder)
            self._overlap = self.config.chunking.overlap
        with self._timed("chunk"):
            chunks = list(
                chunk_document(
                    document,
                    self.embedder.token_offsets,
                    size=self._size,
                    overlap=self._overlap,
                    limit=self._limit,
                )
            )
            self._batch.add(Put.of(_record(file), document, chunks))

    def _submit(self) -> None:
        """Let the passages gathered so far be embedded, and meanwhile write the batch before."""
        batch, before = self._batch, self._running
        self._batch, self._running = Batch(), batch
        self._batch_size = min(2 * self._batch_size, _PASSAGES_IN_A_BATCH)
        being_embedded = set(before.new) if before else set()
        wanted = list(batch.wanted())
        # Looked up before anything that they may come from is replaced.
        batch.vectors = self.writer.known_vectors([p for p in wanted if p not in being_embedded])
        batch.new = [p for p in wanted if p not in being_embedded and p not in batch.vectors]
        if batch.new:
            batch.coming = self._embedding.submit(batch.new)
        if before is not None:
            self._write(before)
            shared = (passage for passage in wanted if passage in being_embedded)
            batch.vectors.update({passage: before.vectors[passage] for passage in shared})

    def _write(self, batch: Batch) -> None:
        if batch.coming is not None:
            while not wait([batch.coming], timeout=_SECONDS_BETWEEN_SIGNS).done:
                self._sign()
            batch.vectors.update(batch.coming.result())
        with self._timed("write"):
            for item in batch.items:
                if isinstance(item, Put):
                    self._put(item, batch.vectors)
                elif isinstance(item, Kept):
                    self._keep(item)
                else:
                    self._end(item)
            self._commit_if_due()

    def _put(self, item: Put, vectors: dict[str, Vectors]) -> None:
        import numpy as np

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
        rows = np.array([vectors[passage] for passage in item.passages], dtype=np.float32)
        with self._blamed_on(item):
            file_id = self.writer.begin_file(item.record)
            self.writer.put_document(file_id, item.document, item.chunks, item.passages, rows)
            self._passages += len(item.chunks)
            self._uncommitted += len(item.chunks)
            self._file_passages[item.record.path] += len(item.chunks)

    def _keep(self, item: Kept) -> None:
        with self._blamed_on(item):
            self.writer.keep_document(self.writer.begin_file(item.record), item.document)

    @contextmanager
    def _blamed_on(self, item: Put | Kept) -> Iterator[None]:
        """A document that the store does not take is a problem of its file."""
        try:
            yield
        except StoreError as error:
            problem = Problem(item.document.source, str(error), lasting=False)
            self._file_problems.setdefault(item.record.path, []).append(problem)

    def _end(self, item: Ended) -> None:
        record = item.record
        self._timings["read"] += item.seconds * 1000
        if item.seconds > self._slowest[1]:
            self._slowest = (record.source, item.seconds)
        problems = self._file_problems.pop(record.path, [])
        passages = self._file_passages.pop(record.path, 0)
        known_sha256 = self._known.pop(record.path, None)
        if item.unchanged:
            self.writer.keep_file(record)
            state = self.writer.file(record.path)
            problems = list(state.problems) if state else []
            self._unchanged += 1
            outcome = FileOutcome(record.source, "unchanged", seconds=item.seconds)
        elif item.problem is not None:
            problems.append(item.problem)
            self.writer.fail_file(record, problems)
            outcome = FileOutcome(
                record.source, item.problem.kind, item.problem.reason, passages, item.seconds
            )
        else:
            self.writer.end_file(self.writer.begin_file(record), record, problems)
            outcome = FileOutcome(
                record.source,
                self._counted(record, known_sha256, passages),
                passages=passages,
                seconds=item.seconds,
            )
        for problem in problems:
            self._list(problem)
            if problem is not item.problem and not item.unchanged:
                inner = FileOutcome(problem.source, problem.kind, problem.reason)
                self._sign(problem.source, inner)
        self._done(record.size, outcome)

    def _counted(
        self, record: FileRecord, known_sha256: str | None, passages: int
    ) -> Literal["added", "updated", "unchanged"]:
        if known_sha256 == record.sha256 and not passages:
            # It was read for the sake of its problems, and gave no more than before.
            self._unchanged += 1
            return "unchanged"
        if known_sha256 is None:
            self._added.append(record.source)
            return "added"
        self._updated.append(record.source)
        return "updated"

    def _judged(self, problem: Problem, *paths: str) -> Problem:
        # Who names a file wants to have it.
        wanted = problem.kind == "skipped" and not self.named.isdisjoint(paths)
        return replace(problem, kind="failed") if wanted else problem

    def _list(self, problem: Problem) -> None:
        (self._failed if problem.kind == "failed" else self._skipped).append(problem)

    def _commit_if_due(self) -> None:
        # A rebuild is one transaction: readers keep the old index until the new one is whole.
        settings = self.config.ingestion
        due = (
            self._uncommitted >= settings.commit_passages
            or time.monotonic() - self._last_commit >= settings.commit_seconds
        )
        if due and not self.rebuild:
            self.writer.commit()
            self._uncached += self._uncommitted
            self._uncommitted = 0
            if self._uncached >= _PASSAGES_WITHOUT_CACHE:
                self.writer.refresh_cache()
                self._uncached = 0
            self._last_commit = time.monotonic()

    def _done(self, size: int, outcome: FileOutcome) -> None:
        self._files += 1
        self._bytes += size
        self._sign(outcome.source, outcome)

    def _sign(self, item: str = "", outcome: FileOutcome | None = None) -> None:
        now = time.perf_counter()
        if outcome is None and now - self._last_sign < _SECONDS_BETWEEN_SIGNS:
            return
        self._last_sign = now
        # While passages are embedded, the last file that came in is the one to show.
        self._item = item or self._item
        total = self.totals.files if self.totals else None
        work = Work(
            files=self._files,
            files_total=total,
            bytes=self._bytes,
            bytes_total=self.totals.bytes if self.totals else None,
            passages=self._passages,
            embedded=self._embedding.passages,
            tokens=self._embedding.tokens,
            seconds=now - self._started,
            slowest=self._slowest,
        )
        self.progress(Progress("index", self._files, total, "files", self._item, work, outcome))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._timings[stage] += (time.perf_counter() - started) * 1000


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def paths_of(source: str, roots: Sequence[Root]) -> list[str]:
    """The absolute paths that `source` may stand for, which is a name below that of a root.

    It was given in a working directory that need not be the present one.
    """
    return [
        str(Path(root.path, Path(source).relative_to(root.source)))
        for root in roots
        if Path(source).is_relative_to(root.source)
    ]


def _reading_settings(config: Config) -> str:
    """All settings that decide on what can be read."""
    values = asdict(config.sources)
    return repr([(name, values[name]) for name in values if name not in _CHOOSING])


def _source(problem: Problem) -> str:
    return problem.source


def _record(file: SourceFile, sha256: str = "") -> FileRecord:
    return FileRecord(file.path, file.source, file.size, file.mtime_ns, sha256)
