"""MiniLM or MPNet with a head for spans and one for silence, and the loss over several passages.

The score of a span is the sum of its first token's score as a start and its last token's as an
end (Devlin et al., NAACL 2019, section 4.2), less the score of the passage's silence. That
difference is the logarithm of the span's odds against no answer. The loss normalizes over the
spans of all passages of a question and one silence (Clark & Gardner, ACL 2018, "shared
normalization"), so that odds of different passages can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rag.models.onnx.words import pack_words
from rag.training.encoder import NEVER, Encoder, linear, load_base, read_shape

# The most tokens of an answer.
WIDTH = 40


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


class Reader(Encoder):
    """The encoder without its word embeddings, which stay as they are, and both heads."""

    def __init__(self, shape: Mapping[str, Any], dropout: float = 0.0) -> None:
        super().__init__(shape, dropout)
        width = shape["hidden_size"]
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
        hidden = self.encode(words, types, mask)
        starts, ends = linear(self.span, hidden).unbind(-1)
        first = torch.tanh(linear(self.silence_inner, hidden[:, 0]))
        return starts, ends, linear(self.silence, first).squeeze(-1)


def build(
    location: str, dropout: float = 0.0, *, layers: int = 0, packed: bool = False
) -> tuple[Reader, Tensor]:
    """Make a reader of a base's weights; give it and the word embeddings.

    Args:
        location: a directory of transformers' form.
        dropout: of hidden states while training.
        layers: so many of the base's layers, from the first; 0 for all.
        packed: whether the word embeddings are those that are left of 4 bits.
    """
    reader = Reader(read_shape(location, layers), dropout)
    words = load_base(reader, location, ("span.", "silence"))
    return reader, torch.from_numpy(pack_words(words.numpy()).unpack()) if packed else words


def span_odds(starts: Tensor, ends: Tensor, silence: Tensor, inside: Tensor) -> Tensor:
    """Return the log-odds of each span, `[passages, start, length - 1]`, against no answer."""
    starts = starts.float().masked_fill(~inside, NEVER)
    ends = ends.float().masked_fill(~inside, NEVER)
    padded = torch.cat([ends, ends.new_full((len(ends), WIDTH - 1), NEVER)], dim=1)
    return starts[:, :, None] + padded.unfold(1, WIDTH, 1) - silence.float()[:, None, None]


def shared_loss(odds: Tensor, gold: Tensor, group: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the questions' answers, or of silence.

    A question with several right spans is right with any of them.
    """
    questions = int(group[-1]) + 1
    right = _sum_by_group(
        odds.masked_fill(gold == 0, NEVER).flatten(1).logsumexp(1), group, questions
    )
    answerable = torch.zeros(questions, dtype=torch.bool)
    answerable[group[gold.flatten(1).any(1)]] = True
    everything = _normalize(odds, group, questions)
    return (everything - torch.where(answerable, right, torch.zeros_like(right))).mean()


def taught_loss(odds: Tensor, teacher: Tensor, group: Tensor) -> Tensor:
    """Return the mean cross-entropy of the teacher's probabilities of spans and silence.

    Both are normalized over the spans of all passages of a question and one silence (distillation
    as in Hinton, Vinyals & Dean 2015, at temperature 1).

    Args:
        odds: of each span against no answer, `[passages, start, length - 1]`.
        teacher: the teacher's, of the same shape.
        group: the number of each passage's question.
    """
    questions = int(group[-1]) + 1
    total = _normalize(odds, group, questions)
    believed = (teacher - _normalize(teacher, group, questions)[group][:, None, None]).exp()
    # Of a span that cannot be, the probability is 0 and the odds are far below: no part of the sum.
    parts = (believed * odds.clamp_min(NEVER)).flatten(1).sum(1)
    said = torch.zeros(questions).index_add(0, group, parts)
    return (total - said).mean()


def _normalize(odds: Tensor, group: Tensor, questions: int) -> Tensor:
    """Return the logarithm of all odds of each question, silence's 1 among them."""
    total = _sum_by_group(odds.flatten(1).logsumexp(1), group, questions)
    return torch.logaddexp(total, torch.zeros_like(total))


def _sum_by_group(values: Tensor, group: Tensor, questions: int) -> Tensor:
    """Logarithms of the sums of `exp(values)` of each group."""
    largest = values.detach().new_full((questions,), NEVER)
    largest = largest.scatter_reduce(0, group, values.detach(), "amax")
    sums = torch.zeros(questions).index_add(0, group, (values - largest[group]).exp())
    return largest + sums.clamp_min(1e-30).log()
