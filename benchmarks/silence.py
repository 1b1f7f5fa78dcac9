"""How often each sign of silence fires on answers and on near misses.

    python benchmarks/silence.py DATASET [--every 3]

DATASET is a folder in BEIR's layout whose queries.jsonl has `answers`, `answerable` and `near`, the
paragraph that each question was written about, as SQuAD 2.0's (Rajpurkar, Jia & Liang, ACL 2018).
The span of an answerable question is its first answer at its first place, and for comparison what
the rules of extraction take without an embedder; a near miss has only the latter. Printed is a
Markdown table of each sign's mean and of the AUROC by which it tells near misses from answers, with
the extracted spans of both. Every third question is asked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rag.answering.extraction import candidates_of, extract
from rag.answering.passages import Passages, Stretch
from rag.answering.silence import SIGNS, find_signs
from rag.types import Chunk, Hit


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--every", type=int, default=3, metavar="N")
    arguments = parser.parse_args()
    groups = read_signs(arguments.dataset, arguments.every)
    counts = ", ".join(f"{len(rows)} {name}" for name, rows in groups.items())
    print(f"Means over {counts}.\n")
    print("| sign | gold | extracted | near miss | AUROC |\n| --- | --- | --- | --- | --- |")
    gold, found, near = (np.array(groups[name]) for name in ("gold", "extracted", "near miss"))
    for at, sign in enumerate(SIGNS):
        area = auroc(near[:, at], found[:, at])
        means = " | ".join(f"{rows[:, at].mean():.3f}" for rows in (gold, found, near))
        print(f"| `{sign}` | {means} | {area:.3f} |")


def read_signs(dataset: Path, every: int) -> dict[str, list[list[float]]]:
    """Return the signs of each group of spans, a row a question."""
    pages = {page["_id"]: page for page in read_lines(dataset / "corpus.jsonl")}
    groups: dict[str, list[list[float]]] = {"gold": [], "extracted": [], "near miss": []}
    for at, query in enumerate(read_lines(dataset / "queries.jsonl")):
        if at % every:
            continue
        page = pages[query["near"]]
        passages = Passages([make_hit(page)])
        if query["answerable"] and (start := page["text"].find(query["answers"][0])) >= 0:
            span = Stretch(1, start, start + len(query["answers"][0]))
            groups["gold"].append(row(query["text"], passages, span))
        extracted = extract(*candidates_of(query["text"], passages))
        if extracted is not None:
            name = "extracted" if query["answerable"] else "near miss"
            groups[name].append(row(query["text"], passages, extracted))
    return groups


def row(question: str, passages: Passages, span: Stretch) -> list[float]:
    """Return the signs of a span in their order."""
    signs = find_signs(question, passages, span)
    return [signs[name] for name in SIGNS]


def make_hit(page: dict[str, str]) -> Hit:
    """Make a hit of a paragraph."""
    chunk = Chunk(1, page["_id"], page["text"], 0, len(page["text"]), 0)
    return Hit(chunk, 1.0, 1, page["_id"], page["title"])


def read_lines(path: Path) -> Iterator[dict[str, str]]:
    """Yield the records of a file."""
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def auroc(higher: np.ndarray, lower: np.ndarray) -> float:
    """Return how probably a value of `higher` exceeds one of `lower`, ties counted half."""
    values = np.sort(lower)
    below = np.searchsorted(values, higher, "left") + np.searchsorted(values, higher, "right")
    return float(below.mean() / 2 / len(lower))


if __name__ == "__main__":
    main()
