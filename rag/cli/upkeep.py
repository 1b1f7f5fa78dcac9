"""Commands that keep an index well."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rag.cli import output
from rag.cli.opening import open_rag
from rag.cli.options import config_option, index_option, json_option


@click.command("compact")
@index_option
@config_option
@json_option
def compact_command(index: str | None, config_file: Path | None, as_json: bool) -> None:
    """Rewrite the index without what was removed: no byte of its text remains.

    Exit code 1 says that a reader at work all the while still holds a part of it.
    """
    done = open_rag(index, config_file).compact()
    if as_json:
        output.print_json(done)
    else:
        click.echo(f"{done.before / 1e6:.1f} MB before, {done.after / 1e6:.1f} MB now")
    if not done.cleared:
        click.echo(
            "a reader was at work all the while, and the log still holds what it reads: run "
            "`rag compact` again when it is done",
            err=True,
        )
        sys.exit(1)
