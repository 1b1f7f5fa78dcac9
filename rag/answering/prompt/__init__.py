"""Build prompts from templates, which a user may change."""

from rag.answering.prompt.building import build_prompt
from rag.answering.prompt.examples import Example, load_examples, nearest_examples
from rag.answering.prompt.rendering import Templates, copy_templates, load_templates

__all__ = [
    "Example",
    "Templates",
    "build_prompt",
    "copy_templates",
    "load_examples",
    "load_templates",
    "nearest_examples",
]
