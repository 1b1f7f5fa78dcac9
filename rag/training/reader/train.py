"""Train the reader: its examples, its loss, and the loop over both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from rag.models import resolve
from rag.training.loop import Config, Stage, learn, load_weights, make_mix, run_stages, say
from rag.training.reader.encoding import batches, open_tokenizer
from rag.training.reader.examples import Example
from rag.training.reader.makers import MAKERS
from rag.training.reader.model import Batch, Reader, build, shared_loss, span_odds, taught_loss


def read(model: Reader, embeddings: Tensor, batch: Batch) -> Tensor:
    """Return the log-odds of each span of a batch, `[passages, start, length - 1]`."""
    words = functional.embedding(batch.ids, embeddings)
    starts, ends, silence = model(words, batch.types, batch.mask)
    return span_odds(starts, ends, silence, batch.inside)


def open_teacher(teacher: Mapping[str, str], output: Path) -> Callable[[Batch], Tensor]:
    """Open a trained reader of another base, to learn from; its odds have no gradient."""
    model, embeddings = build(resolve(teacher["base"], kind="embedder").location)
    load_weights(model, output / teacher["weights"])
    model.eval()
    embeddings = embeddings.to(torch.bfloat16)

    def teach(batch: Batch) -> Tensor:
        with torch.no_grad():
            return read(model, embeddings, batch)

    return teach


def locate(config: Config, base: str = "") -> tuple[str, str]:
    """Return the directories of the base and of the model whose tokens are read.

    Args:
        config: names both.
        base: where the base lies, if not at its name.

    Raises:
        ModelError: if one of them cannot be had.
    """
    location = resolve(base or config.base, kind="embedder").location
    return location, resolve(config.words, kind="embedder").location if config.words else location


def make_examples(stage: Stage, data: Path, seed: int) -> list[Example]:
    """Make a stage's examples, shuffled; the same ones each time."""
    return make_mix(stage, MAKERS, data, seed, describe)


def describe(examples: Sequence[Example]) -> str:
    """Say how many examples there are, of which kinds."""
    silent = sum(not each.answers for each in examples)
    passages = sum(len(each.passages) for each in examples)
    return f"{len(examples)} examples, {silent} silent, {passages} passages"


def train(
    config: Config,
    data: Path,
    output: Path,
    *,
    until: str = "",
    leave_out: Sequence[str] = (),
    base: str = "",
    start: Path | None = None,
    save_every: float = 120.0,
) -> Path:
    """Run the stages that are not done yet; return the weights of the last one.

    Args:
        config: the stages.
        data: the folder of training files.
        output: where checkpoints and weights are kept; an interrupted run goes on from there.
        until: the last stage to run; empty for all.
        leave_out: titles that the maker `judged` does not read.
        base: where the configuration's base lies, if not at its name.
        start: weights that the first stage goes on from, or the graph that ships.
        save_every: seconds between two checkpoints.
    """
    location, words_of = locate(config, base)
    tokenizer = open_tokenizer(words_of)

    def run(stage: Stage, source: Path | None, done: Path) -> None:
        seed = stage.seed or config.seed
        torch.manual_seed(seed)
        model, embeddings = build(
            location, stage.dropout, layers=config.layers, packed=config.packed
        )
        embeddings = embeddings.to(torch.bfloat16)
        if before := source or start:
            load_weights(model, before)
        mix = [{**each, "leave_out": list(leave_out)} for each in stage.mix]
        examples = make_examples(replace(stage, mix=mix), data, seed)
        todo = list(
            batches(tokenizer, examples, tokens=stage.tokens, length=config.length, seed=seed)
        )
        say(f"{stage.name}: {describe(examples)}, {len(todo)} batches")
        teach = open_teacher(config.teacher, output) if stage.taught else None

        def loss(batch: Batch) -> Tensor:
            odds = read(model, embeddings, batch)
            learnt = shared_loss(odds, batch.gold, batch.group)
            if teach is None:
                return learnt
            taught = taught_loss(odds, teach(batch), batch.group)
            return (1 - stage.taught) * learnt + stage.taught * taught

        learn(stage, model, todo, loss, done, save_every)

    return run_stages(config, output, run, until)
