"""`python -m rag.training.entailment CONFIG.toml --data DIRECTORY --output DIRECTORY`."""

from __future__ import annotations

from pathlib import Path

import torch

from rag.training.entailment.train import train
from rag.training.loop import make_parser, read_config, say


def main() -> None:
    """Train as the configuration says, from where an earlier run stopped."""
    parser = make_parser("rag.training.entailment", "the judge of claims")
    parser.add_argument(
        "--start", type=Path, help="weights of a reader, whose layers the first stage goes on from"
    )
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
