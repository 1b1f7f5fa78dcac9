"""The loop: stages one after another, each from the weights of the one before, resumable."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rag.models import resolve
from rag.training.reader.encoding import batches, open_tokenizer
from rag.training.reader.examples import Example
from rag.training.reader.makers import MAKERS
from rag.training.reader.model import Batch, Reader, build, shared_loss, span_odds

_WEIGHT_DECAY = 0.01
_CLIP = 1.0
# Each time takes a hundredth of a second; the mean is the same to the third digit.
_AVERAGE_EVERY = 4


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what it reads, and how fast it learns.

    Attributes:
        name: of its checkpoint.
        rate: the learning rate at its peak.
        tokens: in a batch, padding counted.
        dropout: of hidden states.
        average: decay of the running mean of the weights, which is what the stage gives; 0 for
            the last weights.
        start: the stage whose weights it goes on from; empty for the one before.
        mix: a table for each maker of examples, with its options.
    """

    name: str
    rate: float
    tokens: int = 6144
    dropout: float = 0.0
    average: float = 0.0
    warmup: float = 0.06
    last_rate: float = 0.0
    start: str = ""
    mix: Sequence[dict[str, Any]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Config:
    """What a reader is trained from and how."""

    base: str
    seed: int
    length: int
    stages: Sequence[Stage]


def read_config(path: Path) -> Config:
    """Read a configuration of TOML."""
    import tomllib

    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    stages = [Stage(**each) for each in tables.pop("stages")]
    return Config(stages=stages, **tables)


def make_examples(stage: Stage, data: Path, seed: int) -> list[Example]:
    """Make a stage's examples, shuffled; the same ones each time."""
    examples: list[Example] = []
    for number, options in enumerate(stage.mix):
        rng = Random(f"{seed} {stage.name} {number}")  # noqa: S311
        made = MAKERS[options["maker"]](data, rng, options)
        examples += made
        say(f"{stage.name}: {options['maker']} made {describe(made)}")
    Random(f"{seed} {stage.name}").shuffle(examples)  # noqa: S311
    return examples


def describe(examples: Sequence[Example]) -> str:
    """How many examples there are, of which kinds."""
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
    save_every: float = 120.0,
) -> Path:
    """Run the stages that are not done yet; return the weights of the last one.

    Args:
        config: the stages.
        data: the folder of training files.
        output: where checkpoints and weights are kept; an interrupted run goes on from there.
        until: the last stage to run; empty for all.
        leave_out: titles that the maker `judged` does not read.
        save_every: seconds between two checkpoints.
    """
    output.mkdir(parents=True, exist_ok=True)
    location = resolve(config.base, kind="embedder").location
    tokenizer = open_tokenizer(location)
    before: Path | None = None
    for stage in config.stages:
        done = output / f"{stage.name}.safetensors"
        if not done.is_file():
            source = output / f"{stage.start}.safetensors" if stage.start else before
            mix = [{**each, "leave_out": list(leave_out)} for each in stage.mix]
            _run(stage, mix, config, data, output, source, done, location, tokenizer, save_every)
        before = done
        if stage.name == until:
            break
    if before is None:
        raise ValueError("the configuration has no stages")
    return before


def load_weights(model: Reader, path: Path) -> None:
    """Read trained weights into a model; the word embeddings are the base's own."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(str(path)))


def trained_weights(model: Reader) -> dict[str, Tensor]:
    """The weights that training changes: all but the word embeddings."""
    return {name: value.detach().clone().contiguous() for name, value in model.named_parameters()}


def say(text: str) -> None:
    """Print a line with the time."""
    print(time.strftime("%H:%M:%S"), text, flush=True)  # noqa: T201


def _run(
    stage: Stage,
    mix: Sequence[dict[str, Any]],
    config: Config,
    data: Path,
    output: Path,
    source: Path | None,
    done: Path,
    location: str,
    tokenizer: Any,
    save_every: float,
) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(config.seed)
    model, embeddings = build(location, stage.dropout)
    embeddings = embeddings.to(torch.bfloat16)
    if source is not None:
        load_weights(model, source)
    examples = make_examples(Stage(stage.name, stage.rate, mix=mix), data, config.seed)
    todo = list(
        batches(tokenizer, examples, tokens=stage.tokens, length=config.length, seed=config.seed)
    )
    say(f"{stage.name}: {describe(examples)}, {len(todo)} batches")
    optimizer = torch.optim.AdamW(
        _parameter_groups(model), lr=stage.rate, betas=(0.9, 0.98), fused=True
    )
    mean = trained_weights(model) if stage.average else {}
    checkpoint = output / f"{stage.name}.checkpoint"
    first = 0
    if checkpoint.is_file():
        saved_run = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved_run["weights"])
        optimizer.load_state_dict(saved_run["optimizer"])
        mean, first = saved_run["mean"], saved_run["step"]
        torch.set_rng_state(saved_run["chance"])
        say(f"{stage.name}: goes on from batch {first}")
    model.train()
    saved, losses = time.monotonic(), []
    for step in range(first, len(todo)):
        for group in optimizer.param_groups:
            group["lr"] = stage.rate * _schedule(step / len(todo), stage)
        losses.append(_learn(model, optimizer, todo[step], embeddings))
        if stage.average and step % _AVERAGE_EVERY == 0:
            decay = min(stage.average, (1 + step) / (10 + step)) ** _AVERAGE_EVERY
            for name, value in model.named_parameters():
                mean[name].lerp_(value.detach(), 1 - decay)
        if (step + 1) % 20 == 0:
            say(f"{stage.name}: {step + 1}/{len(todo)} loss {sum(losses) / len(losses):.3f}")
            losses.clear()
        if time.monotonic() - saved > save_every:
            weights = trained_weights(model)
            _save(checkpoint, weights, optimizer, mean, step + 1)
            saved = time.monotonic()
    save_file(mean or trained_weights(model), str(done))
    checkpoint.unlink(missing_ok=True)
    say(f"{stage.name}: written to {done.name}")


def _learn(
    model: Reader, optimizer: torch.optim.Optimizer, batch: Batch, embeddings: Tensor
) -> float:
    words = functional.embedding(batch.ids, embeddings)
    starts, ends, silence = model(words, batch.types, batch.mask)
    odds = span_odds(starts, ends, silence, batch.inside)
    loss = shared_loss(odds, batch.gold, batch.group)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
    optimizer.step()
    optimizer.zero_grad()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ArithmeticError("the loss is not finite")
    return value


def _parameter_groups(model: Reader) -> list[dict[str, Any]]:
    changed = list(model.parameters())
    return [
        {"params": [each for each in changed if each.dim() > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [each for each in changed if each.dim() <= 1], "weight_decay": 0.0},
    ]


def _schedule(done: float, stage: Stage) -> float:
    """Warm up, then fall in a straight line to `last_rate` of the peak."""
    if done < stage.warmup:
        return max(done, 1e-4) / stage.warmup
    left = (1 - done) / (1 - stage.warmup)
    return stage.last_rate + (1 - stage.last_rate) * left


def _save(
    path: Path,
    weights: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    mean: dict[str, Tensor],
    step: int,
) -> None:
    run = {
        "weights": weights,
        "optimizer": optimizer.state_dict(),
        "mean": mean,
        "step": step,
        "chance": torch.get_rng_state(),
    }
    staging = path.with_suffix(".new")
    torch.save(run, staging)
    staging.replace(path)


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write what was measured as JSON."""
    path.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
