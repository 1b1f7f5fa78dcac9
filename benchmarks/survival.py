"""Check that an index loses nothing when the process that writes it is killed.

    python benchmarks/survival.py [--kills 1000] [--seed 0] [--folder DIR]

Processes add, replace, remove, compact and optimize synthetic documents, and acknowledge through a
pipe each operation that has returned. They get SIGKILL at random moments of an operation, one in
ten just after it returned. After each kill another process opens the index: every document must be
there as it was acknowledged, the interrupted operation as a whole or not at all, and searches by
vectors, words and filters must find what a dict and NumPy say. Prints a Markdown table; exit code
1 if anything was lost, torn or wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from rag.errors import RagError
from rag.index import FileRecord, Index, Manifest, Writer
from rag.query import parse_question
from rag.query.filters import parse_filter
from rag.types import Chunk, Document

if TYPE_CHECKING:
    from rag.types import Vectors

DIM = 8
MANIFEST = Manifest("synthetic", "weights", DIM, 100, 10)
# No language has such words, so that stemming and stop words change none of them.
WORDS = tuple(f"{first}{second}oz" for first in "bdfgk" for second in ("ra", "la", "wo", "zu"))
GROUPS = 3
MOST_DOCUMENTS = 12
PATIENCE = 120.0

State = dict[str, tuple[int, int]]
"""Version and number of chunks by the name of a document: all else follows from these."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A change to an index: one transaction, or work that leaves its contents as they are."""

    kind: str
    put: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    without: Sequence[str] = ()

    def apply(self, state: State) -> State:
        """Return what an index that held `state` holds after it."""
        rest = {} if self.kind == "rebuild" else state
        rest = {name: value for name, value in rest.items() if name not in self.without}
        return {**rest, **{name: (value[0], value[1]) for name, value in self.put.items()}}


@lru_cache(maxsize=256)
def make(name: str, version: int, count: int) -> tuple[Document, tuple[Chunk, ...], Vectors]:
    """Make a document, a chunk for each line, and vectors, the same for the same arguments."""
    seed = crc32(f"{name} {version}".encode())
    generator = random.Random(seed)  # noqa: S311
    lines = [
        " ".join([f"{name} version {version} part {part}", *generator.choices(WORDS, k=6)])
        for part in range(count)
    ]
    chunks, at = [], 0
    for part, line in enumerate(lines):
        chunks.append(Chunk(0, name, line, at, at + len(line), part, ("Top", name), 1, part + 1))
        at += len(line) + 1
    metadata = {"group": f"g{seed % GROUPS}", "version": version, "count": count}
    document = Document(
        name, f"{name}.md", "\n".join(lines), name, "text/plain", f"{seed}", metadata=metadata
    )
    vectors = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return document, tuple(chunks), vectors


def carry_out(index: Index, operation: Operation) -> None:
    """Carry out an operation; once this returns, it counts as acknowledged."""
    if operation.kind == "compact":
        index.compact()
        return
    if operation.kind == "optimize":
        index.optimize()
        return
    with index.write() as writer:
        if operation.kind == "rebuild":
            writer.clear()
        writer.set_manifest(MANIFEST)
        for name in operation.without:
            for file_id, _ in list(writer.files_below(f"/{name}.md")):
                writer.remove_file(file_id)
        for name, (version, count) in operation.put.items():
            put(writer, name, version, count)
        writer.commit()
        writer.refresh_cache()


def put(writer: Writer, name: str, version: int, count: int) -> None:
    """Put a document in place of the former one of its name."""
    document, chunks, vectors = make(name, version, count)
    record = FileRecord(f"/{name}.md", f"{name}.md", count, version, document.content_hash)
    file_id = writer.begin_file(record)
    writer.put_document(file_id, document, chunks, [chunk.text for chunk in chunks], vectors)
    writer.end_file(file_id, record, [])


