"""`rag daemon`: a resident process that answers what `rag search`, `ask` and `check` ask."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import output
from rag.cli.options import config_option, json_option

if TYPE_CHECKING:
    from rag.serving.daemon.messages import State


@click.group("daemon", invoke_without_command=True)
@click.option("--foreground", is_flag=True, help="Stay in the foreground, for a service manager.")
@click.option(
    "--idle",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End after so long without a question (default: 900).",
)
@config_option
@click.pass_context
def daemon_command(
    context: click.Context, foreground: bool, idle: float | None, config_file: Path | None
) -> None:
    """Start a process that keeps models and indexes loaded, so that answers begin at once.

    `rag search`, `rag ask` and `rag check` ask it where it runs, and answer by themselves where
    it does not. It is reached by this user alone, and ends when nobody has asked for a while.
    """
    if context.invoked_subcommand is not None:
        return
    from rag.config import load_config
    from rag.serving.daemon.place import place

    config = load_config(config_file, arguments={"daemon.idle": idle})
    found = place()
    if foreground:
        from rag.serving.daemon.server import serve

        serve(found, config.daemon.idle)
        return
    from rag.serving.daemon.starting import start_daemon

    state, is_new = start_daemon(found, config.daemon.idle)
    click.echo(f"{'started' if is_new else 'running already'}: {_described(state)}")


@daemon_command.command("status")
@json_option
def status(as_json: bool) -> None:
    """Say whether a daemon runs, and what it has open; exit code 1 where none does."""
    from rag.serving.daemon.client import daemon_state
    from rag.serving.daemon.place import place

    state = daemon_state(place())
    if as_json:
        import msgspec

        output.print_json(None if state is None else msgspec.structs.asdict(state))
    elif state is None:
        click.echo("no daemon is running")
    else:
        click.echo(f"running: {_described(state)}")
        click.echo(
            f"{state.questions:,} questions in {state.up:,.0f} s; {state.memory / 1e6:,.0f} MB"
        )
        for path in state.indexes:
            click.echo(f"open: {output.one_line(path)}")
        if state.differing:
            click.echo(
                f"not asked from here, for it differs in {', '.join(state.differing)}: "
                "`rag daemon` starts another in its place"
            )
    if state is None:
        sys.exit(1)


@daemon_command.command("stop")
def stop() -> None:
    """End the daemon, when it has answered what it was asked."""
    from rag.serving.daemon.client import stop_daemon
    from rag.serving.daemon.place import place

    state = stop_daemon(place())
    click.echo("no daemon was running" if state is None else f"ended: process {state.process}")


def _described(state: State) -> str:
    return f"process {state.process}, ends after {state.idle:g} s without a question"
