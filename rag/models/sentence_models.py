"""A model's files -> a sentence-transformers model, and what is known of what it is made of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rag.models import LocalModel, without_progress_bars
from rag.models.checkpoints import hub_options

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What gives a text's vector for its tokens alone.
_PLAIN = {"Transformer", "Pooling", "Dense", "Normalize", "Dropout", "LayerNorm"}
# What tokens and texts have to agree on.
_SAMPLES = ("a", "What is said of a filter, and how often it has to be changed?")
_LEAST_AGREEMENT = 0.999


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


def more_than_tokens(model: Any, tokenizer: Tokenizer) -> str:
    """Why a text's vector takes more than its tokens to be computed; empty where it does not."""
    kinds = [type(module).__name__ for module in model]
    if kinds[:1] != ["Transformer"] or not set(kinds) <= _PLAIN:
        return f"it is made of {', '.join(kinds)}"
    if any(prompts(model)) and not all(getattr(each, "include_prompt", True) for each in model):
        return "its prompts are left out of the mean"
    # As where texts are written into a conversation first.
    return "" if _agrees(model, tokenizer) else "its tokens alone give other vectors than its texts"


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


def forward(model: Any, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What the modules make of texts' tokens, padded to the longest, on the model's device."""
    import numpy as np
    import torch

    longest = max(1, *map(len, rows))
    ids = np.full((len(rows), longest), model.tokenizer.pad_token_id or 0, dtype=np.int64)
    mask = np.zeros_like(ids)
    left = model.tokenizer.padding_side == "left"
    for row, held in enumerate(rows):
        place = slice(longest - len(held), None) if left else slice(len(held))
        ids[row, place] = held
        mask[row, place] = 1
    names = {"input_ids": ids, "attention_mask": mask}
    with torch.inference_mode():
        given = {name: torch.from_numpy(each).to(model.device) for name, each in names.items()}
        found: dict[str, Any] = model(given)
        return found


def _agrees(model: Any, tokenizer: Tokenizer) -> bool:
    """Whether tokens alone give what sentence-transformers gives for questions and passages."""
    import torch

    try:
        for prompt, encode in zip(
            prompts(model), (model.encode_query, model.encode_document), strict=True
        ):
            rows = [tokenizer.encode(prompt + text).ids for text in _SAMPLES]
            found = forward(model, rows)["sentence_embedding"].float()
            wanted = encode(list(_SAMPLES), show_progress_bar=False, convert_to_tensor=True)
            cosines = torch.nn.functional.cosine_similarity(found, wanted.float())
            if not cosines.min() > _LEAST_AGREEMENT:
                return False
    # Modules of whoever made the model may want anything.
    except Exception:  # noqa: BLE001
        return False
    return True
