"""Ends, or fails, the process that changes an index at any point where it changes the disk.

    python crashing.py [OPERATION...]: walks all points of all operations, and prints a table.

Points are the steps of `rag.index.disk.steps`, and whatever SQLite does to its files, seen from
below its checksums. At one of them a process is ended (`kill`), or the power fails (`power`: what
was not synced is gone; `some`: half of that is), a write ends in its middle (`torn`), or the disk
is full (`full`) or broken (`error`), at that point and at those after it.

The points are met in a process of its own (`serve`), in which the VFS stands below the one with
checksums: it has to be there first. It has no threads and forks a child for each run.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw

from rag.errors import RagError, StoreError
from rag.index import Index
from rag.index.disk import commits, database, steps
from rag.index.schema import read_schema


def _survival() -> Any:
    path = Path(__file__).parent.parent / "benchmarks" / "survival.py"
    specification = importlib.util.spec_from_file_location("survival", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["survival"] = module
    specification.loader.exec_module(module)
    return module


survival = sys.modules.get("survival") or _survival()
Operation, State = survival.Operation, survival.State

# Nothing is lost there when the power is: that is done by ourselves.
_MEMORY = "/dev/shm"  # noqa: S108
ROOM = _MEMORY if os.access(_MEMORY, os.W_OK) else None
FATES = ("kill", "torn", "full", "error", "power", "some")
ENDED = 9
_CREATED = apsw.SQLITE_OPEN_CREATE
_LOGS = ("-wal", "-journal")
_backups = count()
_FILLS = {"write", "open", "make", "link", "rename"}


@dataclass(frozen=True, slots=True)
class Point:
    """One change to the disk: by SQLite, or one of our steps."""

    kind: str
    file: str
    ours: bool


class Crash:
    """Counts points, and does what is asked for at one of them."""

    def __init__(self, at: int | None, fate: str) -> None:
        self.at = at
        self.fate = fate
        self.points: list[Point] = []
        self.volatile = Volatile()

    def reach(self, kind: str, path: Path, ours: bool = False) -> str | None:
        """Count a point; what is to happen there is returned, if it is not the end."""
        self.points.append(Point(kind, path.name, ours))
        if self.at is None or len(self.points) - 1 < self.at:
            return None
        if self.fate in {"kill", "power", "some"}:
            self.end()
        return self.fate

    def end(self) -> None:
        """End the process, and what is not durable with it."""
        if self.fate in {"power", "some"}:
            chance = random.Random(self.at)  # noqa: S311
            self.volatile.lose(chance if self.fate == "some" else None)
        os._exit(ENDED)

    def step(self, when: str, name: str, path: Path) -> None:
        """What `steps.fault` calls."""
        if when == "after":
            self.volatile.stepped(name, path)
            return
        fate = self.reach(name, path, ours=True)
        if fate == "torn" and name == "write":
            if path.name == commits.NAME:
                os.pwrite = _half_written  # type: ignore[assignment]
                return
            # A piece of it, under its name.
            if path.suffix == ".tmp":
                path.write_bytes(b"x" * 100)
            os._exit(ENDED)
        if fate == "full" and name in _FILLS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if fate == "error" and name != "commit":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        self.volatile.stepping(name, path)


class Volatile:
    """What was changed and not made durable yet, and how it was before."""

    def __init__(self) -> None:
        # Of each change: `data` or `name`, its file, its place there, and what undoes it.
        self.changes: list[tuple[str, Path, int, Callable[[Path], None]]] = []

    def lose(self, chance: random.Random | None) -> None:
        """Undo all, or what chance picks: the last changes first, all at one place or none."""
        lost: dict[tuple[str, Path, int], bool] = {}
        for kind, path, at, undo in reversed(self.changes):
            place = (kind, path, at)
            if lost.setdefault(place, chance is None or chance.random() < 0.5):
                with suppress(FileNotFoundError):
                    undo(path)

    def changed(self, kind: str, path: Path, at: int, undo: Callable[[Path], None]) -> None:
        self.changes.append((kind, path, at, undo))

    def synced(self, path: Path) -> None:
        """The bytes of a file, or the names in a folder, are durable."""
        self.changes = [
            change
            for change in self.changes
            if not (
                (change[0] == "data" and change[1] == path)
                or (change[0] == "name" and change[1].parent == path)
            )
        ]

    def backup(self, path: Path) -> Path:
        """Another name of a file, outside of the folder of the index."""
        kept = path.parent.parent / f"backup-{os.getpid()}-{next(_backups)}"
        os.link(path, kept)
        return kept

    def stepping(self, name: str, path: Path) -> None:
        """Before one of our steps."""
        if name == "write":
            old = path.read_bytes() if path.is_file() else None
            if path.is_dir():
                # By tantivy: its files are found after it.
                return
            if old is None:
                self.changed("name", path, 0, lambda path: path.unlink())
                self.changed("data", path, 0, lambda path: os.truncate(path, 0))
            else:
                self.changed("data", path, 0, lambda path: _put_back(path, old))
        elif name == "rename" and path.is_file():
            kept = self.backup(path)
            self.changed("name", path, 0, lambda path: _link_back(kept, path))

    def stepped(self, name: str, path: Path) -> None:
        """After one of our steps."""
        if name == "sync":
            self.synced(path)
        elif name in {"link", "make"}:
            self.changed("name", path, 0, _remove)
        elif name == "rename":
            source = path.with_name(f"{path.name}.tmp")
            self.changes = [
                (kind, path if kind == "data" and each == source else each, at, undo)
                for kind, each, at, undo in self.changes
                if not (kind == "name" and each == source)
            ]
            self.changed("name", path, 1, _remove)
        elif name == "write" and path.is_dir():
            for each in path.iterdir():
                if each.stat().st_nlink == 1:
                    self.changed("data", each, 0, lambda path: os.truncate(path, 0))
                    self.changed("name", each, 0, _remove)


def _half_written(descriptor: int, data: bytes, at: int, pwrite: Any = os.pwrite) -> int:
    pwrite(descriptor, data[: len(data) // 2], at)
    os._exit(ENDED)


def _put_back(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _link_back(kept: Path, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.link(kept, path)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


class CrashingVFS(apsw.VFS):
    """The disk, below SQLite's checksums."""

    def __init__(self) -> None:
        self.crash = Crash(None, "")
        super().__init__("crashing", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path and flags[0] & _CREATED and not Path(path).exists():
            _fail(self.crash.reach("open", Path(path)), "open")
            file = CrashingFile(self, name, flags)
            self.crash.volatile.changed("name", Path(path), 0, _remove)
            return file
        return CrashingFile(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:
        path = Path(name)
        if path.exists():
            _fail(self.crash.reach("delete", path), "delete")
            kept = self.crash.volatile.backup(path)
            super().xDelete(name, sync)
            self.crash.volatile.changed("name", path, 0, lambda path: _link_back(kept, path))
            if sync:
                self.crash.volatile.synced(path.parent)
        else:
            super().xDelete(name, sync)


class CrashingFile(apsw.VFSFile):
    def __init__(self, vfs: CrashingVFS, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._path = Path(path) if path else None
        self._vfs = vfs
        self._new = self._path is not None and not self._path.exists()
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._path is not None:
            fate = self._vfs.crash.reach("write", self._path)
            if fate == "torn":
                half = len(data) // 2
                # The other half in every second one.
                if (self._vfs.crash.at or 0) % 2 and offset:
                    super().xWrite(data[half:], offset + half)
                else:
                    super().xWrite(data[:half], offset)
                os._exit(ENDED)
            _fail(fate, "write")
            self._remember(offset, len(data))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        if self._path is not None:
            _fail(self._vfs.crash.reach("truncate", self._path), "truncate")
            length = self._path.stat().st_size
            if length > size:
                self._remember(size, length - size)
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        if self._path is not None:
            _fail(self._vfs.crash.reach("sync", self._path), "sync")
        super().xSync(flags)
        if self._path is not None:
            self._vfs.crash.volatile.synced(self._path)
            if self._new and self._path.name.endswith(_LOGS):
                # As SQLite does, the first time.
                self._vfs.crash.volatile.synced(self._path.parent)
                self._new = False

    def _remember(self, offset: int, length: int) -> None:
        if self._vfs.crash.at is None or self._path is None:
            return
        size = self._path.stat().st_size
        old = self.xRead(min(length, max(0, size - offset)), offset) if size > offset else b""

        def undo(path: Path) -> None:
            descriptor = os.open(path, os.O_RDWR)
            now = os.fstat(descriptor).st_size
            os.pwrite(descriptor, old.ljust(length, b"\0"), offset)
            if now <= max(size, offset + length):
                os.ftruncate(descriptor, size)
            os.close(descriptor)

        self._vfs.crash.volatile.changed("data", self._path, offset, undo)


def _fail(fate: str | None, kind: str) -> None:
    if fate == "full" and kind in _FILLS:
        raise apsw.exception_for(apsw.SQLITE_FULL)
    if fate == "error":
        codes = {
            "write": apsw.SQLITE_IOERR_WRITE,
            "sync": apsw.SQLITE_IOERR_FSYNC,
            "truncate": apsw.SQLITE_IOERR_TRUNCATE,
            "delete": apsw.SQLITE_IOERR_DELETE,
            "open": apsw.SQLITE_CANTOPEN,
        }
        raise apsw.exception_for(codes[kind])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    `ended` if it was ended, `refused` if there was a StoreError; `problems` are whatever was not as
    it must be in the process itself. `points` are there only if the process was not ended.
    """

    ended: bool
    refused: str
    problems: tuple[str, ...]
    points: tuple[Point, ...]


def carry_out(index: Index, operation: Any) -> None:
    """An operation of `survival.py`, or a look."""
    if operation.kind == "look":
        survival.read_state(index)
    else:
        survival.carry_out(index, operation)


class Crashes:
    """The process that forks children which are ended, or fail, at a point."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self,
        directory: Path,
        operation: Any,
        at: int | None = None,
        fate: str = "kill",
        following: Any = None,
        states: Sequence[Any] = (),
        *,
        long_log: int = database.LONG_LOG,
    ) -> Outcome:
        """Carry out an operation that meets its fate at a point.

        If it fails, the same object is looked at: it must hold one of `states`, and take the
        operation that follows. A log of `long_log` bytes is emptied after a commit.
        """
        job = {
            "directory": str(directory),
            "operation": asdict(operation),
            "at": at,
            "fate": fate,
            "following": following and asdict(following),
            "states": states,
            "long_log": long_log,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        points = tuple(Point(**point) for point in answer.pop("points"))
        return Outcome(**{**answer, "problems": tuple(answer["problems"])}, points=points)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve() -> None:
    """Fork a child for each job, and say how it ended."""
    vfs = CrashingVFS()
    import faiss  # noqa: F401
    import tantivy  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                answer = run(vfs, job)
                os.write(writing, json.dumps(answer).encode()) if answer else None
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            text = told.read()
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        # A thread of tantivy may still look at a mapped file that has just lost its bytes.
        ended = code == ENDED or (code == -signal.SIGBUS and job["fate"] in {"power", "some"})
        answer = {"ended": ended, "refused": "", "problems": [], "points": []}
        if not ended:
            answer = json.loads(text) if text else {**answer, "problems": [f"status {status}"]}
        print(json.dumps(answer), flush=True)


def run(vfs: CrashingVFS, job: dict[str, Any]) -> dict[str, Any]:
    """In the child."""
    index = Index(Path(job["directory"]))
    database.LONG_LOG = job["long_log"]
    vfs.crash = crash = Crash(job["at"], job["fate"])
    refused, problems = "", []
    steps.fault = crash.step
    try:
        carry_out(index, Operation(**job["operation"]))
    except StoreError as error:
        refused = str(error)
        if "\n" in refused:
            problems.append(f"more than one line: {refused}")
    except BaseException:
        problems.append(traceback.format_exc())
    points = [asdict(point) for point in crash.points]
    steps.fault = None
    vfs.crash = Crash(None, "")
    if refused and job["following"]:
        states = [as_state(state) for state in job["states"]]
        problems += looked_at(index, states, Operation(**job["following"]))
    return {"ended": False, "refused": refused, "problems": problems, "points": points}


def as_state(given: Any) -> Any:
    """A state that went through JSON."""
    return given and {name: tuple(value) for name, value in given.items()}


def looked_at(index: Index, states: Sequence[Any], following: Any, seed: int = 0) -> list[str]:
    """What is wrong with an index that holds one of `states`, and takes what follows.

    None among the states is that there is no index.
    """
    problems = []
    try:
        state, torn = survival.read_state(index)
        problems += torn + survival.wrong_answers(index, state, seed)
        if state not in states:
            problems.append(f"holds {state}, none of {states}")
    except RagError as error:
        state = {}
        if None not in states or "holds no index" not in str(error):
            problems.append(str(error))
    try:
        carry_out(index, following)
        after, torn = survival.read_state(index)
        problems += torn + survival.wrong_answers(index, after, seed)
        if after != following.apply(state):
            problems.append(f"holds {after} after what followed")
    except Exception:
        problems.append(traceback.format_exc())
    return problems


@dataclass(frozen=True, slots=True)
class Scene:
    """An operation on an index in a folder, which is made by `prepare`; what it holds before."""

    name: str
    operation: Any
    before: Any
    prepare: Callable[[Path, Crashes], None]
    long_log: int = database.LONG_LOG

    @property
    def after(self) -> Any:
        """What the index holds after it."""
        if self.operation.kind == "look":
            return self.before
        return self.operation.apply(self.before or {})


FIRST = {"a": (1, 5), "b": (2, 12), "c": (3, 3)}
# So much that the vectors' cache is written anew when it changes.
MUCH = {**FIRST, "big": (4, 300)}
FOLLOWING = Operation("add", {"next": (99, 2)})


def _nothing(_folder: Path, _crashes: Crashes) -> None:
    pass


def _much(folder: Path, crashes: Crashes) -> None:
    carry_out(Index(folder), Operation("add", {"big": MUCH["big"]}))
    _filled(folder, crashes)


def _filled(folder: Path, _crashes: Crashes) -> None:
    index = Index(folder)
    carry_out(index, Operation("add", FIRST))
    # Dead rows for the caches to pass over.
    carry_out(index, Operation("add", {"gone": (5, 4)}))
    carry_out(index, Operation("remove", {}, ["gone"]))


def _logged(folder: Path, crashes: Crashes) -> None:
    """The last commit stands in the log alone."""
    _filled(folder, crashes)
    operation = Operation("add", {"logged": (6, 7)})
    with TemporaryDirectory() as other:
        counted = Path(other, "index")
        shutil.copytree(folder, counted)
        points = crashes.run(counted, operation).points
    # The log is written back after the last of our steps.
    last = max(at for at, point in enumerate(points) if point.ours)
    assert crashes.run(folder, operation, last + 3).ended
    assert (folder / f"{database.NAME}-wal").stat().st_size


def _of_format_3(folder: Path, crashes: Crashes) -> None:
    """As the version before wrote it, without checksums and the number of commits."""
    _filled(folder, crashes)
    tables: dict[str, list[tuple[Any, ...]]] = {}
    with database.open_to_read(folder) as connection:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        for (name,) in names:
            tables[name] = connection.execute(f"SELECT * FROM {name}").fetchall()
    tables["manifest"] = [row for row in tables["manifest"] if row[0] not in ("format", "commits")]
    tables["manifest"].append(("format", "3"))
    tables["caches"] = [row[:6] for row in tables["caches"]]
    (folder / database.NAME).unlink()
    (folder / "commits").unlink()
    with closing(sqlite3.connect(folder / database.NAME, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = wal")
        old.executescript(read_schema().replace(",\n    details TEXT NOT NULL DEFAULT '{}'", ""))
        for name, rows in tables.items():
            for row in rows:
                old.execute(f"INSERT INTO {name} VALUES ({','.join('?' * len(row))})", row)


SCENES = (
    Scene("create", Operation("add", FIRST), None, _nothing),
    Scene("add", Operation("add", {"d": (7, 6)}), FIRST, _filled),
    Scene("replace", Operation("replace", {"b": (8, 9)}), FIRST, _filled),
    Scene("remove", Operation("remove", {}, ["b"]), FIRST, _filled),
    Scene("several", Operation("several", {"d": (7, 6), "a": (8, 2)}, ["b", "c"]), FIRST, _filled),
    Scene("refresh", Operation("replace", {"big": (8, 290)}), MUCH, _much),
    # Each commit empties the log.
    Scene("empty the log", Operation("replace", {"big": (8, 290)}), MUCH, _much, long_log=1),
    Scene("compact", Operation("compact"), FIRST, _filled),
    Scene("optimize", Operation("optimize"), FIRST, _filled),
    Scene("rebuild", Operation("rebuild", {"d": (7, 6)}), FIRST, _filled),
    Scene("recover", Operation("look"), {**FIRST, "logged": (6, 7)}, _logged),
    Scene("recover and add", Operation("add", {"d": (7, 6)}), {**FIRST, "logged": (6, 7)}, _logged),
    Scene("migrate", Operation("look"), FIRST, _of_format_3),
    Scene("migrate and add", Operation("add", {"d": (7, 6)}), FIRST, _of_format_3),
)


def chosen(points: Sequence[Point], fate: str, most: int | None, all_steps: bool) -> Iterator[int]:
    """The points that a fate is tried at: `most`, spread over all, and for a kill all our steps."""
    fit = [at for at, point in enumerate(points) if _can(point, fate)]
    if most is None or len(fit) <= most:
        yield from fit
        return
    spread = {fit[at * len(fit) // most] for at in range(most)}
    ours = {at for at in fit if points[at].ours} if fate == "kill" and all_steps else set()
    yield from sorted(spread | ours | {fit[-1]})


def _can(point: Point, fate: str) -> bool:
    if fate == "torn":
        return point.kind == "write"
    if fate == "full":
        return point.kind in _FILLS
    if fate == "error":
        return point.kind not in {"remove", "checksums"} and not (
            point.ours and point.kind == "commit"
        )
    return True


def walk(
    crashes: Crashes,
    scene: Scene,
    folder: Path,
    most: int | None = None,
    *,
    all_steps: bool = False,
) -> tuple[Counter[str], list[str]]:
    """How often each fate came at a point of a scene, and what was wrong then."""
    start = folder / "start"
    start.mkdir(parents=True)
    scene.prepare(start, crashes)
    counted = crashes.run(
        copied(start, folder / "counted"), scene.operation, long_log=scene.long_log
    )
    problems = list(counted.problems)
    if counted.refused:
        problems.append(f"refused: {counted.refused}")
    tried: Counter[str] = Counter()
    states = [scene.before, scene.after]
    if scene.before is None:
        # The tables are made in a transaction of their own.
        states.append({})
    for fate in FATES:
        for at in chosen(counted.points, fate, most, all_steps):
            run_in = copied(start, folder / f"run-{fate}-{at}" / "index")
            outcome = crashes.run(
                run_in, scene.operation, at, fate, FOLLOWING, states, long_log=scene.long_log
            )
            tried[fate] += 1
            found = list(outcome.problems)
            if outcome.refused:
                # What followed is there.
                followed = [FOLLOWING.apply(state or {}) for state in states]
                found += looked_at(Index(run_in), followed, Operation("add", {"last": (98, 3)}))
            else:
                acknowledged = not outcome.ended
                possible = [scene.after] if acknowledged else states
                found += looked_at(Index(run_in), possible, FOLLOWING, at)
            where = counted.points[at]
            problems += [
                f"{scene.name}, {fate} at {at} ({where.kind} {where.file}): {each}"
                for each in found
            ]
            # Threads of tantivy may still be at it.
            shutil.rmtree(run_in.parent, ignore_errors=True)
    return tried, problems


def copied(start: Path, target: Path) -> Path:
    """A copy of a folder."""
    shutil.copytree(start, target)
    return target


def main(names: Sequence[str]) -> None:
    """Walk all points."""
    crashes = Crashes()
    failed = False
    print(f"| operation | {' | '.join(FATES)} | not right |\n{'| --- ' * (len(FATES) + 2)}|")
    for scene in SCENES:
        if names and scene.name not in names:
            continue
        with TemporaryDirectory(dir=ROOM) as folder:
            tried, problems = walk(crashes, scene, Path(folder))
        numbers = [str(tried[fate]) for fate in FATES]
        print(f"| {scene.name} | {' | '.join(numbers)} | {len(problems)} |", flush=True)
        for problem in problems:
            print(problem, file=sys.stderr)
        failed = failed or bool(problems)
    crashes.close()
    sys.exit(failed)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        main(sys.argv[1:])
