"""`rag models`: list the models there are, fetch, measure, and distil them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import options, output, progress
from rag.cli.opening import read_config
from rag.cli.terminal import say

if TYPE_CHECKING:
    from rag.models import ListedModel, Listing, Speed
    from rag.training.distillation import Distillation


@click.group("models", invoke_without_command=True)
@options.json_option
@click.pass_context
def models_command(context: click.Context, as_json: bool) -> None:
    """List, fetch, measure or make models.

    Without COMMAND, list the catalogued models, which can be fetched without a hub, with what they
    take of this machine, and say which generator is recommended on it.
    """
    if context.invoked_subcommand is not None:
        return
    from rag.models import list_models

    output.print_result(list_models(), _print_listing, as_json=as_json)


def _print_listing(listing: Listing) -> None:
    say(
        f"  {'name':<28}{'kind':<10}{'fetch':>9}{'disk':>9}{'memory':>8}{'reads':>7}{'writes':>8}"
        f"  {'':<12}{'licence':<11}{'':<4}"
    )
    for model in listing.models:
        state = "here" if model.fetched else "not fetched"
        mark = "" if model.durable else " (1)"
        say(
            f"{'*' if model.recommended else ' '} {model.name:<28}{model.kind:<10}"
            f"{model.fetch / 1e6:>6,.0f} MB{model.disk / 1e6:>6,.0f} MB"
            f"{f'{model.memory / 1e9:.1f} GB' if model.memory else '':>8}"
            f"{_rate(model.prompt_speed, model):>7}{_rate(model.writing_speed, model):>8}"
            f"  {state:<12}{model.licence:<11}{','.join(model.languages):<4}"
            f"{model.description}{mark}"
        )
    say(_describe_recommendation(listing))
    if any(model.prompt_speed is not None and not model.measured for model in listing.models):
        say(
            "reads and writes are in tokens a second; ~ is an estimate for this machine: "
            "`rag models bench --generator NAME` measures it"
        )
    if not all(model.durable for model in listing.models):
        say(
            "(1) nobody knows who put these packages there. The pinned hash is the one that the "
            "model's maker published, so the file is safe; the packages may vanish. The same file "
            "may come from elsewhere: give its path, or its name on the hub"
        )
    say(f"cache: {listing.cache}", err=True)


def _rate(speed: float | None, model: ListedModel) -> str:
    return "" if speed is None else f"{'' if model.measured else '~'}{speed:.0f}"


def _describe_recommendation(listing: Listing) -> str:
    found = f"{listing.available / 1e9:.1f} GB of memory are free"
    for model in listing.models:
        if model.recommended and model.seconds is not None:
            about = "measured" if model.measured else "estimated"
            return (
                f"* recommended on this machine: {model.name} (about {model.seconds:.0f} s an "
                f"answer, {about}; {found})"
            )
    reasons = "; ".join(
        f"{model.name} {model.reason}" for model in listing.models if model.writes and model.reason
    )
    return f"recommended on this machine: `extractive`, quotations ({reasons or found})"


@models_command.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetch a catalogued model into the cache.

    Its files are checked against their pinned hashes. What was fetched before an interruption is
    kept. The speed of a generator is then measured once and kept, for `rag models`.
    """
    from rag.models import CATALOGUE, measured_speed
    from rag.models import pull as fetch

    with progress.display() as show:
        path = fetch(name, show)
    say(str(path))
    if CATALOGUE[name].kind == "generator" and measured_speed(CATALOGUE[name]) is None:
        _measure(name)


def _measure(name: str) -> Speed:
    from rag.generation.measuring import measure_generator

    with progress.display() as show:
        speed = measure_generator(name, progress=show)
    say(
        f"{name}: reads {speed.prompt:.0f} and writes {speed.written:.0f} tokens a second", err=True
    )
    return speed


@models_command.command()
@options.embedder_option
@click.option(
    "--generator",
    metavar="NAME",
    help="Measure this catalogued generator instead, and keep its speed for `rag models`.",
)
@options.config_option
@options.json_option
def bench(generator: str | None, as_json: bool) -> None:
    """Measure how fast the embedder, or a generator, is on this machine.

    Measures every precision and every runtime of the embedder. A star marks what
    `embedding.precision = "auto"` chooses.
    """
    if generator is not None:
        measured = _measure(generator)
        if as_json:
            output.print_json(measured)
        return
    from rag.embedding.measuring import measure_speeds

    config = read_config().embedding
    with progress.display() as show:
        speeds = measure_speeds(config, show)
    if as_json:
        output.print_json(speeds)
        return
    say("  precision  runtime            texts/s  ms a question  agreement")
    for speed in speeds:
        say(
            f"{'*' if speed.chosen else ' '} {speed.precision:<10} {speed.runtime:<17}"
            f"{speed.texts:>9.1f}{speed.question:>15.1f}{speed.agreement:>11.4f}"
        )


@models_command.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@options.embedder_option
@options.index_option
@click.option(
    "--data",
    metavar="DATASET",
    type=click.Path(path_type=Path),
    help="Measure it with these questions, as `rag eval` takes them; documents that come with "
    "them replace the index.",
)
@options.count_option(
    "--dim",
    "How many dimensions its vectors have; 0 for as many as the embedder's.",
    default=256,
)
@options.count_option(
    "--passages",
    "How many passages of the index to fit it to; 0 for none.",
    default=10_000,
)
@options.config_option
@options.json_option
def distil(directory: Path, data: Path | None, dim: int, passages: int, as_json: bool) -> None:
    """Make a small, fast static embedder, and show what it loses.

    A static embedder is a table without layers. It is distilled from the embedder into DIR, and
    fitted to passages of the index if there is one. Give DIR as --embedder to use it.
    """
    from rag.training.distillation import distil as make

    config = read_config()
    with progress.display() as show:
        made = make(directory, config, dim=dim, passages=passages, data=data, progress=show)
    if as_json:
        output.print_json(made)
        return
    fitted = f", fitted to {made.passages:,} passages" if made.passages else ""
    say(
        f"{made.path}: {made.dim} dimensions, {made.tokens:,} tokens, {made.bytes / 1e6:.0f} MB, "
        f"of {made.teacher}{fitted}"
    )
    say(_describe_loss(made))


def _describe_loss(made: Distillation) -> str:
    loss = made.loss
    if loss is None:
        return "loss: not measured, there is no index: give --index or --data"
    if loss.teacher:
        return (
            f"loss: nDCG@10 {loss.student:.3f}, {made.teacher} {loss.teacher:.3f} "
            f"({loss.queries:,} questions, {loss.passages:,} passages)"
        )
    return (
        f"loss: finds {loss.at_10:.0%} of the 10 passages nearest by {made.teacher}, "
        f"{loss.at_100:.0%} of the 100 ({loss.queries:,} passages as questions, among "
        f"{loss.passages:,})"
    )
