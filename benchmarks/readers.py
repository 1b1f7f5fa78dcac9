"""Measure how readers fare, in speed and in truth, while a writer commits all the time.

    python benchmarks/readers.py [--seconds 60] [--readers 8] [--passages 20000] [--index DIR]

Processes search by meaning and words, first alone, then beside a process that replaces, adds and
removes documents of 20 passages, one a commit, and refreshes the vectors' cache now and then. The
embedder computes each vector from the words, so that no model takes the time. Each commit also
replaces two documents that bear its number: a search that finds both must find them with the same
number, and the text of each hit must be of the document that it names. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from rag import RAG, RagError
from rag.index import FileRecord, Index, Manifest, Writer
from rag.index.disk import database
from rag.types import Chunk, Document

DIM = 384
PASSAGES_OF_A_DOCUMENT = 20
WORDS_OF_A_PASSAGE = 60
WORDS_OF_A_QUESTION = 8
VOCABULARY = 5_000
COMMITS_TO_A_REFRESH = 10
SEARCHES_TO_A_PAIR = 5
SECONDS_BETWEEN_LOOKS = 0.02
PAIR = ("heron", "osprey")


class Stored:
    """An embedder that gives each text a vector of its own, at once."""

    name = "stored"
    fingerprint = "by the text"
    dim = DIM
    max_tokens = 512
    special_tokens = 0

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """Take four characters for a token."""
        return [(at, min(at + 4, len(text))) for at in range(0, len(text), 4)]

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Embed passages, as float32 `[len(texts), dim]`."""
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> np.ndarray:
        """Embed a question as float32 `[dim]`, the same for a passage and for its beginning."""
        name = " ".join(text.split()[:3])
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        vector = generator.normal(size=DIM).astype(np.float32)
        return vector / np.linalg.norm(vector)


def main() -> None:
    """Measure, or be one of the measured processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--index", type=Path, help="made if it is not there (default: a new one)")
    parser.add_argument("--role", choices=("reader", "writer"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--pause", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "reader":
        read(arguments.index, arguments.seconds, arguments.seed)
    elif arguments.role == "writer":
        write(arguments.index, arguments.pause)
    else:
        with tempfile.TemporaryDirectory() as place:
            measure(arguments, arguments.index or Path(place))


def measure(arguments: argparse.Namespace, place: Path) -> None:
    """Run all rounds, and print a table."""
    if not Index(place).exists():
        build(place, arguments.passages)
    print("| | searches/s | median ms | 95% ms | commits/s | log MB | errors | torn |")
    print("| --- " * 8 + "|")
    alone = row("readers alone", *round_of(arguments, place))
    calm = row("beside a writer that commits each second", *round_of(arguments, place, pause=1.0))
    busy = row("beside a writer without a pause", *round_of(arguments, place, pause=0.0))
    print(f"\nratios {calm / alone:.2f} and {busy / alone:.2f}")


def round_of(
    arguments: argparse.Namespace, place: Path, *, pause: float | None = None
) -> tuple[float, list[dict[str, Any]], dict[str, Any]]:
    """Run a round; returns its seconds, what each reader saw, and what the writer did."""
    common = [sys.executable, __file__, "--index", str(place), "--seconds", str(arguments.seconds)]
    readers = [
        subprocess.Popen(
            [*common, "--role", "reader", "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(arguments.readers)
    ]
    writer = None
    try:
        for reader in readers:
            # It says so when its caches are open, as those of a server are.
            _line(reader)
        if pause is not None:
            command = [*common, "--role", "writer", "--pause", str(pause)]
            writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            _line(writer)
        for reader in readers:
            assert reader.stdin is not None
            reader.stdin.write("go\n")
            reader.stdin.flush()
        done = {"commits": 0, "seconds": 1.0, "log": longest_log(place, arguments.seconds)}
        seen = [json.loads(_line(reader)) for reader in readers]
        if writer is not None:
            writer.send_signal(signal.SIGTERM)
            done |= json.loads(_line(writer))
    finally:
        for process in (*readers, *([writer] if writer else [])):
            process.kill()
            process.wait()
    return arguments.seconds, seen, done


def longest_log(place: Path, seconds: float) -> int:
    """Watch the database's log for so long, and return the most bytes that it had."""
    log, longest, end = place / f"{database.NAME}-wal", 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(FileNotFoundError):
            longest = max(longest, log.stat().st_size)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return longest


def row(name: str, seconds: float, seen: list[dict[str, Any]], done: dict[str, Any]) -> float:
    """Print a line of the table; returns the searches per second of all readers."""
    times = [each for one in seen for each in one["times"]]
    rate = len(times) / seconds
    errors = [error for one in seen for error in one["errors"]]
    torn = [what for one in seen for what in one["torn"]]
    commits = f"{done['commits'] / done['seconds']:.1f}" if done["commits"] else "-"
    late = quantiles(times, n=20)[-1]
    print(
        f"| {name} | {rate:.1f} | {median(times) * 1000:.1f} | {late * 1000:.1f} | {commits} | "
        f"{done['log'] / 1e6:.0f} | {len(errors)} | {len(torn)} |",
        flush=True,
    )
    for what in (errors + torn)[:5]:
        print(what, file=sys.stderr)
    return rate


