"""Prompt -> stream of text, by llama.cpp, transformers, a server, a plugin or a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rag.config import GenerationConfig
from rag.errors import GenerationError, RagError, first_line
from rag.plugins import plugin
from rag.protocols import LanguageModel
from rag.types import Message, ProgressCallback, Prompt

__all__ = ["check_generator", "from_callable", "load_generator"]

_CONTEXT_TOKENS = 4096


def load_generator(
    config: GenerationConfig, *, progress: ProgressCallback | None = None
) -> LanguageModel:
    """Return the generator that `config.model` names; it loads its weights at first use.

    `config.model` is a name of the entry-point group `rag.generators`, the URL of an
    OpenAI-compatible server, a GGUF file, or a model that transformers loads (a directory, or a hub
    name with an optional `@revision`).

    Raises:
        ModelError: if there is no such model, or it cannot be fetched.
    """
    if not config.context_tokens:
        config = replace(config, context_tokens=_suitable_context(config.model))
    if config.model.startswith(("http://", "https://")):
        from rag.generation.openai import OpenAIGenerator

        return OpenAIGenerator(config.model, config)
    load = plugin("rag.generators", config.model)
    if load is not None:
        generator: LanguageModel = load(config)
        return generator
    from rag.models import resolve

    model = resolve(config.model, kind="generator", progress=progress)
    if model.location.lower().endswith(".gguf"):
        from rag.generation.llamacpp import LlamaCppGenerator

        return LlamaCppGenerator(model, config)
    from rag.generation.huggingface import TransformersGenerator

    return TransformersGenerator(model, config)


def check_generator(model: str) -> None:
    """Raise ModelError unless `model` names a generator; fetch and load nothing."""
    if model.startswith(("http://", "https://")) or plugin("rag.generators", model) is not None:
        return
    from rag.models import locate

    locate(model, kind="generator")


def _suitable_context(model: str) -> int:
    from rag.models import CATALOGUE

    entry = CATALOGUE.get(model)
    return entry.context_tokens if entry and entry.context_tokens else _CONTEXT_TOKENS


def from_callable(
    name: str,
    write: Callable[[Prompt], Iterable[str]],
    *,
    context_tokens: int = 8192,
    max_tokens: int = 1024,
) -> LanguageModel:
    """Make a LanguageModel of a plain function; the length of its prompts is estimated."""
    return _CallableGenerator(name, write, context_tokens, max_tokens)


@dataclass
class _CallableGenerator:
    name: str
    write: Callable[[Prompt], Iterable[str]]
    context_tokens: int
    max_tokens: int

    def count_tokens(self, messages: Sequence[Message]) -> int:
        from rag.generation.estimate import estimate_tokens

        return estimate_tokens(messages)

    def stream(self, prompt: Prompt) -> Iterator[str]:
        try:
            yield from self.write(prompt)
        except RagError:
            raise
        # A user's function may fail in any way.
        except Exception as error:
            raise GenerationError(f"{self.name} failed: {first_line(error)}") from error
