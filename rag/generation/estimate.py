"""Estimate the length of a prompt for models whose tokenizer is out of reach."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rag.types import Message

_TOKENS_PER_MESSAGE = 8


def estimate_tokens(messages: Sequence[Message]) -> int:
    """Estimate tokens from above: one for three bytes of UTF-8, and eight for a message's frame.

    English runs at four to five bytes a token in current vocabularies, scripts of several bytes
    a character at three or more, code at about three: an estimate may leave room unused, but
    does not exceed the model's window on such text.
    """
    return sum(
        math.ceil(len(message.content.encode()) / 3) + _TOKENS_PER_MESSAGE for message in messages
    )
