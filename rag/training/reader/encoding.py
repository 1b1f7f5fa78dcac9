"""Examples -> batches of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from tokenizers import Tokenizer

from rag.training.reader.examples import Example
from rag.training.reader.model import WIDTH, Batch

CLS, SEP = 101, 102
# The most tokens of a question; a longer one is cut.
QUESTION = 64


class Encoded(NamedTuple):
    """One passage with its question: tokens, where the passage begins, spans of tokens."""

    ids: list[int]
    begin: int
    answers: list[tuple[int, int]]


def open_tokenizer(location: str) -> Tokenizer:
    """Open a model's tokenizer, which neither cuts nor pads."""
    tokenizer = Tokenizer.from_file(str(Path(location) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encode(tokenizer: Tokenizer, example: Example, length: int, rng: Random) -> list[Encoded]:
    """Turn an example into one row of tokens for each passage.

    Of a passage that is too long, the part with the answer is kept, or any part where it has none.
    """
    asked = tokenizer.encode(example.question, add_special_tokens=False).ids[:QUESTION]
    rows = []
    for number, passage in enumerate(example.passages):
        encoding = tokenizer.encode(passage, add_special_tokens=False)
        room = length - len(asked) - 3
        spans = []
        for answer in example.answers:
            if answer.passage == number:
                span = _tokens(encoding.offsets, answer.start, answer.end)
                if span is not None and span[1] - span[0] < WIDTH:
                    spans.append(span)
        first = 0
        if len(encoding.ids) > room:
            last = len(encoding.ids) - room
            if spans:
                low, high = spans[0][1] - room + 1, spans[0][0]
                first = rng.randint(max(0, low), max(0, min(last, high)))
            else:
                first = rng.randint(0, last)
        begin = len(asked) + 2
        ids = [CLS, *asked, SEP, *encoding.ids[first : first + room], SEP]
        kept = [
            (start - first + begin, end - first + begin)
            for start, end in spans
            if start >= first and end < first + room
        ]
        rows.append(Encoded(ids, begin, kept))
    return rows


def batches(
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    *,
    tokens: int,
    length: int,
    seed: int,
) -> Iterator[Batch]:
    """Cut examples, in their order, into batches of about as many tokens, of about one length."""
    rng = Random(seed)  # noqa: S311
    pool: list[list[Encoded]] = []
    for number, example in enumerate(examples):
        rows = encode(tokenizer, example, length, rng)
        # An answer that is too long, or cut off, must not be learnt as silence.
        if not example.answers or any(row.answers for row in rows):
            pool.append(rows)
        if len(pool) == 1024 or (number == len(examples) - 1 and pool):
            chosen = _cut(pool, tokens)
            rng.shuffle(chosen)
            yield from map(collate, chosen)
            pool = []


def collate(groups: Sequence[Sequence[Encoded]]) -> Batch:
    """Pad the rows of several questions into one batch."""
    rows = [(number, row) for number, group in enumerate(groups) for row in group]
    longest = max(len(row.ids) for _, row in rows)
    shape = (len(rows), longest)
    ids = torch.zeros(shape, dtype=torch.int64)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    inside = torch.zeros(shape, dtype=torch.bool)
    gold = torch.zeros((*shape, WIDTH), dtype=torch.bool)
    for at, (_, row) in enumerate(rows):
        size = len(row.ids)
        ids[at, :size] = torch.tensor(row.ids)
        types[at, row.begin : size] = 1
        mask[at, :size] = 1
        inside[at, row.begin : size - 1] = True
        for start, end in row.answers:
            gold[at, start, end - start] = True
    group = torch.tensor([number for number, _ in rows])
    return Batch(ids, types, mask, inside, group, gold)


def _cut(pool: Sequence[list[Encoded]], tokens: int) -> list[list[list[Encoded]]]:
    ordered = sorted(pool, key=lambda rows: max(len(row.ids) for row in rows))
    cuts: list[list[list[Encoded]]] = [[]]
    count = 0
    for rows in ordered:
        longest = max(len(row.ids) for row in rows)
        if cuts[-1] and (count + len(rows)) * longest > tokens:
            cuts.append([])
            count = 0
        cuts[-1].append(rows)
        count += len(rows)
    return cuts


def _tokens(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """Return the first and last token that share text with `start:end`."""
    inside = [at for at, (low, high) in enumerate(offsets) if low < end and start < high]
    return (inside[0], inside[-1]) if inside else None
