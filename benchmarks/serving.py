"""Measure a processor or a GPU: texts embedded a second, indexing, searches of many threads.

    python benchmarks/serving.py CORPUS [--device cpu|cuda|auto] [--threads 1 2 4 8 16]

`CORPUS` is a folder with `corpus.jsonl` and `queries.jsonl`. Prints commit and hardware, and
Markdown tables: on a GPU, texts a second by precision and by `embedding.batch_tokens`, beside
tokenization and the model's own work alone; a whole indexing run, and where its time goes; and
searches a second by as many threads, each asking one question after another, in rounds that take
turns.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from peers import commit, hardware

from rag import RAG
from rag.config import EmbeddingConfig, Precision
from rag.embedding import load_embedder
from rag.embedding.transformer import SentenceTransformerEmbedder
from rag.models.devices import has_cuda

ROUNDS = 3
BATCHES = (2_048, 8_192, 32_768, 131_072)
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
STAGES = ("read", "chunk", "embed", "write")
# The search that fuses nothing shows the work of the embedder.
MODES = {"dense": {"retrieval.mode": "dense", "retrieval.expansion": ()}, "default": {}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--searches", type=int, default=400)
    given = parser.parse_args()
    print(f"Commit {commit()}, {hardware()}{_gpu()}, load {os.getloadavg()[0]:.1f}\n")
    config = EmbeddingConfig(device=given.device)
    if isinstance(load_embedder(config), SentenceTransformerEmbedder):
        embedding(config, _texts(given.corpus / "corpus.jsonl"))
    with tempfile.TemporaryDirectory() as folder:
        indexing(given.corpus / "corpus.jsonl", Path(folder), given.device)
        questions = _texts(given.corpus / "queries.jsonl")
        searching(Path(folder), given.device, questions, given.threads, given.searches)


def embedding(config: EmbeddingConfig, texts: Sequence[str]) -> None:
    """Print texts a second, by precision and by how many tokens are computed at once."""
    ways = [(precision, BATCHES[1]) for precision in PRECISIONS]
    ways += [(PRECISIONS[-1], tokens) for tokens in BATCHES if tokens != BATCHES[1]]
    print("| precision | tokens at once | texts/s | tokenization alone | the model alone |")
    print("| --- " * 5 + "|")
    for precision, tokens in ways:
        wanted = replace(config, precision=precision, batch_tokens=tokens)
        embedder: Any = load_embedder(wanted)
        embedder.embed_documents(texts)
        whole, cutting, model = [], [], []
        batches = list(embedder._batches(embedder._tokens(texts)))
        for _ in range(ROUNDS):
            whole.append(_measure_seconds(embedder.embed_documents, texts))
            cutting.append(_measure_seconds(embedder._tokens, texts))
            model.append(_model_alone(embedder, texts, batches))
        rates = (f"{len(texts) / median(taken):,.0f}" for taken in (whole, cutting, model))
        print(f"| {precision} | {tokens:,} | {' | '.join(rates)} |")


def _model_alone(embedder: Any, texts: Sequence[str], batches: Sequence[list[int]]) -> float:
    """Time the model alone, with all inputs in the device's memory and no results fetched."""
    import torch

    loaded = embedder._load().model
    ready = [
        {
            name: value.to(loaded.device) if isinstance(value, torch.Tensor) else value
            for name, value in loaded.preprocess([texts[at] for at in batch]).items()
        }
        for batch in batches
    ]
    wait: Callable[[], None] = torch.cuda.synchronize if has_cuda() else lambda: None
    with torch.inference_mode():
        wait()
        started = time.perf_counter()
        for features in ready:
            loaded(features)
        wait()
        return time.perf_counter() - started


def indexing(corpus: Path, folder: Path, device: str) -> None:
    """Print the times of a whole run into a new index, with the model loaded before."""
    print("\n| indexing | s | reading | cutting | embedding | writing | passages |")
    print("| --- " * 7 + "|")
    embedder = load_embedder(EmbeddingConfig(device=device))
    embedder.embed_documents(["a text", "another"])
    runs: list[tuple[float, Any]] = []
    for at in range(ROUNDS):
        rag = RAG(folder / str(at), embedder=embedder)
        started = time.perf_counter()
        report = rag.index(corpus)
        runs.append((time.perf_counter() - started, report))
    runs.sort(key=lambda run: run[0])
    taken, report = runs[ROUNDS // 2]
    spent = (report.timings.get(stage, 0) / 1000 for stage in STAGES)
    stages = " | ".join(f"{each:.2f}" for each in spent)
    print(f"| {embedder.name} | {taken:.2f} | {stages} | {rag.info().chunks:,} |")


def searching(
    folder: Path, device: str, questions: Sequence[str], threads: Sequence[int], searches: int
) -> None:
    """Print searches a second by threads that ask one question after another."""
    print("\n| searches a second | " + " | ".join(f"{each} threads" for each in threads) + " |")
    print("| --- " * (len(threads) + 1) + "|")
    embedder = load_embedder(EmbeddingConfig(device=device))
    for mode, settings in MODES.items():
        rag = RAG(folder / "0", embedder=embedder, settings=dict(settings))
        asked = list(islice(cycle(questions), searches))
        for question in asked[:20]:
            rag.search(question)
        rates: dict[int, list[float]] = {each: [] for each in threads}
        for _ in range(ROUNDS):
            for count in threads:
                with ThreadPoolExecutor(count) as pool:
                    started = time.perf_counter()
                    list(pool.map(rag.search, asked))
                    rates[count].append(searches / (time.perf_counter() - started))
        found = (f"{median(each):,.0f}" for each in rates.values())
        print(f"| {mode} | {' | '.join(found)} |")


def _measure_seconds(run: Callable[..., Any], *given: Any) -> float:
    started = time.perf_counter()
    run(*given)
    return time.perf_counter() - started


def _texts(file: Path) -> list[str]:
    return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]


def _gpu() -> str:
    if not has_cuda():
        return ""
    import torch

    return f", {torch.cuda.get_device_name()}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
