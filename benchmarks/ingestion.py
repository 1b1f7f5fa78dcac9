"""What a run of indexing costs when little or nothing changed, and its memory over many documents.

    python benchmarks/ingestion.py [--files 10000] [--documents 1000,50000]

Writes its own files, runs `rag index` as a process of its own, and adds up the memory of that
process and its readers five times a second. Prints two Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNS = 3
WORDS = (
    *("pump", "valve", "seal", "bearing", "rotor", "shaft", "lubricant", "coolant", "filter"),
    *("gasket", "torque", "pressure", "vibration", "interval", "clearance", "warranty"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: wall clock in seconds, peak of resident memory in MB, and the run's own report."""

    seconds: float
    megabytes: float
    report: dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--documents", default="1000,50000")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        changes(Path(place), arguments.files)
    counts = [int(count) for count in arguments.documents.split(",") if count]
    print("\n| documents | passages | seconds | peak memory |\n| --- | --- | --- | --- |")
    for count in counts:
        with tempfile.TemporaryDirectory() as place:
            growth(Path(place), count)


def changes(place: Path, files: int) -> None:
    """A tree of small files: indexed, left alone, changed by a line, and a folder renamed."""
    tree = place / "tree"
    for n in range(files):
        folder = tree / str(n % 100)
        folder.mkdir(parents=True, exist_ok=True)
        # Ten texts: what is embedded is not what is measured here.
        (folder / f"{n}.md").write_text(
            f"# File\n\n## Part\n\nText {n % 10} of a part.\n\n## Next\n"
        )
    print(f"| {files:,} files | seconds | read | embedded |\n| --- | --- | --- | --- |")
    row("first run", run(place, tree), files)
    unchanged = [run(place, tree) for _ in range(RUNS)]
    row("nothing changed", sorted(unchanged, key=lambda m: m.seconds)[RUNS // 2], files)
    (tree / "7" / "7.md").write_text(
        "# File\n\n## Part\n\nText 7 of a part.\n\n## Next\n\nA line.\n"
    )
    row("one line more in one file", run(place, tree), files)
    (tree / "8").rename(tree / "renamed")
    row(f"a folder of {files // 100:,} renamed", run(place, tree), files)


def row(name: str, measured: Measured, files: int) -> None:
    """One line of the first table."""
    read = files - measured.report["unchanged"]
    embedded = measured.report["embedded"]
    print(f"| {name} | {measured.seconds:.2f} | {read:,} | {embedded:,} |", flush=True)


def growth(place: Path, count: int) -> None:
    """Documents of one passage each, all different."""
    lines = place / "documents.jsonl"
    with lines.open("w") as file:
        for n in range(count):
            text = f"Machine {n}: " + " ".join(WORDS[(n * k) % len(WORDS)] for k in range(1, 9))
            file.write(json.dumps({"_id": f"d{n}", "title": f"Machine {n}", "text": text}) + "\n")
    measured = run(place, lines)
    print(
        f"| {count:,} | {measured.report['chunks']:,} | {measured.seconds:.0f} "
        f"| {measured.megabytes:,.0f} MB |",
        flush=True,
    )


def run(place: Path, source: Path) -> Measured:
    """`rag index` as a process, with the memory of all that it starts."""
    command = [sys.executable, "-m", "rag", "index", str(source), "--json"]
    command += ["--index", str(place / "index")]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = Peak(process.pid)
        output, _ = process.communicate()
        seconds = time.perf_counter() - started
        peak.stop()
    report = json.loads(output.splitlines()[-1])
    assert report["event"] == "report", output
    return Measured(seconds, peak.megabytes, report)


class Peak:
    """Samples the resident memory of a process and its children until it is stopped."""

    def __init__(self, process: int) -> None:
        self.megabytes = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, args=(process,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more samples."""
        self._stopped.set()
        self._thread.join()

    def _sample(self, process: int) -> None:
        while not self._stopped.wait(0.2):
            total = sum(resident(member) for member in family(process))
            self.megabytes = max(self.megabytes, total / 2**20)


def family(process: int) -> Sequence[int]:
    """A process and its children, by Linux's /proc."""
    members = [process]
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            members += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return members


def resident(process: int) -> int:
    """Bytes of memory that are the process's share (shared pages are divided by who maps them)."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
