"""A model's own weights -> ONNX graphs, made in a process of its own: `python -m` this module.

The process reads a request in JSON on its standard input and answers in JSON on its standard
output. The memory that torch takes is free again when the process ends.
"""

from __future__ import annotations

import errno
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from rag.errors import first_line
from rag.models.fetching import LocalModel
from rag.models.onnx.graph import TOKENIZER, TOKENS, VECTOR, Facts, calibration
from rag.models.onnx.quantization import quantize, save
from rag.models.onnx.runtimes import inputs
from rag.models.sentence_models import open_sentence_model
from rag.models.vectors import unit

if TYPE_CHECKING:
    from rag.types import Vectors

# The least mean of the cosines between a graph's vectors and the model's.
AGREEMENT = {"float32": 0.99999, "int8": 0.999}
# Shares of channels multiplied in float32, from fast to exact.
_SHARES = (1 / 96, 1 / 32, 1 / 8)
_OPSET = 17


class UnsupportedError(Exception):
    """No graph can be made of a model; the message says why."""


def make(source: LocalModel, target: Path) -> Facts:
    """Write `float32.onnx`, `int8.onnx` if it agrees, and `tokenizer.json` into a folder.

    Raises:
        UnsupportedError: if sentence-transformers puts more around the model than a graph holds, or
            the graph's vectors are not the model's.
        ModelError: if sentence-transformers cannot load the model.
    """
    import torch

    # Runtimes recognize attention that is written out, and fuse it again.
    opened = open_sentence_model(source, device="cpu", attn_implementation="eager")
    reason = opened.why_not_tokens_alone()
    if reason:
        raise UnsupportedError(reason)
    opened.tokenizer.save(str(target / TOKENIZER))
    samples = [inputs(ids) for ids in opened.token_ids(calibration())]
    model = opened.model
    with torch.no_grad():
        rows = [
            model({name: torch.from_numpy(value) for name, value in sample.items()})[VECTOR][0]
            for sample in samples
        ]
    expected = unit(torch.stack(rows), source.name)
    draft = target / "draft.onnx"
    _export(model, draft, {VECTOR: {0: "texts"}, TOKENS: {0: "texts", 1: "tokens"}})
    agreement = {"float32": _agreement(draft, samples, expected)}
    mean, _ = agreement["float32"]
    if mean < AGREEMENT["float32"]:
        raise UnsupportedError(f"its graph agrees with it to a mean cosine of {mean}")
    agreement["int8"] = _quantize(draft, target / "int8.onnx", samples, expected)
    save(onnx.load(str(draft)), target / "float32.onnx")
    draft.unlink()
    return Facts(
        expected.shape[1],
        opened.max_tokens,
        opened.before,
        opened.after,
        opened.query_prompt,
        opened.document_prompt,
        agreement,
    )


def _export(model: Any, target: Path, outputs: dict[str, dict[int, str]]) -> None:
    """Write a module that maps a dict to a dict as a graph with these outputs and their axes."""
    import torch

    class Wrapper(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> tuple[Any, ...]:
            results = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
            return tuple(results[name] for name in outputs)

    ids = torch.ones((2, 16), dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    both = {0: "texts", 1: "tokens"}
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter by tracing warns that it is old, but takes 2 s where the new one takes 17.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Wrapper(),
            (ids, mask),
            str(target),
            input_names=["input_ids", "attention_mask"],
            output_names=list(outputs),
            dynamic_axes={"input_ids": both, "attention_mask": both, **outputs},
            opset_version=_OPSET,
            dynamo=False,
        )


def _quantize(
    source: Path, target: Path, samples: Sequence[dict[str, Any]], expected: Vectors
) -> tuple[float, float]:
    """Write the first 8-bit graph that agrees, if one does; return the last agreement measured."""
    agreement = (0.0, 0.0)
    for share in _SHARES:
        quantize(source, target, samples, share)
        agreement = _agreement(target, samples, expected)
        if agreement[0] >= AGREEMENT["int8"]:
            return agreement
    for file in target.parent.glob(target.name + "*"):
        file.unlink()
    return agreement


def _agreement(
    graph: Path, samples: Sequence[dict[str, Any]], expected: Vectors
) -> tuple[float, float]:
    """Return the mean and the least cosine of a graph's vectors with the expected ones."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    vectors = unit([session.run([VECTOR], sample)[0][0] for sample in samples], graph.name)
    cosines = (vectors * expected).sum(axis=1)
    return float(cosines.mean()), float(cosines.min())


def main() -> None:
    """Make what standard input asks for; print what was made, or why nothing was."""
    request = json.load(sys.stdin)
    # What libraries print must not get into the answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    try:
        reply: dict[str, Any] = asdict(
            make(LocalModel(**request["model"]), Path(request["target"]))
        )
    # Models, and the libraries that read them, fail in any way: the model is used without a graph.
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, MemoryError) or getattr(cause, "errno", None) == errno.ENOSPC:
            # The machine is to blame and not the model: this must not be remembered.
            raise
        reply = {"unfit": f"{type(error).__name__}: {first_line(error)}"}
    json.dump(reply, answer)


if __name__ == "__main__":
    main()
