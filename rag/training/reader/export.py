"""Trained weights -> what ships: a graph that multiplies in 8 bits, its words, its tokenizer.

    python -m rag.training.reader.export WEIGHTS.safetensors --config CONFIG.toml --output DIRECTORY

The graph holds no word embeddings: its input `words` are the tokens' vectors, which lie beside it
in 4 bits.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

from rag.models.onnx.graph import calibration
from rag.models.onnx.words import pack_words
from rag.training.loop import Config, load_weights, read_config, say, write_facts
from rag.training.reader import synthetic
from rag.training.reader.encoding import encode, open_tokenizer
from rag.training.reader.examples import Example
from rag.training.reader.model import Reader, build, span_odds
from rag.training.reader.train import locate
from rag.training.shipping import Sample, write_small_graph

GRAPH, FACTS = "reader.int8.onnx", "reader.json"
WORDS, TOKENIZER = "words.safetensors", "tokenizer.json"
_QUESTIONS = ("What is the default?", "When did it begin and who decided it?", "How is it done?")


def export(weights: Path, config: Config, output: Path, base: str = "") -> dict[str, Any]:
    """Write the graph, the words, the tokenizer and the facts; return the facts.

    Args:
        weights: what training wrote.
        config: what it was trained by.
        output: the directory to write into.
        base: where the configuration's base lies, if not at its name.
    """
    output.mkdir(parents=True, exist_ok=True)
    location, words_of = locate(config, base)
    model, embeddings = build(location, layers=config.layers, packed=config.packed)
    load_weights(model, weights)
    model.eval()
    words = pack_words(embeddings.numpy())
    save_file({"codes": words.codes, "scales": words.scales}, str(output / WORDS))
    # What ships reads what is left of the words, and so do the samples.
    embeddings = torch.from_numpy(words.unpack())
    shutil.copyfile(Path(words_of) / "tokenizer.json", output / TOKENIZER)
    samples = _samples(words_of, embeddings)
    write_small_graph(
        model,
        output / GRAPH,
        ["starts", "ends", "silence"],
        samples,
        by_token=["starts", "ends"],
    )
    facts = {
        "base": config.base,
        "layers": len(model.layers),
        "temperature": 1.0,
        "bias": 0.0,
        "agreement": compare(model, output / GRAPH, samples),
    }
    write_facts(output / FACTS, facts)
    return facts


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
    parser.add_argument("--config", type=Path, required=True, help="what it was trained by")
    parser.add_argument("--base", default="", help="where the base lies, if not at its name")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    say(json.dumps(export(arguments.weights, config, arguments.output, arguments.base), indent=1))


if __name__ == "__main__":
    main()
