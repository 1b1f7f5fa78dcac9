"""However a model is given, by catalogue, path or hub -> the name by which it is known."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rag.models.catalogue import CATALOGUE

# What names of files and repositories add to a model's name: its format and its number of bits.
_FORMAT = re.compile(
    r"[-_.](?:gguf|awq|gptq|mlx|onnx|i?q\d\w*|bf16|fp?16|fp?32|int[48]|[48]-?bits?)$"
)


def model_name(spec: str) -> str:
    """Return the name by which the model that `spec` gives is known.

    That is the catalogued name also for the same file elsewhere, which is known by its exact
    length, and for a name that differs only in letters' case, owner, format and bits, such as
    `Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF`.
    """
    if spec in CATALOGUE:
        return spec
    path = Path(os.path.expanduser(spec))  # noqa: PTH111
    if os.path.isfile(path):  # noqa: PTH113
        length = path.stat().st_size
        for entry in CATALOGUE.values():
            if entry.kind == "generator" and entry.disk == length:
                return entry.name
    name = spec.partition("@")[0].rstrip("/").replace("\\", "/").rpartition("/")[2].lower()
    while (shorter := _FORMAT.sub("", name)) != name:
        name = shorter
    return name
