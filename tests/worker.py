"""Programs that tests run in processes of their own: `python worker.py TASK ARGUMENT...`.

A task talks to the test by lines: it prints what it has done, and reads where it is to wait. Before
a task may stand what becomes of it: `die-at WHEN STEP` (killed at a step of
`rag.index.disk.steps`), `pause-at WHEN STEP` (prints `here` there, and waits to be killed), or
`nobody` (goes on as a user who owns nothing).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import (
    SMALL_SQ8,
    WIDE_MANIFEST,
    clustered,
    found,
    look,
    overlap,
    pair,
    put_clustered,
    remove,
    unit,
    write,
    writing,
)

from rag import StoreError
from rag.index import Index
from rag.index.disk import steps
from rag.index.disk.lock import hold_lock
from rag.index.upkeep import back_up, import_index
from rag.query import parse_question

NOBODY = 65534


def say(text: object) -> None:
    print(text, flush=True)


# --- Writers


def write_until_told(index: str) -> None:
    """Hold the writer's lock until a line comes."""
    with Index(Path(index)).write():
        say("writing")
        sys.stdin.readline()
    say("done")


def fork(index: str) -> None:
    """Hold the writer's lock, and fork a child, which leaves the block if it reads `leave`."""
    with hold_lock(Path(index)):
        child = os.fork()
        if child:
            say("writing")
            say(child)
        elif sys.stdin.readline() == "leave\n":
            sys.exit()
        signal.pause()


def write_pairs(index: str) -> None:
    """Commit the pairs of files one after the other, until it is killed."""
    for at in range(1, 100_000):
        write(Index(Path(index)), pair(at))
        say(at)


def write_clustered(index: str) -> None:
    """Put a file a commit, and take every third out again, until there is a file `stop`."""
    store, at = Index(Path(index), caches=SMALL_SQ8), 0
    while not Path(index, "stop").exists():
        with writing(store, WIDE_MANIFEST, refresh=True) as writer:
            put_clustered(writer, f"n{at}", clustered(at, 25))
            if at % 3 == 2:
                remove(writer, f"n{at - 1}")
        at += 1
        say(at)
        time.sleep(0.05)


# --- Readers


def count(index: str) -> None:
    """Count the chunks when a line comes."""
    say("ready")
    sys.stdin.readline()
    say(Index(Path(index)).counts()["chunks"])


def hold_snapshot(index: str) -> None:
    """Stay at one state until a line comes."""
    with Index(Path(index)).snapshot() as snapshot:
        say(snapshot.manifest.dim)
        sys.stdin.readline()


def look_until(index: str, stop: str) -> None:
    """Say the version of each look, until there is a file `stop`; a traceback if one is wrong."""
    store = Index(Path(index))
    look(store)
    say("ready")
    try:
        while not Path(stop).exists():
            say(look(store))
            time.sleep(0.02)
    except BaseException:
        say(json.dumps(traceback.format_exc()))


def overlap_until(index: str, stop: str) -> None:
    overlap(Index(Path(index)), Path(stop), lambda: say("ready"))


def search(index: str, stop: str) -> None:
    """Search once, and on until there is a file `stop`; then try to write."""
    store, query = Index(Path(index)), np.eye(1, 8, dtype=np.float32)[0]
    problems: list[str] = []
    seen: list[list[int]] = []
    while not seen or not Path(stop).exists():
        try:
            with store.snapshot() as snapshot:
                by_vector = snapshot.nearest(query, 1000)
                by_word = snapshot.matching(parse_question("passage"), 1000)
                passages = snapshot.passages([each for each, _ in by_vector])
        except StoreError as error:
            problems.append(str(error))
            if "try again" not in problems[-1]:
                break
        else:
            seen.append([len(by_vector), len(by_word), len(passages)])
            say("seen")
    say(json.dumps({"seen": seen, "problems": problems, "wrote": _refusal(store.write)}))


def refusals(index: str) -> None:
    """Say why an index can neither be read nor written."""
    store = Index(Path(index))
    say(_refusal(contextmanager(lambda: iter([store.counts()]))))
    say(_refusal(store.write))


def _refusal(use: Callable[[], Any]) -> str:
    try:
        with use():
            return ""
    except StoreError as error:
        return str(error)


# --- Upkeep


def copy(index: str, target: str, force: str = "") -> None:
    say(back_up(Index(Path(index)), Path(target), force=bool(force)).chunks)


def copy_until_replaced(index: str, target: str) -> None:
    """Replace a copy, and die when the old one has lost its name and the new one has none."""

    def fault(when: str, name: str, path: Path) -> None:
        if (when, name) == ("after", "rename") and not Path(target).exists():
            os.kill(os.getpid(), signal.SIGKILL)

    steps.fault = fault
    copy(index, target, "force")


def copy_as_nobody(index: str, place: str) -> None:
    """Copy as root, so that all is imported, and then as another user."""
    copy(index, f"{place}/first")
    _become_nobody()
    copy(index, f"{place}/copy")


def import_file(path: str, index: str) -> None:
    import_index(Index(Path(index)), Path(path))


# --- Kills


def kill_writers(folder: str, least: str) -> None:
    """Kill writers until enough died in the middle of an operation; prints the tally as JSON."""
    from crashing import survival

    processes, total = survival.Processes(), survival.Tally()
    for seed in range(10):
        tallies = survival.kill_and_look(processes, Path(folder, str(seed)), int(least), seed)
        total = sum(tallies.values(), total)
        if total.middle > 10:
            break
    processes.close()
    say(json.dumps(asdict(total)))


# --- What becomes of them


def die_at(when: str, step: str, *task: str) -> None:
    _at(when, step, lambda: os.kill(os.getpid(), signal.SIGKILL))
    run(*task)


def pause_at(when: str, step: str, *task: str) -> None:
    def pause() -> None:
        say("here")
        signal.pause()

    _at(when, step, pause)
    run(*task)


def _at(when: str, step: str, act: Callable[[], None]) -> None:
    def fault(at: str, name: str, path: Path) -> None:
        if (at, name) == (when, step):
            act()

    steps.fault = fault


def nobody(*task: str) -> None:
    """Import all that a search needs, since modules may lie where only root reads."""
    with tempfile.TemporaryDirectory() as warm:
        index, vectors = Index(Path(warm)), unit(np.random.default_rng(0), 3)
        write(index, {"a": vectors})
        found(index, vectors[0], 3)
        with index.snapshot() as snapshot:
            snapshot.matching(parse_question("passage", ("en", "de")), 3)
    _become_nobody()
    run(*task)


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


TASKS: dict[str, Callable[..., None]] = {
    task.__name__.replace("_", "-"): task
    for task in (
        *(write_until_told, fork, write_pairs, write_clustered, count, hold_snapshot, look_until),
        *(overlap_until, search, refusals, copy, copy_until_replaced, copy_as_nobody, import_file),
        *(kill_writers, die_at, pause_at, nobody),
    )
}


def run(task: str, *arguments: str) -> None:
    TASKS[task](*arguments)


if __name__ == "__main__":
    run(*sys.argv[1:])
