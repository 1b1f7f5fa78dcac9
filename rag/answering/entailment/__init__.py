"""premise, claim -> does the one say what the other says, or otherwise, or nothing of it?"""

from __future__ import annotations

from rag.protocols import EntailmentModel
from rag.types import ProgressCallback

__all__ = ["NONE", "SHIPPED", "load_entailment"]

SHIPPED = "minilm-entailment"
"""The name of the model that comes with this package."""
NONE = "none"
"""What stands for no model."""


def load_entailment(
    name: str, *, device: str = "auto", progress: ProgressCallback | None = None
) -> EntailmentModel:
    """Open a model for natural language inference; its weights are loaded at first use.

    Args:
        name: `minilm-entailment`, or a directory or hub name with an optional `@revision` of a
            model for sequence classification that transformers loads, whose `id2label` names its
            labels: entailment, neutral and contradiction in any order and case, or entailment and
            not_entailment, in which case the probability of a contradiction is 0.
        device: `auto` (CUDA or MPS if available), `cpu`, `cuda` or `mps`; the model of this package
            runs on the CPU.
        progress: is told of a model that has to be fetched.

    Raises:
        ModelError: if there is no such model, or it cannot be fetched.
    """
    if name == SHIPPED:
        from rag.answering.entailment.onnx import load_shipped

        return load_shipped(progress)
    from rag.answering.entailment.transformer import load_transformer

    return load_transformer(name, device=device, progress=progress)
