"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """How long to wait; what is no number is most likely meant for the command."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no number of seconds: put --wait last, or write --wait=SECONDS."
        ) from None
    if not seconds >= 0:
        raise click.BadParameter(f"{value} is not 0 or more.")
    return seconds


index_option = click.option(
    "--index", metavar="DIR", help="The index folder (default: indexes/default)."
)
k_option = click.option(
    "-k", type=click.IntRange(min=1), help="How many passages to retrieve (default: 5)."
)
where_option = click.option(
    "--where",
    metavar="FILTER",
    default="",
    help='Of documents that are so only: `path:docs/** type:pdf after:2024-01 title~"lease"`.',
)
embedder_option = click.option(
    "--embedder", metavar="NAME", help="A catalogued model, a directory, or a hub name."
)
precision_option = click.option(
    "--precision",
    metavar="NAME",
    help="In what the embedder computes: `auto` (default), `int8`, `float32`, `float16`, "
    "`bfloat16`.",
)
config_option = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings to read (default: rag.toml here, if there is one).",
)
wait_option = click.option(
    "--wait",
    callback=_seconds,
    is_flag=False,
    flag_value="inf",
    metavar="[SECONDS]",
    help="Wait for another writer to be done; without SECONDS as long as it takes.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
