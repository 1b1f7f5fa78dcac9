"""Feed every parser of what is not ours with inputs that were changed, and count what comes of it.

    python benchmarks/fuzzing.py [--minutes 1] [--target NAME]... [--seed 0] [--folder DIR]
    python benchmarks/fuzzing.py --replay FOLDER [--target NAME]...

Each target takes so many minutes. An input runs in a worker process that may take 1.5 GB more than
it began with, and 10 seconds for each command; a worker that takes longer is ended, and another
goes on. Where atheris is installed, the branches that an input takes choose what is changed
further; otherwise inputs are changed at random. What went wrong is kept in DIR, one input of each
cause, made smaller where that is cheap. Prints a Markdown table; exit code 1 if anything went
wrong.

`--replay` runs inputs that were kept: FOLDER holds a folder for each target.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fuzzers import worker
from fuzzers.attempts import BAD, HANG, MOST_SECONDS, OUTCOMES, TRACEBACK, Attempt
from fuzzers.catalogue import TARGETS

_SECONDS_BETWEEN_LOOKS = 0.1
# A worker imports what it needs, and makes an index.
_STARTING_SECONDS = 120.0
_SHRINKING_SECONDS = 20.0
# Nothing is synced that is gone a second later.
_MEMORY = "/dev/shm"  # noqa: S108


@dataclass(slots=True)
class Result:
    """What came of the inputs of one target; `kept` are files in its folder."""

    target: str
    minutes: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    kept: list[Path] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """How many inputs there were."""
        return sum(self.counts.values())


def fuzz(target: str, minutes: float, seed: int, kept: Path, *, guided: bool) -> Result:
    """Run a target for so many minutes, and keep in a folder what went wrong."""
    result = Result(target)
    began = time.monotonic()
    end = began + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="fuzzing-", dir=_room()) as name:
        folder = Path(name)
        (folder / "kept").mkdir()
        board = worker.Board(folder / "board")
        for attempt in range(10_000):
            left = end - time.monotonic()
            if left <= 0:
                break
            given = ("--seconds", str(left), "--seed", str(seed + attempt))
            process = _start(target, folder, *given, *(["--guided"] if guided else []))
            died = _watch(process, board, end, folder / "log")
            if died is not None:
                data = (folder / "current").read_bytes()
                worker.Keeper(folder / "kept").keep(data, died)
                board.count(died.outcome)
        result.counts.update(board.counts)
        shutil.copytree(folder / "kept", kept, dirs_exist_ok=True)
    result.minutes = (time.monotonic() - began) / 60
    for path in sorted(kept.glob("*-*")):
        if path.suffix != ".json":
            result.kept.append(path)
            if not path.name.startswith(HANG):
                _shrink(target, path)
    return result


def _watch(
    process: subprocess.Popen[bytes], board: worker.Board, end: float, log: Path
) -> Attempt | None:
    """Wait for a worker; return what its input did if it hung or died of it."""
    started = time.monotonic()
    while process.poll() is None:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        now, began = time.monotonic(), board.began
        if began and now - began > MOST_SECONDS:
            board.end()
            frames = _end_and_tell(process, log)
            place = next((each for each in frames if "/rag/" in each), "nowhere")
            return Attempt(HANG, f"hang: {place.rpartition('/rag/')[2]}", "\n".join(frames))
        if not began and now - max(started, end) > _STARTING_SECONDS:
            frames = _end_and_tell(process, log)
            raise RuntimeError(f"a worker does not end: {frames}")
    code = process.returncode
    busy = bool(board.began)
    board.end()
    if code in (0, worker.TIRED) or not busy:
        if code not in (0, worker.TIRED):
            said = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise RuntimeError(f"a worker ended with exit code {code} without an input: {said}")
        return None
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return Attempt(TRACEBACK, f"died: {name}", f"the process ended: {name}")


def _start(target: str, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    log = (folder / "log").open("ab") if (folder / "kept").exists() else subprocess.DEVNULL
    root = Path(__file__).absolute().parent.parent
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [
            sys.executable,
            "-X",
            "faulthandler",
            __file__,
            "--worker",
            target,
            "--folder",
            str(folder),
            *arguments,
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
    )


def _end_and_tell(process: subprocess.Popen[bytes], log: Path) -> list[str]:
    """End a worker, and return the places where it was."""
    process.send_signal(signal.SIGABRT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    _end(process)
    said = log.read_text(encoding="utf-8", errors="replace").rpartition("Fatal Python error")[2]
    return [line.strip() for line in said.splitlines() if line.strip().startswith("File ")]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a worker and the readers that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _shrink(target: str, kept: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzzing-", dir=_room()) as name:
        folder = Path(name)
        (folder / "kept").mkdir()
        copies = [folder / "kept" / each.name for each in (kept, kept.with_suffix(".json"))]
        for source, copy in zip((kept, kept.with_suffix(".json")), copies, strict=True):
            copy.write_bytes(source.read_bytes())
        process = _start(target, folder, "--shrink", str(copies[0]))
        try:
            process.wait(_SHRINKING_SECONDS + _STARTING_SECONDS)
        except subprocess.TimeoutExpired:
            _end(process)
        if copies[0].stat().st_size < kept.stat().st_size:
            kept.write_bytes(copies[0].read_bytes())


def replay(folder: Path, targets: Sequence[str]) -> list[str]:
    """Run the inputs that were kept in a folder for each target; return what went wrong."""
    problems = []
    for target in targets:
        inputs = sorted(each for each in (folder / target).glob("*") if each.suffix != ".json")
        if not inputs:
            continue
        with tempfile.TemporaryDirectory(prefix="fuzzing-", dir=_room()) as name:
            process = _start(target, Path(name), "--inputs", str(folder / target))
            board = Path(name) / "found.json"
            try:
                process.wait(MOST_SECONDS * len(inputs) + _STARTING_SECONDS)
            except subprocess.TimeoutExpired:
                _end(process)
            found = json.loads(board.read_text()) if board.exists() else {}
        for path in inputs:
            outcome, detail = found.get(path.name, (HANG, "the process hung or died"))
            if outcome in BAD:
                problems.append(f"{target}: {path.name}: {outcome}: {detail}")
    return problems


def _room() -> str | None:
    return _MEMORY if os.access(_MEMORY, os.W_OK) else None


def print_table(results: Sequence[Result]) -> None:
    """Print what came of each target."""
    print(f"| target | minutes | inputs | {' | '.join(OUTCOMES)} |")
    print(f"| --- |{' ---: |' * (len(OUTCOMES) + 2)}")
    total = Result("all", sum(each.minutes for each in results))
    for each in results:
        total.counts.update(each.counts)
    for each in (*results, total):
        counted = " | ".join(f"{each.counts[outcome]:,}" for outcome in OUTCOMES)
        print(f"| {each.target} | {each.minutes:.1f} | {each.inputs:,} | {counted} |")


def _work(given: argparse.Namespace) -> None:
    """Be the worker that another process of this script has started."""
    target, place = TARGETS[given.worker](), given.folder / "place"
    if given.shrink:
        worker.shrink(target, given.shrink, _SHRINKING_SECONDS, place)
    elif given.inputs:
        inputs = sorted(each for each in given.inputs.glob("*") if each.suffix != ".json")
        found = {
            path.name: (done.outcome, done.detail)
            for path, done in worker.replay(target, inputs, place)
        }
        (given.folder / "found.json").write_text(json.dumps(found))
    else:
        worker.work(target, given.folder, given.seconds, given.seed, guided=given.guided)


def main() -> None:
    """Run the targets that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="repeat for more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where inputs are kept")
    parser.add_argument(
        "--replay", type=lambda name: Path(name).absolute(), help="run the inputs kept in a folder"
    )
    parser.add_argument("--blind", action="store_true", help="do not use atheris")
    # What the script says to its own workers.
    for name in ("--worker", "--shrink", "--inputs", "--seconds", "--guided"):
        kinds = {"--shrink": Path, "--inputs": Path, "--seconds": float}
        if name == "--guided":
            parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
        else:
            parser.add_argument(name, type=kinds.get(name, str), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        try:
            _work(given)
        except BaseException:  # noqa: BLE001 - whoever watches reads what is printed.
            traceback.print_exc()
            # Threads of a target may wait for ever.
            os._exit(1)
        os._exit(0)
    targets = given.target or list(TARGETS)
    if given.replay:
        problems = replay(given.replay, targets)
        print("\n".join(problems) or "nothing went wrong")
        sys.exit(bool(problems))
    kept = given.folder or Path(tempfile.mkdtemp(prefix="fuzzed-"))
    guided = worker.is_guided() and not given.blind
    print(f"by {'coverage' if guided else 'chance'}, seed {given.seed}; kept in {kept}\n")
    results = []
    for target in targets:
        seed = given.seed + int(hashlib.sha256(target.encode()).hexdigest()[:6], 16)
        results.append(fuzz(target, given.minutes, seed, kept / target, guided=guided))
        print(f"{target}: {dict(results[-1].counts)}", file=sys.stderr, flush=True)
    print_table(results)
    for result in results:
        for path in result.kept:
            about = json.loads(path.with_suffix(".json").read_text())
            print(f"\n{path}: {about['signature']}\n{about['detail'][-600:]}")
    sys.exit(any(result.kept for result in results))


if __name__ == "__main__":
    main()
