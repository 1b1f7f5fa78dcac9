"""The body of a chat completion, as OpenAI's protocol and llama.cpp take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rag.config import GenerationConfig
from rag.types import Prompt


def chat_request(prompt: Prompt, config: GenerationConfig) -> dict[str, Any]:
    """Return the request for a streamed answer to `prompt`, without its schema."""
    return {
        "messages": [asdict(message) for message in prompt.messages],
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
        "seed": config.seed,
        "stream": True,
    }


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a request that has an answer keep to a JSON schema."""
    wanted = {"name": "answer", "schema": dict(schema), "strict": True}
    return {"type": "json_schema", "json_schema": wanted}