def read_state(index: Index) -> tuple[State, list[str]]:
    """Read what an index holds, and list what of it is not as it was put."""
    state: State = {}
    torn = []
    stored: dict[str, list[Chunk]] = {}
    with index.snapshot() as snapshot:
        documents = list(index.documents())
        for document in documents:
            stored[document.id] = index.chunks(document.id)
        ids = [chunk.id for chunks in stored.values() for chunk in chunks]
        vectors = dict(zip(ids, snapshot.vectors(ids), strict=True)) if ids else {}
    for document in documents:
        name, chunks = document.id, stored[document.id]
        version, count = document.metadata["version"], document.metadata["count"]
        as_put, chunks_put, vectors_put = make(name, version, count)
        state[name] = (version, count)
        if document != as_put:
            torn.append(f"{name}: its text or what is known of it is not what was put")
        if [chunk_key(chunk) for chunk in chunks] != [chunk_key(chunk) for chunk in chunks_put]:
            torn.append(f"{name}: its chunks are not what was put")
        elif not np.array_equal(
            [vectors[chunk.id] for chunk in chunks], vectors_put.astype(np.float16)
        ):
            torn.append(f"{name}: its vectors are not what was put")
    files = {each.record.source for each in index.files() if each.complete}
    if files != {f"{name}.md" for name in state}:
        torn.append(f"files {sorted(files)} of documents {sorted(state)}")
    counts = {"files": len(state), "documents": len(state), "chunks": len(ids)}
    if index.counts() != counts:
        torn.append(f"counts {index.counts()}, not {counts}")
    return state, torn


def chunk_key(chunk: Chunk) -> tuple[Any, ...]:
    """Return all of a chunk except its id."""
    return (chunk.document_id, chunk.text, chunk.start, chunk.end, chunk.ordinal, chunk.heading)


def wrong_answers(index: Index, state: State, seed: int) -> list[str]:
    """List the searches that do not find what a dict and NumPy say."""
    rows = [
        (f"{name}.md", document.metadata["group"], chunk.text, vector)
        for name, (version, count) in state.items()
        for document, chunks, vectors in [make(name, version, count)]
        for chunk, vector in zip(chunks, vectors.astype(np.float16).astype(np.float32), strict=True)
    ]
    generator = np.random.default_rng(seed)
    query = generator.normal(size=DIM).astype(np.float32)
    word, group = WORDS[seed % len(WORDS)], f"g{seed % GROUPS}"
    wrong = []
    with index.snapshot() as snapshot:

        def texts(ids: Sequence[int]) -> list[str]:
            passages = snapshot.passages(ids)
            return [passages[each].chunk.text if each in passages else "gone" for each in ids]

        wanted = parse_filter(f"meta.group:{group}")
        assert wanted is not None
        within = snapshot.passing(wanted)
        of_group = [row for row in rows if row[1] == group]
        if sorted(texts(within.tolist())) != sorted(row[2] for row in of_group):
            wrong.append(f"filter {wanted}")
        for k, ids, among in ((5, None, rows), (len(rows) + 9, None, rows), (5, within, of_group)):
            ours = snapshot.nearest(query, k, ids)
            found = texts([each for each, _ in ours])
            theirs = {row[2]: float(row[3] @ query) for row in among}
            if not is_nearest(dict(zip(found, [s for _, s in ours], strict=True)), theirs, k):
                wrong.append(f"nearest {k} {'' if ids is None else 'filtered'}")
        hits = [each for each, _ in snapshot.matching(parse_question(word), len(rows) + 9)]
        if sorted(texts(hits)) != sorted(row[2] for row in rows if word in row[2].split()):
            wrong.append(f"matching {word}")
        if rows:
            # The words of one passage must find that passage first.
            text = rows[seed % len(rows)][2]
            phrase = parse_question(f'"{text}"')
            if texts([each for each, _ in snapshot.matching(phrase, 2)]) != [text]:
                wrong.append(f"matching the phrase {text!r}")
    return wrong


def is_nearest(found: Mapping[str, float], scores: Mapping[str, float], k: int) -> bool:
    """Return whether these are the `k` best by `scores`, in order.

    Scores that differ in the last bits may stand in either order, since FAISS and NumPy add in
    different orders.
    """
    best = sorted(scores.values(), reverse=True)[:k]
    return (
        found.keys() <= scores.keys()
        and len(found) == len(best)
        and np.allclose(list(found.values()), [scores[text] for text in found], atol=1e-6)
        and np.allclose(list(found.values()), best, atol=1e-6)
    )


