"""Every number from outside has a range: settings from wherever they come, options and calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from conftest import RunMain

from rag import RAG, ConfigError, QuestionError, RagError, load_config
from rag.cli.commands import cli
from rag.cli.options import RuledType
from rag.config import (
    Config,
    Setting,
    argument_rule,
    check_argument,
    known_settings,
    replace_settings,
)
from rag.serving.daemon.messages import Ask, Explain, Request

NUMBERS = {
    key: setting
    for key, setting in known_settings().items()
    if type(setting.default) in (int, float)
}
ARGUMENTS = (
    "k",
    "wait",
    "depth",
    "every",
    "failures",
    "questions",
    "seed",
    "dim",
    "passages",
    "limit",
    "offset",
    "per-minute",
)
# Who waits, or leaves a process running, may do so for ever.
ENDLESS = {"index.wait", "daemon.idle", "wait"}
# What a person, a file or a program may give for a number.
VALUES: tuple[Any, ...] = (
    *(0, -1, 2**31, 2**63, 2**64, 10**30, 10**5000, math.nan, math.inf, -math.inf, 3e9, 1e308),
    *(True, None, [], {}),
)
TEXTS = (
    *("0", "-1", "-0", "2147483648", "9223372036854775808", "1" + "0" * 30, "9" * 5000),
    *("nan", "NaN", "inf", "-inf", "Infinity", "3e9", "1e999", "²", "٣", "1_0", "0x10", "1,5"),
    *("", " ", "+", "1 2", "\x1b[31m5", "5\u202e", "5\n6", "\ud800", "5\0"),
)


def is_within(value: Any, rule: Setting, *, endless: bool) -> bool:
    bounds, kind = rule.bounds, type(rule.default)
    finite = endless or math.isfinite(value)
    above = (bounds.ge is None or value >= bounds.ge) and (bounds.gt is None or value > bounds.gt)
    return (
        type(value) in (kind, int)
        and finite
        and above
        and (bounds.le is None or value <= bounds.le)
    )


def is_one_short_line(error: BaseException) -> bool:
    return "\n" not in str(error) and len(str(error)) < 600


def as_toml(value: Any) -> str | None:
    """Write a value as TOML has it; None if it has no such value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return None if "\ud800" in value else msgspec.json.encode(value).decode()
    if value is None:
        return None
    return "9" * 5000 if value == 10**5000 else str(value)


@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_among_the_settings_has_both_ends(key: str) -> None:
    bounds = NUMBERS[key].bounds
    assert bounds.ge is not None or bounds.gt is not None
    assert bounds.le is not None or key in ENDLESS


def ways(key: str, folder: Path) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield each way by which a setting's value comes in, and a call that brings it in."""
    section, _, name = key.partition(".")
    file = folder / "rag.toml"

    def by_file(value: Any) -> Config:
        written = as_toml(value)
        if written is None:
            raise ConfigError("TOML has no such value")
        file.write_text(f"[{section}]\n{name} = {written}\n", encoding="utf-8")
        return load_config(file, {})

    def by_variable(value: Any) -> Config:
        if not isinstance(value, str):
            raise ConfigError("a variable is a text")
        return load_config(None, {f"RAG_{key.upper().replace('.', '_')}": value})

    def by_object(value: Any) -> Config:
        return replace_settings(Config(), {key: value})

    def by_message(value: Any) -> Config:
        settings = msgspec.to_builtins(Config())
        settings[section][name] = value
        try:
            sent = msgspec.msgpack.encode(settings)
        except (OverflowError, UnicodeEncodeError) as error:
            raise ConfigError("no message holds it") from error
        try:
            return msgspec.msgpack.decode(sent, type=Config)
        except msgspec.DecodeError as error:
            raise ConfigError(str(error)) from error

    yield "a file", by_file
    yield "a variable", by_variable
    yield "an argument", lambda value: load_config(None, {}, {key: value})
    yield "a program", by_object
    yield "a message", by_message


@pytest.mark.parametrize("key", NUMBERS)
def test_no_way_lets_a_number_in_that_is_out_of_its_range(key: str, tmp_path: Path) -> None:
    section, _, name = key.partition(".")
    refused = 0
    for _way, bring in ways(key, tmp_path):
        for value in (*VALUES, *TEXTS):
            try:
                config = bring(value)
            except ConfigError as error:
                assert is_one_short_line(error)
                refused += 1
                continue
            found = getattr(getattr(config, section), name)
            # None is no value: the setting keeps its default.
            assert value is None or is_within(found, NUMBERS[key], endless=key in ENDLESS), value
    assert refused > len(VALUES)


