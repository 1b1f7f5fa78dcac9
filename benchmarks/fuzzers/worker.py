"""The process that runs inputs: it is watched from outside, and may die at any of them."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

from fuzzers import attempts, containment
from fuzzers.attempts import BAD, OUTCOMES, Attempt, Target

# When the command at hand began (0: none), and how often each outcome came.
_BOARD = struct.Struct(f"d{len(OUTCOMES)}q")
# The process was not at fault, and another takes over.
TIRED = 75
_MOST_BYTES = 1 << 20
_RECYCLED = 32


class Board:
    """What the worker tells its watch, in memory that both see."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_BOARD.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _BOARD.size)

    def begin(self) -> None:
        """Note that a command begins."""
        struct.pack_into("d", self._map, 0, time.monotonic())

    def end(self) -> None:
        """Note that there is none."""
        struct.pack_into("d", self._map, 0, 0.0)

    @property
    def began(self) -> float:
        """When the command at hand began; 0 if there is none."""
        return float(struct.unpack_from("d", self._map, 0)[0])

    def count(self, outcome: str) -> None:
        """Count an outcome."""
        at = 8 + 8 * OUTCOMES.index(outcome)
        struct.pack_into("q", self._map, at, struct.unpack_from("q", self._map, at)[0] + 1)

    @property
    def counts(self) -> dict[str, int]:
        """How often each outcome came."""
        return dict(zip(OUTCOMES, _BOARD.unpack_from(self._map, 0)[1:], strict=True))


class Keeper:
    """Keeps one input of each signature, with what came of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, data: bytes, found: Attempt) -> None:
        """Keep an input, unless one with its signature is there, or only a larger one."""
        name = hashlib.sha256(found.signature.encode()).hexdigest()[:12]
        kept = self._folder / f"{found.outcome}-{name}"
        if kept.exists() and kept.stat().st_size <= len(data):
            return
        kept.write_bytes(data)
        about = {"signature": found.signature, "detail": found.detail}
        kept.with_suffix(".json").write_text(json.dumps(about, indent=2))


class Runner:
    """Runs inputs of one target in this process, counts what comes of them, and keeps the bad."""

    def __init__(self, target: Target, folder: Path, seconds: float) -> None:
        self.target = target
        self._end = time.monotonic() + seconds
        self._board = Board(folder / "board")
        self._keeper = Keeper(folder / "kept")
        # Open, so that noting an input costs no look-up of its name.
        self._current = os.open(folder / "current", os.O_RDWR | os.O_CREAT, 0o600)
        self._size = attempts.size()
        target.began = self._board.begin

    def run(self, data: bytes) -> None:
        """Run an input; the process ends here if it has grown too large to go on."""
        if not data:
            # The engine's own first input.
            return
        if time.monotonic() > self._end:
            # The engine looks at the time only after all of the corpus.
            os._exit(0)
        if attempts.grown(self._size):
            self._board.end()
            os._exit(TIRED)
        os.ftruncate(self._current, 0)
        os.pwrite(self._current, data, 0)
        found = attempts.attempt(self.target, data)
        self._board.end()
        self._board.count(found.outcome)
        if found.outcome in BAD:
            self._keeper.keep(data, found)


def work(target: Target, folder: Path, seconds: float, seed: int, *, guided: bool) -> None:
    """Run inputs until the time is up: by coverage if `guided`, at random otherwise.

    `folder` holds the board, the corpus and what is kept; the target's own folder is within it.
    """
    place = folder / "place"
    place.mkdir(exist_ok=True)
    # What the package imports while the block lasts tells which branches an input took.
    with _instrument() if guided else nullcontext():
        target.prepare(place)
        containment.contain(folder, processes=target.starts_processes)
        target.warm()
        attempts.limit_memory()
        runner = Runner(target, folder, seconds)
        if guided:
            _fuzz_by_coverage(runner, folder / "corpus", seconds, seed)
        else:
            _fuzz_blindly(runner, seconds, seed)


def replay(target: Target, inputs: list[Path], place: Path) -> list[tuple[Path, Attempt]]:
    """Run kept inputs in this process, and return what came of each."""
    place.mkdir(exist_ok=True)
    target.prepare(place)
    containment.contain(place.parent, processes=target.starts_processes)
    attempts.limit_memory()
    return [(path, attempts.attempt(target, path.read_bytes())) for path in inputs]


def shrink(target: Target, kept: Path, seconds: float, place: Path) -> None:
    """Make a kept input smaller as long as it has the same signature, for so many seconds."""
    place.mkdir(exist_ok=True)
    target.prepare(place)
    containment.contain(kept.parent.parent, processes=target.starts_processes)
    attempts.limit_memory()
    wanted = json.loads(kept.with_suffix(".json").read_text())["signature"]
    data, end = kept.read_bytes(), time.monotonic() + seconds
    went_on = True
    while went_on:
        went_on = False
        for candidate in target.smaller(data):
            if time.monotonic() > end:
                return
            if attempts.attempt(target, candidate).signature == wanted:
                data, went_on = candidate, True
                kept.write_bytes(data)
                break


def is_guided() -> bool:
    """Return whether inputs can be led by the branches that they take."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def _instrument() -> Any:
    import atheris

    return atheris.instrument_imports(include=["rag"])


def _fuzz_by_coverage(runner: Runner, corpus: Path, seconds: float, seed: int) -> None:
    import atheris

    target = runner.target
    if not corpus.exists():
        corpus.mkdir()
        for number, data in enumerate(target.seeds()):
            (corpus / f"seed-{number}").write_bytes(data)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        random = Random(number)  # noqa: S311
        if target.plain and random.random() < 0.3:
            mutated: bytes = atheris.Mutate(bytes(data), most)
            return mutated
        return target.mutate(bytes(data), random)[:most]

    options = (
        *(f"-max_total_time={max(1, round(seconds))}", f"-seed={seed + 1}"),
        *(f"-max_len={_MOST_BYTES}", "-len_control=0", "-rss_limit_mb=0", "-malloc_limit_mb=0"),
        f"-artifact_prefix={corpus.parent}/",
        *("-timeout=100000", "-handle_abrt=0", "-verbosity=0", "-detect_leaks=0"),
    )
    atheris.Setup([sys.argv[0], *options, str(corpus)], runner.run, custom_mutator=mutate)
    atheris.Fuzz()


def _fuzz_blindly(runner: Runner, seconds: float, seed: int) -> None:
    random, end = Random(seed), time.monotonic() + seconds  # noqa: S311
    pool = list(runner.target.seeds())
    first: Callable[[], list[bytes]] = pool.copy
    for data in first():
        runner.run(data)
    seeds = len(pool)
    while time.monotonic() < end:
        data = runner.target.mutate(random.choice(pool), random)[:_MOST_BYTES]
        runner.run(data)
        # A few that were changed already are changed further.
        if len(pool) < seeds + _RECYCLED:
            pool.append(data)
        elif random.random() < 0.1:
            pool[seeds + random.randrange(_RECYCLED)] = data
