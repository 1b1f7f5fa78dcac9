"""Reading of real documentation: `python benchmarks/documentation.py [PACKAGE...] [--index]`.

Fetches Debian packages, such as `python3.11-doc`, with `apt-get download` into a temporary folder
(run `apt-get update` before), unpacks them without installing anything, and reads every HTML file.
With `--index` the same files are indexed as well. Prints a Markdown table, and why any file was
not taken.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag import RAG, SourceError
from rag.config import SourcesConfig
from rag.sources import SourceFile, read_file
from rag.types import Document

PACKAGES = ("postgresql-doc-15",)


@dataclass(slots=True)
class Outcome:
    """What reading the files of a package came to."""

    files: int = 0
    taken: int = 0
    characters: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Measure every package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", default=PACKAGES, metavar="PACKAGE")
    parser.add_argument("--index", action="store_true", help="index the files as well")
    arguments = parser.parse_args()
    print("| package | step | files | taken | failed | characters | seconds | files/s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    reasons: Counter[str] = Counter()
    for package in arguments.packages:
        with tempfile.TemporaryDirectory() as folder:
            files = html_files(fetch(package, Path(folder)))
            outcomes = {"read": read_all(files)}
            if arguments.index:
                outcomes["index"] = index_all(files, Path(folder, "index"))
        for step, outcome in outcomes.items():
            print(row(package, step, outcome), flush=True)
            reasons += outcome.reasons
    for reason, count in reasons.most_common():
        print(f"\n{count} × {reason}")


def fetch(package: str, folder: Path) -> Path:
    """The files of the newest version that the machine's package sources offer."""
    subprocess.run(["apt-get", "-qq", "download", package], cwd=folder, check=True)  # noqa: S607
    (archive,) = folder.glob("*.deb")
    unpacked = folder / "files"
    subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)  # noqa: S607
    return unpacked


def html_files(folder: Path) -> list[Path]:
    """Every HTML file below a folder, links not followed."""
    found = folder.rglob("*.htm*")
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def read_all(files: Sequence[Path]) -> Outcome:
    """Read in this process, one file after the other."""
    outcome = Outcome(files=len(files))
    config = SourcesConfig()
    started = time.perf_counter()
    for path in files:
        status = path.stat()
        file = SourceFile(str(path), path.name, status.st_size, status.st_mtime_ns)
        try:
            results = list(read_file(file, config))
        except SourceError as error:
            outcome.reasons[f"{error.source}: {error.reason}"] += 1
            continue
        outcome.taken += 1
        outcome.characters += sum(len(r.text) for r in results if isinstance(r, Document))
    outcome.seconds = time.perf_counter() - started
    return outcome


def index_all(files: Sequence[Path], index: Path) -> Outcome:
    """Read, cut, embed and store, as `rag index` does."""
    outcome = Outcome(files=len(files))
    started = time.perf_counter()
    report = RAG(index).index([str(path) for path in files])
    outcome.seconds = time.perf_counter() - started
    problems = (*report.skipped, *report.failed)
    outcome.taken = len(files) - len(problems)
    for problem in problems:
        outcome.reasons[f"{Path(problem.source).name}: {problem.reason}"] += 1
    return outcome


def row(package: str, step: str, outcome: Outcome) -> str:
    """One row of the table."""
    return (
        f"| {package} | {step} | {outcome.files:,} | {outcome.taken:,} "
        f"| {outcome.files - outcome.taken:,} | {outcome.characters:,} "
        f"| {outcome.seconds:.1f} | {outcome.files / outcome.seconds:,.0f} |"
    )


if __name__ == "__main__":
    main()
