"""Choose a model that chats from what a server lists."""

from __future__ import annotations

import re
from typing import Any

# Names of models that embed, rerank, listen, speak, draw or moderate.
_OTHER = re.compile(
    r"embed|rerank|(?<![a-z])(?:e5|bge|gte|gtr|(?:all-)?minilm|colbert|whisper|tts|asr|stt|clip"
    r"|siglip|splade|mpnet|dall-?e|moderation|sdxl|flux|kokoro|parakeet)(?![a-z])"
    r"|stable-diffusion|transcri|gpt-image|text-similarity|-reward|guard(?![a-z])",
    re.IGNORECASE,
)
_OTHER_KIND = re.compile(
    r"embed|rerank|image|audio|speech|transcri|moderat|classif|similarity|score|diffusion",
    re.IGNORECASE,
)
_KINDS = ("type", "task", "model_type", "kind", "mode", "pipeline_tag")
_CHATS = re.compile(r"chat|complet|generat|^text$|vision|multimodal|tools", re.IGNORECASE)


def read_listing(listing: Any) -> tuple[list[str], list[str]]:
    """Return the ids of the models that may chat, and of those that do not, in their order.

    Both are empty if it is no list of models.
    """
    models = listing
    if isinstance(listing, dict):
        models = listing.get("data") or listing.get("models")
    chatting: list[str] = []
    others: list[str] = []
    for model in models if isinstance(models, list) else []:
        if isinstance(model, dict) and isinstance(name := model.get("id"), str) and name.strip():
            (chatting if _may_chat(name, model) else others).append(name)
    return chatting, others


def _may_chat(name: str, model: dict[str, Any]) -> bool:
    """Return what the server says of a model, or else what its name does."""
    able = model.get("capabilities")
    if isinstance(able, dict):
        said = [bool(value) for key, value in able.items() if re.search("chat|complet", str(key))]
        if said:
            return any(said)
    if isinstance(able, list) and able:
        return any(_CHATS.search(str(each)) for each in able)
    kinds = [model[key] for key in _KINDS if isinstance(model.get(key), str)]
    if any(_OTHER_KIND.search(kind) for kind in kinds):
        return False
    return any(_CHATS.search(kind) for kind in kinds) or not _OTHER.search(name)
