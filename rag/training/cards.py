"""What the model cards of trained models share: their files and sizes, and the command."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path


def count_weights(graph: Path) -> int:
    """Return how many trained numbers a graph that ships holds."""
    from rag.training.shipping import restore_weights

    return sum(each.numel() for each in restore_weights(graph).values())


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
