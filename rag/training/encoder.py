"""MiniLM's layers, which the small models of `training` share, without its word embeddings.

The word embeddings stay as they are: whoever runs a trained model takes them from the base.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# What stands for "never" among logits.
NEVER = -1e4


class Layer(nn.Module):
    """One layer of BERT (Devlin et al., NAACL 2019), its three projections in one product."""

    def __init__(self, width: int, heads: int, inner: int, epsilon: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.out_norm = nn.LayerNorm(width, epsilon)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.down_norm = nn.LayerNorm(width, epsilon)

    def forward(self, hidden: Tensor, absent: Tensor, dropout: float) -> Tensor:
        """Read `hidden`; `absent` is added to attention's scores, far below 0 where nothing is."""
        texts, length, width = hidden.shape
        each = width // self.heads
        parts = linear(self.qkv, hidden).view(texts, length, 3, self.heads, each)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = (query * each**-0.5) @ key.transpose(-1, -2) + absent
        seen = (scores.softmax(-1) @ value).transpose(1, 2).reshape(texts, length, width)
        seen = functional.dropout(linear(self.out, seen), dropout, self.training)
        hidden = normalize(self.out_norm, hidden + seen)
        inner = linear(self.down, functional.gelu(linear(self.up, hidden)))
        inner = functional.dropout(inner, dropout, self.training)
        return normalize(self.down_norm, hidden + inner)


class Encoder(nn.Module):
    """BERT without its word embeddings; heads are put on it by inheritance.

    Weights are kept in float32; products are computed in the type of the word vectors.
    """

    def __init__(self, shape: Mapping[str, Any], dropout: float = 0.0) -> None:
        super().__init__()
        width, epsilon = shape["hidden_size"], shape["layer_norm_eps"]
        self.dropout = dropout
        self.positions = nn.Embedding(shape["max_position_embeddings"], width)
        self.types = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, epsilon)
        heads, inner = shape["num_attention_heads"], shape["intermediate_size"]
        self.layers = nn.ModuleList(
            Layer(width, heads, inner, epsilon) for _ in range(shape["num_hidden_layers"])
        )

    def encode(self, words: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        """Read texts; return the last layer, `[texts, length, width]`.

        Args:
            words: the tokens' vectors of the base, `[texts, length, width]`.
            types: 0 for the first text of a pair, 1 for the second, `[texts, length]`.
            mask: 1 where there is a token.
        """
        numbers = torch.arange(words.shape[1], device=words.device)
        hidden: Tensor = words + (self.positions(numbers)[None] + self.types(types)).to(words.dtype)
        hidden = normalize(self.norm, hidden)
        absent = ((1 - mask) * NEVER).to(words.dtype)[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, absent, self.dropout)
        return hidden


def read_shape(location: str) -> dict[str, Any]:
    """Read the sizes of a model in transformers' form."""
    shape: dict[str, Any] = json.loads((Path(location) / "config.json").read_text(encoding="utf-8"))
    return shape


def load_base(model: Encoder, location: str, heads: Sequence[str]) -> Tensor:
    """Copy MiniLM's weights into a model, but for its heads; return the word embeddings.

    Args:
        model: whose layers are those of the base.
        location: a directory of transformers' form.
        heads: the beginnings of the names of weights that the base has none for.

    Raises:
        ValueError: if the base lacks other weights.
    """
    from safetensors.torch import load_file

    old = load_file(str(Path(location) / "model.safetensors"))
    old = {name.removeprefix("bert."): value.float() for name, value in old.items()}
    new = {
        "positions.weight": old["embeddings.position_embeddings.weight"],
        "types.weight": old["embeddings.token_type_embeddings.weight"],
        "norm.weight": old["embeddings.LayerNorm.weight"],
        "norm.bias": old["embeddings.LayerNorm.bias"],
    }
    for number in range(len(model.layers)):
        for kind in ("weight", "bias"):
            before = f"encoder.layer.{number}."
            new[f"layers.{number}.qkv.{kind}"] = torch.cat(
                [old[f"{before}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            )
            for mine, its in _NAMES.items():
                new[f"layers.{number}.{mine}.{kind}"] = old[f"{before}{its}.{kind}"]
    missing = model.load_state_dict(new, strict=False)
    if missing.unexpected_keys or any(
        not name.startswith(tuple(heads)) for name in missing.missing_keys
    ):
        raise ValueError(f"{location}: is no BERT of the expected form: {missing}")
    return old["embeddings.word_embeddings.weight"]


def linear(layer: nn.Linear, hidden: Tensor) -> Tensor:
    """Multiply in the type of `hidden`."""
    return functional.linear(hidden, layer.weight.to(hidden.dtype), layer.bias.to(hidden.dtype))


def normalize(layer: nn.LayerNorm, hidden: Tensor) -> Tensor:
    """Normalize in the type of `hidden`."""
    return functional.layer_norm(
        hidden,
        layer.normalized_shape,
        layer.weight.to(hidden.dtype),
        layer.bias.to(hidden.dtype),
        layer.eps,
    )


_NAMES = {
    "out": "attention.output.dense",
    "out_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}
