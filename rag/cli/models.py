"""`rag models`: list the models there are, fetch, measure, and distil them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import options, output, progress
from rag.cli.opening import read_config

if TYPE_CHECKING:
    from rag.training.distillation import Distillation


@click.group("models", invoke_without_command=True)
@click.pass_context
def models_command(context: click.Context) -> None:
    """List, fetch, measure or make models.

    Without COMMAND, list the catalogued models, which can be fetched without a hub.
    """
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
    """Fetch a catalogued model into the cache.

    Its files are checked against their pinned hashes.
    """
    from rag.models import pull as fetch

    with progress.display() as show:
        path = fetch(name, show)
    click.echo(str(path))


@models_command.command()
@options.embedder_option
@options.config_option
@options.json_option
def bench(as_json: bool) -> None:
    """Measure how fast the embedder is on this machine.

    Measures every precision and every runtime. A star marks what `embedding.precision = "auto"`
    chooses.
    """
    from rag.embedding.measuring import measure_speeds

    config = read_config().embedding
    with progress.display() as show:
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
    least=0,
)
@options.count_option(
    "--passages",
    "How many passages of the index to fit it to; 0 for none.",
    default=10_000,
    least=0,
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
    click.echo(
        f"{made.path}: {made.dim} dimensions, {made.tokens:,} tokens, {made.bytes / 1e6:.0f} MB, "
        f"of {made.teacher}{fitted}"
    )
    click.echo(_describe_loss(made))


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
