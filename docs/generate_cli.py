"""Write docs/cli.md and docs/rag.1 from the commands' own help: `python docs/generate_cli.py`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click

from rag.cli import cli

PAGE = Path(__file__).parent / "cli.md"
MAN_PAGE = Path(__file__).parent / "rag.1"

EXIT_CODES = {
    0: "done, or answered",
    1: "an error: one line on standard error says what to do",
    2: "wrong usage",
    3: "the documents hold no answer, or do not tell whether a claim is true",
    4: "the documents refute a claim",
    130: "interrupted; what was committed is unharmed",
}
HEAD = """# Command line

Written by `python docs/generate_cli.py` from the commands' own help. `man rag` shows the same where
the package is installed. Commands, options and values are completed after

```sh
eval "$(rag completion bash)"                                   # in ~/.bashrc
eval "$(rag completion zsh)"                                    # in ~/.zshrc, after compinit
rag completion fish > ~/.config/fish/completions/rag.fish       # once
```

| exit code | meaning |
| --- | --- |
""" + "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
MAN_HEAD = """.TH RAG 1 "" "rag" "User Commands"
.SH NAME
rag \\- ask your own documents, offline, and check every answer against its sources
.SH SYNOPSIS
.B rag
.I COMMAND
.RI [ OPTION ]...
.RI [ ARGUMENT ]...
.SH DESCRIPTION
.B rag index
reads files and folders into an index,
.B rag ask
answers a question from it, word for word or in the words of a language model, and names the
sources,
.B rag search
shows the passages that fit a question,
.B rag check
tells whether the documents support a claim.
.SH COMMANDS
"""
MAN_FOOT = """.SH ENVIRONMENT
.TP
.B RAG_SECTION_KEY
sets the key of a section of the settings, such as RAG_RETRIEVAL_TOP_K.
.TP
.B RAG_CONFIG
names a file of settings to read instead of rag.toml in this folder.
.TP
.B NO_COLOR
prints without colours.
.TP
.B COLUMNS
is how wide the terminal is, if it does not tell.
.SH FILES
.TP
.I rag.toml
holds the settings for the folder that it lies in; one with the same name in your own folder of
settings, such as ~/.config/rag, holds yours.
.TP
.I indexes/default
is the index, unless
.B \\-\\-index
names another.
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


def man_page() -> str:
    """Return the manual page, in the macros of man(7)."""
    lines = [MAN_HEAD]
    context = click.Context(cli, info_name="rag")
    for path, command in _list_commands(cli, "rag"):
        if not isinstance(command, click.Group):
            lines += _describe_command(path, command)
    context.close()
    lines.append(".SH EXIT STATUS\n")
    lines += [f".TP\n.B {code}\n{_roff(text)}\n" for code, text in EXIT_CODES.items()]
    return "".join([*lines, MAN_FOOT])


def _describe_command(path: str, command: click.Command) -> list[str]:
    command._help_option = None
    shown = click.Context(command, info_name=path, help_option_names=["-h", "--help"])
    usage = " ".join([path, *command.collect_usage_pieces(shown)])
    lines = [f'.SS "{_roff(usage)}"\n']
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    lines += [f".PP\n{_roff(' '.join(each.split()))}\n" for each in paragraphs]
    for parameter in command.get_params(shown):
        record = parameter.get_help_record(shown)
        if record is not None and record[1]:
            lines.append(f".TP\n.B {_roff(record[0])}\n{_roff(' '.join(record[1].split()))}\n")
    return lines


def _roff(text: str) -> str:
    """Return text for roff: nothing in it is a command, and what is in backticks is bold."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    bold = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", escaped)
    return f"\\&{bold}" if bold.startswith((".", "'")) else bold


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
    MAN_PAGE.write_text(man_page(), encoding="utf-8")