def numeric_options(command: click.Command, path: str = "rag") -> Iterator[tuple[str, RuledType]]:
    """Yield every option and argument of the command line that takes a number, with its type."""
    for parameter in command.params:
        kind = parameter.type
        assert not isinstance(kind, click.types.IntParamType | click.types.FloatParamType), (
            f"{path} {parameter.name}: takes a number without a rule: use options.count_option"
        )
        if isinstance(kind, RuledType) and type(kind.rule.default) in (int, float):
            yield f"{path} {parameter.opts[0]}", kind
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from numeric_options(each, f"{path} {name}")


OPTIONS = dict(numeric_options(cli))


def test_the_sweep_sees_the_options() -> None:
    assert {"rag search -k", "rag ask -k", "rag chat -k", "rag check -k", "rag index --wait",
            "rag eval --depth", "rag models distil --dim", "rag daemon --idle",
            "rag search --diversity"} <= OPTIONS.keys()  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_no_option_takes_a_number_out_of_its_range(name: str) -> None:
    kind = OPTIONS[name]
    endless = kind.rule.bounds.le is None
    assert not endless or name.endswith(("--wait", "--idle"))
    refused = 0
    for text in TEXTS:
        try:
            found = kind.convert(text, None, None)
        except click.BadParameter as error:
            assert is_one_short_line(error)
            refused += 1
        else:
            assert is_within(found, kind.rule, endless=endless), text
    assert refused > len(TEXTS) // 2


@pytest.mark.parametrize("name", ARGUMENTS)
def test_no_call_takes_a_number_out_of_its_range(name: str) -> None:
    rule = argument_rule(name)
    assert rule.bounds.le is not None or name in ENDLESS
    for value in (*VALUES, *TEXTS):
        try:
            found = check_argument(name, value)
        except ConfigError as error:
            assert is_one_short_line(error)
            assert str(error).startswith(f"`{name}` must be ")
        else:
            assert is_within(found, rule, endless=name in ENDLESS), value


def test_the_whole_numbers_of_numpy_are_numbers() -> None:
    import numpy as np

    assert check_argument("k", np.int64(7)) == 7
    with pytest.raises(ConfigError, match=r"from 1 to 10000, not np.int64\(0\)"):
        check_argument("k", np.int64(0))


def calls(rag: RAG) -> Mapping[str, Callable[[Any], object]]:
    return {
        "search": lambda k: rag.search("bridge", k),
        "explain": lambda k: rag.explain("bridge", k),
        "query": lambda k: rag.query("bridge", k),
        "ask": lambda k: rag.ask("bridge", k),
        "check": lambda k: rag.check("The bridge is old.", k),
        "optimize": lambda wait: rag.optimize(wait=wait),
        "compact": lambda wait: rag.compact(wait=wait),
        "doctor": lambda wait: rag.doctor(repair=True, wait=wait),
        "import_from": lambda wait: rag.import_from("nothing.zip", wait=wait),
    }


@pytest.mark.parametrize("name", calls(RAG()))
def test_the_python_interface_refuses_what_is_out_of_range(name: str, tmp_path: Path) -> None:
    call = calls(RAG(tmp_path / "index"))[name]
    for value in (-1, math.nan, -math.inf, 10**5000 * -1, "²", [], b"5"):
        with pytest.raises(RagError, match=r"^`(k|wait)` must be a (whole )?number"):
            call(value)
    if "k" in call.__code__.co_varnames:
        for value in (0, 3_000_000_000, 2**63, 10**30, math.inf, 10_001):
            with pytest.raises(QuestionError, match=r"^`k` must be a whole number from 1 to 10000"):
                call(value)


@pytest.mark.parametrize("command", ["search", "ask", "check"])
def test_a_huge_k_is_a_line_and_an_exit_code(command: str, run_main: RunMain) -> None:
    done = run_main(command, "-k", "3000000000", "bridge")
    assert done.code == 2
    assert "must be a whole number from 1 to 10000, not '3000000000'" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("operation", [Ask("a", 3 * 10**9, "", None), Explain("a", 10**9, "")])
def test_a_daemon_is_sent_a_k_that_it_refuses(operation: Any, tmp_path: Path) -> None:
    # The message itself may hold it, and the call that it becomes may not.
    sent = msgspec.msgpack.encode(Request(Config(), operation))
    asked: Any = msgspec.msgpack.decode(sent, type=Request).operation
    with pytest.raises(QuestionError, match="`k` must be"):
        RAG(tmp_path).explain(asked.question, asked.k, asked.where)


@pytest.mark.parametrize("columns", ["3000000000", "²", "-5", "nan", "9" * 5000, ""])
def test_the_width_of_a_terminal_has_a_bound(columns: str, monkeypatch: Any) -> None:
    from rag.cli.output import count_columns

    monkeypatch.setenv("COLUMNS", columns)
    assert 30 <= count_columns() <= 1000
