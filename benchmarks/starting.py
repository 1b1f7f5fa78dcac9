"""Measure a command from a cold process, and a search in a warm one, over many passages.

    python benchmarks/starting.py --texts shared/data/cranfield [--passages 100000] [--folder DIR]

`--texts` are folders with `corpus.jsonl` and `queries.jsonl`. An index is made in the folder, of
passages of sentences drawn from the corpora; their vectors are drawn too (those of `scale.py`), so
that embedding them takes no time. Questions are real ones, embedded by the default embedder. An
index that is there already, of about so many passages, is used again.

Prints three Markdown tables: commands by wall clock, processor time and peak of resident memory
(never less than the benchmark's own); what a search imports, by package; and searches in a warm
process, the questions' embedding included and, in the last column, by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from scale import Mixture

from rag import RAG, Embedder
from rag.config import EmbeddingConfig
from rag.embedding import load_embedder

if TYPE_CHECKING:
    from rag.types import Vectors

SEED = 7
SENTENCES = 6
PASSAGES_IN_DOCUMENT = 4
SHORTEST = 30
NAMED = 12
MODES = ("dense", "lexical", "hybrid")
WORD = re.compile(r"\w+|[^\w\s]")


class RandomEmbedder:
    """An embedder that draws random vectors, under the name of a real one; a word is a token."""

    max_tokens = 256
    special_tokens = 2

    def __init__(self, real: Embedder) -> None:
        self.name, self.fingerprint, self.dim = real.name, real.fingerprint, real.dim
        self._mixture = Mixture(self.dim)
        self._drawn = 0

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the span of each word."""
        return [match.span() for match in WORD.finditer(text)]

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32 `[len(texts), dim]`, each row of length 1."""
        self._drawn += 1
        return self._mixture.draw(len(texts), 3, self._drawn)

    def embed_query(self, text: str) -> Vectors:
        """float32 `[dim]`, of length 1."""
        vector: Vectors = self.embed_documents([text])[0]
        return vector


def main() -> None:
    """Make the index, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, nargs="+", required=True)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the index is kept (default: nowhere)")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--questions", type=int, default=200)
    given = parser.parse_args()
    questions = [
        json.loads(line)["text"]
        for folder in given.texts
        for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    np.random.default_rng(SEED).shuffle(questions)
    questions = questions[: given.questions]
    with tempfile.TemporaryDirectory() as place:
        folder = given.folder or Path(place)
        make_index(folder, given.texts, given.passages)
        index = str(folder / "index")
        print(f"{RAG(index).info().chunks:,} passages, {os.cpu_count()} cores\n")
        measure_cold_start(index, questions[0], given.runs)
        imports(index, questions[0])
        warm(index, questions)


def make_index(folder: Path, texts: Sequence[Path], passages: int) -> None:
    """Make an index of about so many passages of sentences drawn from corpora."""
    index = folder / "index"
    if RAG(index).exists() and 0.9 < RAG(index).info().chunks / passages < 1.1:
        return
    sentences = [
        sentence.strip()
        for place in texts
        for line in (place / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        for sentence in re.split(r"(?<=[.!?])\s+", json.loads(line)["text"])
        if len(sentence) >= SHORTEST
    ]
    random = np.random.default_rng(SEED)
    documents = folder / "documents.jsonl"
    documents.parent.mkdir(parents=True, exist_ok=True)
    with documents.open("w", encoding="utf-8") as file:
        for number in range(passages // PASSAGES_IN_DOCUMENT):
            drawn = random.integers(len(sentences), size=(PASSAGES_IN_DOCUMENT, SENTENCES))
            parts = [" ".join(sentences[at] for at in row) for row in drawn.tolist()]
            title = " ".join(parts[0].split()[:8])
            record = {"_id": str(number), "title": title, "text": "\n\n".join(parts)}
            file.write(json.dumps(record) + "\n")
    settings = {"chunking.overlap": 0}
    started = time.perf_counter()
    rag = RAG(index, embedder=RandomEmbedder(load_embedder(EmbeddingConfig())), settings=settings)
    rag.index(documents, rebuild=True)
    rag.optimize()
    print(f"indexed in {time.perf_counter() - started:.0f} s", file=sys.stderr)


def measure_cold_start(index: str, question: str, runs: int) -> None:
    """Run each command as a process of its own, in turn, so that other load affects all alike."""
    place = ["--index", index]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "rag --help": _rag("--help"),
        "rag info": _rag("info", *place),
        **{
            f"rag search, {mode}": _rag("search", question, "--mode", mode, *place)
            for mode in MODES
        },
    }
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    # The first round fills the caches of the disk.
    for turn in range(runs + 1):
        for name, command in commands.items():
            found = run(command)
            if turn:
                measured[name].append(found)
    print("| command | s | fastest to slowest | processor s | peak MB |")
    print("| --- " * 5 + "|")
    for name, runs_of_it in measured.items():
        walls, cpus, peaks = zip(*runs_of_it, strict=True)
        print(
            f"| `{name}` | {median(walls):.2f} | {min(walls):.2f} to {max(walls):.2f} "
            f"| {median(cpus):.2f} | {max(peaks):.0f} |"
        )


def run(command: Sequence[str]) -> tuple[float, float, float]:
    """Return a process's seconds by the clock, seconds of the processor, and peak memory in MB."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    taken = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return taken, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def imports(index: str, question: str) -> None:
    """Print which packages a search by meaning and words imports, and for how long."""
    command = [sys.executable, "-X", "importtime", "-m", "rag", "search", question]
    done = subprocess.run(
        [*command, "--index", index], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    spent: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        found = re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)", line)
        if found:
            name = found[2].split(".")[0]
            known = name in sys.stdlib_module_names
            spent["standard library" if known else name] += int(found[1])
    total = sum(spent.values())
    print("\n| imported | ms | share |\n| --- | --- | --- |")
    for name, taken in spent.most_common(NAMED):
        print(f"| {name} | {taken / 1000:.0f} | {taken / total:.0%} |")


def warm(index: str, questions: Sequence[str]) -> None:
    """Time the searches of one process, one question after another."""
    embedder = load_embedder(EmbeddingConfig())
    alone = []
    for question in [questions[0], *questions]:
        started = time.perf_counter()
        embedder.embed_query(question)
        alone.append((time.perf_counter() - started) * 1000)
    print("\n| search | median ms | 95% ms | embedding alone |\n| --- | --- | --- | --- |")
    for mode in MODES:
        # `rag search --mode` also turns off what needs both kinds of search.
        only = {} if mode == "hybrid" else {"retrieval.expansion": ()}
        rag = RAG(index, embedder=embedder, settings={"retrieval.mode": mode, **only})
        taken = []
        for question in [questions[0], *questions]:
            started = time.perf_counter()
            rag.search(question)
            taken.append((time.perf_counter() - started) * 1000)
        ordered = sorted(taken[1:])
        print(
            f"| {mode} | {median(ordered):.1f} | {ordered[int(0.95 * len(ordered))]:.1f} "
            f"| {'' if mode == 'lexical' else f'{median(alone[1:]):.1f}'} |"
        )


def _rag(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rag", *arguments]


if __name__ == "__main__":
    main()
