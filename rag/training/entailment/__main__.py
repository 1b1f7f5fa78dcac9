"""`python -m rag.training.entailment CONFIG.toml --data DIRECTORY --output DIRECTORY`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from rag.training.entailment.train import train
from rag.training.loop import read_config, say


def main() -> None:
    """Train as the configuration says, from where an earlier run stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m rag.training.entailment", description="Train the judge of claims."
    )
    parser.add_argument("config", type=Path, help="the stages, in TOML")
    parser.add_argument("--data", type=Path, required=True, help="the folder of training files")
    parser.add_argument("--output", type=Path, required=True, help="for checkpoints and weights")
    parser.add_argument("--until", default="", help="the last stage to run (default: all)")
    parser.add_argument(
        "--start", type=Path, help="weights of a reader, whose layers the first stage goes on from"
    )
    parser.add_argument("--threads", type=int, default=0, help="of torch (default: its own choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    weights = train(
        read_config(arguments.config),
        arguments.data,
        arguments.output,
        until=arguments.until,
        start=arguments.start,
    )
    say(f"done: {weights}")


if __name__ == "__main__":
    main()
