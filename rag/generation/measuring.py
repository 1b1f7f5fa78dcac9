"""Measure how fast a generator reads and writes on this machine."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import count

from rag.config import GenerationConfig
from rag.errors import GenerationError, IncompleteError, ModelError
from rag.generation import load_generator
from rag.models import CATALOGUE, Speed, keep_speed
from rag.protocols import Loadable
from rag.types import Message, ProgressCallback, Prompt

# Enough that loading and the first step do not count, and short enough for the smallest model.
_PROMPT_TOKENS = 256
_WRITTEN_TOKENS = 32


def measure_generator(name: str, *, progress: ProgressCallback | None = None) -> Speed:
    """Let a catalogued generator read and write once, and keep its speed in the cache.

    It is fetched if it is not here. This takes some seconds.

    Raises:
        ModelError: if it is no catalogued generator, or cannot be fetched or loaded, or the cache
            cannot be written.
        GenerationError: if it fails, or writes too little to be measured.
    """
    entry = CATALOGUE.get(name)
    if entry is None or entry.kind != "generator":
        known = ", ".join(each.name for each in CATALOGUE.values() if each.kind == "generator")
        raise ModelError(f"{name}: is no catalogued generator: there are {known}")
    # Its own context would be room for thousands of tokens that are not used.
    config = GenerationConfig(model=name, max_tokens=_WRITTEN_TOKENS, context_tokens=512)
    generator = load_generator(config, progress=progress)
    if isinstance(generator, Loadable):
        generator.load()
    lines: list[str] = []
    for number in count(1):
        lines.append(f"{number}. The depot in hall {number} opens at {number % 12 + 1} o'clock.")
        request = "\n".join([*lines, "Count from 1 to 50 in digits, and write nothing else."])
        messages = (Message("user", request),)
        tokens = generator.count_tokens(messages)
        if tokens >= _PROMPT_TOKENS:
            break
    started = time.perf_counter()
    times: list[float] = []
    # It is to stop at its limit of tokens.
    with suppress(IncompleteError):
        for _ in generator.stream(Prompt(request, messages, (), tokens)):
            times.append(time.perf_counter())
    if len(times) < 3:
        raise GenerationError(f"{name}: wrote too little to be measured")
    speed = Speed(tokens / (times[0] - started), (len(times) - 1) / (times[-1] - times[0]))
    try:
        keep_speed(name, speed)
    except OSError as error:
        raise ModelError(
            f"{name}: its speed cannot be kept in the cache ({error.strerror or error}): "
            "set RAG_CACHE to a folder that can be written"
        ) from error
    return speed