class Processes:
    """Starts processes that change an index, by forking a small process without threads."""

    def __init__(self) -> None:
        jobs, self._jobs = os.pipe()
        self._started, started = os.pipe()
        self._replies, replies = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._jobs)
            try:
                serve(os.fdopen(jobs), started, replies)
            finally:
                os._exit(1)
        for descriptor in (jobs, started, replies):
            os.close(descriptor)
        os.set_blocking(self._replies, False)

    def start(self, directory: Path, operations: Sequence[Operation]) -> int:
        """Start a process that carries out operations and waits to be killed; returns its id."""
        job = {"directory": str(directory), "operations": [asdict(each) for each in operations]}
        os.write(self._jobs, json.dumps(job).encode() + b"\n")
        return int(os.read(self._started, 32))

    def count_acknowledged(self, seconds: float) -> int:
        """Count the operations acknowledged since the last call; waits so long for the first.

        Raises:
            RuntimeError: if one of them failed.
        """
        if not select.select([self._replies], [], [], seconds)[0]:
            return 0
        replies = os.read(self._replies, 64)
        if b"!" in replies:
            raise RuntimeError("an operation failed")
        return len(replies)

    def kill(self, pid: int) -> None:
        """End a process at once."""
        # Nobody has waited for the process yet, so that its id cannot be another's by now.
        os.kill(pid, signal.SIGKILL)
        os.write(self._jobs, b"\n")
        os.read(self._started, 32)

    def close(self) -> None:
        """End the process that forks."""
        os.close(self._jobs)
        os.waitpid(self._pid, 0)


def serve(jobs: IO[str], started: int, replies: int) -> None:
    """Fork a process for each job, until there are no more."""
    # Loaded here, so that starting a process takes no longer than a fork.
    import faiss  # noqa: F401
    import tantivy  # noqa: F401

    for line in jobs:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            work(
                Path(job["directory"]),
                [Operation(**each) for each in job["operations"]],
                replies,
            )
        os.write(started, str(pid).encode())
        jobs.readline()
        os.waitpid(pid, 0)
        os.write(started, b"ended")
    os._exit(0)


def work(directory: Path, operations: Sequence[Operation], replies: int) -> None:
    """Carry out operations, acknowledge each, and wait to be killed."""
    try:
        index = Index(directory)
        for operation in operations:
            carry_out(index, operation)
            os.write(replies, b".")
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        os.write(replies, b"!")
    while True:
        signal.pause()


class Plan:
    """Random operations, each possible after the ones before it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._version = 0

    def operation(self, kind: str, state: State) -> Operation:
        """Choose an operation of a kind, for an index that holds `state`."""
        names = sorted(state)
        if kind in {"compact", "optimize"}:
            return Operation(kind)
        if kind == "remove" and names:
            return Operation(kind, {}, self._random.sample(names, 1))
        if kind == "replace" and names:
            return Operation(kind, self._documents(self._random.sample(names, 1)))
        if kind == "several" and len(names) > 2:
            changed = self._random.sample(names, 3)
            put = self._documents([*changed[:2], self._new(state)])
            return Operation(kind, put, changed[2:])
        return Operation("add", self._documents([self._new(state)]))

    def kind(self, state: State) -> str:
        """Choose what to do next."""
        if len(state) > MOST_DOCUMENTS:
            return "remove"
        return self._random.choice(KINDS)

    def _new(self, state: State) -> str:
        free = [f"d{n}" for n in range(MOST_DOCUMENTS * 2) if f"d{n}" not in state]
        return self._random.choice(free)

    def _documents(self, names: Sequence[str]) -> State:
        documents = {}
        for name in names:
            self._version += 1
            # Now and then a large one forces new caches.
            count = self._random.choice((1, 3, 10, 40, 300))
            documents[name] = (self._version, count)
        return documents


KINDS = ("add", "add", "replace", "replace", "remove", "several", "compact", "optimize")


@dataclass(slots=True)
class Tally:
    """The results of the kills during one kind of operation."""

    kills: int = 0
    middle: int = 0
    whole: int = 0
    lost: int = 0
    torn: int = 0
    wrong: int = 0

    def __add__(self, other: Tally) -> Tally:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Tally(*(mine + others for mine, others in pairs))

    def row(self, kind: str) -> str:
        """Render a row of the table."""
        return f"| {kind} | " + " | ".join(map(str, astuple(self))) + " |"


def main() -> None:
    """Kill writers and print the results as a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="make the index here, and keep it")
    arguments = parser.parse_args()
    processes = Processes()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)) / f"survival-{arguments.seed}"
        tallies = kill_and_look(processes, folder, arguments.kills, arguments.seed)
    processes.close()
    print("| operation | kills | in the middle | done all the same | lost | torn | wrong answers |")
    print("| --- " * 7 + "|")
    for kind, tally in sorted(tallies.items()):
        print(tally.row(kind))
    total = sum(tallies.values(), Tally())
    print(total.row("all"))
    print(f"\nSeed {arguments.seed}, {time.monotonic() - begun:.0f} s.")
    sys.exit(1 if total.lost or total.torn or total.wrong else 0)


