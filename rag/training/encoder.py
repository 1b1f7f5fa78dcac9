"""The layers of MiniLM or MPNet, which the models of `training` share, without word embeddings.

The word embeddings stay as they are: whoever runs a trained model takes them from the base.
"""

from __future__ import annotations

import json
import math
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
        """Read `hidden`; `absent` is added to attention's scores, far below 0 where nothing is.

        `absent` also holds what the distance of two tokens adds, if the model knows of it.
        """
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
    """BERT without its word embeddings, or MPNet; heads are put on it by inheritance.

    MPNet (Song et al., NeurIPS 2020) has the same layers; the distance of two tokens adds to their
    attention, as in T5, and the first text of a pair is not told from the second: embeddings that
    tell them are new, and 0 before training. Weights are kept in float32; products are computed in
    the type of the word vectors.
    """

    def __init__(self, shape: Mapping[str, Any], dropout: float = 0.0) -> None:
        super().__init__()
        width, epsilon = shape["hidden_size"], shape["layer_norm_eps"]
        self.dropout = dropout
        heads, inner = shape["num_attention_heads"], shape["intermediate_size"]
        buckets = shape.get("relative_attention_num_buckets", 0)
        unused = _FIRST_POSITION if buckets else 0
        self.positions = nn.Embedding(shape["max_position_embeddings"] - unused, width)
        self.types = nn.Embedding(2, width)
        self.distances = nn.Embedding(buckets, heads) if buckets else None
        self.norm = nn.LayerNorm(width, epsilon)
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
        if self.distances is not None:
            buckets = _bucket(numbers[None, :] - numbers[:, None], self.distances.num_embeddings)
            absent = absent + self.distances(buckets).permute(2, 0, 1)[None].to(words.dtype)
        for layer in self.layers:
            hidden = layer(hidden, absent, self.dropout)
        return hidden


def read_shape(location: str, layers: int = 0) -> dict[str, Any]:
    """Read the sizes of a model in transformers' form.

    Args:
        location: a directory of transformers' form.
        layers: so many of its layers are used; 0 for all.
    """
    shape: dict[str, Any] = json.loads((Path(location) / "config.json").read_text(encoding="utf-8"))
    return {**shape, "num_hidden_layers": layers or shape["num_hidden_layers"]}


def load_base(model: Encoder, location: str, heads: Sequence[str]) -> Tensor:
    """Copy a base's weights into a model, but for its heads; return the word embeddings.

    The rows of the word embeddings are in the order of BERT, whose words MPNet has too.

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
    words = old["embeddings.word_embeddings.weight"]
    new = {
        "positions.weight": old["embeddings.position_embeddings.weight"],
        "norm.weight": old["embeddings.LayerNorm.weight"],
        "norm.bias": old["embeddings.LayerNorm.bias"],
    }
    if model.distances is None:
        new["types.weight"] = old["embeddings.token_type_embeddings.weight"]
        projections, names = _BERT
    else:
        new["types.weight"] = torch.zeros_like(model.types.weight)
        new["positions.weight"] = new["positions.weight"][_FIRST_POSITION:]
        new["distances.weight"] = old["encoder.relative_attention_bias.weight"]
        projections, names = _MPNET
        words = _order_as_bert(words)
    for number in range(len(model.layers)):
        for kind in ("weight", "bias"):
            before = f"encoder.layer.{number}."
            new[f"layers.{number}.qkv.{kind}"] = torch.cat(
                [old[f"{before}{part}.{kind}"] for part in projections]
            )
            for mine, its in names.items():
                new[f"layers.{number}.{mine}.{kind}"] = old[f"{before}{its}.{kind}"]
    missing = model.load_state_dict(new, strict=False)
    if missing.unexpected_keys or any(
        not name.startswith(tuple(heads)) for name in missing.missing_keys
    ):
        raise ValueError(f"{location}: is no BERT of the expected form: {missing}")
    return words


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


def _order_as_bert(words: Tensor) -> Tensor:
    """Order MPNet's word embeddings as BERT's are.

    MPNet has four tokens of its own before BERT's, and uses the first and third of them for
    BERT's `[CLS]` (101) and `[SEP]` (102); a last one is its mask.
    """
    ordered = words[4:-1].clone()
    ordered[101], ordered[102] = words[0], words[2]
    return ordered


def _bucket(distances: Tensor, buckets: int) -> Tensor:
    """Number distances as T5 does (Raffel et al., JMLR 2020, section 2.1), both ways.

    Half of the numbers of each way are for one distance each; the others' widths grow by a factor,
    up to a distance of 128.
    """
    each = buckets // 2
    exact = each // 2
    far = distances.abs().clamp(min=exact)
    scale = (each - exact) / math.log(_FARTHEST / exact)
    grown = (exact + (far.float() / exact).log() * scale).long().clamp(max=each - 1)
    number = torch.where(distances.abs() < exact, distances.abs(), grown)
    return number + (distances > 0) * each


# MPNet numbers positions from 2.
_FIRST_POSITION = 2
_FARTHEST = 128

# The names of the three projections, and of a layer's other parts.
_SHARED = {
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}
_BERT = (
    ("attention.self.query", "attention.self.key", "attention.self.value"),
    {"out": "attention.output.dense", "out_norm": "attention.output.LayerNorm", **_SHARED},
)
_MPNET = (
    ("attention.attn.q", "attention.attn.k", "attention.attn.v"),
    {"out": "attention.attn.o", "out_norm": "attention.LayerNorm", **_SHARED},
)
