"""The stages that a system goes through, each in a process of its own.

    python SYSTEM.py index  --store DIR --model DIR --passages FILE
    python SYSTEM.py cold   --store DIR --model DIR --mode MODE --question TEXT
    python SYSTEM.py warm   --store DIR --model DIR --mode MODE --questions FILE
    python SYSTEM.py rank   --store DIR --model DIR --mode MODE --questions FILE

`index` makes a durable index of the passages. `cold` prints the hits of one question. `warm` prints
the seconds of each search but the first few, `rank` the passages found for each question; both as
one line of JSON. Nothing is imported here that takes time: a system's own modules are its cost.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HITS = 10
# Documents are ranked by their best passage: this many hold ten documents of a few passages each.
PASSAGES_TO_RANK = 100
UNTIMED = 5


@dataclass(frozen=True, slots=True)
class Passage:
    """A text to be embedded; `name` is its document's id, `#`, and its place in it."""

    name: str
    text: str


Search = Callable[[str, int], Sequence[Passage]]
"""question, k -> the best passages, best first."""


def run(
    index: Callable[[Sequence[Passage], Path, str], None],
    open_store: Callable[[Path, str, str], Search],
) -> None:
    """Go through the stage that the command line names.

    `index` is given passages, the folder of the index, and the model's directory; `open_store` that
    folder, that directory, and the mode, `dense` or `hybrid`.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("index", "cold", "warm", "rank"))
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--mode", default="dense")
    parser.add_argument("--passages", type=Path)
    parser.add_argument("--question", default="")
    parser.add_argument("--questions", type=Path)
    given = parser.parse_args()
    if given.stage == "index":
        passages = [Passage(each["name"], each["text"]) for each in _read(given.passages)]
        index(passages, given.store, given.model)
        return
    search = open_store(given.store, given.model, given.mode)
    if given.stage == "cold":
        for hit in search(given.question, HITS):
            print(f"{hit.name}\t{hit.text}", flush=True)
        return
    questions = {each["_id"]: each["text"] for each in _read(given.questions)}
    if given.stage == "warm":
        print(json.dumps([_time(search, text) for text in questions.values()][UNTIMED:]))
        return
    ranked = {
        each: [hit.name for hit in search(text, PASSAGES_TO_RANK)]
        for each, text in questions.items()
    }
    print(json.dumps(ranked))


def _time(search: Search, question: str) -> float:
    started = time.perf_counter()
    search(question, HITS)
    return time.perf_counter() - started


def _read(file: Path) -> list[dict[str, str]]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
