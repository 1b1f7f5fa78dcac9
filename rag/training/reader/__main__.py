"""`python -m rag.training.reader CONFIG.toml --data DIRECTORY --output DIRECTORY`."""

from __future__ import annotations

import argparse

from rag.training.loop import run_command
from rag.training.reader.train import train


def _add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--leave-out", nargs="*", default=[], help="titles of judged articles that are not read"
    )


if __name__ == "__main__":
    run_command("rag.training.reader", "the reader of answers", train, _add_option)
