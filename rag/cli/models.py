"""`rag models`: what there is, fetching it, how fast it is here, and making static ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import output, progress
from rag.cli.options import config_option, embedder_option, index_option, json_option

if TYPE_CHECKING:
    from rag.training.distillation import Distillation


@click.group("models", invoke_without_command=True)
@click.pass_context
def models_command(context: click.Context) -> None:
    """List the models that can be had without a hub, fetch one, or make a static one."""
    if context.invoked_subcommand is not None:
        return
    from rag.models import CATALOGUE, cache_dir, is_pulled

    for entry in CATALOGUE.values():
        state = "here" if is_pulled(entry.name) else "not fetched"
        click.echo(
            f"{entry.name:<24}{entry.kind:<11}{entry.size / 1e6:>5.0f} MB  {entry.licence:<12}"
            f"{','.join(entry.languages):<4}{state:<13}{entry.description}"
        )
    click.echo(f"cache: {cache_dir()}", err=True)


@models_command.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetch a catalogued model into the cache, checked against its pinned hash."""
    from rag.models import pull as fetch

    with progress.shown() as show:
        place = fetch(name, show)
    click.echo(str(place))


@models_command.command()
@embedder_option
@config_option
@json_option
def bench(embedder: str | None, config_file: Path | None, as_json: bool) -> None:
    """Measure the embedder on this machine, in every precision and by every runtime.

    What is chosen where `embedding.precision` is `auto` is marked.
    """
    from rag.config import load_config
    from rag.embedding.measuring import measure_speeds

    config = load_config(config_file, arguments={"embedding.model": embedder}).embedding
    with progress.shown() as show:
        speeds = measure_speeds(config, show)
    if as_json:
        output.print_json(speeds)
        return
    click.echo("  precision  runtime            texts/s  ms a question  agreement")
    for speed in speeds:
        click.echo(
            f"{'*' if speed.chosen else ' '} {speed.precision:<10} {speed.runtime:<17}"
            f"{speed.texts:>9.1f}{speed.question:>15.1f}{speed.agreement:>11.4f}"
        )


@models_command.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@embedder_option
@index_option
@click.option(
    "--data",
    metavar="DATASET",
    type=click.Path(path_type=Path),
    help="Questions to measure it with, as `rag eval` takes them; documents that the set brings "
    "take the place of the index.",
)
@click.option(
    "--dim",
    type=click.IntRange(min=0),
    default=256,
    show_default=True,
    metavar="N",
    help="Dimensions of its vectors; 0 for as many as the embedder has.",
)
@click.option(
    "--passages",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    metavar="N",
    help="How many passages of the index to fit it to; 0 for none.",
)
@config_option
@json_option
def distil(
    directory: Path,
    embedder: str | None,
    index: str | None,
    data: Path | None,
    dim: int,
    passages: int,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Make a static embedder in DIR, a table without layers, and say what it loses.

    It is made of the embedder, and fitted to passages of the index, if there is one. DIR can then
    be given as --embedder.
    """
    from rag.config import load_config
    from rag.training.distillation import distil as make

    settings = {"embedding.model": embedder, "index.path": index}
    config = load_config(config_file, arguments=settings)
    with progress.shown() as show:
        made = make(directory, config, dim=dim, passages=passages, data=data, progress=show)
    if as_json:
        output.print_json(made)
        return
    fitted = f", fitted to {made.passages:,} passages" if made.passages else ""
    click.echo(
        f"{made.path}: {made.dim} dimensions, {made.tokens:,} tokens, {made.bytes / 1e6:.0f} MB, "
        f"of {made.teacher}{fitted}"
    )
    click.echo(_loss(made))


def _loss(made: Distillation) -> str:
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
