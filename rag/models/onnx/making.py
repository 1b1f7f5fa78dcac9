"""A model's own weights -> graphs of ONNX, made in a process of its own: `python -m` this module.

The process is told in JSON on its standard input what to make, and answers in JSON on its standard
output. What it needs torch for is gone from memory when it ends.
"""

from __future__ import annotations

import errno
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rag.errors import first_line
from rag.models import LocalModel
from rag.models.onnx.graph import TOKENIZER, TOKENS, VECTOR, calibration
from rag.models.onnx.quantization import quantize, save
from rag.models.onnx.runtimes import inputs
from rag.models.sentence_models import (
    has_fast_tokenizer,
    more_than_tokens,
    open_modules,
    prompts,
    window,
)
from rag.models.tokenization import cut, special_around, whole_tokenizer

Floats = NDArray[np.float32]

# Of the cosines between what the graph gives and what the model gives, the least mean.
AGREEMENT = {"float32": 0.99999, "int8": 0.999}
# Shares of channels multiplied in float32, from fast to exact.
_SHARES = (1 / 96, 1 / 32, 1 / 8)
_OPSET = 17


class UnfitError(Exception):
    """Why a model cannot be made a graph."""


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of a model, besides the files.

    `before` and `after` are the special tokens around a text, `agreement` the mean and the least
    cosine with the model in float32, by precision.
    """

    dim: int
    max_tokens: int
    before: int
    after: int
    query_prompt: str
    document_prompt: str
    agreement: dict[str, tuple[float, float]]


def make(source: LocalModel, target: Path) -> Made:
    """Write `float32.onnx`, `int8.onnx` if it agrees, and `tokenizer.json` into a folder.

    Raises:
        UnfitError: if sentence-transformers puts more around the model than a graph holds, or what
            the graph gives is not what the model gives.
    """
    import torch

    # Written out, attention is a pattern that runtimes know and put together again.
    model = open_modules(source, device="cpu", attn_implementation="eager")
    if not has_fast_tokenizer(model):
        raise UnfitError("it has no tokenizer.json")
    tokenizer = whole_tokenizer(model)
    reason = more_than_tokens(model, tokenizer)
    if reason:
        raise UnfitError(reason)
    tokenizer.save(str(target / TOKENIZER))
    before, after = special_around(tokenizer)
    limit = window(model)
    samples = [inputs(cut(tokenizer.encode(text).ids, limit, after)) for text in calibration()]
    with torch.no_grad():
        wanted = _unit(
            [
                model({name: torch.from_numpy(value) for name, value in sample.items()})[VECTOR][0]
                for sample in samples
            ]
        )
    whole = target / "whole.onnx"
    _export(model, whole)
    around = prompts(model)
    del model
    agreement = {"float32": _agreement(whole, samples, wanted)}
    if agreement["float32"][0] < AGREEMENT["float32"]:
        raise UnfitError(f"its graph agrees with it to a mean cosine of {agreement['float32'][0]}")
    agreement["int8"] = _quantize(whole, target / "int8.onnx", samples, wanted)
    save(onnx.load(str(whole)), target / "float32.onnx")
    whole.unlink()
    return Made(wanted.shape[1], limit, before, after, *around, agreement)


def _export(model: Any, target: Path) -> None:
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> tuple[Any, Any]:
            found = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
            return found[VECTOR], found[TOKENS]

    ids = torch.ones((2, 16), dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    both = {0: "texts", 1: "tokens"}
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter by tracing is called old, and takes 2 s where the new one takes 17.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Whole(),
            (ids, mask),
            str(target),
            input_names=["input_ids", "attention_mask"],
            output_names=[VECTOR, TOKENS],
            dynamic_axes={
                "input_ids": both,
                "attention_mask": both,
                VECTOR: {0: "texts"},
                TOKENS: both,
            },
            opset_version=_OPSET,
            dynamo=False,
        )


def _quantize(
    whole: Path, target: Path, samples: Sequence[dict[str, Any]], wanted: Floats
) -> tuple[float, float]:
    """The agreement of the graph that was written, or of the last one that was thrown away."""
    found = (0.0, 0.0)
    for share in _SHARES:
        quantize(whole, target, samples, share)
        found = _agreement(target, samples, wanted)
        if found[0] >= AGREEMENT["int8"]:
            return found
    for file in target.parent.glob(target.name + "*"):
        file.unlink()
    return found


def _agreement(
    graph: Path, samples: Sequence[dict[str, Any]], wanted: Floats
) -> tuple[float, float]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    found = _unit([session.run([VECTOR], sample)[0][0] for sample in samples])
    cosines = (found * wanted).sum(axis=1)
    return float(cosines.mean()), float(cosines.min())


def _unit(rows: Sequence[Any]) -> Floats:
    vectors = np.array(rows, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def main() -> None:
    """Make what standard input asks for; say what was made, or why nothing was."""
    order = json.load(sys.stdin)
    # What libraries print is not to stand in the answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    try:
        made = make(LocalModel(**order["model"]), Path(order["target"]))
        reply: dict[str, Any] = asdict(made)
    # Models, and the libraries that read them, fail in any way: the model is used without a graph.
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOSPC:
            # Of the machine, and not of the model: not to be remembered.
            raise
        reply = {"unfit": f"{type(error).__name__}: {first_line(error)}"}
    json.dump(reply, answer)


if __name__ == "__main__":
    main()
