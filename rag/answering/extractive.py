"""Answers word for word out of the passages, without a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rag.answering.extraction import candidates_of, extract
from rag.answering.passages import Passages
from rag.config import GenerationConfig
from rag.protocols import Embedder
from rag.types import NO_ANSWER, Message, Prompt


class ExtractiveGenerator:
    """A generator that quotes instead of writing: deterministic, with no weights to load."""

    name = "extractive"
    context_tokens = 1_000_000

    def __init__(self, config: GenerationConfig, embedder: Embedder | None = None) -> None:
        self.max_tokens = config.max_tokens
        self._embedder = embedder

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return the number of words; nothing limits the prompt."""
        return sum(len(message.content.split()) for message in messages)

    def stream(self, prompt: Prompt) -> Iterator[str]:
        """Yield the span or sentence that answers, with its passage's number."""
        found = extract(*candidates_of(prompt.question, Passages(prompt.hits, self._embedder)))
        if found is None:
            yield NO_ANSWER
            return
        words = found.text.split()[: self.max_tokens]
        yield f"{' '.join(words)} [{found.number}]"
