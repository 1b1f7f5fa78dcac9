"""Trained weights -> what ships: weights in half precision, and a graph that multiplies in 8 bits.

    python -m rag.training.reader.export WEIGHTS.safetensors --output DIRECTORY

The graph holds no word embeddings: its input `words` are the base's vectors of the tokens.
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
from rag.training.loop import say, write_facts
from rag.training.reader import synthetic
from rag.training.reader.encoding import encode, open_tokenizer
from rag.training.reader.examples import Example
from rag.training.reader.model import Reader, build, span_odds
from rag.training.shipping import Sample, halve, write_small_graph

WEIGHTS, GRAPH, FACTS = "reader.safetensors", "reader.int8.onnx", "reader.json"
_QUESTIONS = ("What is the default?", "When did it begin and who decided it?", "How is it done?")


def export(weights: Path, base: str, output: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the weights in half precision, the 8-bit graph and the facts; return the agreement.

    Args:
        weights: what training wrote.
        base: the model whose word embeddings are used.
        output: the directory to write into.
        facts: kept in `reader.json`, such as the temperature.
    """
    output.mkdir(parents=True, exist_ok=True)
    location = resolve(base, kind="embedder").location
    model, embeddings = build(location)
    halve(weights, output / WEIGHTS, model)
    samples = _samples(location, embeddings)
    write_small_graph(
        model,
        output / GRAPH,
        ["starts", "ends", "silence"],
        samples,
        by_token=["starts", "ends"],
    )
    agreement = compare(model, output / GRAPH, samples)
    write_facts(output / FACTS, {**facts, "base": base, "agreement": agreement})
    return agreement


def compare(model: Reader, graph: Path, samples: Sequence[Sample]) -> dict[str, float]:
    """Measure how far a graph's log-odds are from the model's, and how often spans differ."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    differences, same = [], 0
    for words, types in samples:
        with torch.no_grad():
            starts, ends, silence = model(
                torch.from_numpy(words), torch.from_numpy(types), torch.ones(types.shape)
            )
        found = [
            torch.from_numpy(each) for each in session.run(None, {"words": words, "types": types})
        ]
        inside = torch.from_numpy(types).bool()
        one = span_odds(starts, ends, silence, inside).flatten()
        other = span_odds(found[0], found[1], found[2], inside).flatten()
        differences.append(float((one.max() - other.max()).abs()))
        same += int(one.argmax() == other.argmax())
    return {
        "passages": len(samples),
        "mean difference of the best log-odds": round(float(np.mean(differences)), 4),
        "largest difference": round(float(np.max(differences)), 4),
        "same best span": round(same / len(samples), 4),
    }


def _samples(location: str, embeddings: Tensor) -> list[Sample]:
    rng = Random(11)  # noqa: S311
    examples = [
        Example(rng.choice(_QUESTIONS), (passage,)) for passage in calibration() if passage.split()
    ]
    examples += synthetic.make(rng, 36)
    tokenizer = open_tokenizer(location)
    samples = []
    for example in examples:
        row = encode(tokenizer, example, 256, rng)[0]
        types = np.zeros((1, len(row.ids)), dtype=np.int64)
        types[0, row.begin :] = 1
        samples.append((embeddings[torch.tensor(row.ids)][None].numpy(), types))
    return samples


def main() -> None:
    """Export what the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m rag.training.reader.export", description="Make a trained reader small."
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--base", default="all-minilm-l6-v2", help="whose word embeddings it uses")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, help="JSON with temperature and bias")
    arguments = parser.parse_args()
    facts: dict[str, Any] = {"temperature": 1.0, "bias": 0.0}
    if arguments.calibration:
        facts |= json.loads(arguments.calibration.read_text(encoding="utf-8"))
    say(json.dumps(export(arguments.weights, arguments.base, arguments.output, facts)))


if __name__ == "__main__":
    main()
