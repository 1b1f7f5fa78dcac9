"""Measure a static model: texts a second, and nDCG@10 alone and in two stages.

    python benchmarks/static.py speed DATASET [--texts 200]
    python benchmarks/static.py quality DATASET... [--depth 30]

DATASET is a folder in BEIR's layout. The default embedder is distilled by itself, and fitted to the
passages of the set. `speed` embeds passages with sentence-transformers in float32, with the default
embedder, and with the fitted static model, in turns; it prints medians over the turns, and then the
time of searches, one after another. `quality` prints a row for each way to search. Both print
Markdown tables; indexes and static models stay in `--indexes` between runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rag import RAG, Embedder
from rag.embedding import load_embedder
from rag.embedding.transformer import SentenceTransformerEmbedder
from rag.evaluation import cache_folder, evaluate, index_corpus, load_dataset
from rag.models import resolve
from rag.training.distillation import PASSAGES, distil

TURNS = 5
QUESTIONS = 50
# The static model gets this many times the texts, so that its turn is long enough to be timed.
MORE = 10


def main() -> None:
    """Measure speed or quality, as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "quality"))
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--texts", type=int, default=200, help="in a turn, of `speed`")
    parser.add_argument("--depth", type=int, default=30, help="passages that are scored again")
    parser.add_argument("--indexes", type=Path, default=Path("indexes"), help="kept between runs")
    arguments = parser.parse_args()
    if arguments.what == "speed":
        print_speed(arguments.datasets[0], arguments.texts, arguments.indexes)
        print_searches(arguments.datasets[0], arguments.indexes)
    else:
        print("| data | embedder | search | nDCG@10 | recall@10 |")
        print("| --- | --- | --- | ---: | ---: |")
        for folder in arguments.datasets:
            print_quality(folder, arguments.depth, arguments.indexes)


def build_index(folder: Path, indexes: Path, **given: Any) -> RAG:
    """Index the data set, or bring its index up to date, with the embedder of the settings."""
    settings = {"index.path": str(indexes / "default")}
    settings |= {key.replace("__", "."): value for key, value in given.items()}
    dataset = load_dataset(folder)
    config = RAG(settings=settings).config
    rag = RAG(cache_folder(dataset, config), config=config)
    index_corpus(rag, dataset)
    return rag


def static_model(folder: Path, indexes: Path, passages: int = PASSAGES) -> Path:
    """Distil the default embedder, unless that is done; with no passages, by itself."""
    place = indexes / (f"static-{folder.name}" if passages else "static")
    if not (place / "model.safetensors").is_file():
        config = RAG(settings={"index.path": str(indexes / "default")}).config
        made = distil(place, config, passages=passages, data=folder if passages else None)
        print(f"<!-- {made} -->")
    return place


def print_speed(folder: Path, count: int, indexes: Path) -> None:
    """Print how many texts a second each embedder embeds."""
    model = static_model(folder, indexes)
    rag = build_index(folder, indexes)
    config = rag.config.embedding
    embedders: dict[str, Embedder] = {
        "float32, sentence-transformers": SentenceTransformerEmbedder(
            resolve(config.model, kind="embedder"),
            replace(config, device="cpu", precision="float32"),
        ),
        "the default": rag.embedder,
        "static": load_embedder(replace(config, model=str(model))),
    }
    passages = [document.text[:700] for document in rag.documents()]
    lengths = [len(embedders["static"].token_offsets(text)) for text in passages]
    rates: dict[str, list[float]] = {name: [] for name in embedders}
    for turn in range(-1, TURNS):
        for name, embedder in embedders.items():
            first = max(turn, 0) * count % len(passages)
            wanted = count * MORE if name == "static" else count
            texts = (passages[first:] + passages * (wanted // len(passages) + 1))[:wanted]
            seconds = seconds_of(partial(embedder.embed_documents, texts))
            # An extra turn before the first loads the models.
            if turn >= 0:
                rates[name].append(len(texts) / seconds)
    print(f"\n{sum(lengths) / len(lengths):.0f} tokens a text, median of {TURNS} turns\n")
    print("| embedder | texts/s | least | most | times float32 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    slowest = median(rates["float32, sentence-transformers"])
    for name, found in rates.items():
        middle = median(found)
        numbers = f"{middle:,.0f} | {min(found):,.0f} | {max(found):,.0f} | {middle / slowest:.1f}"
        print(f"| {name} | {numbers} |", flush=True)


def print_searches(folder: Path, indexes: Path) -> None:
    """Print the time of a search, by how many passages are scored again, and were before."""
    questions = list(load_dataset(folder).questions.values())[:QUESTIONS]
    dense = {"retrieval__mode": "dense", "retrieval__expansion": ()}
    static = {**dense, "embedding__model": str(static_model(folder, indexes))}
    full = build_index(folder, indexes, **dense)
    print("\n| dense search | median ms |\n| --- | ---: |")
    print_times("full model", full, questions)
    print_times("static", build_index(folder, indexes, **static), questions)
    static |= {
        "retrieval__rerank": "embedder",
        "retrieval__rerank_model": full.config.embedding.model,
    }
    for depth in (10, 30, 100):
        rag = build_index(folder, indexes, **static, retrieval__rerank_depth=depth)
        print_times(f"static, {depth} scored again", rag, questions)
        print_times(f"the same, passages read before (depth {depth})", rag, questions)


def print_times(what: str, rag: RAG, questions: Sequence[str]) -> None:
    """Print a row of the table of searches."""
    rag.search("Loads the models before the time is taken.")
    times = [seconds_of(partial(rag.search, question)) for question in questions]
    print(f"| {what} | {median(times) * 1000:.1f} |", flush=True)


def print_quality(folder: Path, depth: int, indexes: Path) -> None:
    """Print a row for each way to search."""
    full = build_index(folder, indexes)
    again = f"+retrieval.rerank=embedder+retrieval.rerank_model={full.config.embedding.model}"
    again += f"+retrieval.rerank_depth={depth}"
    ways = {"dense": "dense", "default": "current"}
    for shown, name in ways.items():
        print_row(folder, "full", shown, evaluate(full, load_dataset(folder), name).metrics)
    for label, passages in (("static", 0), ("static, fitted", PASSAGES)):
        model = static_model(folder, indexes, passages)
        rag = build_index(folder, indexes, embedding__model=str(model))
        for shown, name in ways.items():
            for more, said in (("", ""), (again, f", {depth} scored again")):
                found = evaluate(rag, load_dataset(folder), name + more).metrics
                print_row(folder, label, shown + said, found)


def print_row(folder: Path, label: str, search: str, found: Any) -> None:
    """Print a row of the table of quality."""
    numbers = [f"{found[metric]:.3f}" for metric in ("nDCG@10", "recall@10")]
    print("|", " | ".join([folder.name, label, search, *numbers]), "|", flush=True)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that a piece of work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
