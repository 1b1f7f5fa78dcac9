"""Run readers in processes of their own, so that a bad file costs itself and no other."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rag.config import SourcesConfig
from rag.processes import bare_environment, start_python
from rag.sources.discovery import SourceFile
from rag.sources.ocr import answer, choose_engine
from rag.sources.worker import document_from, encode
from rag.types import Document, Problem


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a file that was read; `unchanged` says that it has the SHA-256 known before."""

    sha256: str
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One result of reading `file`; the last is `Finished`, or the `Problem` of the whole file.

    `seconds` is the time spent on the file so far.
    """

    file: SourceFile
    item: Document | Problem | Finished
    last: bool
    seconds: float = 0.0


def read_files(
    jobs: Iterable[tuple[SourceFile, str | None]],
    config: SourcesConfig,
    within: Sequence[str] | None = None,
) -> Iterator[Result]:
    """Read files in worker processes; the results of one file come in order, files in any order.

    A job is a file and its last known SHA-256, if there is one: the same content is not read again.
    Jobs are taken in this thread, a few in advance. The first job starts a process; further
    processes start when there is work for them. Where the system can hold readers to it, they open
    only what lies `within` these folders, or is one of these files (None: any file).
    """
    with _Pool(config, within) as pool:
        waiting = iter(jobs)
        in_flight = 0
        while True:
            for job in islice(waiting, 2 * pool.size - in_flight):
                pool.jobs.put(job)
                in_flight += 1
            if not in_flight:
                return
            result = pool.take()
            in_flight -= result.last
            yield result


class _Pool:
    """Reading processes, each with a thread that feeds it, and a thread that watches their time."""

    most_workers = 4
    # How many results are fetched before they are asked for; further ones wait in their process.
    # It is small because one document may have millions of characters.
    read_ahead = 8
    watch_seconds = 0.2

    def __init__(self, config: SourcesConfig, within: Sequence[str] | None) -> None:
        self.size = config.workers or min(self.most_workers, os.cpu_count() or 1)
        self.jobs: queue.Queue[tuple[SourceFile, str | None] | None] = queue.Queue()
        self._results: queue.Queue[Result | BaseException] = queue.Queue(self.read_ahead)
        self._config = config
        self._workers = [_Worker(config, within) for _ in range(self.size)]
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        for _ in self._threads:
            self.jobs.put(None)
        for worker in self._workers:
            worker.close()
        while any(thread.is_alive() for thread in self._threads):
            # A thread may be waiting for room in the queue.
            try:
                self._results.get(timeout=0.02)
            except queue.Empty:
                continue

    def take(self) -> Result:
        """Wait for the next result of any file and return it."""
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._serve, args=(worker,), daemon=True)
                for worker in self._workers
            ]
            self._threads.append(threading.Thread(target=self._watch, daemon=True))
            for thread in self._threads:
                thread.start()
        result = self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def _serve(self, worker: _Worker) -> None:
        try:
            while (job := self.jobs.get()) is not None and not self._closed.is_set():
                for result in worker.read(*job):
                    self._results.put(result)
        except BaseException as error:  # noqa: BLE001 - `take` raises it.
            if not self._closed.is_set():
                self._results.put(error)

    def _watch(self) -> None:
        while not self._closed.wait(self.watch_seconds):
            for worker in self._workers:
                worker.check_time()


class _Worker:
    """A reading process, started when it is needed and again when it has died."""

    def __init__(self, config: SourcesConfig, within: Sequence[str] | None) -> None:
        self._config = config
        self._within = within
        # Only the owner of a confined process can look for programs.
        self._sent = replace(config, ocr=choose_engine(config.ocr))
        self._process: subprocess.Popen[bytes] | None = None
        # A reader unpacks files here; when it is killed, they are deleted with the folder.
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._served = 0
        self._deadline = float("inf")
        self._out_of_time = False
        self._closed = False
        self._lock = threading.Lock()

    def read(self, file: SourceFile, sha256: str | None) -> Iterator[Result]:
        """Yield a file's results, and try again if an earlier file may have killed the reader."""
        used = self._served > 0
        for result in self._read_once(file, sha256):
            if result is not None:
                used = False
                yield result
            elif not used or self._out_of_time:
                yield self._report_death(file)
            else:
                self._stop()
                yield from self.read(file, sha256)

    def close(self) -> None:
        """End the process, whatever it is doing, and start no other."""
        with self._lock:
            self._closed = True
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            process, self._process, self._served = self._process, None, 0
            scratch, self._scratch = self._scratch, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                # Closing fails again where the process died before it took its job.
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
        if scratch is not None:
            scratch.cleanup()

    def check_time(self) -> None:
        """End the process if it has used up its time."""
        if time.monotonic() > self._deadline:
            self._out_of_time = True
            if (process := self._process) is not None:
                process.kill()

    def _read_once(self, file: SourceFile, sha256: str | None) -> Iterator[Result | None]:
        """Yield the results of one attempt, and None instead of the last if the process died."""
        self._out_of_time = False
        process = self._ensure_process()
        if process.stdin is None or process.stdout is None:
            raise AssertionError("a worker without pipes")
        seconds = 0.0
        try:
            process.stdin.write(encode({"file": asdict(file), "sha256": sha256}))
            process.stdin.flush()
            while True:
                started = time.monotonic()
                self._deadline = started + self._config.seconds
                line = process.stdout.readline()
                self._deadline = float("inf")
                seconds += time.monotonic() - started
                if not line.endswith(b"\n"):
                    break
                fields = json.loads(line)
                if "recognize" in fields:
                    process.stdin.write(encode(answer(fields["recognize"], self._config.seconds)))
                    process.stdin.flush()
                    continue
                if "alive" in fields:
                    continue
                result = _decode_result(file, fields, seconds)
                self._served += result.last
                yield result
                if result.last:
                    return
        except (OSError, ValueError, KeyError, TypeError):
            # The process died, or wrote what no reader writes: it cannot be used again.
            process.kill()
        finally:
            self._deadline = float("inf")
        yield None

    def _ensure_process(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        self._served = 0
        with self._lock:
            if self._closed:
                raise OSError("the pool is closed")
            self._scratch = tempfile.TemporaryDirectory(prefix="rag-", ignore_cleanup_errors=True)
            with _without_interrupts():
                process = self._process = start_python(
                    *("-c", "from rag.sources.worker import main; main()"),
                    folder=Path(self._scratch.name),
                    environment=bare_environment(
                        TMPDIR=self._scratch.name,
                        TEMP=self._scratch.name,
                        # Threads of NumPy's would take address space, of which a reader has little.
                        OMP_NUM_THREADS="1",
                        OPENBLAS_NUM_THREADS="1",
                        MALLOC_ARENA_MAX="2",
                    ),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
        if process.stdin is None or process.stdout is None:
            raise AssertionError("a worker without pipes")
        process.stdin.write(encode({"config": asdict(self._sent), "within": self._within}))
        process.stdin.flush()
        # The time that the process takes to start must not count for its first file.
        process.stdout.readline()
        return process

    def _report_death(self, file: SourceFile) -> Result:
        process = self._process
        code = process.wait() if process is not None else -9
        self._stop()
        if self._out_of_time:
            reason = f"took more than {self._config.seconds:g} s to read (`sources.seconds`)"
        elif code < 0:
            name = signal.Signals(-code).name
            reason = f"its reader crashed ({name}): the file is damaged or needs too much memory"
        else:
            reason = f"its reader ended with exit code {code}"
        seconds = self._config.seconds if self._out_of_time else 0.0
        return Result(file, Problem(file.source, reason), last=True, seconds=seconds)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep Ctrl-C, which is meant for the owner, from processes that are started in this block.

    The signal is blocked here because the process itself takes a moment before it can ignore it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _decode_result(file: SourceFile, fields: dict[str, Any], seconds: float) -> Result:
    if "document" in fields:
        return Result(file, document_from(fields["document"]), last=False)
    if "problem" in fields:
        return Result(file, Problem(**fields["problem"]), last=False)
    if "error" in fields:
        return Result(file, Problem(**fields["error"]), last=True, seconds=seconds)
    unchanged = "unchanged" in fields
    item = Finished(fields["unchanged" if unchanged else "end"], unchanged)
    return Result(file, item, last=True, seconds=seconds)
