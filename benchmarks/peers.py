"""Indexing, cold start, warm search and quality beside LangChain, LlamaIndex, Haystack and txtai.

    python benchmarks/peers.py DATASET [--rounds 3] [--only rag,txtai] [--json FILE]

DATASET is a folder in BEIR's layout. Each peer runs in a virtual environment of its own, made here
by pip from the versions in `benchmarks/peers/*.txt` and kept in the folder `--environments`. All
embed with the same files of one model, and the same passages: the documents, one a file, are cut
with `rag`'s defaults; `rag index` reads the files, the peers are given the passages.

Each stage is a process of its own, timed from its start:

- index: until the process has ended, and a durable index is on disk
- cold: open it, load the model, answer one question; until the first hit is printed
- warm: in one process, 200 questions one after the other, after five that are not timed
- quality: nDCG@10 of the documents by their best passage

Systems take turns, and so do rounds. Memory is the peak of resident memory, the process and its
children added up, so that pages they share count more than once. The result is a Markdown table of
medians with the smallest and the largest; the others are compared with the first row.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import psutil
from processes import Peak, memory_of

from rag.config import EmbeddingConfig
from rag.evaluation import load_dataset
from rag.evaluation.metrics import score
from rag.models import cache_dir, resolve

SCRIPTS = Path(__file__).parent / "peers"
COLD_RUNS_A_ROUND = 3
WARM_QUESTIONS = 205
SAMPLES_A_SECOND = 20
# Variables that a shell or a test run may have set, and that would change the measurements.
CLEARED = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOMP_SPINCOUNT"),
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"),
)
SET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
}


@dataclass(frozen=True, slots=True)
class System:
    """A system to measure; systems with the same `store` share an index.

    `packages` are those whose versions stand in the results.
    """

    key: str
    title: str
    script: str
    store: str
    mode: str = "dense"
    requirements: str = ""
    packages: tuple[str, ...] = ()


SYSTEMS = (
    System("rag", "rag, dense", "checkable_rag.py", "rag"),
    System("rag-hybrid", "rag, hybrid (default)", "checkable_rag.py", "rag", "hybrid"),
    System(
        "langchain",
        "LangChain, FAISS",
        "langchain_faiss.py",
        "langchain",
        requirements="langchain.txt",
        packages=("langchain-community", "langchain-huggingface"),
    ),
    System(
        "llamaindex",
        "LlamaIndex, FAISS",
        "llamaindex_faiss.py",
        "llamaindex",
        requirements="llamaindex.txt",
        packages=("llama-index-core", "llama-index-vector-stores-faiss"),
    ),
    System(
        "haystack",
        "Haystack, in memory",
        "haystack_memory.py",
        "haystack",
        requirements="haystack.txt",
        packages=("haystack-ai",),
    ),
    System(
        "txtai",
        "txtai, hybrid",
        "txtai_hybrid.py",
        "txtai",
        "hybrid",
        requirements="txtai.txt",
        packages=("txtai",),
    ),
)


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished process: seconds to its first line and its end, peak memory in MB, its output."""

    first_line: float
    seconds: float
    megabytes: float
    output: str


