"""Lets commands run out of memory at any of their allocations.

    python starving.py [COMMAND...] [--most N] [--way WAY]: walks allocations of commands, and
        prints a table.

Memory fails in three ways: at the n-th allocation of NumPy, by its own hook for allocators; at a
limit of SQLite's heap; and at a limit of the address space, which everything in the process meets.
A process that has loaded what commands need forks a child for each run.
"""

from __future__ import annotations

import argparse
import contextvars
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# A child has none of the threads of the process that it was forked from, and OpenMP waits for them.
os.environ.update(OMP_NUM_THREADS="1", RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import apsw
import numpy as np
from fuzzers import made
from fuzzers.attempts import Ran, WrongError, run_command, size

ROOM = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
# Whoever waits for ever is told apart from whoever is slow.
MOST_SECONDS = 600
WAYS = ("numpy", "sqlite", "address space")
COMMANDS: dict[str, tuple[str, ...]] = {
    "search": ("search", made.QUESTION, "--json"),
    "lexical": ("search", "ferry", "--mode", "lexical", "--json"),
    "ask": ("ask", made.QUESTION, "--json"),
    "status": ("status", "--json"),
    "index": ("index", "more", "--json"),
    "remove": ("remove", "docs/ferry.txt", "--json"),
    "compact": ("compact", "--json"),
    "optimize": ("index", "--optimize", "--json"),
    "doctor": ("doctor", "--json"),
    "repair": ("doctor", "--repair", "--json"),
    "backup": ("backup", "copy", "--json"),
    "export": ("export", "out.zip", "--json"),
    "import": ("import", "kept.zip", "--index", "imported", "--json"),
}
# These print what is wrong as their result.
_REPORTING = ("index", "doctor", "repair")
# Steps of address space, in bytes, beyond what the process has when a command begins. Without any,
# CPython itself waits for ever for a thread that got no memory to begin with (`Thread.start`).
STEPS = tuple((1 << 16) * 2**n for n in range(12))


@dataclass(frozen=True, slots=True)
class Starved:
    """How a command ended: `ran` is None if the process was ended by `signal`."""

    ran: Ran | None
    signal: str = ""
    broke: str = ""
    allocations: int = 0


class _Allocator(ctypes.Structure):
    _fields_ = (("context", ctypes.c_void_p), *((each, ctypes.c_void_p) for each in "mcrf"))


class _Handler(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("by", _Allocator))


class Allocations:
    """Counts what NumPy allocates in this thread; the n-th fails, and so do those after it."""

    # PyDataMem_SetHandler and PyDataMem_GetHandler in NumPy's table of functions (NEP 49).
    _SET, _GET = 304, 305

    def __init__(self, failing: int | None) -> None:
        self.count = 0
        self.failing = failing
        pointer, length = ctypes.c_void_p, ctypes.c_size_t
        api = ctypes.pythonapi
        api.PyCapsule_GetPointer.restype = pointer
        api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
        api.PyCapsule_New.restype = ctypes.py_object
        api.PyCapsule_New.argtypes = (pointer, ctypes.c_char_p, pointer)
        table = ctypes.cast(
            api.PyCapsule_GetPointer(np._core._multiarray_umath._ARRAY_API, None),
            ctypes.POINTER(pointer),
        )
        get = ctypes.PYFUNCTYPE(ctypes.py_object)(table[self._GET])
        put = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[self._SET])
        before = _Handler.from_address(api.PyCapsule_GetPointer(get(), b"mem_handler"))
        kinds = {
            "m": ctypes.CFUNCTYPE(pointer, pointer, length),
            "c": ctypes.CFUNCTYPE(pointer, pointer, length, length),
            "r": ctypes.CFUNCTYPE(pointer, pointer, pointer, length),
        }
        ours = {
            name: kind(self._failing_at(kind(getattr(before.by, name))))
            for name, kind in kinds.items()
        }
        addresses = [ctypes.cast(each, pointer).value for each in ours.values()]
        # What is freed while an error is on its way must not run Python.
        handler = _Handler(b"starving", 1, _Allocator(None, *addresses, before.by.f))
        # They live as long as the arrays that they have made.
        self._kept = (ours, handler)
        put(api.PyCapsule_New(ctypes.addressof(handler), b"mem_handler", None))

    def _failing_at(self, function: Callable[..., int | None]) -> Callable[..., int | None]:
        def allocate(*given: Any) -> int | None:
            self.count += 1
            failed = self.failing is not None and self.count > self.failing
            return None if failed else function(*given)

        return allocate


