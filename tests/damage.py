"""A process that damages an index in many ways, and looks at it each time.

    python damage.py STATE FOLDER SPREAD EVERY REPAIRED

Builds an index in FOLDER: `settled`, or as a process leaves it that is killed (`log`). Prints a
line of JSON for each case that went wrong, and before each case its name, so that a crash of a
library can be told from what was printed last. Of each file SPREAD positions are flipped beside
its first bytes; of all cases each EVERY-th is looked at, each REPAIRED-th of those is repaired.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import synthetic
from synthetic import cut

from rag import RagError
from rag.index import FileRecord, Index, Manifest, Writer
from rag.index.disk import database
from rag.index.upkeep import examine, repair
from rag.query import parse_question
from rag.query.filters import parse_filter
from rag.types import Document, Examination

DIM = 8
MANIFEST = Manifest("embedder", "weights", DIM, 100, 10)
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
Contents = dict[str, bytes]


def unit(seed: int, count: int) -> np.ndarray:
    return synthetic.unit(np.random.default_rng(seed), count)


QUERY = unit(99, 1)[0]


def line(name: str, i: int) -> str:
    return f"{name} passage {i} of what takes up some room in the pages of a database"


def put(writer: Writer, name: str, count: int, seed: int) -> None:
    text, chunks = cut(name, [line(name, i) for i in range(count)], ("Top", name))
    metadata = {"language": "en", "author": f"author of {name}"}
    document = Document(name, f"{name}.txt", text, name, "text/plain", name, metadata=metadata)
    file = FileRecord(f"/{name}.txt", f"{name}.txt", 1, 1, name)
    synthetic.put(writer, file, [(document, chunks, unit(seed, count))])


def build(index: Index) -> dict[str, float]:
    """Documents of several pages, one gone again, and what is newer than the cache of vectors.

    Returns the score of every chunk there ever was, by its text.
    """
    scores = {}
    for at, name in enumerate(NAMES):
        halves = unit(at, 40).astype(np.float16).astype(np.float32)
        scores |= {line(name, i): float(v @ QUERY) for i, v in enumerate(halves)}
    with index.write() as writer:
        writer.set_manifest(MANIFEST)
        for at, name in enumerate(NAMES[:4]):
            put(writer, name, 40, at)
        writer.commit()
        writer.refresh_cache()
    with index.write() as writer:
        for file_id, _ in list(writer.files_below("/beta.txt")):
            writer.remove_file(file_id)
        put(writer, "epsilon", 5, 4)
        writer.commit()
    return scores


def build_with_log(directory: Path) -> dict[str, float]:
    """The same as a process leaves it that was killed: the log holds the last commits."""
    child = os.fork()
    if child == 0:
        index = Index(directory)
        with index.write() as writer:
            writer.set_manifest(MANIFEST)
            writer.commit()
        # A reader that stays keeps the log from being cleared away.
        with index.snapshot():
            build(index)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with_scores = directory.with_name("scores")
    scores = build(Index(with_scores))
    shutil.rmtree(with_scores)
    return scores


def looks(directory: Path) -> dict[str, Callable[[], Any]]:
    """Every way to read an index, each from the beginning."""

    def at_one_state(look: Callable[[Any], Any]) -> Any:
        with Index(directory).snapshot() as state:
            return look(state)

    def nearest(state: Any, k: int = 12) -> Any:
        found = state.nearest(QUERY, k)
        passages = state.passages([each for each, _ in found])
        return [(passages[each].chunk.text, round(score, 4)) for each, score in found]

    def matching(state: Any) -> Any:
        found = state.matching(parse_question("delta passage 11"), 500)
        # What was removed counts for the weight of words until the cache is written anew.
        return sorted(each for each, _ in found)

    def holding(state: Any) -> list[int]:
        return list(map(int, state.holding(parse_question('"alpha passage" -"passage 7"'))))

    def passing(state: Any) -> list[int]:
        return list(map(int, state.passing(parse_filter("author~gamma"))))

    return {
        "counts": lambda: Index(directory).counts(),
        "documents": lambda: list(Index(directory).documents()),
        "chunks": lambda: {name: Index(directory).chunks(name) for name in NAMES},
        "files": lambda: [file.record for file in Index(directory).files()],
        "nearest": lambda: at_one_state(nearest),
        "all": lambda: sorted(at_one_state(lambda state: nearest(state, 1000))),
        "matching": lambda: at_one_state(matching),
        "holding": lambda: at_one_state(holding),
        "passing": lambda: at_one_state(passing),
    }


def contents(directory: Path) -> Contents:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def restore(directory: Path, kept: Contents) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    for name, data in kept.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)


def damages(name: str, data: bytes, spread: int) -> Iterator[tuple[str, bytes | None]]:
    """Ways in which a file may be damaged; None is that it is gone."""
    generator = random.Random(name.rpartition(".")[2])  # noqa: S311
    length = len(data)
    main = "/" not in name and not name.endswith((".faiss", "-shm"))
    yield "deleted", None
    if not length:
        return
    yield "emptied", b""
    for kept in sorted({1, length // 3, length - 1, *((4096, length - 4096) if main else ())}):
        if 0 < kept < length:
            yield f"cut to {kept}", data[:kept]
    yield "garbage", generator.randbytes(length)
    yield "ones", b"\xff" * length
    first = range(min(100 if name.startswith("index.") else 4, length))
    further = [generator.randrange(length) for _ in range(spread if main else spread // 10)]
    for at in (*first, *further):
        flipped = bytearray(data)
        flipped[at] ^= 1 << generator.randrange(8)
        yield f"bit flipped in byte {at}", bytes(flipped)
    if name == "index.sqlite":
        for page in range(length // 4096):
            lost = data[: page * 4096] + b"A" * 4096 + data[(page + 1) * 4096 :]
            yield f"page {page + 1} overwritten", lost


def cases(kept: Contents, spread: int) -> Iterator[tuple[str, str, bytes | None]]:
    seen = set()
    for name, data in kept.items():
        # Of the many files of terms, which are checked alike, one of a kind.
        kind = name.rpartition(".")[2] if name.startswith("terms-") else name
        if kind in seen:
            continue
        seen.add(kind)
        for damage, damaged in damages(name, data, spread):
            yield name, damage, damaged


def wrong_reads(directory: Path, good: dict[str, Any]) -> Iterator[str]:
    """What is neither as it was, nor refused by one of our errors."""
    for name, look in looks(directory).items():
        try:
            found = look()
        except RagError:
            continue
        except Exception:
            yield f"{name}: {traceback.format_exc(limit=-3)}"
            continue
        if found != good[name]:
            yield f"{name}: other results"


def wrong_repair(
    directory: Path, good: dict[str, Any], scores: dict[str, float], damaged: Contents
) -> Iterator[str]:
    """What is not well after a repair."""
    report = repair(Index(directory))
    if not report.well:
        if "nothing can be salvaged" not in str(report) or report.lost or report.kept:
            yield f"neither mended nor left: {report}"
        now = contents(directory)
        if any(now.get(name) != data for name, data in damaged.items() if _matters(name)):
            yield "was touched although nothing could be done"
        return
    again = examine(directory)
    if not again.well or repair(Index(directory)).lost:
        yield f"is not well after it was mended: {again}"
    found = {}
    for name, look in looks(directory).items():
        try:
            found[name] = look()
        except Exception:
            yield f"after repair: {name}: {traceback.format_exc(limit=-3)}"
            return
    there = {document.id: document for document in found["documents"]}
    expected = {document.id: document for document in good["documents"]}
    commits_lost = _commits_lost(report)
    for name, document in expected.items():
        if name in there:
            whole = there[name] == document and found["chunks"][name] == good["chunks"][name]
            if not whole:
                yield f"{name} is not as it was"
        elif f"{name}.txt" not in report.lost and not commits_lost:
            yield f"{name} is gone, and not named: {report}"
    if not commits_lost and there.keys() - expected.keys():
        yield "what was removed is back"
    wanted = sorted(
        (chunk.text, round(scores[chunk.text], 4))
        for name in there
        for chunk in found["chunks"][name]
    )
    if [text for text, _ in found["all"]] != [text for text, _ in wanted] or not np.allclose(
        [score for _, score in found["all"]], [score for _, score in wanted], atol=2e-4
    ):
        yield "what is nearest is not what the chunks say"
    matching = [
        chunk.id for name in there for chunk in found["chunks"][name] if "passage" in chunk.text
    ]
    if sorted(matching) != found["matching"]:
        yield "what matches is not what the chunks say"


def _commits_lost(report: Examination) -> bool:
    return any("lost for good" in finding.text for finding in report.findings)


def _matters(name: str) -> bool:
    return name.startswith("index.sqlite") and not name.endswith("-shm")


def main(state: str, folder: str, spread: int, every: int, repaired: int) -> None:
    directory = Path(folder) / "index"
    scores = build(Index(directory)) if state == "settled" else build_with_log(directory)
    kept = contents(directory)
    assert f"{database.NAME}-wal" in kept or state == "settled"
    good = {name: look() for name, look in looks(directory).items()}
    assert all(good.values()), good
    restore(directory, kept)
    number = 0
    for number, (name, damage, data) in enumerate(islice(cases(kept, spread), 0, None, every), 1):
        print(json.dumps({"case": f"{name}: {damage}"}), flush=True)
        damaged = {**kept, name: data} if data is not None else {**kept}
        if data is None:
            del damaged[name]
        restore(directory, damaged)
        problems = list(wrong_reads(directory, good))
        if number % repaired == 0:
            restore(directory, damaged)
            try:
                problems += wrong_repair(directory, good, scores, damaged)
            except Exception:
                problems.append(f"repair: {traceback.format_exc(limit=-4)}")
        for problem in problems:
            print(json.dumps({"case": f"{name}: {damage}", "wrong": problem}), flush=True)
    print(json.dumps({"done": number}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
