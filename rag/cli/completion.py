"""`rag completion`: what a shell needs to complete commands, options and their values."""

from __future__ import annotations

import click

from rag.cli.terminal import say_text

_SHELLS = ("bash", "zsh", "fish")
_PROGRAM = "rag"
# The name that click itself asks for: a shell sets it when it wants completions.
_VARIABLE = "_RAG_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
def completion_command(shell: str) -> None:
    """Print the script by which SHELL completes commands.

    For bash, put `eval "$(rag completion bash)"` into ~/.bashrc; for zsh,
    `eval "$(rag completion zsh)"` into ~/.zshrc, after compinit; for fish, run
    `rag completion fish > ~/.config/fish/completions/rag.fish`.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell}: click cannot complete it")
    root = click.get_current_context().find_root().command
    say_text(kind(root, {}, _PROGRAM, _VARIABLE).source())
