"""Models for natural language inference that transformers loads."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError, first_line
from rag.models import LocalModel, check_finite, resolve
from rag.models.checkpoints import check_pair_head, load_checkpoint, unusable
from rag.once import once
from rag.protocols import EntailmentModel
from rag.types import ProgressCallback

if TYPE_CHECKING:
    from rag.types import Vectors

_KIND = "an entailment model"
_BATCH = 16
_RELATIONS = ("entailment", "neutral", "contradiction")
# Two-label models (as of SciTail, RTE or QNLI) do not distinguish neutral from contradiction.
_NOT_ENTAILMENT = "not_entailment"


def load_transformer(
    name: str, *, device: str = "auto", progress: ProgressCallback | None = None
) -> EntailmentModel:
    """Open a model for sequence classification; its weights are loaded at first use.

    Raises:
        ModelError: if there is no such model.
    """
    return _SequenceClassifier(resolve(name, kind="entailment", progress=progress), device)


class _SequenceClassifier:
    """A model in half precision on CUDA and MPS, in float32 on a CPU; threads take turns."""

    def __init__(self, model: LocalModel, device: str) -> None:
        self.name = model.name
        self._model = model
        self._device = device
        self._lock = threading.RLock()

    def entail(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """Return the probabilities of entailment, neutral and contradiction for each pair.

        A pair is (premise, hypothesis). A premise that is too long is cut at its end.

        Raises:
            ModelError: if the model cannot be loaded, or a hypothesis is too long for it.
            ConfigError: if there is no such device.
        """
        import numpy as np

        found = np.zeros((len(pairs), len(_RELATIONS)), dtype=np.float32)
        # A batch holds pairs of similar length, since the shorter ones are padded to the longest.
        order = sorted(range(len(pairs)), key=lambda at: sum(map(len, pairs[at])))
        with self._lock:
            for first in range(0, len(order), _BATCH):
                batch = order[first : first + _BATCH]
                found[batch] = self._probabilities([pairs[at] for at in batch], *self._parts)
        return found

    def _probabilities(
        self, pairs: Sequence[tuple[str, str]], model: Any, tokenizer: Any,
        columns: Sequence[int | None],
    ) -> Vectors:  # fmt: skip
        import numpy as np
        import torch

        try:
            inputs = tokenizer(
                [premise for premise, _ in pairs],
                [hypothesis for _, hypothesis in pairs],
                truncation="only_first",
                max_length=_max_tokens(model, tokenizer),
                padding=True,
                return_tensors="pt",
            ).to(model.device)
            with torch.inference_mode():
                rows = torch.softmax(model(**inputs).logits.float(), dim=-1).cpu().numpy()
        # Tokenizers written in Rust raise bare exceptions.
        except Exception as error:
            raise ModelError(f"{self.name}: cannot read a pair: {first_line(error)}") from error
        check_finite(rows, f"{self.name} gave probabilities")
        chosen = [np.zeros(len(rows)) if column is None else rows[:, column] for column in columns]
        probabilities: Vectors = np.stack(chosen, axis=1).astype(np.float32)
        return probabilities

    @once
    def _parts(self) -> tuple[Any, Any, Sequence[int | None]]:
        model, tokenizer, _ = load_checkpoint(self._model, "sequence-classification", self._device)
        check_pair_head(self._model, model.config, _KIND)
        labels = model.config.id2label
        columns = _columns(labels)
        if columns is None:
            named = ", ".join(str(label) for _, label in sorted(labels.items()))
            raise unusable(
                self._model,
                _KIND,
                f"its labels are {named}: name them entailment, neutral and contradiction, or "
                "entailment and not_entailment, under `id2label` of its config.json",
            )
        return model, tokenizer, columns


def _columns(labels: Mapping[int, str]) -> Sequence[int | None] | None:
    """Return the outputs for entailment, neutral and contradiction; None if labels are unclear."""
    outputs = {label.strip().lower().replace("-", "_"): int(at) for at, label in labels.items()}
    if set(outputs) == {_RELATIONS[0], _NOT_ENTAILMENT}:
        return outputs[_RELATIONS[0]], outputs[_NOT_ENTAILMENT], None
    if set(outputs) == set(_RELATIONS):
        return [outputs[relation] for relation in _RELATIONS]
    return None


def _max_tokens(model: Any, tokenizer: Any) -> int:
    """Return how many tokens a pair may have; a tokenizer without a limit names a huge one."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    # RoBERTa counts positions from the one after its padding token.
    taken = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(min(tokenizer.model_max_length, positions - taken))
