from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest

from rag import ConfigError, load_config
from rag.config import Config, known_settings

SETTINGS = known_settings()
RANGES = [
    pytest.param(key, name, getattr(setting.bounds, name), id=f"{key}-{name}")
    for key, setting in SETTINGS.items()
    for name in ("ge", "gt", "le")
    if getattr(setting.bounds, name) is not None
]
CHOICES = [
    pytest.param(key, choice, id=f"{key}-{choice}")
    for key, setting in SETTINGS.items()
    for choice in setting.choices
]


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rag.toml"
    path.write_text(text)
    return path


def value_of(config: Config, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def variable_of(key: str) -> str:
    return f"RAG_{key.upper().replace('.', '_')}"


def test_later_sources_override_earlier_ones(tmp_path: Path) -> None:
    path = toml(tmp_path, "[retrieval]\ntop_k = 7\n[generation]\ntemperature = 1\n")
    environment = {"RAG_RETRIEVAL_TOP_K": "8", "RAG_CHUNKING_SIZE": "100", "HOME": "/"}
    config = load_config(path, environment, {"retrieval.top_k": 9, "index.path": None})
    assert config.retrieval.top_k == 9
    assert config.chunking.size == 100
    assert config.generation.temperature == 1.0
    assert config.index.path == "indexes/default"
    assert load_config(path, environment).retrieval.top_k == 8
    assert load_config(path, {}).retrieval.top_k == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[retrieval]\ntopk = 3", "unknown key `retrieval.topk`; did you mean `retrieval.top_k`?"),
        ("top_k = 3", "did you mean `retrieval.top_k`"),
        ("[chunkin]\nsize = 3", "did you mean `chunking.size`"),
        ("[retrieval]\ntop_k = 'three'", "must be a whole number from 1 to 10000, not 'three'"),
        ("[retrieval]\ntop_k = true", "must be a whole number"),
        ("[retrieval]\ntop_k = 2.5", "must be a whole number"),
        (
            "[retrieval]\ntop_k = 0",
            "`retrieval.top_k` must be a whole number from 1 to 10000, not 0",
        ),
        ("[retrieval]\ncollapse = 1.5", "`retrieval.collapse` must be a number from 0 to 1, not"),
        (
            "[retrieval]\nmode = 'dens'",
            "must be one of hybrid, dense, lexical, not 'dens'; did",
        ),
        ("[retrieval]\nexpansion = ['rm3', 'hide']", "not 'hide'; did you mean `hyde`?"),
        ("[chunking]\nsize = 10\noverlap = 10", "must be smaller"),
        ("[retrieval", "cannot be read as TOML"),
        ("[sources]\ninclude = '*.md'\nhidden = 'maybe'", "`sources.hidden` must be true or false"),
        ("[sources]\nhidden = 1", "`sources.hidden` must be true or false, not 1"),
        ("[sources]\nexclude = [1]", "`sources.exclude` must be a list of texts, not [1]"),
        (
            "[sources]\nmemory_mb = 1",
            "`sources.memory_mb` must be a whole number from 256 to 16777216",
        ),
        ("[generation]\nmodel = 3", "`generation.model` must be text, not 3"),
        ("[daemon]\nidle = 0", "`daemon.idle` must be a number of more than 0, not 0"),
    ],
)
def test_a_bad_setting_fails_at_load_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = toml(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert message in str(caught.value)
    assert str(path) in str(caught.value) or "overlap" in text
    assert "\n" not in str(caught.value)


def test_lists_and_switches_come_from_everywhere(tmp_path: Path) -> None:
    path = toml(tmp_path, "[sources]\ninclude = ['*.md', 'a,b']\nhidden = true\n")
    assert load_config(path, {}).sources.include == ("*.md", "a,b")
    assert load_config(path, {}).sources.hidden
    environment = {"RAG_SOURCES_INCLUDE": "*.txt, *.rst", "RAG_SOURCES_HIDDEN": "no"}
    assert load_config(path, environment).sources.include == ("*.txt", "*.rst")
    assert not load_config(path, environment).sources.hidden
    assert load_config(path, {}, {"sources.include": ()}).sources.include == ()


@pytest.mark.parametrize("word", ["true", "yes", "on", "1", "false", "no", "off", "0"])
def test_a_switch_knows_the_usual_words(word: str) -> None:
    expected = word in ("true", "yes", "on", "1")
    for written in (word, word.upper(), f" {word} "):
        assert load_config(None, {"RAG_SOURCES_HIDDEN": written}).sources.hidden is expected


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_can_be_written_as_text(key: str) -> None:
    default = SETTINGS[key].default
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    config = load_config(None, {variable_of(key): text})
    assert value_of(config, key) == default
    assert type(value_of(config, key)) is type(default)
    assert config == Config()


@pytest.mark.parametrize("key", SETTINGS)
def test_no_setting_takes_a_value_of_another_type(key: str) -> None:
    # A number that no text is, and a text that no number is.
    wrong: object = 1 if isinstance(SETTINGS[key].default, str | tuple | bool) else "many"
    with pytest.raises(ConfigError, match=rf"arguments: `{key}` must be .*, not {wrong!r}"):
        load_config(None, {}, {key: wrong})


@pytest.mark.parametrize(("key", "name", "bound"), RANGES)
def test_every_range_holds_at_its_bound_and_not_beyond(key: str, name: str, bound: float) -> None:
    whole = isinstance(SETTINGS[key].default, int)
    away = -1 if name == "ge" else 1
    beyond = bound + away if whole else math.nextafter(bound, away * math.inf)
    inside = bound
    if name == "gt":
        inside, beyond = math.nextafter(bound, math.inf), bound
    # The sizes of a chunk bind one another.
    other = {"chunking.overlap": "chunking.size", "chunking.size": "chunking.overlap"}.get(key)
    others = {other: 0} if other else {}
    assert value_of(load_config(None, {}, {**others, key: inside}), key) == inside
    with pytest.raises(ConfigError, match=f"`{key}` must be a .*number .*, not "):
        load_config(None, {}, {key: beyond})
    with pytest.raises(ConfigError, match=f"{variable_of(key)}: `{key}` must be"):
        load_config(None, {variable_of(key): str(beyond)})
    if not whole:
        with pytest.raises(ConfigError, match="not nan"):
            load_config(None, {}, {key: math.nan})


@pytest.mark.parametrize(("key", "choice"), CHOICES)
def test_every_choice_is_taken_and_a_slip_of_it_is_named(key: str, choice: str) -> None:
    taken = value_of(load_config(None, {variable_of(key): choice}), key)
    assert taken == ((choice,) if isinstance(SETTINGS[key].default, tuple) else choice)
    with pytest.raises(ConfigError) as caught:
        load_config(None, {variable_of(key): f"{choice}x"})
    message = str(caught.value)
    assert message.startswith(f"{variable_of(key)}: `{key}` must be ")
    assert ", ".join(SETTINGS[key].choices) in message
    assert message.endswith(f"not '{choice}x'; did you mean `{choice}`?")


def test_a_misspelt_variable_is_a_warning_that_names_the_nearest() -> None:
    with pytest.warns(UserWarning, match=r"RAG_RETRIEVAL_TOPK.*RAG_RETRIEVAL_TOP_K") as caught:
        config = load_config(None, {"RAG_RETRIEVAL_TOPK": "3"})
    assert config == Config()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(None, {"RAG_CACHE": "/", "RAG_API_KEY": "k", "RAGTIME": "1", "PATH": "/"})


def test_a_given_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml", {})


def test_nothing_is_read_from_the_environment_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_RETRIEVAL_TOP_K", "4")
    assert load_config().retrieval.top_k == 4
    monkeypatch.setenv("RAG_RETRIEVAL_TOP_K", "6")
    assert load_config().retrieval.top_k == 6
