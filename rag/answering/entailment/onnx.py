"""The model that this package ships: a graph of 8-bit products, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rag.answering.entailment import NONE, SHIPPED
from rag.errors import ModelError
from rag.models import check_finite, resolve
from rag.models.onnx.pairs import PairGraph, cut, read_facts, shipped_folder
from rag.types import ProgressCallback

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.types import Vectors

    Floats = NDArray[np.float32]

GRAPH, FACTS = "entailment.int8.onnx", "entailment.json"
# The most tokens of claim and premise, as in training; a longer premise is read in parts.
_LENGTH = 192
_OVERLAP = 48
_CLAIM = 96


class _Facts(msgspec.Struct, frozen=True):
    """What `entailment.json` says of the graph beside it."""

    base: str
    temperature: float


def load_shipped(progress: ProgressCallback | None = None) -> OnnxEntailment:
    """Return the model in this package; it is loaded at first use.

    Raises:
        ModelError: if its base model cannot be fetched.
    """
    return open_entailment(shipped_folder("rag.answering.entailment", "minilm"), progress)


def open_entailment(folder: Path, progress: ProgressCallback | None = None) -> OnnxEntailment:
    """Return the model in a folder that `rag.training.entailment.export` wrote.

    Raises:
        ModelError: if the folder holds no such model, or its base model cannot be fetched.
    """
    maker = "rag.training.entailment.export"
    facts = read_facts(folder / FACTS, _Facts, "entailment model", maker)
    try:
        base = resolve(facts.base, kind="embedder", progress=progress)
    except ModelError as error:
        raise ModelError(
            f"{SHIPPED} takes its words from {facts.base}: {error}; or do without it: "
            f"answering.entailment = {NONE}"
        ) from error
    return OnnxEntailment(folder, Path(base.location), facts.temperature)


class OnnxEntailment:
    """A model for natural language inference; safe to be called by several threads."""

    name = SHIPPED

    def __init__(self, folder: Path, base: Path, temperature: float) -> None:
        self._graph = PairGraph(
            self.name, folder / GRAPH, base / "tokenizer.json", base / "model.safetensors"
        )
        self._temperature = temperature

    def entail(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """Return the probabilities of entailment, neutral and contradiction for each pair.

        A pair is (premise, claim). Of a premise of more than 192 tokens, parts are read, and the
        one that says most of the claim counts. A claim is read up to its 96th token.

        Raises:
            ModelError: if the graph or its base cannot be loaded.
            GenerationError: if the graph fails, for instance for want of memory.
        """
        import numpy as np

        texts = [text for pair in pairs for text in pair]
        encoded = self._graph.tokenize(texts) if texts else []
        parts = [
            (number, claim.ids[:_CLAIM], part)
            for number, (premise, claim) in enumerate(zip(encoded[::2], encoded[1::2], strict=True))
            for _, part in cut(premise.ids or [0], _LENGTH - len(claim.ids[:_CLAIM]) - 3, _OVERLAP)
        ]
        found = np.zeros((len(pairs), 3), dtype=np.float32)
        found[:, 1] = 1.0
        outputs = self._graph.run_each([(claim, premise) for _, claim, premise in parts])
        for (number, _, _), (logits,) in zip(parts, outputs, strict=True):
            row = self._probabilities(logits[0])
            if row[1] < found[number, 1]:
                found[number] = row
        check_finite(found, f"{self.name} gave probabilities")
        return found

    def load(self) -> None:
        """Load tokenizer, word vectors and graph now.

        Raises:
            ModelError: if one of them is missing or damaged.
        """
        self._graph.load()

    def _probabilities(self, logits: Floats) -> Floats:
        import numpy as np

        scaled = logits.astype(np.float64) / self._temperature
        shares = np.exp(scaled - scaled.max())
        row: Floats = (shares / shares.sum()).astype(np.float32)
        return row