@dataclass(slots=True)
class Measured:
    """A system's measurements: seconds (a row of `warm` is a round), and nDCG@10 by search mode."""

    index: list[float] = field(default_factory=list)
    index_mb: list[float] = field(default_factory=list)
    embed: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    cold_end: list[float] = field(default_factory=list)
    cold_mb: list[float] = field(default_factory=list)
    warm: list[list[float]] = field(default_factory=list)
    ndcg: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Make environments and data, measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(system.key for system in SYSTEMS))
    parser.add_argument("--documents", type=int, help="take the first so many only")
    parser.add_argument("--questions", type=int, help="ask the first so many only, to try it out")
    parser.add_argument("--embedder", default=EmbeddingConfig().model)
    parser.add_argument(
        "--environments", type=Path, default=cache_dir() / "peers", help="kept between runs"
    )
    parser.add_argument("--json", type=Path, help="where to write all that was measured")
    given = parser.parse_args()
    systems = [system for system in SYSTEMS if system.key in given.only.split(",")]
    pythons = {system.key: python_of(system, given.environments.expanduser()) for system in systems}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), given, pythons)
        found: dict[str, Any] = {"started": datetime.now(UTC).isoformat(timespec="seconds")}
        found |= {"commit": commit(), "hardware": hardware(), "load": os.getloadavg()[0]}
        found |= {"corpus": bench.facts(), "versions": versions(systems, pythons)}
        measured = {system.key: Measured() for system in systems}
        for number in range(given.rounds):
            for line in bench.measure(systems, measured, number):
                print(line, file=sys.stderr, flush=True)
            found["rounds"] = number + 1
            found["systems"] = {key: asdict(each) for key, each in measured.items()}
            if given.json:
                given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(as_table(systems, measured, found))