def read(place: Path, seconds: float, seed: int) -> None:
    """Search until the time is over, and print what was seen as JSON."""
    chance = random.Random(seed)  # noqa: S311
    rag = RAG(place, embedder=Stored(), settings={"generation.model": "extractive"})
    documents = Index(place).counts()["documents"] // 2
    errors: list[str] = []
    torn: list[str] = []
    times: list[float] = []
    rag.search(passage("d0", 0, 0))
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pair = len(times) % SEARCHES_TO_A_PAIR == 0
        # Nobody changes the first half of the documents: the sought passage is always there.
        name = f"d{chance.randrange(documents)}"
        sought = passage(name, 0, chance.randrange(PASSAGES_OF_A_DOCUMENT))
        asked = " ".join(PAIR if pair else sought.split()[:WORDS_OF_A_QUESTION])
        started = time.monotonic()
        try:
            hits = rag.search(asked, 10)
        except RagError as error:
            errors.append(str(error))
            continue
        finally:
            times.append(time.monotonic() - started)
        said = [tuple(hit.text.split()[:3]) for hit in hits]
        if any(hit.chunk.document_id != words[0] for hit, words in zip(hits, said, strict=True)):
            torn.append(f"a text of another document: {said}")
        if not pair and sought not in [hit.text for hit in hits]:
            torn.append(f"not found: {asked}")
        numbers = {words[0]: words[1] for words in said if words[0] in PAIR}
        if pair and (len(numbers) != len(PAIR) or len(set(numbers.values())) != 1):
            torn.append(f"of two commits: {numbers}")
    print(json.dumps({"times": times, "errors": errors, "torn": torn}), flush=True)


def write(place: Path, pause: float) -> None:
    """Commit until a signal comes, with a pause after each, and print the count as JSON."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    half = Index(place).counts()["documents"] // 2
    started, commits = time.monotonic(), 0
    print("ready", flush=True)
    try:
        while True:
            with Index(place).write() as writer:
                for number in range(1, COMMITS_TO_A_REFRESH + 1):
                    version = commits + 1
                    if number % 5 == 0:
                        remove(writer, f"d{half + commits % half}")
                    else:
                        put(writer, f"d{half + commits % half}", version, PASSAGES_OF_A_DOCUMENT)
                    for name in PAIR:
                        put(writer, name, version, 1)
                    writer.commit()
                    commits += 1
                    time.sleep(pause)
                writer.refresh_cache()
    finally:
        lasted = time.monotonic() - started
        print(json.dumps({"commits": commits, "seconds": lasted}), flush=True)


def build(place: Path, passages: int) -> None:
    """Build an index of documents with random text."""
    with Index(place).write() as writer:
        writer.set_manifest(Manifest(Stored.name, Stored.fingerprint, DIM, 100, 0))
        for n in range(max(4, passages // PASSAGES_OF_A_DOCUMENT)):
            put(writer, f"d{n}", 0, PASSAGES_OF_A_DOCUMENT)
        for name in PAIR:
            put(writer, name, 0, 1)
        writer.commit()
        writer.refresh_cache()


def put(writer: Writer, name: str, version: int, count: int) -> None:
    """Put a document in place of the former one."""
    texts = [passage(name, version, at) for at in range(count)]
    text = "\n".join(texts)
    chunks = list(chunks_of(name, texts))
    document = Document(name, name, text, name, "text/plain", f"{version}")
    record = FileRecord(f"/{name}", name, len(text), version, f"{name} {version}")
    file_id = writer.begin_file(record)
    writer.put_document(file_id, document, chunks, texts, Stored().embed_documents(texts))
    writer.end_file(file_id, record, [])


def remove(writer: Writer, name: str) -> None:
    """Remove a document, if it is there."""
    for file_id, _ in list(writer.files_below(f"/{name}")):
        writer.remove_file(file_id)


def chunks_of(name: str, texts: Sequence[str]) -> Iterator[Chunk]:
    """Yield a chunk for each line of a document."""
    at = 0
    for ordinal, text in enumerate(texts):
        yield Chunk(0, name, text, at, at + len(text), ordinal)
        at += len(text) + 1


def passage(name: str, version: int, at: int) -> str:
    """Make a passage: name and version, then words that are the same for the same arguments."""
    chance = random.Random(f"{name} {version} {at}")  # noqa: S311
    words = (f"word{chance.randrange(VOCABULARY)}" for _ in range(WORDS_OF_A_PASSAGE))
    return f"{name} {version} {at} " + " ".join(words)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a process has ended: {process.args!r}")
    return line


if __name__ == "__main__":
    main()
