"""An option that sets a setting has its rule and default from there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest
from conftest import RunMain

from rag import RAG
from rag.cli import cli
from rag.cli.options import find_rule


def commands(group: click.Group, path: str = "rag") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


OPTIONS = [
    pytest.param(command, option, key, id=f"{path} {option.opts[0]}")
    for path, command in commands(cli)
    for option in command.params
    if (key := getattr(option, "key", None)) is not None
]


def test_there_are_many() -> None:
    assert len(OPTIONS) > 50


@pytest.mark.parametrize(("command", "option", "key"), OPTIONS)
def test_help_shows_choices_range_and_default(
    command: click.Command, option: click.Option, key: str
) -> None:
    setting = find_rule(key)
    record = option.get_help_record(click.Context(command))
    assert record is not None
    names, text = record
    if not option.multiple:
        assert all(choice in names for choice in setting.choices)
    default = isinstance(setting.default, str) and setting.default
    if default and option.show_default is not False:
        assert f"default: {setting.default}" in text
    if setting.bounds.ge is not None:
        assert f"{setting.bounds.ge}<=x" in text or f"x>={setting.bounds.ge}" in text


def test_what_a_command_does_fits_on_a_line(run_main: RunMain) -> None:
    for name in ([], ["models"], ["daemon"]):
        listed = run_main(*name, "--help").out.partition("Commands:")[2]
        assert listed
        assert "..." not in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mode", "dens"), "must be one of hybrid, dense, lexical, not 'dens'; did you mean"),
        (("--precision", "int7"), "must be one of auto, int8, float32, float16, bfloat16, not"),
        (("-k", "0"), "'-k': must be a whole number from 1 to 10000, not '0'"),
        (("--diversity", "2"), "'--diversity': must be a number from 0 to 1, not '2'"),
    ],
)
def test_what_a_setting_does_not_allow_is_wrong_usage(
    run_main: RunMain, arguments: tuple[str, ...], message: str
) -> None:
    done = run_main("search", "why?", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_an_option_is_above_the_environment(
    run_main: RunMain, sample: RAG, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_RETRIEVAL_MODE", "dense")
    monkeypatch.setenv("RAG_RETRIEVAL_TOP_K", "2")
    arguments = ("search", "the memory of attention", "--index", sample.path, "--explain", "--json")
    (first, *_), (second, *_) = (
        json.loads(run_main(*arguments, *more).out)["hits"][0]["trace"]
        for more in (("--mode", "lexical"), ())
    )
    assert (first["name"], second["name"]) == ("lexical", "dense")
    assert len(json.loads(run_main(*arguments, "--mode", "lexical").out)["hits"]) == 2
    assert len(json.loads(run_main(*arguments, "--mode", "lexical", "-k", 1).out)["hits"]) == 1


def test_an_unknown_variable_is_a_warning_on_one_line(
    run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_RETRIEVAL_TOPK", "2")
    done = run_main("prompts")
    assert done.code == 0
    assert done.err == (
        "rag: warning: RAG_RETRIEVAL_TOPK: unknown variable in the environment; did you mean "
        "`RAG_RETRIEVAL_TOP_K`?\n"
    )
