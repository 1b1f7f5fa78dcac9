"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

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
config_option = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings to read (default: rag.toml here, if there is one).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
