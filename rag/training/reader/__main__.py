"""`python -m rag.training.reader CONFIG.toml --data DIRECTORY --output DIRECTORY`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from rag.training.loop import read_config, say
from rag.training.reader.train import train


def main() -> None:
    """Train as the configuration says, from where an earlier run stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m rag.training.reader", description="Train the reader of answers."
    )
    parser.add_argument("config", type=Path, help="the stages, in TOML")
    parser.add_argument("--data", type=Path, required=True, help="the folder of training files")
    parser.add_argument("--output", type=Path, required=True, help="for checkpoints and weights")
    parser.add_argument("--until", default="", help="the last stage to run (default: all)")
    parser.add_argument(
        "--leave-out", nargs="*", default=[], help="titles of judged articles that are not read"
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
        leave_out=arguments.leave_out,
    )
    say(f"done: {weights}")


if __name__ == "__main__":
    main()
