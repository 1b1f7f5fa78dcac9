"""A `rag.toml` that came with somebody else's files does no harm until the user trusts it."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from conftest import RunMain
from servers import Script, scripted, sse

from rag import RAG, load_config, trust
from rag.cli import opening
from rag.config import HARMLESS, Config, known_settings, own_config_file, trace_config
from rag.errors import ConfigError, RagError, TrustError

SETTINGS = known_settings()
posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="takes pipes and modes of files")
DOCS = Path(__file__).parent.parent / "docs"

# What a stranger may choose freely: it changes how documents are searched and shown.
FREE = {
    *("index.wait", "index.kind", "index.recall"),
    *("sources.include", "sources.exclude"),
    *("sources.encoding", "sources.encodings", "sources.ocr"),
    *("sources.json_text", "sources.json_title", "sources.json_id"),
    *("chunking.size", "chunking.overlap", "embedding.device", "embedding.precision"),
    *("retrieval.mode", "retrieval.fusion", "retrieval.dense_weight", "retrieval.expansion"),
    *(
        "retrieval.correct",
        "retrieval.collapse",
        "retrieval.prefer",
        "retrieval.diversity",
        "retrieval.context",
    ),
    *("generation.device", "generation.temperature", "generation.seed", "generation.thinks"),
    *("answering.way", "answering.strict", "answering.threshold", "daemon.use"),
}
SERVER, HUB, FOLDER = "https://example.org/v1", "somebody/model", "./model"
# Values of every other setting that a stranger may not choose.
HARMFUL: dict[str, list[Any]] = {
    "serve.host": ["0.0.0.0"],
    "serve.port": [80],
    "serve.certificate": ["theirs.pem"],
    "serve.key": ["theirs.pem"],
    "serve.folder": [".."],
    "serve.users": ["users.json"],
    "serve.read_only": [True],
    "serve.state": ["/srv"],
    "serve.audit": ["/srv/log"],
    "serve.workers": [1_000],
    "serve.queue": [100_000],
    "serve.upload_mb": [100_000],
    "serve.request_kb": [100_000],
    "serve.origins": [["https://example.org"]],
    "serve.upstream": ["https://example.org/v1"],
    "serve.price_read": [1.0],
    "serve.price_written": [1.0],
    "index.path": ["../other", "/srv/other", "a/../../b", "link/index", "~/../.."],
    "index.memory_mb": [1, 1_000_000],
    "sources.hidden": [True],
    "sources.max_file_mb": [257],
    "sources.max_container_mb": [8193],
    "sources.max_text_mb": [65],
    "sources.max_pages": [10_001],
    "sources.max_nesting": [1_001],
    "sources.max_word": [100_001],
    "sources.max_members": [100_001],
    "sources.max_unpacked_mb": [8193],
    "sources.max_ratio": [201],
    "sources.max_depth": [5],
    "sources.workers": [5],
    "sources.memory_mb": [1025],
    "sources.seconds": [60.5, 86_400.0],
    "sources.confined": [False],
    "fetching.depth": [1],
    "fetching.pages": [501],
    "fetching.allow_private": [True],
    "fetching.seconds": [31.0],
    "fetching.delay": [0.5],
    "ingestion.commit_passages": [2049],
    "ingestion.commit_seconds": [10.5, 86_400.0],
    "embedding.model": [HUB, FOLDER, "/models/e5", "a-plugin", "smollm2-135m-instruct"],
    "embedding.batch_tokens": [1],
    "retrieval.top_k": [1001],
    "retrieval.candidates": [10_001],
    "retrieval.rerank": [HUB, FOLDER, "a-plugin", "all-minilm-l6-v2"],
    "retrieval.rerank_model": [HUB, FOLDER, "smollm2-135m-instruct"],
    "retrieval.rerank_depth": [1001],
    "retrieval.rerank_budget_ms": [60_001],
    "generation.model": [SERVER, HUB, FOLDER, "m.gguf", "a-plugin", "all-minilm-l6-v2"],
    "generation.served_model": ["the-dearest"],
    "generation.max_tokens": [4097],
    "generation.context_tokens": [32_769],
    "generation.timeout": [601.0, 86_400.0],
    "generation.retries": [4],
    "generation.plain_http": [True],
    "prompt.templates": ["mine", "/srv/mine"],
    "prompt.examples": ["examples.jsonl", "/etc/passwd"],
    "prompt.shots": [21],
    "answering.reader": [HUB, FOLDER, "all-minilm-l6-v2"],
    "answering.writers": [["smollm2-135m-instruct"]],
    "answering.entailment": [HUB, FOLDER],
    "daemon.idle": [901.0, float("inf")],
}
# Ordinary values, beside defaults and what is free, for which nobody should be asked.
ORDINARY: dict[str, list[Any]] = {
    "index.path": ["index", "indexes/mine", "./a/../b", "."],
    "sources.max_file_mb": [10],
    "sources.workers": [1],
    "embedding.model": ["all-minilm-l6-v2"],
    "retrieval.top_k": [3, 100],
    "retrieval.rerank": ["embedder", "late-interaction", "likelihood"],
    "generation.model": ["extractive", "qwen2.5-coder-0.5b-instruct"],
    "generation.max_tokens": [400],
    "answering.reader": ["", "mpnet-reader"],
    "answering.entailment": ["minilm-entailment", "none"],
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a stranger's, in which the user works, and an own one of the user's beside it."""
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    folder = tmp_path / "cloned"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    monkeypatch.chdir(folder)
    return folder


