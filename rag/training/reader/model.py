"""MiniLM with a head for spans and one for silence, and the loss over several passages at once.

The score of a span is the sum of its first token's score as a start and its last token's as an
end (Devlin et al., NAACL 2019, section 4.2), less the score of the passage's silence. That
difference is the logarithm of the span's odds against no answer. The loss normalizes over the
spans of all passages of a question and one silence (Clark & Gardner, ACL 2018, "shared
normalization"), so that odds of different passages can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

# The most tokens of an answer.
WIDTH = 40
_NEVER = -1e4


class Batch(NamedTuple):
    """Passages of several questions, padded to one length.

    Attributes:
        ids: tokens, `[passages, length]`.
        types: 0 for the question, 1 for the passage.
        mask: 1 where there is a token.
        inside: whether a token may be in an answer.
        group: the number of each passage's question, from 0, ascending.
        gold: 1 at `[passage, start, end - start]` of each answer.
    """

    ids: Tensor
    types: Tensor
    mask: Tensor
    inside: Tensor
    group: Tensor
    gold: Tensor


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
        parts = _linear(self.qkv, hidden).view(texts, length, 3, self.heads, each)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = (query * each**-0.5) @ key.transpose(-1, -2) + absent
        seen = (scores.softmax(-1) @ value).transpose(1, 2).reshape(texts, length, width)
        seen = functional.dropout(_linear(self.out, seen), dropout, self.training)
        hidden = _norm(self.out_norm, hidden + seen)
        inner = _linear(self.down, functional.gelu(_linear(self.up, hidden)))
        inner = functional.dropout(inner, dropout, self.training)
        return _norm(self.down_norm, hidden + inner)


class Reader(nn.Module):
    """MiniLM without its word embeddings, which stay as they are, and both heads.

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
        self.span = nn.Linear(width, 2)
        self.silence_inner = nn.Linear(width, width)
        self.silence = nn.Linear(width, 1)

    def forward(self, words: Tensor, types: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score each token as a start and as an end, and each passage's silence.

        Args:
            words: the tokens' vectors of the base, `[passages, length, width]`.
            types: 0 for the question, 1 for the passage, `[passages, length]`.
            mask: 1 where there is a token.
        """
        numbers = torch.arange(words.shape[1], device=words.device)
        hidden = words + (self.positions(numbers)[None] + self.types(types)).to(words.dtype)
        hidden = _norm(self.norm, hidden)
        absent = ((1 - mask) * _NEVER).to(words.dtype)[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, absent, self.dropout)
        starts, ends = _linear(self.span, hidden).unbind(-1)
        first = torch.tanh(_linear(self.silence_inner, hidden[:, 0]))
        return starts, ends, _linear(self.silence, first).squeeze(-1)


def build(location: str, dropout: float = 0.0) -> tuple[Reader, Tensor]:
    """Make a reader of MiniLM's weights; give it and the word embeddings.

    Args:
        location: a directory of transformers' form.
        dropout: of hidden states while training.
    """
    from safetensors.torch import load_file

    shape = json.loads((Path(location) / "config.json").read_text(encoding="utf-8"))
    reader = Reader(shape, dropout)
    old = load_file(str(Path(location) / "model.safetensors"))
    old = {name.removeprefix("bert."): value.float() for name, value in old.items()}
    new = {
        "positions.weight": old["embeddings.position_embeddings.weight"],
        "types.weight": old["embeddings.token_type_embeddings.weight"],
        "norm.weight": old["embeddings.LayerNorm.weight"],
        "norm.bias": old["embeddings.LayerNorm.bias"],
    }
    for number in range(len(reader.layers)):
        for kind in ("weight", "bias"):
            before = f"encoder.layer.{number}."
            new[f"layers.{number}.qkv.{kind}"] = torch.cat(
                [old[f"{before}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            )
            for mine, its in _NAMES.items():
                new[f"layers.{number}.{mine}.{kind}"] = old[f"{before}{its}.{kind}"]
    missing = reader.load_state_dict(new, strict=False)
    if missing.unexpected_keys or any(
        not name.startswith(("span.", "silence")) for name in missing.missing_keys
    ):
        raise ValueError(f"{location}: is no BERT of the expected form: {missing}")
    return reader, old["embeddings.word_embeddings.weight"]


_NAMES = {
    "out": "attention.output.dense",
    "out_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}


def _linear(layer: nn.Linear, hidden: Tensor) -> Tensor:
    return functional.linear(hidden, layer.weight.to(hidden.dtype), layer.bias.to(hidden.dtype))


def _norm(layer: nn.LayerNorm, hidden: Tensor) -> Tensor:
    return functional.layer_norm(
        hidden,
        layer.normalized_shape,
        layer.weight.to(hidden.dtype),
        layer.bias.to(hidden.dtype),
        layer.eps,
    )


def span_odds(starts: Tensor, ends: Tensor, silence: Tensor, inside: Tensor) -> Tensor:
    """The log-odds of each span, `[passages, start, length - 1]`, against no answer."""
    starts = starts.float().masked_fill(~inside, _NEVER)
    ends = ends.float().masked_fill(~inside, _NEVER)
    padded = torch.cat([ends, ends.new_full((len(ends), WIDTH - 1), _NEVER)], dim=1)
    return starts[:, :, None] + padded.unfold(1, WIDTH, 1) - silence.float()[:, None, None]


def shared_loss(odds: Tensor, gold: Tensor, group: Tensor) -> Tensor:
    """The mean over questions of the negative log-likelihood of their answers, or of silence.

    A question with several right spans is right with any of them.
    """
    questions = int(group[-1]) + 1
    total = _sum_by_group(odds.flatten(1).logsumexp(1), group, questions)
    right = _sum_by_group(
        odds.masked_fill(gold == 0, _NEVER).flatten(1).logsumexp(1), group, questions
    )
    answerable = torch.zeros(questions, dtype=torch.bool)
    answerable[group[gold.flatten(1).any(1)]] = True
    # Silence has the odds 1.
    everything = torch.logaddexp(total, torch.zeros_like(total))
    return (everything - torch.where(answerable, right, torch.zeros_like(right))).mean()


def _sum_by_group(values: Tensor, group: Tensor, questions: int) -> Tensor:
    """Logarithms of the sums of `exp(values)` of each group."""
    largest = values.detach().new_full((questions,), _NEVER)
    largest = largest.scatter_reduce(0, group, values.detach(), "amax")
    sums = torch.zeros(questions).index_add(0, group, (values - largest[group]).exp())
    return largest + sums.clamp_min(1e-30).log()
