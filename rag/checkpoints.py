"""A model's files -> what transformers makes of them, on a device, as precise as suits it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from rag.errors import ConfigError, ModelError, first_line
from rag.models import LocalModel, without_progress_bars

Task = Literal["generation", "question-answering", "sequence-classification"]

_PATIENCE = 1e-4
_guard = threading.Lock()
_computing = 0
_patience_before = 0.0


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


def chosen_device(asked: str, setting: str = "device") -> str:
    """The device itself, or for `auto` CUDA, MPS or the CPU: the first that there is.

    Raises:
        ConfigError: if there is no such device, naming the `setting`.
    """
    import torch

    if asked == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"{setting} {asked}: {first_line(error)}") from error
    return asked


def precision(device: str) -> Any:
    """bfloat16 (or float16 where the GPU lacks it) on CUDA, float16 on MPS, float32 on a CPU."""
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device == "mps" else torch.float32


def _head(task: Task, config: Any) -> Any:
    import transformers

    if task == "question-answering":
        return transformers.AutoModelForQuestionAnswering
    if task == "sequence-classification":
        return transformers.AutoModelForSequenceClassification
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM


@contextmanager
def computing() -> Iterator[None]:
    """While torch computes: other threads hand the interpreter over after 0.1 ms, and not 5.

    Torch gives it up and takes it again with each of the hundreds of operations of a model. Beside
    one thread that runs Python all the time (reading, cutting), a small model is 14 times as fast
    so. The setting is the process's: it is what it was when nobody computes any more.
    """
    global _computing, _patience_before  # noqa: PLW0603
    with _guard:
        _computing += 1
        if _computing == 1:
            _patience_before = sys.getswitchinterval()
            sys.setswitchinterval(min(_PATIENCE, _patience_before))
    try:
        yield
    finally:
        with _guard:
            _computing -= 1
            if not _computing:
                sys.setswitchinterval(_patience_before)