class Bench:
    """Documents, passages and questions in a folder, and the stages over them."""

    def __init__(self, folder: Path, given: argparse.Namespace, pythons: Mapping[str, str]) -> None:
        self.folder = folder
        self.embedder: str = given.embedder
        self.pythons = pythons
        self.model = resolve(given.embedder, kind="embedder").location
        self.dataset = load_dataset(given.dataset)
        self.documents = folder / "documents"
        self.documents.mkdir()
        self.passages = folder / "passages.jsonl"
        self.count = self._write_documents(given.dataset / "corpus.jsonl", given.documents)
        self.once = self._warm_up()
        command = [sys.executable, str(SCRIPTS / "passages.py"), str(self.documents), self.embedder]
        self.passages.write_text(ran(command, folder).output, encoding="utf-8")
        tokens = [json.loads(line)["tokens"] for line in self.passages.open(encoding="utf-8")]
        self.tokens: list[int] = tokens
        judged = list(self.dataset.relevant)[: given.questions]
        self.judged_questions = self._write_questions("judged.jsonl", judged)
        timed = list(self.dataset.questions)[: given.questions or WARM_QUESTIONS]
        self.timed_questions = self._write_questions("timed.jsonl", timed)

    def facts(self) -> dict[str, Any]:
        """What is indexed and asked, and the seconds for what is made once."""
        return {
            "dataset": self.dataset.path.name,
            "documents": self.count,
            "passages": len(self.tokens),
            "tokens": sum(self.tokens),
            "tokens_of_passages": self.tokens,
            "questions": len(self.dataset.relevant),
            "embedder": self.embedder,
            "once": self.once,
        }

    def measure(
        self, systems: Sequence[System], measured: Mapping[str, Measured], number: int
    ) -> Iterator[str]:
        """A round of all stages, adding to `measured`; yields a line for each process."""
        for system in of_each_store(systems):
            shutil.rmtree(self._store(system), ignore_errors=True)
            done = self._index(system, measured[system.key])
            yield f"round {number + 1}, index, {system.key}: {done.seconds:.1f} s"
        for turn in range(COLD_RUNS_A_ROUND):
            texts = list(self.dataset.questions.values())
            question = texts[(number * COLD_RUNS_A_ROUND + turn) % len(texts)]
            for system in systems:
                done = ran(self._cold(system, question), self.folder)
                each = measured[system.key]
                each.cold.append(done.first_line)
                each.cold_end.append(done.seconds)
                each.cold_mb.append(done.megabytes)
                yield f"round {number + 1}, cold, {system.key}: {done.first_line:.2f} s"
        for system in systems:
            seconds = self._answer(system, "warm", system.mode, self.timed_questions)
            measured[system.key].warm.append(seconds)
            yield f"round {number + 1}, warm, {system.key}: {median(seconds) * 1000:.1f} ms"
        for system in systems if number == 0 else ():
            # The same every round.
            for mode in dict.fromkeys(("dense", system.mode)):
                ranked = self._answer(system, "rank", mode, self.judged_questions)
                measured[system.key].ndcg[mode] = self._ndcg(ranked)

    def _index(self, system: System, measured: Measured) -> Ran:
        store = str(self._store(system))
        if system.requirements:
            command = self._script(system, "index", "--passages", str(self.passages))
            done = ran(command, self.folder)
        else:
            done = self._rag_index(self.documents, store)
            report = json.loads(done.output.splitlines()[-1])
            if report["chunks"] != len(self.tokens):
                raise SystemExit(f"{report['chunks']} passages, not {len(self.tokens)}")
            measured.embed.append(report["timings"]["embed"] / 1000)
        measured.index.append(done.seconds)
        measured.index_mb.append(done.megabytes)
        return done

    def _cold(self, system: System, question: str) -> list[str]:
        if system.requirements:
            mode = ("--mode", system.mode)
            return self._script(system, "cold", *mode, "--question", question)
        command = [sys.executable, "-m", "rag", "search", "--index", str(self._store(system))]
        command += ["-k", "10", "--embedder", self.embedder]
        command += ["--mode", system.mode] if system.mode != "hybrid" else []
        return [*command, "--", question]

    def _answer(self, system: System, stage: str, mode: str, questions: Path) -> Any:
        command = self._script(system, stage, "--mode", mode, "--questions", str(questions))
        return json.loads(ran(command, self.folder).output.splitlines()[-1])

    def _script(self, system: System, stage: str, *options: str) -> list[str]:
        command = [self.pythons[system.key], str(SCRIPTS / system.script), stage]
        command += ["--store", str(self._store(system))]
        return [*command, "--model", self.model if system.requirements else self.embedder, *options]

    def _store(self, system: System) -> Path:
        return self.folder / f"store-{system.store}"

    def _ndcg(self, ranked: Mapping[str, Sequence[str]]) -> float:
        run = {
            question: list(dict.fromkeys(name.rpartition("#")[0] for name in passages))
            for question, passages in ranked.items()
        }
        relevant = {question: self.dataset.relevant[question] for question in run}
        return fmean(each["nDCG@10"] for each in score(relevant, run).values())

    def _write_documents(self, corpus: Path, most: int | None) -> int:
        lines = corpus.read_text(encoding="utf-8").splitlines()[:most]
        for line in lines:
            record = json.loads(line)
            text = f"{record['title']}\n\n{record['text']}\n"
            (self.documents / f"{record['_id']}.txt").write_text(text, encoding="utf-8")
        return len(lines)

    def _write_questions(self, name: str, chosen: Sequence[str]) -> Path:
        file = self.folder / name
        lines = [json.dumps({"_id": e, "text": self.dataset.questions[e]}) + "\n" for e in chosen]
        file.write_text("".join(lines), encoding="utf-8")
        return file

    def _warm_up(self) -> float:
        """Seconds of a first `rag index` of one document, which makes what is made once."""
        one = self.folder / "one"
        one.mkdir()
        shutil.copy(next(self.documents.iterdir()), one)
        return self._rag_index(one, str(self.folder / "store-one")).seconds

    def _rag_index(self, source: Path, store: str) -> Ran:
        command = [sys.executable, "-m", "rag", "index", str(source), "--json"]
        command += ["--embedder", self.embedder, "--index", store]
        # Files without text are named, and make exit code 1.
        return ran(command, self.folder, may_fail=(0, 1))


def ran(command: Sequence[str], folder: Path, may_fail: Sequence[int] = (0,)) -> Ran:
    """Run a command in a folder, to its end.

    Raises:
        SystemExit: if it fails, with the last of what it said.
    """
    with tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        with subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process:
            peak = Peak(process.pid, peak_of, SAMPLES_A_SECOND)
            assert process.stdout is not None
            first = process.stdout.readline()
            first_line = time.perf_counter() - started
            output = first + process.stdout.read()
            code = process.wait()
            seconds = time.perf_counter() - started
            peak.stop()
        if code not in may_fail:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command[:4])}: exit code {code}: {errors.read()[-2000:]}")
    return Ran(first_line, seconds, peak.bytes / 1e6, output)


def environment() -> dict[str, str]:
    """Return this process's environment without variables that change how systems run."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in CLEARED and (name == "RAG_CACHE" or not name.startswith("RAG_"))
    }
    return kept | SET


def peak_of(members: Sequence[int]) -> int:
    """Return the memory of a process and its descendants together, at least its own peak."""
    together = sum(memory_of(member, "VmRSS") for member in members)
    # The kernel's own peak misses nothing between two samples.
    return max(together, memory_of(members[0], "VmHWM"))


def python_of(system: System, environments: Path) -> str:
    """Return the interpreter of a system's virtual environment, making it if need be."""
    if not system.requirements:
        return sys.executable
    requirements = SCRIPTS / system.requirements
    folder = environments / system.key
    python = folder / "bin" / "python"
    # Written last: an environment without it was not made to the end, or for other versions.
    stamp = folder / "made-from"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return str(python)
    print(f"making {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [str(python), "-m", "pip", "install", "-qq", "-r", str(requirements)]
    subprocess.run(install, check=True)
    stamp.write_text(digest)
    return str(python)


def versions(systems: Sequence[System], pythons: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """List all packages of each environment with their versions."""
    found = {}
    for system in of_each_store(systems):
        command = [pythons[system.key], "-m", "pip", "list", "--format", "json"]
        listed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        found[system.key] = {each["name"]: each["version"] for each in json.loads(listed)}
    return found


def of_each_store(systems: Sequence[System]) -> list[System]:
    """Return the first system of each store."""
    return list({system.store: system for system in reversed(systems)}.values())[::-1]


def commit() -> str:
    """Describe the commit of this checkout, and whether files changed since."""
    here = Path(__file__).parent

    def said(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],  # noqa: S607
            cwd=here,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()

    changed = " and changes" if said("status", "--porcelain", "--", "../rag") else ""
    return said("rev-parse", "--short", "HEAD") + changed


def hardware() -> str:
    """Describe processor, cores, memory and system in one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def as_table(
    systems: Sequence[System], measured: Mapping[str, Measured], found: Mapping[str, Any]
) -> str:
    """Format the measurements as a Markdown table."""
    corpus = found["corpus"]
    lines = [
        f"{corpus['dataset']}: {corpus['documents']:,} documents, {corpus['passages']:,} passages, "
        f"{corpus['tokens']:,} tokens; {corpus['embedder']}. Commit {found['commit']}, "
        f"{found['hardware']}, load {found['load']:.1f} before. {found['rounds']} rounds. "
        f"First `rag index` of all, of one document: {corpus['once']:.1f} s.",
        "",
        "| system | index, s | × | memory, MB | cold, s | × | memory, MB "
        "| warm, ms | 95th percentile | nDCG@10, dense | hybrid |",
        "| --- " * 11 + "|",
    ]
    indexed = {system.store: measured[system.key] for system in of_each_store(systems)}
    first = systems[0]
    for system in systems:
        each, store = measured[system.key], indexed[system.store]
        milliseconds = [np.percentile(np.array(row) * 1000, (50, 95)) for row in each.warm]
        named = ", ".join(
            f"{name} {found['versions'][system.key][name]}" for name in system.packages
        )
        cells = [
            f"{system.title} ({named})" if named else system.title,
            spread(store.index, ".1f"),
            f"{median(store.index) / median(indexed[first.store].index):.1f}",
            spread(store.index_mb, ",.0f"),
            spread(each.cold, ".2f"),
            f"{median(each.cold) / median(measured[first.key].cold):.1f}",
            spread(each.cold_mb, ",.0f"),
            spread([row[0] for row in milliseconds], ".1f"),
            spread([row[1] for row in milliseconds], ".1f"),
            *(f"{each.ndcg[m]:.3f}" if m in each.ndcg else "" for m in ("dense", "hybrid")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: Sequence[float], form: str) -> str:
    """Format the median, then the smallest and the largest."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
