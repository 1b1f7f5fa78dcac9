from __future__ import annotations

from pathlib import Path

import pytest

from rag import ConfigError, load_config


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rag.toml"
    path.write_text(text)
    return path


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
        ("[retrieval]\ntopk = 3", "did you mean `retrieval.top_k`"),
        ("top_k = 3", "did you mean `retrieval.top_k`"),
        ("[chunkin]\nsize = 3", "did you mean `chunking.size`"),
        ("[retrieval]\ntop_k = 'three'", "`retrieval.top_k` must be a whole number, not 'three'"),
        ("[retrieval]\ntop_k = true", "must be a whole number"),
        ("[retrieval]\ntop_k = 0", "must be at least 1"),
        ("[chunking]\nsize = 10\noverlap = 10", "must be smaller"),
        ("[retrieval", "cannot be read as TOML"),
        ("[sources]\ninclude = '*.md'\nhidden = 'maybe'", "`sources.hidden` must be true or false"),
        ("[sources]\nexclude = [1]", "`sources.exclude` must be a list of texts, not [1]"),
        ("[sources]\nmemory_mb = 1", "`sources.memory_mb` must be at least 256"),
    ],
)
def test_a_bad_setting_fails_at_load_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(toml(tmp_path, text), {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_and_switches_come_from_everywhere(tmp_path: Path) -> None:
    path = toml(tmp_path, "[sources]\ninclude = ['*.md', 'a,b']\nhidden = true\n")
    assert load_config(path, {}).sources.include == ("*.md", "a,b")
    assert load_config(path, {}).sources.hidden
    environment = {"RAG_SOURCES_INCLUDE": "*.txt, *.rst", "RAG_SOURCES_HIDDEN": "no"}
    assert load_config(path, environment).sources.include == ("*.txt", "*.rst")
    assert not load_config(path, environment).sources.hidden
    assert load_config(path, {}, {"sources.include": ()}).sources.include == ()


def test_a_misspelt_variable_is_named() -> None:
    with pytest.raises(ConfigError, match=r"RAG_RETRIEVAL_TOPK.*RAG_RETRIEVAL_TOP_K"):
        load_config(None, {"RAG_RETRIEVAL_TOPK": "3"})


def test_a_given_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml", {})


def test_nothing_is_read_from_the_environment_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_RETRIEVAL_TOP_K", "4")
    assert load_config().retrieval.top_k == 4
    monkeypatch.setenv("RAG_RETRIEVAL_TOP_K", "6")
    assert load_config().retrieval.top_k == 6
