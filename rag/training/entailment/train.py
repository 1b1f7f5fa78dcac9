"""Train the judge: its pairs, its loss, and the loop over both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from rag.models import resolve
from rag.training.entailment.encoding import Batch, batches, encode
from rag.training.entailment.makers import MAKERS
from rag.training.entailment.model import HEADS, Judge, build
from rag.training.entailment.pairs import Pair
from rag.training.loop import (
    Config,
    Stage,
    learn,
    load_weights,
    make_mix,
    read_weights,
    run_stages,
    say,
)
from rag.training.reader.encoding import open_tokenizer


def make_pairs(stage: Stage, data: Path, seed: int, *, held_out: bool = False) -> list[Pair]:
    """Make a stage's pairs, shuffled; the same ones each time.

    Args:
        stage: whose mix is made.
        data: the folder of training files.
        seed: of all chance.
        held_out: whether documents are those that nothing is trained on, a tenth as many pairs.
    """
    mix = [{**options, "held_out": held_out} for options in stage.mix]
    if held_out:
        mix = [{**options, "count": options["count"] // 10} for options in mix]
    drawn = replace(stage, mix=mix)
    return make_mix(drawn, MAKERS, data, seed, describe, variant=f" {held_out}")


def describe(pairs: Sequence[Pair]) -> str:
    """Say how many pairs there are, of which labels."""
    labels = Counter(pair.label for pair in pairs)
    return f"{len(pairs)} pairs, " + ", ".join(f"{labels[each]} {each}" for each in sorted(labels))


def train(
    config: Config,
    data: Path,
    output: Path,
    *,
    until: str = "",
    start: Path | None = None,
    save_every: float = 120.0,
) -> Path:
    """Run the stages that are not done yet; return the weights of the last one.

    Args:
        config: the stages.
        data: the folder of training files.
        output: where checkpoints and weights are kept; an interrupted run goes on from there.
        until: the last stage to run; empty for all.
        start: weights of a reader of the same base, whose layers the first stage goes on from.
        save_every: seconds between two checkpoints.
    """
    location = resolve(config.base, kind="embedder").location
    tokenizer = open_tokenizer(location)

    def run(stage: Stage, source: Path | None, done: Path) -> None:
        torch.manual_seed(config.seed)
        model, embeddings = build(location, stage.dropout)
        embeddings = embeddings.to(torch.bfloat16)
        if source is not None:
            load_weights(model, source)
        elif start is not None:
            load_layers(model, start)
        pairs = make_pairs(stage, data, config.seed)
        rows = encode(tokenizer, pairs, config.length)
        todo = batches(rows, tokens=stage.tokens, seed=config.seed)
        say(f"{stage.name}: {describe(pairs)}, {len(todo)} batches")

        def loss(batch: Batch) -> Tensor:
            words = functional.embedding(batch.ids, embeddings)
            logits = model(words, batch.types, batch.mask).float()
            return functional.cross_entropy(logits, batch.labels)

        learn(stage, model, todo, loss, done, save_every)

    return run_stages(config, output, run, until)


def load_layers(model: Judge, path: Path) -> None:
    """Read the layers of another trained model of the same base; its heads are left.

    Raises:
        ValueError: if it lacks some of the layers.
    """
    own = set(model.state_dict())
    kept = {name: value for name, value in read_weights(path).items() if name in own}
    missing = model.load_state_dict(kept, strict=False).missing_keys
    lost = [name for name in missing if not name.startswith(HEADS)]
    if lost:
        raise ValueError(f"{path}: holds no layers of this base, such as {lost[0]}")
