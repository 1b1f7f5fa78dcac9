"""A model's fast tokenizer -> one that neither cuts nor pads, and what it puts around a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def whole_tokenizer(model: Any) -> Tokenizer:
    """A copy of the tokenizer of a sentence-transformers model, which gives texts whole.

    The model's own cuts and pads, by settings that change with every batch.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_around(tokenizer: Tokenizer) -> tuple[int, int]:
    """How many special tokens stand before and after a text."""
    special = tokenizer.encode("a").special_tokens_mask
    return special.index(0), special[::-1].index(0)


def cut(ids: Sequence[int], limit: int, after: int) -> Sequence[int]:
    """At most `limit` tokens of a text, its last `after` ones, which end it, kept."""
    if len(ids) <= limit:
        return ids
    return [*ids[: limit - after], *ids[len(ids) - after :]]
