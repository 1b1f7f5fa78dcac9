"""Trained weights -> what ships: weights in half precision, and a graph that multiplies in 8 bits.

    python -m rag.training.reader.export WEIGHTS.safetensors --output DIRECTORY

The graph holds no word embeddings: its input `words` are the base's vectors of the tokens.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rag.models import resolve
from rag.models.onnx.graph import calibration
from rag.models.onnx.quantization import quantize
from rag.training.loop import say, write_facts
from rag.training.reader import synthetic
from rag.training.reader.encoding import encode, open_tokenizer
from rag.training.reader.examples import Example
from rag.training.reader.model import Reader, build, span_odds

WEIGHTS, GRAPH, FACTS = "reader.safetensors", "reader.int8.onnx", "reader.json"
_OPSET = 17
_QUESTIONS = ("What is the default?", "When did it begin and who decided it?", "How is it done?")
# The share of channels multiplied in float32.
_OUTLIERS = 1 / 96


def export(weights: Path, base: str, output: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the weights in half precision, the 8-bit graph and the facts; return the agreement.

    Args:
        weights: what training wrote.
        base: the model whose word embeddings are used.
        output: the directory to write into.
        facts: kept in `reader.json`, such as the temperature.
    """
    from safetensors.torch import load_file, save_file

    output.mkdir(parents=True, exist_ok=True)
    location = resolve(base, kind="embedder").location
    half = {name: value.to(torch.float16) for name, value in load_file(str(weights)).items()}
    save_file(half, str(output / WEIGHTS))
    model, embeddings = build(location)
    # What ships is measured, not what it was rounded from.
    model.load_state_dict({name: value.float() for name, value in half.items()})
    model.eval()
    samples = _samples(location, embeddings)
    with tempfile.TemporaryDirectory() as place:
        whole, small = Path(place) / "whole.onnx", Path(place) / "small.onnx"
        write_graph(model, whole)
        quantize(whole, small, [{"words": w, "types": t} for w, t in samples], _OUTLIERS)
        onnx.save(onnx.load(str(small)), str(output / GRAPH))
    agreement = compare(model, output / GRAPH, samples)
    write_facts(output / FACTS, {**facts, "base": base, "agreement": agreement})
    return agreement


def write_graph(model: Reader, target: Path) -> None:
    """Write a model as a float32 graph of one passage."""

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, words: Tensor, types: Tensor) -> Any:
            return self.model(words, types, torch.ones_like(types))

    width = model.positions.embedding_dim
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter by tracing is called old, and takes a tenth of the time.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Alone(),
            (torch.zeros(1, 16, width), torch.zeros(1, 16, dtype=torch.int64)),
            str(target),
            input_names=["words", "types"],
            output_names=["starts", "ends", "silence"],
            dynamic_axes={
                "words": {1: "tokens"},
                "types": {1: "tokens"},
                "starts": {1: "tokens"},
                "ends": {1: "tokens"},
            },
            opset_version=_OPSET,
            dynamo=False,
        )


def compare(
    model: Reader, graph: Path, samples: Sequence[tuple[NDArray[Any], NDArray[Any]]]
) -> dict[str, float]:
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


def _samples(location: str, embeddings: Tensor) -> list[tuple[NDArray[Any], NDArray[Any]]]:
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
    parser.add_argument(
        "--calibration", type=Path, help="JSON with temperature, bias and threshold"
    )
    arguments = parser.parse_args()
    facts: dict[str, Any] = {"temperature": 1.0, "bias": 0.0, "threshold": 0.5}
    if arguments.calibration:
        facts |= json.loads(arguments.calibration.read_text(encoding="utf-8"))
    say(json.dumps(export(arguments.weights, arguments.base, arguments.output, facts)))


if __name__ == "__main__":
    main()
