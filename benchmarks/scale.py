"""Measure the search for nearest vectors in large indexes, by kind of index.

    python benchmarks/scale.py --count 1000000 --kinds flat,hnsw,ivf-sq8,ivf-pq --folder DIR

The folder gets a real index of chunks without text; times are those of a whole `Snapshot.nearest`,
with its reads from SQLite. The vectors come from a mixture: topics of clusters of very different
sizes, and within a cluster noise that is mostly in a few directions, so that the nearest are
neither copies nor all alike. Queries come from the same mixture and are not stored. Brute force
over the stored vectors gives the exact nearest. Memory is that of a fresh process.

An index of the same count and dimension that is there already is used again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import psutil
from numpy.typing import NDArray

from rag.index import FileRecord, Index, Manifest, rows
from rag.index.disk import database
from rag.index.vectors.cache import blocks
from rag.index.vectors.kinds import KINDS, CacheSettings, Truth, shape_of

Floats = NDArray[np.float32]

SEED = 7
BLOCK = 20_000
SHARES = (0.5, 0.1, 0.01, 0.001)
FILTERED = 50


class Mixture:
    """The mixture that vectors and queries are drawn from."""

    def __init__(self, dim: int, clusters: int = 20_000, topics: int = 400) -> None:
        random = np.random.default_rng(SEED)
        self.dim = dim
        topic = _unit(random.standard_normal((topics, dim), dtype=np.float32))
        centre = _unit(random.standard_normal((clusters, dim), dtype=np.float32))
        common = _unit(random.standard_normal((1, dim), dtype=np.float32))
        # All are a little alike, as texts are, and those of a topic more so.
        self.centres = _unit(
            0.35 * common + 0.7 * topic[random.integers(topics, size=clusters)] + 0.7 * centre
        )
        shares = random.lognormal(0.0, 1.2, clusters)
        self.shares = np.cumsum(shares / shares.sum())
        latent = min(48, dim)
        directions = _unit(random.standard_normal((latent, dim), dtype=np.float32))
        weights = np.arange(1, latent + 1, dtype=np.float32) ** -0.5
        self.directions = directions * (weights / np.linalg.norm(weights))[:, None]

    def draw(self, count: int, *seed: int) -> Floats:
        """Draw vectors of unit length, float32 `[count, dim]`."""
        random = np.random.default_rng([SEED, *seed])
        cluster = np.searchsorted(self.shares, random.random(count)).clip(max=len(self.centres) - 1)
        drawn = random.standard_normal((count, len(self.directions)), dtype=np.float32)
        drawn = 0.75 * (drawn @ self.directions) + self.centres[cluster]
        noise = random.standard_normal((count, self.dim), dtype=np.float32)
        drawn += np.float32(0.35 / np.sqrt(self.dim)) * noise
        return _unit(drawn)


@dataclass(frozen=True, slots=True)
class Row:
    """The measurements of one kind."""

    kind: str
    count: int
    searched: str
    build_seconds: float
    stages: dict[str, float]
    build_mb: int
    disk_bytes: int
    loaded_mb: float
    private_mb: float
    used_mb: float
    recall_10: float
    recall_100: float
    median_ms: float
    p95_ms: float
    filtered: dict[str, tuple[float, float]]


def main() -> None:
    """Make the index, measure each kind, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--recall", type=float, default=CacheSettings().recall)
    parser.add_argument("--json", type=Path, help="add the measurements to this file, for --plot")
    parser.add_argument(
        "--plot",
        type=Path,
        help="draw the measurements of --json into this file, and do nothing else",
    )
    parser.add_argument("--build", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        print(json.dumps(build_kind(arguments.folder, arguments.build, arguments.recall)))
        return
    if arguments.measure:
        print(json.dumps(measure_searches(arguments.folder, arguments.measure, arguments.queries)))
        return
    if arguments.plot:
        plot(json.loads(arguments.json.read_text()), arguments.plot)
        return
    seconds = make_index(arguments.folder, arguments.count, arguments.dim)
    started = time.perf_counter()
    queries = Mixture(arguments.dim).draw(arguments.queries, 1, 0)
    np.savez(arguments.folder / "queries.npz", queries=queries, **exact(arguments.folder, queries))  # type: ignore[arg-type]
    print(f"exact neighbours: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    table = []
    for kind in arguments.kinds.split(","):
        table.append(measure(arguments.folder, kind, arguments))
        print(as_table(table, seconds, arguments), flush=True)
        if arguments.json:
            known = json.loads(arguments.json.read_text()) if arguments.json.exists() else []
            known = [r for r in known if (r["kind"], r["count"]) != (kind, arguments.count)]
            arguments.json.write_text(json.dumps([*known, asdict(table[-1])], indent=1) + "\n")


def make_index(folder: Path, count: int, dim: int) -> float:
    """Make an index of `count` chunks without text; returns the seconds that took."""
    index = Index(folder / "index")
    if index.exists() and index.counts()["chunks"] == count:
        manifest = index.manifest()
        if manifest is not None and manifest.dim == dim:
            return 0.0
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.perf_counter()
    with index.write() as writer:
        writer.set_manifest(Manifest("mixture", "", dim, 1, 0))
        writer.begin_file(FileRecord("/mixture", "mixture", 1, 1, "mixture"))
        writer.commit()
    with closing(database.open_to_write(index.directory)) as connection:
        insert(connection, Mixture(dim), count)
    taken = time.perf_counter() - started
    print(f"vectors drawn and stored: {taken:.0f} s", file=sys.stderr)
    return taken


def insert(connection: apsw.Connection, mixture: Mixture, count: int) -> None:
    """Insert chunks without text, in documents of BLOCK each."""
    for at in range(0, count, BLOCK):
        vectors = mixture.draw(min(BLOCK, count - at), 0, at).astype("<f2")
        name = f"{at:012}"
        connection.execute("BEGIN")
        connection.execute(
            "INSERT INTO documents (file_id, id, source, title, text, media_type, content_hash, "
            "metadata, pages, headings, verbatim, markup) "
            "VALUES (1, ?, ?, '', '', '', '', '{}', '[]', '[]', 1, 'plain')",
            (name, name),
        )
        connection.executemany(
            'INSERT INTO chunks (document_id, start, "end", ordinal, heading, passage_hash, '
            "vector) VALUES (?, 0, 0, ?, '[]', ?, ?)",
            (
                (name, ordinal, (at + ordinal).to_bytes(16, "big"), vector.tobytes())
                for ordinal, vector in enumerate(vectors)
            ),
        )
        connection.execute("COMMIT")
        if at // BLOCK % 50 == 0:
            print(f"{at + len(vectors):,} stored", file=sys.stderr)
    # There are no words: their index is as complete as it will be.
    connection.execute("UPDATE caches SET max_id = ? WHERE kind = 'terms'", (count,))


def exact(folder: Path, queries: Floats) -> dict[str, NDArray[np.int64]]:
    """Find the ids nearest to each query by brute force, among all chunks and among shares of them.

    The keys are the shares as text; `1` means all.
    """
    index = Index(folder / "index")
    with database.open_to_read(index.directory) as connection:
        ids = rows.chunk_ids(connection)
    none = np.zeros(len(queries), np.int64)
    truths = {share: Truth(none[:FILTERED], queries[:FILTERED], 10) for share in SHARES}
    within = {share: passing(ids, share) for share in SHARES}
    everything = Truth(none, queries)
    for own, vectors in blocks(
        lambda: database.open_to_read(index.directory), queries.shape[1], ids
    ):
        everything.take(own, vectors)
        for share, truth in truths.items():
            low, high = within[share].searchsorted([own[0], own[-1] + 1])
            wanted = np.isin(own, within[share][low:high], assume_unique=True)
            truth.take(own[wanted], vectors[wanted])
    return {"1": everything.found, **{str(share): truth.found for share, truth in truths.items()}}


def passing(ids: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Pick a share of all chunks, as a filter might let them pass."""
    return ids[np.random.default_rng([SEED, 2]).random(len(ids)) < share]


def measure(folder: Path, kind: str, arguments: argparse.Namespace) -> Row:
    """Build a kind, and search with it, each in a process of its own."""

    def run_step(step: str) -> dict[str, Any]:
        command = [sys.executable, __file__, step, kind, "--folder", str(folder)]
        command += ["--queries", str(arguments.queries), "--recall", str(arguments.recall)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return Row(kind=kind, **run_step("--build"), **run_step("--measure"))


def build_kind(folder: Path, kind: str, recall: float) -> dict[str, Any]:
    """Build a kind in this process, and measure its time and memory."""
    settings = CacheSettings(kind=kind, recall=recall)
    index, started = Index(folder / "index", caches=settings), time.perf_counter()
    said: dict[str, float] = {}

    def report(stage: str, done: int, total: int) -> None:
        said.setdefault(stage, time.perf_counter() - started)
        if time.perf_counter() - said.get("last", 0.0) > 10:
            said["last"] = time.perf_counter()
            print(f"{kind}: {stage} {done:,} of {total:,}", file=sys.stderr)

    index.optimize(progress=report)
    taken = time.perf_counter() - started
    said.pop("last", None)
    starts = [*said.items(), ("", taken)]
    stages = {stage: round(after - at, 1) for (stage, at), (_, after) in pairwise(starts)}
    with database.open_to_read(index.directory) as connection:
        row = rows.cache_row(connection, "vectors")
    assert row is not None
    print(f"{kind}: {stages}, {dict(row.details)}", file=sys.stderr)
    return {
        "count": row.count,
        "searched": describe(row.details),
        "build_seconds": round(taken, 1),
        "stages": stages,
        "build_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "disk_bytes": (folder / "index" / row.name).stat().st_size,
    }


def measure_searches(folder: Path, kind: str, queries: int) -> dict[str, Any]:
    """Search with a kind in this process, and measure memory, recall and times."""
    saved = np.load(folder / "queries.npz")
    index = Index(folder / "index", caches=CacheSettings(kind=kind))
    import faiss  # noqa: F401

    before = memory()
    with index.snapshot() as snapshot:
        snapshot.nearest(saved["queries"][0], 10)
        loaded = memory()
        found, times = [], []
        for query in saved["queries"]:
            started = time.perf_counter()
            found.append([each for each, _ in snapshot.nearest(query, 10)])
            times.append((time.perf_counter() - started) * 1000)
        many = [[each for each, _ in snapshot.nearest(query, 100)] for query in saved["queries"]]
        used = memory()
        filtered = {}
        ids = np.arange(1, index.counts()["chunks"] + 1, dtype=np.int64)
        for share in SHARES:
            within, near, taken = passing(ids, share), [], []
            for query in saved["queries"][:FILTERED]:
                started = time.perf_counter()
                near.append([each for each, _ in snapshot.nearest(query, 10, within)])
                taken.append((time.perf_counter() - started) * 1000)
            recall = recall_of(near, saved[str(share)], 10)
            filtered[str(share)] = (float(np.median(taken)), recall)
    return {
        "loaded_mb": round((loaded[0] - before[0]) / 1e6, 1),
        "private_mb": round((used[1] - before[1]) / 1e6, 1),
        "used_mb": round((used[0] - before[0]) / 1e6, 1),
        "recall_10": recall_of(found, saved["1"], 10),
        "recall_100": recall_of(many, saved["1"], 100),
        "median_ms": round(float(np.median(times)), 2),
        "p95_ms": round(float(np.percentile(times, 95)), 2),
        "filtered": filtered,
    }


def recall_of(found: list[list[int]], nearest: NDArray[np.int64], k: int) -> float:
    """Return the share of the true `k` nearest that were found."""
    hits = sum(len(set(f[:k]) & set(t[:k].tolist())) for f, t in zip(found, nearest, strict=True))
    return round(hits / (k * len(found)), 4)


def memory() -> tuple[int, int]:
    """Return the resident memory of this process, and the part of it that is no file's."""
    resident = psutil.Process().memory_info()
    return resident.rss, resident.rss - getattr(resident, "shared", 0)


def describe(details: Mapping[str, Any]) -> str:
    """Describe in words how a kind is searched."""
    shape = shape_of(details)
    if shape.lists:
        return f"{shape.probes} of {shape.lists:,} lists, {shape.depth}× compared again"
    if shape.ef:
        return f"ef {shape.ef}, {shape.depth}× compared again"
    return "all"


def as_table(measured: list[Row], seconds: float, arguments: argparse.Namespace) -> str:
    """Render the measurements as Markdown tables."""
    lines = [
        f"{arguments.count:,} vectors of {arguments.dim} dimensions; {processor()}, "
        f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB; "
        f"drawn and stored in {seconds:.0f} s",
        "",
        "| kind | searched | built in | memory to build | bytes a vector | memory | recall@10 "
        "| recall@100 | median | p95 |",
        "| --- | --- |" + " ---: |" * 8,
    ]
    lines += [
        f"| {r.kind} | {r.searched} | {r.build_seconds:,.0f} s | {r.build_mb:,} MB "
        f"| {r.disk_bytes / r.count:.0f} "
        f"| {r.used_mb:,.0f} MB, {r.private_mb:,.0f} of it private | {r.recall_10:.3f} "
        f"| {r.recall_100:.3f} | {r.median_ms:.1f} ms | {r.p95_ms:.1f} ms |"
        for r in measured
    ]
    lines += [
        "",
        "| kind | " + " | ".join(f"{float(s):.1%} pass" for s in measured[0].filtered) + " |",
        "| --- |" + " ---: |" * len(measured[0].filtered),
    ]
    lines += [
        f"| {r.kind} | "
        + " | ".join(f"{ms:.1f} ms, {recall:.3f}" for ms, recall in r.filtered.values())
        + " |"
        for r in measured
    ]
    return "\n".join([*lines, ""])


def processor() -> str:
    """Return the name of the processor, if the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def plot(saved: list[dict[str, Any]], path: Path) -> None:
    """Plot times and sizes by the number of vectors, with a line for each kind."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    shown = (
        ("median_ms", "median of a search, ms", 1.0),
        ("build_seconds", "built in, s", 1.0),
        ("disk_bytes", "size, GB", 1e-9),
    )
    for axis, (key, name, unit) in zip(axes, shown, strict=True):
        for kind in KINDS:
            own = sorted((r for r in saved if r["kind"] == kind), key=lambda r: r["count"])
            if own:
                axis.plot([r["count"] for r in own], [r[key] * unit for r in own], "o-", label=kind)
        axis.set(xscale="log", yscale="log", xlabel="vectors", title=name)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=120)


def _unit(vectors: Floats) -> Floats:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


if __name__ == "__main__":
    main()
