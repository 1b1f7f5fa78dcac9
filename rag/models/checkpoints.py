"""A model's files -> what transformers makes of them, on a device, as precise as suits it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from rag.errors import ModelError, first_line
from rag.models.devices import chosen_device, precision
from rag.models.fetching import LocalModel, without_progress_bars

Task = Literal["generation", "question-answering", "sequence-classification"]


class Checkpoint(NamedTuple):
    """A model in evaluation mode on its device, and its tokenizer.

    `missing` names the weights that the files lack, which transformers makes up at random.
    """

    model: Any
    tokenizer: Any
    missing: frozenset[str]


def load_checkpoint(model: LocalModel, task: Task, device: str = "auto") -> Checkpoint:
    """The files of `model`, opened for a task.

    `device` is `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        ModelError: if transformers cannot load them for this task.
        ConfigError: if there is no such device.
    """
    from transformers import AutoConfig, AutoTokenizer

    chosen = chosen_device(device)
    place, options = model.location, hub_options(model)
    try:
        with without_progress_bars():
            config = AutoConfig.from_pretrained(place, **options)
            tokenizer = AutoTokenizer.from_pretrained(place, **options)
            opened, info = _head(task, config).from_pretrained(
                place, dtype=precision(chosen), output_loading_info=True, **options
            )
            opened = opened.to(chosen).eval()
    # Broken files come back as errors of every kind.
    except Exception as error:
        raise ModelError(
            f"{place}: transformers cannot load it: {first_line(error)} "
            "(give a model directory, or a hub name while the hub can be reached)"
        ) from error
    return Checkpoint(opened, tokenizer, frozenset(info["missing_keys"]))


def hub_options(model: LocalModel) -> dict[str, Any]:
    """What `from_pretrained` is told of a model's revision, and whether it may ask the hub."""
    # A local model must not ask the network for what it does not need.
    return {"revision": model.revision, "local_files_only": model.origin != "hub"}


def _head(task: Task, config: Any) -> Any:
    import transformers

    if task == "question-answering":
        return transformers.AutoModelForQuestionAnswering
    if task == "sequence-classification":
        return transformers.AutoModelForSequenceClassification
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM
