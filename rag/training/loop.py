"""The loop: stages one after another, each from the weights of the one before, resumable."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_WEIGHT_DECAY = 0.01
_CLIP = 1.0
# Each time takes a hundredth of a second; the mean is the same to the third digit.
_AVERAGE_EVERY = 4

_Batch = TypeVar("_Batch")
_Made = TypeVar("_Made")


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
        taught: how much of the loss is the distance from the teacher's answers; 0 for none.
        seed: of this stage's chance; 0 for that of the whole.
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
    taught: float = 0.0
    seed: int = 0
    mix: Sequence[dict[str, Any]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Config:
    """What a model is trained from and how.

    Attributes:
        base: the name or directory of the model that training starts from.
        seed: of all chance.
        length: the most tokens of a text.
        stages: one after another.
        words: the model whose tokens are read; empty for the base.
        layers: so many of the base's layers are trained, from the first; 0 for all.
        packed: whether the word embeddings are read as they are kept in 4 bits.
        teacher: of a larger model that this one learns from, its `base` and its `weights`, a file
            in the folder of output.
    """

    base: str
    seed: int
    length: int
    stages: Sequence[Stage]
    words: str = ""
    layers: int = 0
    packed: bool = False
    teacher: Mapping[str, str] = field(default_factory=dict)


def run_command(
    module: str,
    what: str,
    train: Callable[..., Path],
    add_option: Callable[[argparse.ArgumentParser], object],
) -> None:
    """Train as the command line of `python -m module` says, from where an earlier run stopped.

    Args:
        module: what is run.
        what: is trained, for the help.
        train: takes a Config, the folders of data and output, `until`, and the option by its name.
        add_option: adds the option that this training has besides those of every one.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=f"Train {what}.")
    parser.add_argument("config", type=Path, help="the stages, in TOML")
    parser.add_argument("--data", type=Path, required=True, help="the folder of training files")
    parser.add_argument("--output", type=Path, required=True, help="for checkpoints and weights")
    parser.add_argument("--until", default="", help="the last stage to run (default: all)")
    parser.add_argument("--threads", type=int, default=0, help="of torch (default: its own choice)")
    add_option(parser)
    options = vars(parser.parse_args())
    if threads := options.pop("threads"):
        torch.set_num_threads(threads)
    config = read_config(options.pop("config"))
    say(f"done: {train(config, options.pop('data'), options.pop('output'), **options)}")


def read_config(path: Path) -> Config:
    """Read a configuration of TOML."""
    import tomllib

    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    stages = [Stage(**each) for each in tables.pop("stages")]
    return Config(stages=stages, **tables)


def make_mix(
    stage: Stage,
    makers: Mapping[str, Callable[[Path, Random, dict[str, Any]], list[_Made]]],
    data: Path,
    seed: int,
    describe: Callable[[Sequence[_Made]], str],
    variant: str = "",
) -> list[_Made]:
    """Make what a stage reads, shuffled; the same each time.

    Args:
        stage: whose mix is made.
        makers: by the names that a mix has.
        data: the folder of training files.
        seed: of all chance, with the stage's name, the place in the mix and `variant`.
        describe: says in a line what was made.
        variant: tells several draws of one stage apart.
    """
    examples: list[_Made] = []
    for number, options in enumerate(stage.mix):
        rng = Random(f"{seed} {stage.name} {number}{variant}")  # noqa: S311
        made = makers[options["maker"]](data, rng, options)
        examples += made
        say(f"{stage.name}: {options['maker']} made {describe(made)}")
    Random(f"{seed} {stage.name}").shuffle(examples)  # noqa: S311
    return examples


def run_stages(
    config: Config, output: Path, run: Callable[[Stage, Path | None, Path], None], until: str = ""
) -> Path:
    """Run the stages that are not done yet; return the weights of the last one.

    Args:
        config: the stages.
        output: where checkpoints and weights are kept; an interrupted run goes on from there.
        run: is given a stage, the weights that it goes on from, and the file to write its own to.
        until: the last stage to run; empty for all.
    """
    output.mkdir(parents=True, exist_ok=True)
    before: Path | None = None
    for stage in config.stages:
        done = output / f"{stage.name}.safetensors"
        if not done.is_file():
            run(stage, output / f"{stage.start}.safetensors" if stage.start else before, done)
        before = done
        if stage.name == until:
            break
    if before is None:
        raise ValueError("the configuration has no stages")
    return before


def learn(
    stage: Stage,
    model: nn.Module,
    todo: Sequence[_Batch],
    loss: Callable[[_Batch], Tensor],
    done: Path,
    save_every: float = 120.0,
) -> None:
    """Train a model on batches, from where an earlier run stopped, and write its weights.

    Args:
        stage: how fast it learns.
        model: is changed.
        todo: the batches, the same ones in each run.
        loss: of the model on a batch.
        done: the file to write; beside it stands the checkpoint while training goes on.
        save_every: seconds between two checkpoints.

    Raises:
        ArithmeticError: if the loss is not finite.
    """
    from safetensors.torch import save_file

    optimizer = torch.optim.AdamW(
        _parameter_groups(model), lr=stage.rate, betas=(0.9, 0.98), fused=True
    )
    mean = trained_weights(model) if stage.average else {}
    checkpoint = done.with_suffix(".checkpoint")
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
        losses.append(_step(model, optimizer, loss(todo[step])))
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


def load_weights(model: nn.Module, path: Path) -> None:
    """Read trained weights into a model; the word embeddings are the base's own."""
    model.load_state_dict(read_weights(path))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read trained weights as float32: what training wrote, or a graph that ships.

    Raises:
        ValueError: if the graph does not say where its weights are.
    """
    if path.suffix == ".onnx":
        from rag.training.shipping import restore_weights

        return restore_weights(path)
    from safetensors.torch import load_file

    return {name: value.float() for name, value in load_file(str(path)).items()}


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that training changes: all but the word embeddings."""
    return {name: value.detach().clone().contiguous() for name, value in model.named_parameters()}


def say(text: str) -> None:
    """Print a line with the time."""
    print(time.strftime("%H:%M:%S"), text, flush=True)  # noqa: T201


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
    optimizer.step()
    optimizer.zero_grad()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ArithmeticError("the loss is not finite")
    return value


def _parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
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
