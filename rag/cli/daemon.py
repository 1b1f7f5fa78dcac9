"""`rag daemon`: a resident process that answers for `rag search`, `rag ask` and `rag check`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from rag.cli import options, output
from rag.cli.opening import read_config
from rag.cli.terminal import say

if TYPE_CHECKING:
    from rag.serving.daemon import State


@click.group("daemon", invoke_without_command=True)
@click.option("--foreground", is_flag=True, help="Stay in the foreground, for a service manager.")
@options.setting(
    "--idle", "daemon.idle", "End after SECONDS without a question.", metavar="SECONDS"
)
@options.config_option
@click.pass_context
def daemon_command(context: click.Context, foreground: bool) -> None:
    """Keep models and indexes loaded, so that answers begin at once.

    Starts a process in the background. While it runs, it answers for `rag search`, `rag ask` and
    `rag check`; otherwise they answer by themselves. Only you can reach it, and it ends when nobody
    has asked for a while.
    """
    if context.invoked_subcommand is not None:
        return
    from rag.serving.daemon import find_socket_folder, serve, start_daemon

    idle = read_config().daemon.idle
    folder = find_socket_folder()
    if foreground:
        serve(folder, idle)
        return
    state, is_new = start_daemon(folder, idle)
    say(f"{'started' if is_new else 'running already'}: {_describe(state)}")


@daemon_command.command("status")
@options.json_option
def status(as_json: bool) -> None:
    """Show whether a daemon runs, and what it has open.

    Exit code 1 means that none runs.
    """
    from rag.serving.daemon import find_socket_folder, read_state

    state = read_state(find_socket_folder())
    if as_json:
        import msgspec

        output.print_json(None if state is None else msgspec.structs.asdict(state))
    elif state is None:
        say("no daemon is running")
    else:
        say(f"running: {_describe(state)}")
        say(f"{state.questions:,} questions in {state.up:,.0f} s; {state.memory / 1e6:,.0f} MB")
        for path in state.indexes:
            say(f"open: {path}")
        if state.differing:
            say(
                f"not asked from here, for it differs in {', '.join(state.differing)}: "
                "`rag daemon` starts another in its place"
            )
    if state is None:
        sys.exit(1)


@daemon_command.command("stop")
def stop() -> None:
    """End the daemon, once it has answered its last question."""
    from rag.serving.daemon import find_socket_folder, stop_daemon

    state = stop_daemon(find_socket_folder())
    say("no daemon was running" if state is None else f"ended: process {state.process}")


def _describe(state: State) -> str:
    return f"process {state.process}, ends after {state.idle:g} s without a question"