class Starving:
    """A folder with an index and a process that has loaded what commands need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made.set_environment(folder)
        (folder / "more").mkdir()
        (folder / "more" / "tunnel.txt").write_text("A tunnel took the place of the bridge.\n")
        made.make_index(folder).rename(folder / "whole")
        self._prepare()
        run_command("export", folder / "kept.zip")
        # All libraries are loaded, so that a run meets its own allocations alone.
        for arguments in COMMANDS.values():
            self._prepare()
            ran = run_command(*arguments)
            if ran.code:
                raise RuntimeError(f"{arguments}: {ran.err}")
        self.good = {name: self._run(name, None, 0) for name in COMMANDS}

    def run(self, name: str, way: str, at: int) -> tuple[Starved, list[str]]:
        """Run a command that runs out of memory; return how it ended, and what is wrong then."""
        starved = self._run(name, way, at)
        problems = []
        if starved.broke:
            problems.append(f"broke: {starved.broke[-700:]}")
        good = self.good[name].ran
        if starved.ran is not None and good is not None:
            try:
                starved.ran.outcome  # noqa: B018 - it raises what is wrong.
            except WrongError as error:
                problems.append(str(error))
            if starved.ran.code == 0 and _lasting(starved.ran) != _lasting(good):
                problems.append(f"another answer: {starved.ran.out[:300]}")
            last = (starved.ran.err.strip().splitlines() or [""])[-1]
            if starved.ran.code == 1 and name not in _REPORTING and not last.startswith("rag: "):
                problems.append(f"no line says what was wrong: {starved.ran.err[-500:]}")
        looked = self._fork(lambda: run_command("doctor"))
        if looked.ran is None or looked.ran.code:
            problems.append(f"the index is not well: {looked}")
        searched = self._fork(lambda: run_command(*COMMANDS["search"]))
        printed = searched.ran.out if searched.ran is not None else ""
        hits = json.loads(printed) if printed.strip() else []
        if not hits or "1921" not in hits[0]["chunk"]["text"]:
            problems.append(f"what is in the index is not found any more: {searched}")
        return starved, problems

    def points(self, name: str, way: str, most: int | None = None) -> Iterator[int]:
        """Yield where a command's memory may fail: at `most` places, spread over all."""
        if way == "numpy":
            found = list(range(self.good[name].allocations))
        elif way == "sqlite":
            found = [0, *(1 << n for n in range(10, 22))]
        else:
            found = list(STEPS)
        step = 1 if most is None else max(1, len(found) // most)
        yield from found[::step]

    def _run(self, name: str, way: str | None, at: int) -> Starved:
        self._prepare()
        return self._fork(lambda: run_command(*COMMANDS[name]), way, at)

    def _prepare(self) -> None:
        made.copy_index(self.folder / "whole", self.folder / "index")
        for name in ("copy", "imported"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "out.zip").unlink(missing_ok=True)

    def _fork(self, call: Callable[[], Ran], way: str | None = None, at: int = 0) -> Starved:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, json.dumps(_starve(call, way, at)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            if not select.select([told], [], [], MOST_SECONDS)[0]:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return Starved(None, broke=f"took more than {MOST_SECONDS} s")
            text = told.read()
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if not text:
            return Starved(None, signal.Signals(-code).name if code < 0 else f"exit code {code}")
        answer = json.loads(text)
        ran = answer["ran"]
        return Starved(
            ran and Ran(tuple(ran["arguments"]), ran["code"], ran["out"], ran["err"]),
            broke=answer["broke"],
            allocations=answer["allocations"],
        )


def _starve(call: Callable[[], Ran], way: str | None, at: int) -> dict[str, Any]:
    """In the child: run a command while memory fails, and free it before anything is told."""
    room = bytearray(1 << 20)
    allocations = Allocations(at if way == "numpy" else None) if way in (None, "numpy") else None
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if way == "sqlite":
        apsw.hard_heap_limit(apsw.memory_used() + at)
    if way == "address space":
        resource.setrlimit(resource.RLIMIT_AS, (size() + at, hard))
    if allocations is not None:
        _share_context()
    ran, broke = None, ""
    try:
        ran = call()
    except BaseException as error:
        del room
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        places = " < ".join(
            f"{Path(each.filename).name}:{each.lineno}" for each in reversed(frames)
        )
        broke = f"{type(error).__name__}: {error} at {places}"
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    if allocations is not None:
        allocations.failing = None
    count = allocations.count if allocations is not None else 0
    return {"ran": ran and asdict(ran), "broke": broke, "allocations": count}


def _share_context() -> None:
    """Let threads that are started allocate as this one does: NumPy's hook is of a context."""
    context, run = contextvars.copy_context(), threading.Thread.run

    def run_here(self: threading.Thread) -> None:
        context.copy().run(run, self)

    threading.Thread.run = run_here  # type: ignore[method-assign]


def _lasting(ran: Ran) -> Any:
    """What a command printed, without times and free space, which no two runs share."""
    if ran.arguments[0] in ("search", "ask"):
        return [(each["chunk"]["text"], each["rank"]) for each in _hits(json.loads(ran.out))]
    return ran.code


def _hits(found: Any) -> list[Any]:
    return found if isinstance(found, list) else found.get("hits", [])


def walk(
    names: Sequence[str], most: int | None, ways: Sequence[str] = WAYS
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what came of each command: how often it was tried, refused and ended, and how."""
    with TemporaryDirectory(dir=ROOM) as folder:
        starving = Starving(Path(folder))
        for name in names:
            found: dict[str, Any] = {"tried": 0, "refused": 0, "ended": 0, "wrong": []}
            for way in ways:
                found[way] = 0
                for at in starving.points(name, way, most):
                    starved, problems = starving.run(name, way, at)
                    found[way] += 1
                    found["tried"] += 1
                    found["refused"] += starved.ran is not None and starved.ran.code == 1
                    found["ended"] += bool(starved.signal)
                    found["wrong"] += [f"{name}, {way} {at}: {each}" for each in problems]
            yield name, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commands", nargs="*", choices=[*COMMANDS, []], default=[])
    parser.add_argument("--most", type=int, help="places for each way of failing")
    parser.add_argument("--way", action="append", choices=WAYS, dest="ways", help="all by default")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    ways = given.ways or WAYS
    columns = (*ways, "refused", "ended", "wrong")
    if not given.json:
        print(f"| command | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    everything = {}
    for name, found in walk(given.commands or list(COMMANDS), given.most, ways):
        everything[name] = found
        if not given.json:
            counts = {**found, "wrong": len(found["wrong"])}
            row = " | ".join(str(counts[each]) for each in columns)
            print(f"| {name} | {row} |", flush=True)
            print("\n".join(dict.fromkeys(found["wrong"])), file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps(everything))


if __name__ == "__main__":
    main()
