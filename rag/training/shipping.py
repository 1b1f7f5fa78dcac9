"""Trained weights -> the graph that ships, which multiplies in 8 bits, and back again.

The graph holds no word embeddings: its input `words` are the vectors of the tokens. It says where
in it each trained weight lies, so that training can go on from it.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from rag.models.onnx.quantization import quantize
from rag.training.encoder import Encoder

Sample = tuple[NDArray[Any], NDArray[Any]]
"""The inputs `words`, `[1, tokens, width]`, and `types`, `[1, tokens]`, of one text."""
_OPSET = 17
# The share of channels multiplied in float32.
_OUTLIERS = 1 / 96
# What the graph says of itself, under this name: where each weight is, in JSON.
_WEIGHTS = "weights"


def write_small_graph(
    model: Encoder,
    target: Path,
    outputs: Sequence[str],
    samples: Sequence[Sample],
    *,
    by_token: Sequence[str] = (),
) -> None:
    """Write a model as a graph of 8-bit products.

    Args:
        model: whose forward takes words, types and mask.
        target: the file to write, which holds all.
        outputs: the names of what it returns.
        samples: typical inputs, by which ranges are chosen.
        by_token: the outputs that have a value for each token.
    """
    with tempfile.TemporaryDirectory() as place:
        whole, small = Path(place) / "whole.onnx", Path(place) / "small.onnx"
        write_graph(model, whole, outputs, by_token=by_token)
        places = find_weights(onnx.load(str(whole)), model)
        quantize(whole, small, [{"words": w, "types": t} for w, t in samples], _OUTLIERS)
        graph = onnx.load(str(small))
        graph.metadata_props.add(key=_WEIGHTS, value=json.dumps(places))
        onnx.save(graph, str(target))


def find_weights(graph: onnx.ModelProto, model: nn.Module) -> dict[str, list[str]]:
    """Find each weight of a model in its float32 graph.

    Returns:
        For a matrix that something is multiplied with, the names of what is and of the product;
        for another weight, the name of the constant.

    Raises:
        ValueError: if the graph lacks one of the weights.
    """
    constants = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
    # A node may have another name for a constant of the same value.
    same = {
        node.output[0]: node.input[0] for node in graph.graph.node if node.op_type == "Identity"
    }
    products = {
        same.get(node.input[1], node.input[1]): [node.input[0], node.output[0]]
        for node in graph.graph.node
        if node.op_type == "MatMul"
    }
    by_value = {(value.shape, value.tobytes()): name for name, value in constants.items()}
    found = {}
    for name, value in model.named_parameters():
        array = value.detach().numpy()
        straight = by_value.get((array.shape, array.tobytes()))
        turned = by_value.get((array.T.shape, array.T.tobytes()))
        if turned in products:
            found[name] = products[turned]
        elif straight is not None:
            found[name] = [straight]
        else:
            raise ValueError(f"the graph lacks {name}")
    return found


def restore_weights(graph: Path) -> dict[str, Tensor]:
    """Read the trained weights back out of a graph of 8-bit products, as float32.

    A product's weights come back with an error of one or two hundredths of their size; those of
    the channels that are multiplied in float32, and all that is not multiplied, as they were.

    Raises:
        ValueError: if the graph does not say where its weights are.
    """
    model = onnx.load(str(graph))
    told = [each.value for each in model.metadata_props if each.key == _WEIGHTS]
    if not told:
        raise ValueError(f"{graph}: does not say where its weights are: export it again")
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    restored = {}
    for name, place in json.loads(told[0]).items():
        if len(place) == 1:
            value = constants[place[0]]
        else:
            source, product = place
            factor = constants[f"{source}:factor"]
            value = constants[f"{product}:i8"] * constants[f"{product}:steps"] * factor[:, None]
            if f"{source}:apart" in constants:
                value[constants[f"{source}:apart"]] = constants[f"{product}:kept"]
            value = value.T
        restored[name] = torch.from_numpy(np.array(value, dtype=np.float32, order="C"))
    return restored


def write_graph(
    model: Encoder, target: Path, outputs: Sequence[str], *, by_token: Sequence[str] = ()
) -> None:
    """Write a model as a float32 graph of one text."""

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
            output_names=list(outputs),
            dynamic_axes={name: {1: "tokens"} for name in ("words", "types", *by_token)},
            opset_version=_OPSET,
            dynamo=False,
        )
