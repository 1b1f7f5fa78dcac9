"""Answer questions from your own documents, with citations that can be checked.

    from rag import RAG

    rag = RAG("indexes/default")
    rag.index(["docs/"])
    answer = rag.ask("What does the lease say about pets?")
    print(answer.text, answer.citations)

Every name is imported when it is first used: `import rag` loads no model library, and `rag --help`
not even the types.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.answering.conversation import Conversation as Conversation
    from rag.answering.prompt import build_prompt as build_prompt
    from rag.answering.prompt import copy_templates as copy_templates
    from rag.answering.prompt import load_templates as load_templates
    from rag.answering.schema import load_schema as load_schema
    from rag.answering.stream import AnswerStream as AnswerStream
    from rag.config import Config as Config
    from rag.config import load_config as load_config
    from rag.engine import RAG as RAG
    from rag.errors import *  # noqa: F403
    from rag.evaluation import compare as compare
    from rag.evaluation import evaluate as evaluate
    from rag.evaluation import load_dataset as load_dataset
    from rag.evaluation import write_page as write_page
    from rag.generation import from_callable as from_callable
    from rag.protocols import *  # noqa: F403
    from rag.query.filters import parse_filter as parse_filter
    from rag.training.distillation import distil as distil
    from rag.types import *  # noqa: F403

__version__ = "0.1.0"

_HOMES = {
    "RAG": "engine",
    "AnswerStream": "answering.stream",
    "Config": "config",
    "Conversation": "answering.conversation",
    "build_prompt": "answering.prompt",
    "compare": "evaluation",
    "copy_templates": "answering.prompt",
    "distil": "training.distillation",
    "evaluate": "evaluation",
    "from_callable": "generation",
    "load_config": "config",
    "load_dataset": "evaluation",
    "load_schema": "answering.schema",
    "load_templates": "answering.prompt",
    "parse_filter": "query.filters",
    "write_page": "evaluation",
}

# The modules whose public names are all public here.
_WHOLE = ("errors", "protocols", "types")


def __getattr__(name: str) -> Any:
    if name == "Generator":  # The name of `LanguageModel` before version 0.2.
        name = "LanguageModel"
    if name in _HOMES:
        return getattr(import_module(f"rag.{_HOMES[name]}"), name)
    modules = [import_module(f"rag.{each}") for each in _WHOLE]
    if name == "__all__":
        return [*(each for module in modules for each in module.__all__), *_HOMES]
    for module in modules:
        if name in module.__all__:
            return getattr(module, name)
    raise AttributeError(f"module 'rag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__getattr__("__all__"))
