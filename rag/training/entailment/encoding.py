"""Pairs -> batches of tokens: the claim, then the premise."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from rag.training.entailment.pairs import LABELS, Pair
from rag.training.reader.encoding import CLS, SEP

# The most tokens of a claim; a longer one is cut.
CLAIM = 96
_POOL = 4096


class Encoded(NamedTuple):
    """A pair in tokens, where its premise begins, and the number of its label."""

    ids: list[int]
    begin: int
    label: int


class Batch(NamedTuple):
    """Pairs, padded to one length.

    Attributes:
        ids: tokens, `[pairs, length]`.
        types: 0 for the claim, 1 for the premise.
        mask: 1 where there is a token.
        labels: numbers of `LABELS`, `[pairs]`.
    """

    ids: Tensor
    types: Tensor
    mask: Tensor
    labels: Tensor


def encode(tokenizer: Tokenizer, pairs: Sequence[Pair], length: int) -> list[Encoded]:
    """Turn pairs into tokens, `[CLS] claim [SEP] premise [SEP]`; a long premise is cut."""
    claims = tokenizer.encode_batch([pair.claim for pair in pairs], add_special_tokens=False)
    premises = tokenizer.encode_batch([pair.premise for pair in pairs], add_special_tokens=False)
    rows = []
    for pair, claim, premise in zip(pairs, claims, premises, strict=True):
        asked = claim.ids[:CLAIM]
        kept = premise.ids[: length - len(asked) - 3]
        ids = [CLS, *asked, SEP, *kept, SEP]
        rows.append(Encoded(ids, len(asked) + 2, LABELS.index(pair.label)))
    return rows


def batches(rows: Sequence[Encoded], *, tokens: int, seed: int) -> list[Batch]:
    """Cut pairs, in their order, into batches of about as many tokens, of about one length."""
    rng = Random(seed)  # noqa: S311
    made: list[Batch] = []
    for first in range(0, len(rows), _POOL):
        ordered = sorted(rows[first : first + _POOL], key=lambda row: len(row.ids))
        cuts: list[list[Encoded]] = [[]]
        for row in ordered:
            if cuts[-1] and (len(cuts[-1]) + 1) * len(row.ids) > tokens:
                cuts.append([])
            cuts[-1].append(row)
        rng.shuffle(cuts)
        made += map(collate, cuts)
    return made


def collate(rows: Sequence[Encoded]) -> Batch:
    """Pad pairs into one batch."""
    shape = (len(rows), max(len(row.ids) for row in rows))
    ids = torch.zeros(shape, dtype=torch.int64)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for at, row in enumerate(rows):
        size = len(row.ids)
        ids[at, :size] = torch.tensor(row.ids)
        types[at, row.begin : size] = 1
        mask[at, :size] = 1
    return Batch(ids, types, mask, torch.tensor([row.label for row in rows]))
