"""Compare the speed of embedding with the limit set by this machine's matrix products.

    python benchmarks/limit.py RESULTS.json [--embed-seconds S] [--threads N]

RESULTS is the output of `benchmarks/peers.py --json`: the tokens of each passage, the embedder, and
the seconds that `rag index` spent on embedding (or `--embed-seconds`). A token takes two operations
for each weight of the layers' matrices, and, for attention in a passage of n tokens, 4 n operations
for each dimension of each layer. Embedding tables are looked up and cost nothing; normalisation and
activation are left out. The rates are the best of a few numbers of rows, measured here on the
model's own matrices with all cores busy: float32 by torch, int8 by ONNX Runtime's
DynamicQuantizeMatMul, each core with rows of its own. The result is a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rag.models import resolve

ROWS = (64, 256, 1024)
SECONDS_A_TRY = 1.0
TRIES = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """The matrices of all layers (inputs, outputs), the layers, and the width of attention."""

    matrices: tuple[tuple[int, int], ...]
    layers: int
    width: int

    @property
    def weights(self) -> int:
        """Count the weights that each token is multiplied with."""
        return sum(inputs * outputs for inputs, outputs in self.matrices)

    def operations(self, tokens: Sequence[int]) -> tuple[int, int]:
        """Count the operations of matrices and of attention for passages of so many tokens."""
        attention = 4 * self.width * self.layers * sum(n * n for n in tokens)
        return 2 * self.weights * sum(tokens), attention


def main() -> None:
    """Measure the rates and print the bounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, metavar="RESULTS.json")
    parser.add_argument("--embed-seconds", type=float, help="in place of the results' own")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    # Torch reads these when it is loaded; this script starts the threads itself, one a core.
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    results = json.loads(given.results.read_text())
    corpus, ours = results["corpus"], results["systems"].get("rag", {})
    shape = shape_of(Path(resolve(corpus["embedder"], kind="embedder").location))
    tokens = corpus["tokens_of_passages"]
    products, attention = shape.operations(tokens)
    seconds = given.embed_seconds or (median(ours["embed"]) if ours.get("embed") else None)
    whole = median(ours["index"]) if ours.get("index") else None
    print(
        f"{corpus['embedder']}: {shape.layers} layers, {shape.weights / 1e6:.1f} million weights "
        f"in their matrices. {len(tokens):,} passages, {sum(tokens):,} tokens: "
        f"{(products + attention) / sum(tokens) / 1e6:.1f} million operations a token, "
        f"{attention / (products + attention):.0%} of them attention; {given.threads} threads."
    )
    if seconds is not None:
        print(f"`rag index` embedded for {seconds:.1f} s", end="")
        print(f" of {whole:.1f} s." if whole is not None else ".")
    print("\n| products | 10⁹ operations/s | rows | least seconds | share reached | of the whole |")
    print("| --- " * 6 + "|")
    for name, prepare in (("float32", float32), ("int8", int8)):
        rates = {rows: rate(shape, rows, given.threads, prepare) for rows in ROWS}
        rows, best = max(rates.items(), key=lambda pair: pair[1])
        least = (products + attention) / best
        reached = f"{least / seconds:.0%}" if seconds else ""
        of_whole = f"{least / whole:.0%}" if whole else ""
        cells = [name, f"{best / 1e9:.0f}", str(rows), f"{least:.2f}", reached, of_whole]
        print("| " + " | ".join(cells) + " |", flush=True)


def shape_of(model: Path) -> Shape:
    """Read from the weights' file the shape of every matrix in a layer."""
    from safetensors import safe_open

    config = json.loads((model / "config.json").read_text())
    with safe_open(model / "model.safetensors", framework="numpy") as file:
        # A linear layer is stored as outputs by inputs.
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    matrices = tuple(
        (shape[1], shape[0])
        for name, shape in shapes.items()
        if len(shape) == 2 and "layer." in name and "embeddings" not in name
    )
    if not matrices:
        raise SystemExit(f"{model}: no matrices of layers in model.safetensors")
    return Shape(matrices, config["num_hidden_layers"], config["hidden_size"])


def rate(
    shape: Shape, rows: int, threads: int, prepare: Callable[[Shape, int], Callable[[], Any]]
) -> float:
    """Measure the operations a second of all threads, each with rows of its own."""
    with ThreadPoolExecutor(threads) as executor:
        works = list(executor.map(prepare, [shape] * threads, [rows] * threads))
        done = []
        for _ in range(TRIES):
            started = time.perf_counter()
            times = executor.map(_repeat, works, [started + SECONDS_A_TRY] * threads)
            done.append(sum(times) / (time.perf_counter() - started))
    return max(done) * 2 * shape.weights * rows


def float32(shape: Shape, rows: int) -> Callable[[], Any]:
    """Prepare one pass of `rows` tokens through every matrix, by torch."""
    import torch

    made = torch.Generator().manual_seed(0)
    weights = [torch.randn(pair, generator=made) for pair in shape.matrices]
    given = {w.shape[0]: torch.randn((rows, w.shape[0]), generator=made) for w in weights}
    results = {w.shape[1]: torch.empty((rows, w.shape[1])) for w in weights}

    def once() -> None:
        for weight in weights:
            torch.mm(given[weight.shape[0]], weight, out=results[weight.shape[1]])

    return once


def int8(shape: Shape, rows: int) -> Callable[[], Any]:
    """Prepare the same pass with weights in int8 and rows quantized dynamically."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    nodes, initial, given = [], [], {}
    for number, (inputs, outputs) in enumerate(shape.matrices):
        weight = random.integers(-64, 64, (inputs, outputs), dtype=np.int8)
        initial += [
            numpy_helper.from_array(weight, f"weight{number}"),
            numpy_helper.from_array(np.array(0.01, np.float32), f"scale{number}"),
            numpy_helper.from_array(np.array(0, np.int8), f"zero{number}"),
        ]
        given[f"rows{inputs}"] = random.standard_normal((rows, inputs), dtype=np.float32)
        named = [f"rows{inputs}", f"weight{number}", f"scale{number}", f"zero{number}"]
        nodes.append(
            helper.make_node(
                "DynamicQuantizeMatMul", named, [f"out{number}"], domain="com.microsoft"
            )
        )
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in given.items()],
        [
            helper.make_tensor_value_info(f"out{number}", TensorProto.FLOAT, (rows, outputs))
            for number, (_, outputs) in enumerate(shape.matrices)
        ],
        initial,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=onnx.IR_VERSION_2023_5_5)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, given)


def _repeat(work: Callable[[], Any], until: float) -> int:
    count = 0
    while time.perf_counter() < until:
        work()
        count += 1
    return count


if __name__ == "__main__":
    main()
