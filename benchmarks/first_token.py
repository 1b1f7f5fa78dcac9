"""Time to the first token of a warm generator: `python benchmarks/first_token.py [--tokens 600]`.

The prompt asks for a summary of real passages of `data/corpus`, as many words of them as make
the wanted number of tokens, template included. Prints a Markdown row: the median and the spread
of seven runs, and the load of the machine over the minute before.
"""

from __future__ import annotations

import argparse
import os
import time
from bisect import bisect_right
from pathlib import Path
from statistics import median

from rag import Generator, Message, Prompt
from rag.config import GenerationConfig
from rag.generation import load_generator

CORPUS = Path(__file__).parent.parent / "data" / "corpus"
RUNS = 7


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", default=GenerationConfig().model)
    parser.add_argument("--tokens", type=int, default=600, help="length of the prompt")
    arguments = parser.parse_args()
    # The room that suits the smallest model is less than what is asked here.
    room = arguments.tokens + GenerationConfig().max_tokens
    generator = load_generator(GenerationConfig(model=arguments.generator, context_tokens=room))
    prompt = made_of_passages(generator, arguments.tokens)
    load = os.getloadavg()[0]
    first_token(generator, prompt)
    times = [first_token(generator, prompt) for _ in range(RUNS)]
    print("| generator | prompt tokens | first token, s | fastest to slowest, s | cores | load |")
    print("| --- " * 6 + "|")
    print(
        f"| {generator.name} | {prompt.tokens} | {median(times):.2f} "
        f"| {min(times):.2f} to {max(times):.2f} | {os.cpu_count()} | {load:.1f} |"
    )


def made_of_passages(generator: Generator, tokens: int) -> Prompt:
    """The longest prompt of passages that takes no more than `tokens`."""
    files = sorted(CORPUS.rglob("*.md"))
    words = " ".join(file.read_text(encoding="utf-8") for file in files).split(" ")

    def messages(count: int) -> tuple[Message, ...]:
        return (
            Message("system", "You answer questions from the given passages only."),
            Message("user", f"{' '.join(words[:count])}\n\nQuestion: What is this about?"),
        )

    # No word takes less than a token.
    count = bisect_right(
        range(tokens), tokens, key=lambda count: generator.count_tokens(messages(count))
    )
    read = messages(count - 1)
    return Prompt("What is this about?", read, (), generator.count_tokens(read))


def first_token(generator: Generator, prompt: Prompt) -> float:
    """Seconds until the first piece of text."""
    started = time.perf_counter()
    stream = generator.stream(prompt)
    next(stream)
    seconds = time.perf_counter() - started
    stream.close()  # type: ignore[attr-defined]
    return seconds


if __name__ == "__main__":
    main()
