"""What a shell completes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from commanding import run
from conftest import RunMain

from rag.cli import cli


def complete(*words: str) -> list[str]:
    """What the last word may become."""
    *before, last = words
    found = ShellComplete(cli, {}, "rag", "_RAG_COMPLETE").get_completions(before, last)
    return [each.value for each in found]


def test_commands_options_and_choices_are_completed() -> None:
    assert complete("sea") == ["search"]
    assert complete("ask", "--st") == ["--strict"]
    assert complete("search", "--mode", "") == ["hybrid", "dense", "lexical"]
    assert complete("search", "--mode", "le") == ["lexical"]
    assert complete("completion", "") == ["bash", "zsh", "fish"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("index", ""), "file"),
        (("ask", "--docs", "no"), "file"),
        (("ask", "--index", "in"), "dir"),
        (("ask", "--generator", "mo"), "file"),
    ],
)
def test_names_of_files_are_left_to_the_shell(words: tuple[str, ...], kind: str) -> None:
    *before, last = words
    found = ShellComplete(cli, {}, "rag", "_RAG_COMPLETE").get_completions(before, last)
    assert [(each.value, each.type) for each in found] == [(last, kind)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(run_main: RunMain, shell: str) -> None:
    result = run_main("completion", shell)
    assert result.code == 0
    assert f"_RAG_COMPLETE={shell}_complete" in result.out


@pytest.mark.slow
def test_the_command_answers_what_the_script_asks(tmp_path: Path) -> None:
    asked = {"_RAG_COMPLETE": "bash_complete", "COMP_WORDS": "rag ask --way ", "COMP_CWORD": "3"}
    result = run(cwd=tmp_path, **asked)
    assert result.stdout.splitlines() == ["plain,auto", "plain,generate", "plain,extract"]