def as_toml(settings: dict[str, Any]) -> str:
    shown = {
        key: "inf" if value == float("inf") else json.dumps(value)
        for key, value in settings.items()
    }
    return "".join(f"{key} = {value}\n" for key, value in shown.items())


def plant(settings: dict[str, Any], place: str | Path = "rag.toml") -> Path:
    file = Path(place)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_toml(settings), encoding="utf-8")
    return file


def value_of(config: Config, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def cases(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(key, value, id=f"{key}={value}")
        for key, values in table.items()
        for value in values
    ]


def test_somebody_has_decided_on_every_setting() -> None:
    assert FREE | HARMFUL.keys() == SETTINGS.keys()
    assert not FREE & HARMFUL.keys()
    assert HARMLESS.keys() <= SETTINGS.keys()
    always = {"index.memory_mb", "embedding.batch_tokens", "generation.served_model"}
    always |= {"prompt.templates", "prompt.examples", "answering.writers"}
    always |= {key for key in SETTINGS if key.startswith("serve.")}
    assert SETTINGS.keys() - HARMLESS.keys() == always


@pytest.mark.parametrize(("key", "value"), cases(HARMFUL))
def test_a_found_file_may_not_set_what_harms(key: str, value: Any) -> None:
    plant({key: value})
    with pytest.raises(TrustError) as caught:
        load_config(None, {})
    assert caught.value.keys == (key,)
    message = str(caught.value)
    assert message.startswith(f"rag.toml: sets `{key}`, ")
    assert "`rag trust .`" in message and "`--config rag.toml`" in message
    assert str(value) not in message or len(str(value)) < 4
    with pytest.raises(TrustError):
        RAG()


@pytest.mark.parametrize(("key", "value"), cases(HARMFUL))
def test_whoever_names_a_file_may_set_everything(key: str, value: Any) -> None:
    file = plant({key: value})
    expected = tuple(value) if isinstance(value, list) else value
    assert value_of(load_config(file, {}), key) == expected
    assert value_of(load_config(None, {"RAG_CONFIG": "rag.toml"}), key) == expected
    file.rename(own_config_file().parent.mkdir(parents=True) or own_config_file())
    assert value_of(load_config(None, {}), key) == expected


@pytest.mark.parametrize("key", SETTINGS)
def test_a_default_harms_nobody(key: str) -> None:
    plant({key: SETTINGS[key].default})
    assert load_config(None, {}) == Config()


@pytest.mark.parametrize(("key", "value"), cases(ORDINARY))
def test_an_ordinary_setting_needs_no_trust(key: str, value: Any) -> None:
    plant({key: value})
    assert value_of(load_config(None, {}), key) == value


def test_the_users_own_file_lies_where_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("/somewhere", "", " "):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert own_config_file().parent == Path(platformdirs.user_config_dir("rag"))


def test_all_that_is_refused_is_named_at_once() -> None:
    plant({"generation.model": SERVER, "retrieval.top_k": 8, "prompt.templates": "mine"})
    with pytest.raises(TrustError, match=r"sets `generation\.model`, `prompt\.templates`, which"):
        load_config(None, {})


def test_what_the_user_says_himself_is_not_asked_for_again() -> None:
    plant({"generation.model": SERVER, "retrieval.top_k": 8})
    config = load_config(None, {}, {"generation.model": "extractive"})
    assert (config.generation.model, config.retrieval.top_k) == ("extractive", 8)
    config = load_config(None, {"RAG_GENERATION_MODEL": "http://127.0.0.1:1"})
    assert config.generation.model == "http://127.0.0.1:1"
    plant({"generation.model": SERVER}, own_config_file())
    assert load_config(None, {}).generation.model == SERVER
    plant({"generation.model": "https://example.org/v2"})
    with pytest.raises(TrustError):
        load_config(None, {})


def test_a_limit_of_the_users_own_is_the_limit() -> None:
    plant({"sources.max_file_mb": 8, "sources.max_pages": 20_000}, own_config_file())
    plant({"sources.max_file_mb": 7, "sources.max_pages": 15_000})
    assert load_config(None, {}).sources.max_file_mb == 7
    plant({"sources.max_file_mb": 9, "sources.max_pages": 20_001})
    with pytest.raises(TrustError, match=r"`sources\.max_file_mb`, `sources\.max_pages`"):
        load_config(None, {})


def test_trust_ends_when_the_file_changes_and_holds_at_its_place(
    home: Path, tmp_path: Path, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = plant({"generation.model": SERVER, "retrieval.top_k": 8})
    shown = run_main("trust")
    assert shown.code == 0, shown.err
    assert 'generation.model = "https://example.org/v1"' in shown.out
    assert "top_k" not in shown.out
    assert load_config(None, {}).generation.model == SERVER
    assert trace_config(None, {}).files[0].trusted
    # A copy elsewhere is another file.
    other = tmp_path / "other"
    plant({"generation.model": SERVER, "retrieval.top_k": 8}, other / "rag.toml")
    monkeypatch.chdir(other)
    with pytest.raises(TrustError):
        load_config(None, {})
    # A link is as good as its target's place, and no better.
    (tmp_path / "alias").symlink_to(home)
    monkeypatch.chdir(tmp_path / "alias")
    assert load_config(None, {}).generation.model == SERVER
    file = home / "rag.toml"
    text = file.read_text()
    file.write_text(text + "\n")
    with pytest.raises(TrustError):
        load_config(None, {})
    listed = run_main("trust", "--list")
    assert listed.out == f"{file}: changed since, not trusted\n"
    file.write_text(text)
    assert run_main("trust", "--list").out == f"{file}: trusted\n"
    assert json.loads(run_main("trust", "--list", "--json").out)[0]["state"] == "trusted"
    assert "not trusted" in run_main("trust", "--forget", str(home)).out
    with pytest.raises(TrustError):
        load_config(None, {})
    assert run_main("trust", "--list").out == "no file is trusted\n"


@posix
def test_only_the_user_may_read_and_write_the_list(run_main: RunMain) -> None:
    plant({"generation.model": SERVER})
    old = os.umask(0)
    try:
        assert run_main("trust", ".").code == 0
    finally:
        os.umask(old)
    listing = trust.trust_list()
    assert stat.S_IMODE(listing.stat().st_mode) == 0o600
    assert stat.S_IMODE(listing.parent.stat().st_mode) == 0o700
    listing.chmod(0o602)
    with pytest.raises(ConfigError, match="others may write it"):
        load_config(None, {})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 3}', "[" * 100_000])
def test_a_damaged_list_trusts_nothing(content: str) -> None:
    plant({"generation.model": SERVER})
    listing = trust.trust_list()
    listing.parent.mkdir(parents=True)
    listing.write_text(content)
    with pytest.raises(ConfigError, match="is damaged: remove it"):
        load_config(None, {})


def test_a_file_that_is_not_there_cannot_be_trusted(run_main: RunMain) -> None:
    assert run_main("trust").complaint == "rag: rag.toml: no such file"
    Path("rag.toml").write_text("[generation]\nmodel = 3\n")
    assert "`generation.model` must be text" in run_main("trust").complaint
    assert run_main("trust", "--list").out == "no file is trusted\n"


COMMANDS = [
    ("index", "."),
    ("add", "."),
    ("remove", "a.md"),
    ("status",),
    ("show", "a.md"),
    ("search", "what"),
    ("ask", "what"),
    ("check", "that"),
    ("chat",),
    ("info",),
    ("prompts",),
    ("config",),
    ("doctor",),
    ("compact",),
    ("backup", "b"),
    ("export", "b"),
    ("import", "b"),
    ("models", "bench"),
    ("models", "distil", "d"),
    ("daemon",),
    ("eval", "q.jsonl"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_refuses_in_one_line(command: tuple[str, ...], run_main: RunMain) -> None:
    plant({"generation.model": SERVER})
    complaint = run_main(*command).complaint
    assert complaint.startswith("rag: rag.toml: sets `generation.model`, which")
    assert "rag trust ." in complaint


def test_a_terminal_is_asked_once(run_main: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "https://example.org/\x1b]0;mine\x07\u202e"
    plant({"generation.model": evil})
    monkeypatch.setattr(opening, "_is_at_terminal", lambda: True)
    refused = run_main("prompts", typed="n\n")
    assert refused.code == 1
    assert "\x1b" not in refused.err and "\u202e" not in refused.err
    assert r'generation.model = "https://example.org/\u001b]0;mine' in refused.err
    assert "rag trust ." in refused.err
    assert run_main("prompts", typed="y\n").code == 0
    again = run_main("prompts", typed="")
    assert (again.code, again.err) == (0, "")


def test_it_is_told_which_files_were_read(run_main: RunMain, tmp_path: Path) -> None:
    assert run_main("config").out.startswith("read: no file of settings\n")
    plant({"retrieval.top_k": 8})
    plant({"retrieval.mode": "dense", "retrieval.top_k": 2}, own_config_file())
    shown = run_main("config").out
    own = str(own_config_file())
    assert shown.splitlines() == [
        f"read: {own} (your own)",
        "read: rag.toml (of this folder, not trusted: `rag trust`)",
        "daemon.use = false  (RAG_DAEMON_USE)",
        f'retrieval.mode = "dense"  ({own})',
        "retrieval.top_k = 8  (rag.toml)",
        "key for a server: none",
    ]
    machine = json.loads(run_main("config", "--json").out)
    assert [file["kind"] for file in machine["files"]] == ["own", "found"]
    assert machine["settings"]["retrieval.top_k"] == {"value": 8, "origin": "rag.toml"}
    assert machine["settings"].keys() == SETTINGS.keys()
    named = run_main("config", "--config", str(plant({}, tmp_path / "named.toml"))).out
    assert "named.toml (named)" in named
    assert "of this folder" not in named


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"#" * (1 << 20) + b"#", "is longer than 1,048,576 bytes"),
        (b"a = " + b"[" * 100_000, "cannot be read as TOML"),
        (b"a = " + b"9" * 5_000, "cannot be read as TOML"),
        (b"\xff", "cannot be read as TOML"),
        (b"[retrieval]\ntop_k = 99999999999999999999999\n", "retrieval.top_k"),
        (b"[retrieval]\n'top_k\\u001b' = 1\n", "unknown key"),
    ],
)
def test_a_file_of_any_content_ends_in_a_line(
    content: bytes, reason: str, run_main: RunMain
) -> None:
    Path("rag.toml").write_bytes(content)
    assert reason in run_main("info").complaint


@posix
def test_a_pipe_in_the_folder_is_not_waited_for(run_main: RunMain) -> None:
    os.mkfifo("rag.toml")
    assert load_config(None, {}) == Config()
    assert run_main("trust").complaint == "rag: rag.toml: is not a regular file"


@posix
def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, as_toml({"generation.model": SERVER}).encode())
    os.close(writer)
    try:
        assert load_config(Path(f"/dev/fd/{reader}"), {}).generation.model == SERVER
    finally:
        os.close(reader)


@pytest.fixture
def server() -> Iterator[tuple[str, type[Script]]]:
    with scripted() as running:
        yield running


def test_no_key_goes_where_a_found_file_says(
    server: tuple[str, type[Script]], run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, script = server
    for name in ("RAG_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "a-key-of-the-user's")
    Path("a.md").write_text("The bridge was built in 1921.")
    plant({"generation.model": url, "answering.way": "generate"})
    assert run_main("ask", "When was the bridge built?", "--docs", "a.md").code == 1
    assert run_main("ask", "When was the bridge built?").code == 1
    assert not script.seen and not script.asked


def test_the_page_tells_what_needs_no_trust() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    section = text.split("## Whose file it is", 1)[1]
    table = [line for line in section.splitlines() if line.startswith("| `")]
    told = {name for line in table for name in re.findall(r"`([a-z]+\.[a-z_]+)`", line)}
    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", table[0])) == FREE
    assert told == HARMLESS.keys() - {
        *("sources.hidden", "sources.confined", "generation.plain_http", "fetching.allow_private"),
    }


def test_trust_errors_are_errors_of_settings() -> None:
    assert issubclass(TrustError, ConfigError) and issubclass(TrustError, RagError)


def test_a_stream_of_the_server_that_was_trusted(
    server: tuple[str, type[Script]], run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag.generation import load_generator
    from rag.types import Message, Prompt

    url, script = server
    monkeypatch.setenv("RAG_API_KEY", "a-key-of-the-user's")
    plant({"generation.model": url})
    assert run_main("trust").code == 0
    script.replies = [sse("yes")]
    generator = load_generator(load_config().generation)
    prompt = Prompt("q", (Message("user", "q"),), (), 0)
    assert list(generator.stream(prompt)) == ["yes"]
    assert script.seen[0]["Authorization"] == "Bearer a-key-of-the-user's"
