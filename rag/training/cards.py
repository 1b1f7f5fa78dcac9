"""What the model cards of trained models share: their files and sizes, and the command."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path


def count_weights(file: Path) -> int:
    """Return how many numbers the tensors of a safetensors file hold."""
    from safetensors import safe_open

    with safe_open(str(file), framework="numpy") as opened:
        return sum(prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118


def list_files(folder: Path, names: Sequence[str]) -> str:
    """Return a Markdown list of files with their sizes and SHA-256."""
    return "\n".join(
        f"- `{name}` {(folder / name).stat().st_size:,} bytes, sha256 "
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}"
        for name in names
    )


def run_command(write_card: Callable[[Path, str], None], module: str, whose: str) -> None:
    """Write the card of the folder that the command line of `python -m module` names."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=f"Write the model card of {whose}."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--measured", type=Path, help="Markdown with what was measured")
    arguments = parser.parse_args()
    measured = arguments.measured.read_text(encoding="utf-8") if arguments.measured else ""
    write_card(arguments.folder, measured)
