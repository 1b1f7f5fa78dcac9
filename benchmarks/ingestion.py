"""Measure what indexing costs when little or nothing changed, and its memory over many documents.

    python benchmarks/ingestion.py [--files 10000] [--documents 1000,50000]

It writes its own files, runs `rag index` as a process of its own, and adds up the memory of that
process and its readers five times a second. It prints two Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import Peak, memory_of

RUNS = 3
WORDS = (
    *("pump", "valve", "seal", "bearing", "rotor", "shaft", "lubricant", "coolant", "filter"),
    *("gasket", "torque", "pressure", "vibration", "interval", "clearance", "warranty"),
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run: wall-clock seconds, peak of resident memory in MB, and the run's own report."""

    seconds: float
    megabytes: float
    report: dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--documents", default="1000,50000")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        changes(Path(folder), arguments.files)
    counts = [int(count) for count in arguments.documents.split(",") if count]
    print("\n| documents | chunks | seconds | peak memory |\n| --- | --- | --- | --- |")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            growth(Path(folder), count)


def changes(folder: Path, files: int) -> None:
    """Measure a tree of small files: first run, no change, a line more, a folder renamed."""
    tree = folder / "tree"
    for n in range(files):
        folder = tree / str(n % 100)
        folder.mkdir(parents=True, exist_ok=True)
        # Ten different texts keep embedding, which is not measured here, short.
        (folder / f"{n}.md").write_text(
            f"# File\n\n## Part\n\nText {n % 10} of a part.\n\n## Next\n"
        )
    print(f"| {files:,} files | seconds | read | embedded |\n| --- | --- | --- | --- |")
    row("first run", run(folder, tree), files)
    unchanged = [run(folder, tree) for _ in range(RUNS)]
    row("nothing changed", sorted(unchanged, key=lambda m: m.seconds)[RUNS // 2], files)
    (tree / "7" / "7.md").write_text(
        "# File\n\n## Part\n\nText 7 of a part.\n\n## Next\n\nA line.\n"
    )
    row("one line more in one file", run(folder, tree), files)
    (tree / "8").rename(tree / "renamed")
    row(f"a folder of {files // 100:,} renamed", run(folder, tree), files)


def row(name: str, measured: Measurement, files: int) -> None:
    """Print one line of the first table."""
    read = files - measured.report["unchanged"]
    embedded = measured.report["embedded"]
    print(f"| {name} | {measured.seconds:.2f} | {read:,} | {embedded:,} |", flush=True)


def growth(folder: Path, count: int) -> None:
    """Measure different documents of one chunk each."""
    lines = folder / "documents.jsonl"
    with lines.open("w") as file:
        for n in range(count):
            text = f"Machine {n}: " + " ".join(WORDS[(n * k) % len(WORDS)] for k in range(1, 9))
            file.write(json.dumps({"_id": f"d{n}", "title": f"Machine {n}", "text": text}) + "\n")
    measured = run(folder, lines)
    print(
        f"| {count:,} | {measured.report['chunks']:,} | {measured.seconds:.0f} "
        f"| {measured.megabytes:,.0f} MB |",
        flush=True,
    )


def run(folder: Path, source: Path) -> Measurement:
    """Run `rag index` as a process, and sample its memory and that of its readers."""
    command = [sys.executable, "-m", "rag", "index", str(source), "--json"]
    command += ["--index", str(folder / "index")]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = Peak(process.pid, resident)
        output, _ = process.communicate()
        seconds = time.perf_counter() - started
        peak.stop()
    report = json.loads(output.splitlines()[-1])
    assert report["event"] == "report", output
    return Measurement(seconds, peak.bytes / 2**20, report)


def resident(members: Sequence[int]) -> int:
    """Return the memory that processes hold; shared pages are divided among their users."""
    return sum(memory_of(member, "Pss", "smaps_rollup") for member in members)


if __name__ == "__main__":
    main()
