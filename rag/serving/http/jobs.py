"""Work that outlives its request: indexing and removing, one job after another, kept in a file.

A job that was running when the server ended begins again at the next start; indexing takes up
where it was, since what was committed is in the index.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import apsw

from rag import private
from rag.errors import RagError, StoreError, is_out_of_memory
from rag.types import Progress

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Kind = Literal["add", "remove"]
_ENDED = ("done", "failed", "cancelled")
_MOST_KEPT = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, collection TEXT NOT NULL,
    user TEXT NOT NULL, kind TEXT NOT NULL, sources TEXT NOT NULL, state TEXT NOT NULL,
    created REAL NOT NULL, started REAL, ended REAL, error TEXT NOT NULL, report TEXT NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS = "id, collection, user, kind, sources, state, created, started, ended, error, report"


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work; times in seconds since the epoch, `report` as of indexing."""

    id: str
    collection: str
    user: str
    kind: Kind
    sources: tuple[str, ...]
    state: State
    created: float
    started: float | None = None
    ended: float | None = None
    error: str = ""
    report: Mapping[str, Any] | None = None
    progress: Mapping[str, Any] | None = None


Work = Callable[[Job, Callable[[Progress], None]], Mapping[str, Any]]
"""Does a job, telling how far it is, and returns its report."""


class Jobs:
    """The jobs of a server, in a database in `folder`; `work` does one, in one thread."""

    def __init__(self, folder: Path, work: Work) -> None:
        self._work = work
        self._lock = threading.Condition()
        self._progress: dict[str, Mapping[str, Any]] = {}
        self._stopping = False
        try:
            private.make_folder(folder)
            file = folder / "jobs.sqlite"
            with open(file, "ab", opener=private.open_for_owner):
                pass
            self._database = apsw.Connection(str(file))
            self._database.set_busy_timeout(10_000)
            self._database.execute("PRAGMA trusted_schema = OFF; PRAGMA journal_mode = WAL")
            self._database.execute(_SCHEMA)
            self._database.execute("UPDATE jobs SET state = 'waiting' WHERE state = 'running'")
        except (OSError, apsw.Error) as error:
            raise StoreError(f"{folder}: cannot keep jobs: {error}") from error
        self._thread = threading.Thread(target=self._run, name="rag-jobs", daemon=True)
        self._thread.start()

    def add(self, collection: str, user: str, kind: Kind, sources: tuple[str, ...]) -> Job:
        """Keep a job, which is done when its turn comes."""
        job = Job(uuid.uuid4().hex, collection, user, kind, sources, "waiting", time.time())
        with self._lock:
            self._database.execute(
                f"INSERT INTO jobs (number, {_COLUMNS}) VALUES "
                "((SELECT coalesce(max(number), 0) + 1 FROM jobs), ?,?,?,?,?,?,?,?,?,?,?)",
                _row_of(job),
            )
            self._database.execute(
                "DELETE FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND number <= "
                "(SELECT max(number) FROM jobs) - ?",
                (_MOST_KEPT,),
            )
            self._lock.notify_all()
        return job

    def find(self, job_id: str) -> Job | None:
        """Return a job with how far it is; None if there is none."""
        found = list(self._select("WHERE id = ?", (job_id,)))
        return found[0] if found else None

    def all(self, limit: int = 100) -> list[Job]:
        """Return the newest jobs, newest first."""
        return list(self._select("ORDER BY number DESC LIMIT ?", (limit,)))

    def retry(self, job: Job) -> Job:
        """Let a job that failed or was cancelled wait for its turn again."""
        return self._change(job, ("failed", "cancelled"), "waiting")

    def cancel(self, job: Job) -> Job:
        """Cancel a job that waits for its turn."""
        return self._change(job, ("waiting",), "cancelled")

    def _change(self, job: Job, before: tuple[str, ...], state: State) -> Job:
        marks = ",".join("?" * len(before))
        with self._lock:
            self._database.execute(
                f"UPDATE jobs SET state = ?, error = '' WHERE id = ? AND state IN ({marks})",
                (state, job.id, *before),
            )
            self._lock.notify_all()
        return self.find(job.id) or job

    def wait_for_change(self, job_id: str, seen: Mapping[str, Any] | None, seconds: float) -> None:
        """Wait until there is something new of a job, for so many seconds at most."""
        with self._lock:
            self._lock.wait_for(lambda: self._progress.get(job_id) != seen, seconds)

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        with self._lock:
            return dict(self._database.execute("SELECT state, count(*) FROM jobs GROUP BY state"))

    def close(self, seconds: float) -> None:
        """Begin no more jobs; wait for the one that runs, which begins again if it takes long."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        self._thread.join(seconds)

    def _select(self, condition: str, values: tuple[Any, ...]) -> Iterator[Job]:
        with self._lock:
            rows = list(self._database.execute(f"SELECT {_COLUMNS} FROM jobs {condition}", values))
        for row in rows:
            job = _job_of(row)
            yield replace(job, progress=self._progress.get(job.id))

    def _run(self) -> None:
        while True:
            with self._lock:
                waiting = "WHERE state = 'waiting' ORDER BY number LIMIT 1"
                found = None
                while not self._stopping and (found := self._take(waiting)) is None:
                    self._lock.wait()
                if found is None:
                    return
            self._do(found)

    def _take(self, condition: str) -> Job | None:
        for row in list(self._database.execute(f"SELECT {_COLUMNS} FROM jobs {condition}")):
            job = replace(_job_of(row), state="running", started=time.time())
            self._save(job)
            return job
        return None

    def _do(self, job: Job) -> None:
        def tell(progress: Progress) -> None:
            with self._lock:
                told = {k: v for k, v in asdict(progress).items() if k != "work" and v is not None}
                self._progress[job.id] = told
                self._lock.notify_all()

        try:
            done = replace(job, state="done", report=self._work(job, tell))
        except RagError as error:
            done = replace(job, state="failed", error=str(error))
        except Exception as error:  # noqa: BLE001 - one job must not end all others.
            what = "not enough memory" if is_out_of_memory(error) else type(error).__name__
            done = replace(job, state="failed", error=f"it failed: {what}")
        with self._lock:
            with contextlib.suppress(apsw.Error):
                self._save(replace(done, ended=time.time()))
            self._progress.pop(job.id, None)
            self._lock.notify_all()

    def _save(self, job: Job) -> None:
        self._database.execute(
            "UPDATE jobs SET state = ?, started = ?, ended = ?, error = ?, report = ? WHERE id = ?",
            (job.state, job.started, job.ended, job.error, json.dumps(job.report), job.id),
        )


def is_over(job: Job) -> bool:
    """Return whether a job has ended, well or not."""
    return job.state in _ENDED


def _row_of(job: Job) -> tuple[Any, ...]:
    sources, report = json.dumps(job.sources), json.dumps(job.report)
    return (
        job.id, job.collection, job.user, job.kind, sources, job.state,
        job.created, job.started, job.ended, job.error, report,
    )  # fmt: skip


def _job_of(row: tuple[Any, ...]) -> Job:
    job_id, collection, user, kind, sources, state, created, started, ended, error, report = row
    return Job(
        job_id, collection, user, kind, tuple(json.loads(sources)), state, created, started,
        ended, error, json.loads(report),
    )  # fmt: skip
