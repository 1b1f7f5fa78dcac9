"""`python -m rag.training.entailment CONFIG.toml --data DIRECTORY --output DIRECTORY`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rag.training.entailment.train import train
from rag.training.loop import run_command


def _add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start", type=Path, help="weights of a reader, whose layers the first stage goes on from"
    )


if __name__ == "__main__":
    run_command("rag.training.entailment", "the judge of claims", train, _add_option)
