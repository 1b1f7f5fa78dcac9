"""Measure an embedder on this machine: its speed by precision and runtime, and its accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from rag.config import EmbeddingConfig, Precision
from rag.embedding.onnx import OnnxEmbedder
from rag.embedding.transformer import SentenceTransformerEmbedder
from rag.models import LocalModel, resolve
from rag.models.devices import has_cuda
from rag.models.onnx.graph import Unsupported, calibration, graph_of
from rag.models.onnx.runtimes import installed_runtimes
from rag.protocols import Embedder
from rag.types import Progress, ProgressCallback, no_progress

_ROUNDS = 3
_QUESTIONS = 20
_QUESTION = "How often does the filter have to be changed?"


@dataclass(frozen=True, slots=True)
class Speed:
    """One way to compute an embedder on this machine.

    `texts` is how many are embedded in a second, of about 100 tokens on average; `question` is the
    milliseconds that one question takes; `agreement` is the mean cosine with torch in float32.
    """

    precision: str
    runtime: str
    texts: float
    question: float
    agreement: float
    chosen: bool


def measure_speeds(
    config: EmbeddingConfig, progress: ProgressCallback | None = None
) -> list[Speed]:
    """Measure every way to compute the embedder of `config`, the fastest first.

    Rounds take turns, so that other work of the machine slows all alike.

    Raises:
        ModelError: if there is no such model, or it cannot be loaded.
    """
    show = progress or no_progress
    model = resolve(config.model, kind="embedder", progress=progress)
    on_cpu = replace(config, device="cpu", precision="float32")
    reference = SentenceTransformerEmbedder(model, on_cpu)
    ways = dict(_ways(model, config, progress))
    ways["float32", "torch on the CPU"] = reference
    passages = calibration()
    expected = reference.embed_documents(passages)
    seconds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    agreement = {}
    for at in range(_ROUNDS + 1):
        for done, (way, embedder) in enumerate(ways.items()):
            show(Progress("measure", at * len(ways) + done, (_ROUNDS + 1) * len(ways), "rounds"))
            taken, vectors = _time(embedder.embed_documents, passages)
            if at:
                seconds[way].append(taken)
            else:
                # The first round loads the model and is not timed.
                agreement[way] = float((vectors * expected).sum(axis=1).mean())
    chosen = _chosen(model, config, ways)
    speeds = [
        Speed(
            *way,
            texts=len(passages) / median(seconds[way]),
            question=1000
            * median(_time(embedder.embed_query, _QUESTION)[0] for _ in range(_QUESTIONS)),
            agreement=agreement[way],
            chosen=way == chosen,
        )
        for way, embedder in ways.items()
    ]
    return sorted(speeds, key=lambda speed: -speed.texts)


def _ways(
    model: LocalModel, config: EmbeddingConfig, progress: ProgressCallback | None
) -> Iterator[tuple[tuple[str, str], Embedder]]:
    graph = graph_of(model, progress)
    if not isinstance(graph, Unsupported):
        for precision in graph.precisions:
            for runtime in installed_runtimes():
                yield (precision, runtime), OnnxEmbedder(model, graph, precision, runtime)
    if has_cuda():
        on_cuda: tuple[Precision, ...] = ("float16", "bfloat16", "float32")
        for precision in on_cuda:
            on_gpu = replace(config, device="cuda", precision=precision)
            yield (precision, "torch on CUDA"), SentenceTransformerEmbedder(model, on_gpu)


def _chosen(
    model: LocalModel, config: EmbeddingConfig, ways: dict[tuple[str, str], Embedder]
) -> tuple[str, str]:
    from rag.embedding import load_embedder

    embedder = load_embedder(config)
    if isinstance(embedder, OnnxEmbedder):
        return embedder.choice()
    precision = config.precision.replace("auto", "float16" if has_cuda() else "float32")
    cuda = has_cuda() and config.device != "cpu"
    return precision, "torch on CUDA" if cuda else "torch on the CPU"


def _time(run: Callable[..., np.ndarray], text: str | Sequence[str]) -> tuple[float, np.ndarray]:
    started = time.perf_counter()
    vectors = run(text)
    return time.perf_counter() - started, vectors
