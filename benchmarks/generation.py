"""Measure how long a generator takes to its first word, and how fast it writes.

    python benchmarks/generation.py [--generator MODEL] [--tokens 600] [--runs 7]

The prompts ask about real passages of `data/corpus`, as many words of them as make the wanted
number of tokens, template included; each run has passages of its own, and asks three questions
about them: the first, with nothing of the passages read before, another one, and the first again.
It counts how often the texts of the first and the third are the same. `rag ask` answers a question
of `data/queries.jsonl` from an index of that corpus, as a process of its own each time, once with
writing and once with the defaults; its first token is the first byte that it prints.

With a GGUF file, the answers to some of these questions are written with and without drafting, too:
tokens guessed from what followed the last ones before (`ngram_simple`, `ngram_map_k`), and checked
together. Prints commit and hardware, and Markdown tables of medians and spreads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from peers import commit, hardware

from rag import RAG, LanguageModel, Message, Prompt
from rag.answering.prompt import build_prompt
from rag.config import GenerationConfig
from rag.generation import load_generator
from rag.models import resolve
from rag.models.devices import usable_cores
from rag.protocols import Loadable

DATA = Path(__file__).parent.parent / "data"
QUESTIONS = ("What is this about?", "Which names and numbers are mentioned?", "What is this about?")
# The passages of two runs must not begin alike.
APART = 97
# A prompt of one passage, and the answer.
ROOM = 1024
# How many tokens must have occurred before, and how many are guessed after them.
DRAFT = (4, 8)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", default=GenerationConfig().model)
    parser.add_argument("--tokens", type=int, default=600, help="length of the prompt")
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    print(f"Commit {commit()}, {hardware()}, load {os.getloadavg()[0]:.1f}\n")
    print("| | median | fastest to slowest |")
    print("| --- " * 3 + "|")
    measure_resident(given.generator, given.tokens, given.runs)
    with tempfile.TemporaryDirectory() as folder:
        RAG(folder, settings={"generation.model": "extractive"}).index(DATA / "corpus")
        measure_cold_start(folder, given.generator, given.runs)
        model = resolve(given.generator, kind="generator")
        if model.location.endswith(".gguf"):
            drafting(folder, model.location, given.runs)


def measure_resident(model: str, tokens: int, runs: int) -> None:
    """Measure in a process that has the generator loaded."""
    # The default room suits the smallest model, and is too small for these prompts.
    room = tokens + GenerationConfig().max_tokens
    config = GenerationConfig(model=model, context_tokens=room)
    generator = load_generator(config)
    started = time.perf_counter()
    if isinstance(generator, Loadable):
        generator.load()
    loaded = time.perf_counter() - started
    waits: list[list[float]] = [[] for _ in QUESTIONS]
    paces: list[float] = []
    same: list[bool] = []
    for begin in range(0, (runs + 1) * APART, APART):
        texts = []
        for at, prompt in enumerate(made_of_passages(generator, tokens, begin)):
            wait, pace, text = written(generator, prompt)
            texts.append(text)
            # The first run warms up.
            if begin:
                waits[at].append(wait)
                paces.append(pace)
        same.append(texts[0] == texts[2])
    print(f"| {generator.name} loaded | {loaded:.2f} s | |")
    asked = ("a question", "another over the same passages", "the first one again")
    for label, found in zip(asked, waits, strict=True):
        row(f"first token of {label}, {tokens} tokens", found, "s")
    row("writing, pieces a second", paces, "")
    print(f"| asked again, the same text | {sum(same)} of {len(same)} | |")


def made_of_passages(generator: LanguageModel, tokens: int, begin: int) -> Iterator[Prompt]:
    """Build a prompt for each question, the longest of them with `tokens` tokens."""
    files = sorted((DATA / "corpus").rglob("*.md"))
    words = " ".join(file.read_text(encoding="utf-8") for file in files).split(" ")[begin:]

    def messages(count: int, question: str) -> tuple[Message, ...]:
        return (
            Message("system", "You answer questions from the given passages only."),
            Message("user", f"{' '.join(words[:count])}\n\nQuestion: {question}"),
        )

    longest = max(QUESTIONS, key=len)
    # Each word has at least one token.
    count = bisect_right(
        range(tokens), tokens, key=lambda count: generator.count_tokens(messages(count, longest))
    )
    for question in QUESTIONS:
        read = messages(count - 1, question)
        yield Prompt(question, read, (), generator.count_tokens(read))


def written(generator: LanguageModel, prompt: Prompt) -> tuple[float, float, str]:
    """Return the seconds to the first piece, the pieces a second after it, and the text."""
    started = time.perf_counter()
    times, pieces = [], []
    for piece in generator.stream(prompt):
        times.append(time.perf_counter())
        pieces.append(piece)
    pace = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
    return times[0] - started, pace, "".join(pieces)


def measure_cold_start(index: str, model: str, runs: int) -> None:
    """Measure `rag ask` as a process of its own."""
    ways = {"writing": ["--way", "generate", "--generator", model], "by default": []}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn, question in enumerate(islice(cycle(questions()), runs + 1)):
        for way, options in ways.items():
            seconds = first_byte(["ask", question, "--index", index, *options])
            # The first run fills the caches of the disk.
            if turn:
                found[way].append(seconds)
    for way, times in found.items():
        row(f"first token of `rag ask` from a cold process, {way}", times, "s")


def drafting(index: str, path: str, runs: int) -> None:
    """Write the same answers with and without drafting, in turn, and count texts that differ."""
    kinds = ("none", "ngram_simple", "ngram_map_k")
    servers = {kind: drafting_server(path, kind) for kind in kinds}
    rag = RAG(index, settings={"generation.model": "extractive"})
    generator = load_generator(GenerationConfig(model=path, context_tokens=ROOM))
    paces: dict[str, list[float]] = {kind: [] for kind in kinds}
    differing: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    guessed: Counter[str] = Counter()
    for question in islice(questions(), 0, None, max(1, len(questions()) // (2 * runs))):
        prompt = build_prompt(question, rag.search(question, 1), generator)
        texts = {}
        for kind, server in servers.items():
            reply = server.handle_chat_completions(
                {
                    "messages": [asdict(message) for message in prompt.messages],
                    "max_tokens": GenerationConfig().max_tokens,
                    "temperature": 0,
                }
            )
            texts[kind] = reply["choices"][0]["message"]["content"]
            paces[kind].append(reply["timings"]["predicted_per_second"])
            differing[kind] += texts[kind] != texts["none"]
            taken[kind] += reply["timings"].get("draft_n_accepted", 0)
            guessed[kind] += reply["timings"].get("draft_n", 0)
    print("\n| drafting | tokens/s | slowest to fastest | guesses taken | texts that differ |")
    print("| --- " * 5 + "|")
    for kind, found in paces.items():
        print(
            f"| {kind} | {median(found):.1f} | {min(found):.1f} to {max(found):.1f} "
            f"| {taken[kind]} of {guessed[kind]} | {differing[kind]} of {len(found)} |"
        )


def drafting_server(path: str, kind: str) -> Any:
    """Start llama.cpp with the settings of the generator, and a kind of drafting."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.verbosity = -1
    params.n_ctx = ROOM
    params.n_parallel = 1
    params.n_ubatch = 64
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = usable_cores()
    params.warmup = params.ui = params.fit_params = False
    if kind != "none":
        kinds = xllamacpp.common_speculative_type
        params.speculative.types = [getattr(kinds, f"COMMON_SPECULATIVE_TYPE_{kind.upper()}")]
        settings = getattr(params.speculative, kind)
        settings.size_n, settings.size_m = DRAFT
    return xllamacpp.Server(params)


def questions() -> list[str]:
    """Read the questions of the sample corpus."""
    lines = (DATA / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def first_byte(arguments: Sequence[str]) -> float:
    """Return the seconds from the start of `rag` to the first byte that it prints."""
    started = time.perf_counter()
    environment = {**os.environ, "RAG_DAEMON_USE": "false"}
    with subprocess.Popen(
        [sys.executable, "-m", "rag", *arguments], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - started
        process.stdout.read()
    return seconds


def row(label: str, values: Sequence[float], unit: str) -> None:
    """Format a line of the table."""
    print(
        f"| {label} | {median(values):.2f} {unit} | {min(values):.2f} to {max(values):.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
