"""Write docs/cli.md from the commands' own help: `python docs/generate_cli.py`."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli import cli

PAGE = Path(__file__).parent / "cli.md"

HEAD = """# Command line

Written by `python docs/generate_cli.py` from the commands' own help.

| exit code | meaning |
| --- | --- |
| 0 | done, or answered |
| 1 | an error: one line on standard error says what to do |
| 2 | wrong usage |
| 3 | the documents hold no answer, or do not tell whether a claim is true |
| 4 | the documents refute a claim |
| 130 | interrupted; what was committed is unharmed |
"""


def page() -> str:
    """Return the whole page."""
    sections = [HEAD]
    context = click.Context(cli, info_name="rag")
    for path, command in _list_commands(cli, "rag"):
        # A command keeps the help option of the first context that it was shown in.
        command._help_option = None
        shown = click.Context(
            command, info_name=path, max_content_width=80, help_option_names=["-h", "--help"]
        )
        sections.append(f"## {path}\n\n```text\n{command.get_help(shown)}\n```\n")
    context.close()
    return "\n".join(sections)


def _list_commands(group: click.Group, path: str) -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = [(path, group)]
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            found += _list_commands(command, f"{path} {name}")
        else:
            found.append((f"{path} {name}", command))
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
