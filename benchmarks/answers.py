"""Share of right answers by generator: `python benchmarks/answers.py DATASET... [--every N]`.

DATASET is a folder with `queries.jsonl` and either `corpus/` or `corpus.jsonl`. An answer counts as
right when it holds one of the gold answers, whatever the case. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

from rag import RAG

GENERATORS = ("extractive", "smollm2-135m-instruct")


def main() -> None:
    """Measure every generator on every data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--every", type=int, default=1, help="take every Nth question")
    arguments = parser.parse_args()
    print(
        "| data | generator | questions | right | abstained | abstained, no answer there | median |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for dataset in arguments.datasets:
        lines = (dataset / "queries.jsonl").read_text(encoding="utf-8").splitlines()
        questions = [json.loads(line) for line in lines]
        with tempfile.TemporaryDirectory() as folder:
            for generator in GENERATORS:
                rag = RAG(folder, settings={"generation.model": generator})
                corpus = dataset / "corpus"
                rag.index(corpus if corpus.is_dir() else dataset / "corpus.jsonl")
                print(measure(rag, dataset.name, generator, questions, arguments.every), flush=True)


def measure(
    rag: RAG, data: str, generator: str, questions: list[dict[str, object]], every: int
) -> str:
    """One row of the table."""
    right = abstained = silent = 0
    seconds = []
    answerable = [q for q in questions if q["answerable"]][::every]
    others = [q for q in questions if not q["answerable"]][::every]
    for question in answerable:
        started = time.perf_counter()
        answer = rag.ask(str(question["text"]))
        seconds.append(time.perf_counter() - started)
        gold = question["answers"]
        assert isinstance(gold, list)
        right += any(text.lower() in answer.text.lower() for text in gold)
        abstained += answer.abstained
    for question in others:
        silent += rag.ask(str(question["text"])).abstained
    return (
        f"| {data} | {generator} | {len(answerable)} + {len(others)} "
        f"| {right / len(answerable):.0%} | {abstained / len(answerable):.0%} "
        f"| {silent / max(1, len(others)):.0%} | {median(seconds):.2f} s |"
    )


if __name__ == "__main__":
    main()
