"""`python -m rag.training.reader CONFIG.toml --data DIRECTORY --output DIRECTORY`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rag.training.loop import run_command
from rag.training.reader.train import train


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--leave-out", nargs="*", default=[], help="titles of judged articles that are not read"
    )
    parser.add_argument("--base", default="", help="where the base lies, if not at its name")
    parser.add_argument(
        "--start",
        type=Path,
        help="weights, or a graph that ships, that the first stage goes on from",
    )


if __name__ == "__main__":
    run_command("rag.training.reader", "the reader of answers", train, _add_options)