def kill_and_look(processes: Processes, folder: Path, kills: int, seed: int) -> dict[str, Tally]:
    """Kill writers, and look at the index after each kill; returns tallies by kind."""
    chance, plan = random.Random(seed), Plan(seed)  # noqa: S311
    tallies: dict[str, Tally] = defaultdict(Tally)
    lengths = measure(processes, folder, plan)
    state, _ = read_state(Index(folder))
    lasting = Index(folder)
    for number in range(kills):
        states, operations = [state], []
        for _ in range(chance.choice((1, 1, 2))):
            operations.append(plan.operation(plan.kind(states[-1]), states[-1]))
            states.append(operations[-1].apply(states[-1]))
        kind = operations[-1].kind
        pid = processes.start(folder, operations)
        done = 0
        while done < len(operations) - 1:
            done += wait_for_one(processes)
        if chance.random() < 0.1:
            done += wait_for_one(processes)
        else:
            time.sleep(chance.random() * median(lengths[kind][-9:]))
        processes.kill(pid)
        done += processes.count_acknowledged(0)
        # One process that stays, which knows caches by now, and one that has just begun.
        index = lasting if number % 2 else Index(folder)
        tally = tallies[kind]
        tally.kills += 1
        tally.middle += done < len(operations)
        state = look(index, states[done:], tally, f"{number}, {kind}", number)
    return dict(tallies)


def look(index: Index, states: Sequence[State], tally: Tally, what: str, seed: int) -> State:
    """Read what an index holds, which must be the first of `states` or the one after it."""
    try:
        state, torn = read_state(index)
        wrong = wrong_answers(index, state, seed)
    except RagError as error:
        state, torn, wrong = states[0], [str(error)], []
    acknowledged, following = states[0], states[min(1, len(states) - 1)]
    lost = [
        name
        for name, value in acknowledged.items()
        if following.get(name) == value != state.get(name)
    ]
    if state not in (acknowledged, following) and not lost:
        torn.append(f"holds {state}, neither {acknowledged} nor {following}")
    tally.whole += len(states) > 1 and state == following != acknowledged
    tally.lost += len(lost)
    tally.torn += len(torn)
    tally.wrong += len(wrong)
    for problem in [*(f"{name}: is lost" for name in lost), *torn, *wrong]:
        print(f"kill {what}: {problem}", file=sys.stderr)
    return state


def measure(processes: Processes, folder: Path, plan: Plan) -> dict[str, list[float]]:
    """Make an index by operations of each kind, and measure their seconds."""
    lengths: dict[str, list[float]] = defaultdict(list)
    state: State = {}
    for kind in (*["add"] * 5, *sorted(set(KINDS)) * 3):
        operation = plan.operation(kind, state)
        begun = time.monotonic()
        pid = processes.start(folder, [operation])
        wait_for_one(processes)
        lengths[operation.kind].append(time.monotonic() - begun)
        processes.kill(pid)
        state = operation.apply(state)
    return lengths


def wait_for_one(processes: Processes) -> int:
    """Wait until an operation is acknowledged; returns how many were.

    Raises:
        RuntimeError: if that takes more than PATIENCE.
    """
    done = processes.count_acknowledged(PATIENCE)
    if not done:
        raise RuntimeError(f"nothing was acknowledged within {PATIENCE:.0f} seconds")
    return done


if __name__ == "__main__":
    main()
