"""premise, hypothesis -> how likely the one entails or contradicts the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError, first_line
from rag.models import LocalModel, resolve
from rag.models.checkpoints import load_checkpoint
from rag.protocols import EntailmentModel
from rag.types import ProgressCallback

if TYPE_CHECKING:
    from rag.types import Vectors

_BATCH = 16
_RELATIONS = ("entailment", "neutral", "contradiction")
# Two-label models (as of SciTail, RTE or QNLI) tell neutral and contradiction not apart.
_NOT_ENTAILED = "not_entailment"


def load_entailment(
    name: str, *, device: str = "auto", progress: ProgressCallback | None = None
) -> EntailmentModel:
    """A model for natural language inference; its weights are loaded at first use.

    `name` is a directory or a hub name with an optional `@revision`, of any model for sequence
    classification that transformers loads. Which label is which is read from its `id2label`:
    entailment, neutral and contradiction in any order and case, or entailment and not_entailment,
    in which case the probability of a contradiction is 0. `device` is `auto` (CUDA or MPS where
    there is one), `cpu`, `cuda` or `mps`.

    Raises:
        ModelError: if there is no such model.
    """
    return _SequenceClassifier(resolve(name, kind="entailment", progress=progress), device)


class _SequenceClassifier:
    """Half precision on CUDA and MPS, float32 on a CPU; threads take turns."""

    def __init__(self, model: LocalModel, device: str) -> None:
        self.name = model.name
        self._model = model
        self._device = device
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, Sequence[int | None]] | None = None

    def entail(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """For each (premise, hypothesis): of entailment, neutral and contradiction.

        A premise that is too long is cut at its end.

        Raises:
            ModelError: if the model cannot be loaded, or a hypothesis alone fills what it reads.
            ConfigError: if there is no such device.
        """
        import numpy as np

        found = np.zeros((len(pairs), len(_RELATIONS)), dtype=np.float32)
        # Texts of about the same length together: the shorter ones are padded to the longest.
        order = sorted(range(len(pairs)), key=lambda at: sum(map(len, pairs[at])))
        with self._lock:
            if self._loaded is None:
                self._loaded = self._open()
            for first in range(0, len(order), _BATCH):
                batch = order[first : first + _BATCH]
                found[batch] = self._probabilities([pairs[at] for at in batch], *self._loaded)
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
                max_length=_longest(model, tokenizer),
                padding=True,
                return_tensors="pt",
            ).to(model.device)
            with torch.inference_mode():
                rows = torch.softmax(model(**inputs).logits.float(), dim=-1).cpu().numpy()
        # Tokenizers written in Rust raise bare exceptions.
        except Exception as error:
            raise ModelError(f"{self.name}: cannot read a pair: {first_line(error)}") from error
        if not np.isfinite(rows).all():
            raise ModelError(
                f"{self.name} gave probabilities that are NaN or infinite: its weights are "
                "damaged, or do not fit this device"
            )
        chosen = [np.zeros(len(rows)) if column is None else rows[:, column] for column in columns]
        probabilities: Vectors = np.stack(chosen, axis=1).astype(np.float32)
        return probabilities

    def _open(self) -> tuple[Any, Any, Sequence[int | None]]:
        model, tokenizer, _ = load_checkpoint(self._model, "sequence-classification", self._device)
        architectures = getattr(model.config, "architectures", None) or ["?"]
        if not architectures[0].endswith("ForSequenceClassification"):
            # It would be given a head of random weights, and judge at random.
            raise self._unfit(f"{architectures[0]} has no head that classifies a pair of texts")
        labels = model.config.id2label
        columns = _columns(labels)
        if columns is None:
            named = ", ".join(str(label) for _, label in sorted(labels.items()))
            raise self._unfit(
                f"its labels are {named}: name them entailment, neutral and contradiction, or "
                "entailment and not_entailment, under `id2label` of its config.json"
            )
        return model, tokenizer, columns

    def _unfit(self, reason: str) -> ModelError:
        return ModelError(
            f"{self._model.location}: is no entailment model that can be used: {reason}"
        )


def _columns(labels: Mapping[int, str]) -> Sequence[int | None] | None:
    """Which output is entailment, neutral and contradiction; None if that cannot be told."""
    named = {label.strip().lower().replace("-", "_"): int(at) for at, label in labels.items()}
    if set(named) == {_RELATIONS[0], _NOT_ENTAILED}:
        return named[_RELATIONS[0]], named[_NOT_ENTAILED], None
    if set(named) == set(_RELATIONS):
        return [named[relation] for relation in _RELATIONS]
    return None


def _longest(model: Any, tokenizer: Any) -> int:
    """Tokens that a pair may have; a tokenizer that knows no limit names a huge one."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    # RoBERTa counts positions from the one after its padding token.
    taken = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(min(tokenizer.model_max_length, positions - taken))
