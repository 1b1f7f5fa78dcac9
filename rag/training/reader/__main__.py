"""`python -m rag.training.reader CONFIG.toml --data DIRECTORY --output DIRECTORY`."""

from __future__ import annotations

import torch

from rag.training.loop import make_parser, read_config, say
from rag.training.reader.train import train


def main() -> None:
    """Train as the configuration says, from where an earlier run stopped."""
    parser = make_parser("rag.training.reader", "the reader of answers")
    parser.add_argument(
        "--leave-out", nargs="*", default=[], help="titles of judged articles that are not read"
    )
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
