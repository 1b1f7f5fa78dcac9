"""Trained weights -> what ships, calibrated on documents that nothing was trained on.

python -m rag.training.entailment.export WEIGHTS.safetensors --config CONFIG.toml
    --data DIRECTORY --output DIRECTORY
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rag.models import resolve
from rag.models.onnx.graph import calibration
from rag.training.entailment import synthetic
from rag.training.entailment.calibration import fit_temperature, logits_of, measure
from rag.training.entailment.encoding import Encoded, encode
from rag.training.entailment.model import build
from rag.training.entailment.pairs import LABELS, Pair
from rag.training.entailment.train import make_pairs
from rag.training.loop import Config, load_weights, read_config, say, write_facts
from rag.training.reader.encoding import open_tokenizer
from rag.training.shipping import Sample, write_small_graph

GRAPH, FACTS = "entailment.int8.onnx", "entailment.json"


def export(weights: Path, config: Config, data: Path, output: Path) -> dict[str, Any]:
    """Write the 8-bit graph and the facts; return the facts.

    Args:
        weights: what training wrote.
        config: names the base, and the mix of which held-out pairs are made.
        data: the folder of training files.
        output: the directory to write into.
    """
    output.mkdir(parents=True, exist_ok=True)
    location = resolve(config.base, kind="embedder").location
    tokenizer = open_tokenizer(location)
    model, embeddings = build(location)
    load_weights(model, weights)
    model.eval()
    pairs = make_pairs(config.stages[-1], data, config.seed, held_out=True)
    rows = encode(tokenizer, pairs, config.length)
    labels = torch.tensor([row.label for row in rows])
    logits = logits_of(model, embeddings, rows)
    temperature = fit_temperature(logits, labels)
    # Ranges are chosen by texts that nothing is measured on.
    chance = Random(11)  # noqa: S311
    typical = [
        Pair(passage, chance.choice(synthetic.make(chance, 3)).claim, LABELS[1])
        for passage in calibration()
        if passage.split()
    ]
    typical += synthetic.make(chance, 36)
    samples = [_sample(row, embeddings) for row in encode(tokenizer, typical, config.length)]
    write_small_graph(model, output / GRAPH, ["relations"], samples)
    facts = {
        "base": config.base,
        "temperature": temperature,
        "held out": measure(logits / temperature, labels, pairs),
        "agreement": compare(logits, output / GRAPH, rows, embeddings),
    }
    write_facts(output / FACTS, facts)
    return facts


def compare(
    logits: Tensor, graph: Path, rows: Sequence[Encoded], embeddings: Tensor, most: int = 500
) -> dict[str, float]:
    """Measure how far a graph's probabilities are from the model's, and how often labels differ."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    differences, same = [], 0
    for row, expected in list(zip(rows, logits, strict=True))[:most]:
        words, types = _sample(row, embeddings)
        found = torch.from_numpy(session.run(None, {"words": words, "types": types})[0][0])
        differences.append(float((found.softmax(0) - expected.softmax(0)).abs().max()))
        same += int(found.argmax() == expected.argmax())
    return {
        "pairs": len(differences),
        "mean difference of probabilities": round(float(np.mean(differences)), 4),
        "same relation": round(same / len(differences), 4),
    }


def _sample(row: Encoded, embeddings: Tensor) -> Sample:
    types = np.zeros((1, len(row.ids)), dtype=np.int64)
    types[0, row.begin :] = 1
    return embeddings[torch.tensor(row.ids)][None].numpy(), types


def main() -> None:
    """Export what the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m rag.training.entailment.export", description="Make a trained judge small."
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--config", type=Path, required=True, help="what it was trained by")
    parser.add_argument("--data", type=Path, required=True, help="the folder of training files")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0, help="of torch (default: its own choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = read_config(arguments.config)
    say(json.dumps(export(arguments.weights, config, arguments.data, arguments.output), indent=1))


if __name__ == "__main__":
    main()
