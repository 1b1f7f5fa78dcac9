"""Trained weights -> what ships: weights in half precision, and a graph that multiplies in 8 bits.

The graph holds no word embeddings: its input `words` are the base's vectors of the tokens.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rag.models.onnx.quantization import quantize
from rag.training.encoder import Encoder

Sample = tuple[NDArray[Any], NDArray[Any]]
"""The inputs `words`, `[1, tokens, width]`, and `types`, `[1, tokens]`, of one text."""
_OPSET = 17
# The share of channels multiplied in float32.
_OUTLIERS = 1 / 96


def halve(weights: Path, target: Path, model: nn.Module) -> None:
    """Write trained weights in half precision, and load into the model what was written.

    What ships is measured, not what it was rounded from.
    """
    from safetensors.torch import load_file, save_file

    half = {name: value.to(torch.float16) for name, value in load_file(str(weights)).items()}
    save_file(half, str(target))
    model.load_state_dict({name: value.float() for name, value in half.items()})
    model.eval()


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
        quantize(whole, small, [{"words": w, "types": t} for w, t in samples], _OUTLIERS)
        onnx.save(onnx.load(str(small)), str(target))


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
