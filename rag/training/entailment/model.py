"""MiniLM with a head for three relations, read from [CLS] (Devlin et al., NAACL 2019, 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rag.training.encoder import Encoder, linear, load_base, read_shape
from rag.training.entailment.pairs import LABELS


class Judge(Encoder):
    """MiniLM without its word embeddings, which stay as they are, and a head."""

    def __init__(self, shape: Mapping[str, Any], dropout: float = 0.0) -> None:
        super().__init__(shape, dropout)
        width = shape["hidden_size"]
        self.inner = nn.Linear(width, width)
        self.relation = nn.Linear(width, len(LABELS))

    def forward(self, words: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        """Score entailment, neutral and contradiction: logits, `[pairs, 3]`.

        Args:
            words: the tokens' vectors of the base, `[pairs, length, width]`.
            types: 0 for the claim, which stands first, 1 for the premise, `[pairs, length]`.
            mask: 1 where there is a token.
        """
        first = self.encode(words, types, mask)[:, 0]
        return linear(self.relation, torch.tanh(linear(self.inner, first)))


HEADS = ("inner.", "relation.")


def build(location: str, dropout: float = 0.0) -> tuple[Judge, Tensor]:
    """Make a judge of MiniLM's weights; give it and the word embeddings.

    Args:
        location: a directory of transformers' form.
        dropout: of hidden states while training.
    """
    judge = Judge(read_shape(location), dropout)
    return judge, load_base(judge, location, HEADS)
