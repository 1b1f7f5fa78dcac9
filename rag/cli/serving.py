"""`rag serve`, `rag mcp` and `rag feedback`: a RAG for others, and what they thought of it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import options, output
from rag.cli.opening import read_config
from rag.cli.terminal import say
from rag.errors import ConfigError

if TYPE_CHECKING:
    from rag.config import Config
    from rag.serving.feedback import FeedbackStore

_file_option = options.setting(
    "--users", "serve.users", "The file of those who may enter.", metavar="FILE"
)


@click.group("serve", invoke_without_command=True)
@options.index_option
@options.setting("--host", "serve.host", "Listen at this address.", metavar="ADDRESS")
@options.setting("--port", "serve.port", "Listen at this port; 0 takes a free one.", metavar="N")
@options.setting(
    "--folder", "serve.folder", "Serve each index in DIR as a collection.", metavar="DIR"
)
@_file_option
@options.setting("--read-only", "serve.read_only", "Let nobody add or remove.", is_flag=True)
@options.setting("--certificate", "serve.certificate", "Speak TLS with this file.", metavar="FILE")
@options.setting("--key", "serve.key", "The certificate's key.", metavar="FILE")
@options.setting(
    "--upstream",
    "serve.upstream",
    "Pass other models on to the OpenAI-compatible server at URL, and check what it says.",
    metavar="URL",
)
@options.setting("--audit", "serve.audit", "Add a line to FILE for each request.", metavar="FILE")
@options.embedder_option
@options.generator_option
@options.config_option
@click.pass_context
def serve_command(context: click.Context) -> None:
    """Answer over HTTP: a page, OpenAI's API, agents.

    The tools for agents are under /mcp. Only this machine can reach it unless you set --host, and
    only who has the token that it prints, or that RAG_SERVE_TOKEN holds. `rag serve users` gives
    tokens to others. Ctrl-C ends it.
    """
    if context.invoked_subcommand is not None:
        return
    try:
        from rag.serving.http import serve
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    serve(read_config(), lambda line: say(line, err=True))


def _missing(error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(
        f"the server needs {error.name}, which is not installed: run "
        "`pip install 'checkable-rag[serve]'`"
    )


@serve_command.group("users")
def users_group() -> None:
    """Say who may enter a server, and what each may see."""


@users_group.command("add")
@click.argument("name")
@_file_option
@click.option(
    "--collection",
    "collections",
    multiple=True,
    metavar="NAME",
    help="Let the user see this collection; repeat it for more. Without it all are seen.",
)
@click.option("--where", default="", metavar="FILTER", help="Show only documents that pass.")
@click.option("--write", is_flag=True, help="Let the user add and remove documents.")
@click.option("--admin", is_flag=True, help="Let the user see and do everything.")
@options.count_option("--per-minute", "How many requests a minute; 0 for any number.", default=0)
@options.config_option
def add_user(
    name: str, collections: tuple[str, ...], where: str, write: bool, admin: bool, per_minute: int
) -> None:
    """Give NAME a token, which is printed once; the file keeps only its hash.

    A server that runs takes it after a restart.
    """
    from rag.serving.http.access import ALL, User, hash_token, make_token, read_users, write_users

    file = _users_file(read_config())
    users = read_users(file)
    if any(user.name == name for user in users):
        raise ConfigError(f"{file}: there is a user {name!r} already: remove it first")
    token = make_token()
    made = User(
        name, hash_token(token), collections or (ALL,), where, write or admin, admin, per_minute
    )
    write_users(file, (*users, made))
    say(token)


@users_group.command("list")
@_file_option
@options.config_option
@options.json_option
def list_users(as_json: bool) -> None:
    """List those who may enter."""
    import msgspec

    from rag.serving.http.access import read_users

    users = read_users(_users_file(read_config()))
    if as_json:
        output.print_json([msgspec.structs.asdict(user) for user in users])
        return
    for user in users:
        rights = [name for name in ("write", "admin") if getattr(user, name)]
        seen = ", ".join(user.collections)
        say(
            " ".join([f"{user.name}: {seen}", *([f"where {user.where}"] * bool(user.where))]),
            end="",
        )
        say(f" ({', '.join(rights)})" if rights else "")


@users_group.command("remove")
@click.argument("name")
@_file_option
@options.config_option
def remove_user(name: str) -> None:
    """Take NAME's token away."""
    from rag.serving.http.access import read_users, write_users

    file = _users_file(read_config())
    users = read_users(file)
    kept = tuple(user for user in users if user.name != name)
    if len(kept) == len(users):
        raise ConfigError(f"{file}: holds no user {name!r}")
    write_users(file, kept)
    say(f"{name} removed")


def _users_file(config: Config) -> Path:
    return Path(config.serve.users or "users.json")


@click.command("mcp")
@options.index_option
@click.option("--write", is_flag=True, help="Let the agent add and remove documents.")
@options.embedder_option
@options.generator_option
@options.config_option
def mcp_command(write: bool) -> None:
    """Let an agent search, read and check documents.

    Speaks MCP over standard input and output: name this command in the agent's settings. `rag
    serve` offers the same tools under /mcp.
    """
    try:
        from rag.serving.mcp import serve_stdio
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    serve_stdio(read_config(), write=write)


@click.group("feedback")
def feedback_command() -> None:
    """Show, export or delete what readers thought of answers."""


@feedback_command.command("list")
@options.index_options
@options.json_option
def list_feedback(as_json: bool) -> None:
    """List all feedback, newest first."""
    found = _feedback().all()
    if as_json:
        output.print_json([asdict(each) for each in found])
        return
    for each in found:
        say(f"{each.id}  {each.rating}  {each.question}")
        if each.comment:
            say(f"    {output.shorten(each.comment)}", "dim")
        if each.correction:
            say(f"    right: {output.shorten(each.correction)}", "dim")


@feedback_command.command("export")
@options.index_options
def export_feedback() -> None:
    """Print all feedback as JSON lines, oldest first."""
    for each in reversed(_feedback().all()):
        output.print_line(asdict(each))


@feedback_command.command("remove")
@click.argument("feedback_id", metavar="ID")
@options.index_options
def remove_feedback(feedback_id: str) -> None:
    """Delete a piece of feedback for good; exit code 1 means that there is none."""
    if not _feedback().remove(feedback_id):
        say(f"there is no feedback {feedback_id}", err=True)
        sys.exit(1)
    say("removed")


def _feedback() -> FeedbackStore:
    from rag.serving.feedback import FeedbackStore

    return FeedbackStore(Path(read_config().index.path))
