"""A model's files -> a sentence-transformers model, and what is known of what it is made of."""

from __future__ import annotations

import logging
from typing import Any

from rag.checkpoints import hub_options
from rag.models import LocalModel, without_progress_bars

# What gives a text's vector for its tokens alone.
_PLAIN = {"Transformer", "Pooling", "Dense", "Normalize", "Dropout", "LayerNorm"}


def open_modules(
    model: LocalModel, *, device: str = "auto", dtype: Any = "float32", **model_options: Any
) -> Any:
    """A SentenceTransformer in evaluation mode.

    Whatever sentence-transformers raises for broken files is raised as it is.
    """
    from sentence_transformers import SentenceTransformer

    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    with without_progress_bars():
        opened = SentenceTransformer(
            model.location,
            device=None if device == "auto" else device,
            model_kwargs={"dtype": dtype, **model_options},
            **hub_options(model),
        )
    return opened.eval()


def has_fast_tokenizer(model: Any) -> bool:
    """Whether its tokenizer has a tokenizer.json, which alone knows where tokens stand."""
    return bool(getattr(model.tokenizer, "is_fast", False))


def more_than_tokens(model: Any) -> str:
    """Why a text's vector takes more than its tokens to be computed; empty where it does not."""
    kinds = [type(module).__name__ for module in model]
    if kinds[:1] != ["Transformer"] or not set(kinds) <= _PLAIN:
        return f"it is made of {', '.join(kinds)}"
    if not has_fast_tokenizer(model):
        return "it has no tokenizer.json"
    if any(prompts(model)) and not all(getattr(each, "include_prompt", True) for each in model):
        return "its prompts are left out of the mean"
    return ""


def prompts(model: Any) -> tuple[str, str]:
    """What is put before a question and before a passage, as `encode_query` and the like do."""
    known = {name: prompt for name, prompt in model.prompts.items() if prompt is not None}
    document = next(
        (known[name] for name in ("document", "passage", "corpus") if name in known), ""
    )
    return known.get("query", ""), document


def window(model: Any) -> int:
    """Tokens that one text may hold, special tokens included."""
    return int(model.max_seq_length or model.tokenizer.model_max_length)
