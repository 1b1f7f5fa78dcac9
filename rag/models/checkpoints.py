"""A model's files -> what transformers makes of them, on a device, as precise as suits it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from rag.errors import ModelError, first_line
from rag.models.devices import choose_device, precision_for
from rag.models.fetching import LocalModel, without_progress_bars

Task = Literal["generation", "question-answering", "sequence-classification"]


class Checkpoint(NamedTuple):
    """A model in evaluation mode on its device, and its tokenizer.

    `missing` names the weights that the files lack and transformers initialized at random.
    """

    model: Any
    tokenizer: Any
    missing: frozenset[str]


def load_checkpoint(model: LocalModel, task: Task, device: str = "auto") -> Checkpoint:
    """Open the files of `model` for a task, on `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        ModelError: if transformers cannot load them for this task.
        ConfigError: if there is no such device.
    """
    from transformers import AutoConfig, AutoTokenizer

    chosen = choose_device(device)
    location, options = model.location, hub_options(model)
    try:
        with without_progress_bars():
            # Code that lies beside the weights is not run, and nobody is asked whether to run it.
            config = AutoConfig.from_pretrained(location, trust_remote_code=False, **options)
            tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False, **options)
            loaded, info = _auto_class(task, config).from_pretrained(
                location,
                dtype=precision_for(chosen),
                output_loading_info=True,
                trust_remote_code=False,
                **options,
            )
            loaded = loaded.to(chosen).eval()
    # Broken files raise errors of every kind.
    except Exception as error:
        raise ModelError(
            f"{location}: transformers cannot load it: {first_line(error)} "
            "(give a model directory, or a hub name while the hub can be reached)"
        ) from error
    return Checkpoint(loaded, tokenizer, frozenset(info["missing_keys"]))


def hub_options(model: LocalModel) -> dict[str, Any]:
    """Return the `from_pretrained` arguments that pin a revision and keep local models offline."""
    return {"revision": model.revision, "local_files_only": model.origin != "hub"}


def check_pair_head(model: LocalModel, config: Any, kind: str) -> None:
    """Raise ModelError unless the weights include a head that classifies a pair of texts.

    Without one, transformers would add a head of random weights, whose answers are random.
    """
    architectures = getattr(config, "architectures", None) or ["?"]
    if not architectures[0].endswith("ForSequenceClassification"):
        raise unusable(model, kind, f"{architectures[0]} has no head that judges a pair of texts")


def unusable(model: LocalModel, kind: str, reason: str) -> ModelError:
    """Return the error for a model that cannot serve as a `kind` ("a cross-encoder")."""
    return ModelError(f"{model.location}: cannot be used as {kind}: {reason}")


def _auto_class(task: Task, config: Any) -> Any:
    import transformers

    if task == "question-answering":
        return transformers.AutoModelForQuestionAnswering
    if task == "sequence-classification":
        return transformers.AutoModelForSequenceClassification
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM
