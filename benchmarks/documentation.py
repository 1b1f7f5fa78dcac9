"""Read real documentation: `python benchmarks/documentation.py [PACKAGE...] [--index]`.

It fetches Debian packages, such as `python3.11-doc`, with `apt-get download` into a temporary
folder (run `apt-get update` before), unpacks them without installing anything, and reads every HTML
file. With `--index` it indexes the same files, too. It prints a Markdown table, and why any file
was not taken.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag import RAG, SourceError
from rag.config import SourcesConfig
from rag.sources import SourceFile, read_file
from rag.types import Document

PACKAGES = ("postgresql-doc-15",)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of reading the files of a package, with the reason of each file not taken."""

    files: int
    characters: int
    seconds: float
    reasons: list[str]

    @property
    def taken(self) -> int:
        """The number of files that were read."""
        return self.files - len(self.reasons)


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
            reasons.update(outcome.reasons)
    for reason, count in reasons.most_common():
        print(f"\n{count} × {reason}")


def fetch(package: str, folder: Path) -> Path:
    """Fetch the newest version of a package, and return the folder it is unpacked to."""
    subprocess.run(["apt-get", "-qq", "download", package], cwd=folder, check=True)  # noqa: S607
    (archive,) = folder.glob("*.deb")
    unpacked = folder / "files"
    subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)  # noqa: S607
    return unpacked


def html_files(folder: Path) -> list[Path]:
    """Return every HTML file below a folder, without following links."""
    found = folder.rglob("*.htm*")
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def read_all(files: Sequence[Path]) -> Outcome:
    """Read files in this process, one after the other."""
    characters, reasons = 0, []
    config = SourcesConfig()
    started = time.perf_counter()
    for path in files:
        status = path.stat()
        file = SourceFile(str(path), path.name, status.st_size, status.st_mtime_ns)
        try:
            results = list(read_file(file, config))
        except SourceError as error:
            reasons.append(f"{error.source}: {error.reason}")
            continue
        characters += sum(len(r.text) for r in results if isinstance(r, Document))
    return Outcome(len(files), characters, time.perf_counter() - started, reasons)


def index_all(files: Sequence[Path], index: Path) -> Outcome:
    """Read, cut, embed and store files, as `rag index` does."""
    started = time.perf_counter()
    report = RAG(index).index([str(path) for path in files])
    seconds = time.perf_counter() - started
    problems = (*report.skipped, *report.failed)
    reasons = [f"{Path(problem.source).name}: {problem.reason}" for problem in problems]
    return Outcome(len(files), 0, seconds, reasons)


def row(package: str, step: str, outcome: Outcome) -> str:
    """Render one row of the table."""
    return (
        f"| {package} | {step} | {outcome.files:,} | {outcome.taken:,} "
        f"| {outcome.files - outcome.taken:,} | {outcome.characters:,} "
        f"| {outcome.seconds:.1f} | {outcome.files / outcome.seconds:,.0f} |"
    )


if __name__ == "__main__":
    main()
