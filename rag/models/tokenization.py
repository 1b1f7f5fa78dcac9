"""A model's fast tokenizer -> one that neither cuts nor pads, and what it puts around a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def whole_tokenizer(model: Any) -> Tokenizer:
    """Copy the tokenizer of a sentence-transformers model, without truncation and padding.

    The model's own truncates and pads, by settings that change with every batch.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def count_special_tokens(tokenizer: Tokenizer) -> tuple[int, int]:
    """Count the special tokens that stand before and after a text."""
    special = tokenizer.encode("a").special_tokens_mask
    return special.index(0), special[::-1].index(0)


def truncate(ids: Sequence[int], limit: int, after: int) -> Sequence[int]:
    """Shorten a text's tokens to `limit`, keeping the last `after` ones, which end it."""
    if len(ids) <= limit:
        return ids
    return [*ids[: limit - after], *ids[len(ids) - after :]]
