"""No key is shown: not in an error, a log, a report, a session or what a server sends back."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkpoints import PROMPT
from conftest import CORPUS, RunMain
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Script, scripted, sse

import rag
from rag import ConfigError, GenerationError, RagError
from rag.config import GenerationConfig, load_config
from rag.errors import first_line
from rag.generation import load_generator
from rag.generation.keys import VARIABLES, Secret, find_key_variable, read_key
from rag.generation.openai import OpenAIGenerator

KEY = "sk-proj-0123456789-ABCDEFGHIJ_klmnopqrstuvwxyz"


@pytest.fixture
def server() -> Iterator[tuple[str, type[Script]]]:
    with scripted() as running:
        yield running


def everything_about(error: BaseException) -> str:
    """Whatever a log may show of an error: its causes, contexts, attributes and notes too."""
    shown = ["".join(traceback.format_exception(error))]
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        shown += [repr(each), str(each), repr(each.args), repr(vars(each))]
        waiting += [each.__cause__, None if each.__suppress_context__ else each.__context__]
    return "\n".join(shown)


def assert_hidden(text: str, key: str = KEY) -> None:
    assert key not in text
    assert key.strip() not in text
    assert repr(key)[1:-1] not in text


BAD_KEYS = {
    "newline": KEY + "\n",
    "newline within": KEY[:20] + "\n" + KEY[20:],
    "carriage return": KEY + "\r",
    "header": KEY + "\r\nX-Other: 1",
    "space": KEY[:20] + " " + KEY[20:],
    "blank before": " " + KEY,
    "tab": KEY + "\t",
    "umlaut": KEY + "ä",
    "full width": "ＫＥＹ" + KEY,
    "quotation mark": "“" + KEY + "”",
    "bidi": KEY + "\u202e",
    "escape": KEY + "\x1b[2J",
    "delete": KEY + "\x7f",
    "surrogate": KEY + "\udcff",
    "zero width": KEY + "\u200b",
    "long": KEY * 200,
}


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(
    variable: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, key)
    with pytest.raises(ConfigError) as caught:
        load_generator(GenerationConfig(model="http://127.0.0.1:9"))
    assert str(caught.value).startswith(f"{variable}: ")
    assert str(caught.value).isascii() and "\n" not in str(caught.value)
    assert_hidden(everything_about(caught.value), key)
    assert KEY[:12] not in everything_about(caught.value)


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=60))
def test_any_key_is_sent_as_it_is_or_refused_in_a_line(key: str) -> None:
    try:
        secret = read_key({"RAG_API_KEY": key})
    except ConfigError as error:
        assert "\n" not in str(error)
        assert len(key) < 12 or key not in str(error)
    else:
        assert secret is not None and secret.reveal() == key
        assert f"Bearer {key}".encode("ascii").isascii()


def test_a_command_says_it_in_a_line(run_main: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_API_KEY", KEY + "\nä")
    done = run_main("ask", "x", "--generator", "http://127.0.0.1:9", "--way", "generate",
                    "--index", "none", "--docs", str(CORPUS / "none"))  # fmt: skip
    assert done.code == 1
    assert_hidden(done.out + done.err, KEY)


WAYS_TO_SHOW: list[Callable[[object], object]] = [
    str,
    repr,
    ascii,
    lambda secret: f"{secret}",
    lambda secret: f"{secret!r:>30}",
    lambda secret: f"{secret:>30}",
    lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    lambda secret: f"{[secret]} { ({'key': secret}) }",
    lambda secret: json.dumps({"key": secret}, default=str),
    lambda secret: logging.LogRecord("", 0, "", 0, "%s", (secret,), None).getMessage(),
]


@pytest.mark.parametrize("show", WAYS_TO_SHOW)
def test_a_secret_does_not_show_itself(show: Callable[[object], object]) -> None:
    assert_hidden(str(show(Secret(KEY, "RAG_API_KEY"))))


def test_a_secret_is_not_written_anywhere() -> None:
    secret = Secret(KEY, "RAG_API_KEY")
    for write in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            write(secret)
    assert not hasattr(secret, "__dict__")


def test_a_generator_does_not_show_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    generator = OpenAIGenerator("https://example.org", GenerationConfig(model="x"))
    assert find_key_variable() == "OPENAI_API_KEY"
    assert_hidden(f"{generator!r} {vars(generator)}")


def test_the_command_that_shows_settings_names_the_variable_alone(
    run_main: RunMain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAG_API_KEY", KEY)
    shown = run_main("config")
    assert "key for a server: RAG_API_KEY is set" in shown.out
    machine = run_main("config", "--json")
    assert json.loads(machine.out)["key"] == "RAG_API_KEY"
    assert_hidden(shown.out + shown.err + machine.out + machine.err)


def echoes(key: str) -> dict[str, list[tuple[int, dict[str, str], str]]]:
    """What a server may do to have the key shown: it sends it back in every place."""
    event = {"Content-Type": "text/event-stream"}
    replies = [
        (status, {}, body)
        for status in (400, 401, 404, 503)
        for body in (
            json.dumps({"error": {"message": f"bad key {key}"}}),
            json.dumps({"error": f"Bearer {key}"}),
            json.dumps({key: key}),
            f"<p>{key}</p>",
        )
    ]
    redirects = [
        (status, {"Location": f"https://example.org/?key={key}"}, key)
        for status in (301, 302, 303, 307, 308)
    ]
    streams = [
        (200, event, f"data: {key}\n\n"),
        (200, event, f'data: {{"error": {{"message": "{key}"}}}}\n\n'),
        (200, event, f"{key}: {key}\n\n"),
        (200, {"Content-Type": key}, key),
    ]
    return {"replies": replies, "redirects": redirects, "streams": streams}


@pytest.mark.parametrize("kind", ["replies", "redirects", "streams"])
def test_what_a_server_sends_back_is_shown_without_the_key(
    kind: str, server: tuple[str, type[Script]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, script = server
    monkeypatch.setenv("RAG_API_KEY", KEY)
    for reply in echoes(KEY)[kind]:
        script.replies = [reply]
        config = GenerationConfig(model=url, served_model="m", retries=0)
        with pytest.raises(GenerationError) as caught:
            list(load_generator(config).stream(PROMPT))
        assert_hidden(everything_about(caught.value))
        script.replies = [reply]
        with pytest.raises(GenerationError) as caught:
            OpenAIGenerator(url, config).log_likelihood("a", "b")
        assert_hidden(everything_about(caught.value))


def test_an_answer_that_holds_the_key_is_passed_on_without_it(
    server: tuple[str, type[Script]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, script = server
    monkeypatch.setenv("RAG_API_KEY", KEY)
    for cut in (0, 1, 15, 16, len(KEY) - 1, len(KEY)):
        pieces = [piece for piece in ("It is " + KEY[:cut], KEY[cut:] + ". s", "k-") if piece]
        script.replies = [sse(*pieces)]
        config = GenerationConfig(model=url, served_model="m")
        assert "".join(load_generator(config).stream(PROMPT)) == "It is [key]. sk-"


@given(st.lists(st.text(alphabet="ab", max_size=12), max_size=8), st.text("ab", min_size=16))
def test_pieces_are_hidden_as_the_whole_is(pieces: list[str], key: str) -> None:
    secret = Secret(key, "RAG_API_KEY")
    text = "".join(pieces)
    assert "".join(secret.hide_in_pieces(iter(pieces))).count("[key]") >= (key in text)
    assert key not in "".join(secret.hide_in_pieces(iter(pieces)))
    if key not in text:
        assert "".join(secret.hide_in_pieces(iter(pieces))) == text


def test_a_stand_in_for_a_key_is_a_word_like_any_other() -> None:
    secret = Secret("EMPTY", "OPENAI_API_KEY")
    assert secret.hide_in("The box is EMPTY.") == "The box is EMPTY."
    assert list(secret.hide_in_pieces(iter(["EM", "PTY"]))) == ["EM", "PTY"]


def test_a_redirect_leads_nowhere(
    server: tuple[str, type[Script]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, script = server
    monkeypatch.setenv("RAG_API_KEY", KEY)
    with scripted() as (elsewhere, other):
        for status in (301, 302, 303, 307, 308):
            script.replies = [(status, {"Location": f"{elsewhere}/v1/chat/completions"}, "")]
            with pytest.raises(GenerationError, match="redirects to 'http"):
                config = GenerationConfig(model=url, served_model="m", retries=0)
                list(load_generator(config).stream(PROMPT))
        assert not other.seen and not other.asked


PLAIN = ("http://example.org/v1", "http://10.0.0.7:8000", "http://127.0.0.1.example.org",
         "http://localhost.example.org", "http://[fe80::1]", "http://0.0.0.0:8000")  # fmt: skip
PRIVATE = ("https://example.org/v1", "http://localhost:8000", "http://127.0.0.1", "http://127.9.9.9",
           "http://[::1]:8000", "http://LOCALHOST", "http://a.localhost")  # fmt: skip


@pytest.mark.parametrize("url", PLAIN)
def test_nothing_is_sent_that_everybody_can_read_unless_it_is_allowed(url: str) -> None:
    with pytest.raises(ConfigError, match="RAG_GENERATION_PLAIN_HTTP=true"):
        load_generator(GenerationConfig(model=url))
    assert load_generator(GenerationConfig(model=url, plain_http=True))


@pytest.mark.parametrize("url", PRIVATE)
def test_this_machine_and_https_are_always_allowed(url: str) -> None:
    assert load_generator(GenerationConfig(model=url))


@pytest.mark.parametrize(
    "url",
    [f"https://user:{KEY}@example.org/v1", f"https://{KEY}@example.org", "https://a/v1?key=" + KEY,
     f"https://a/v1#{KEY}", f"HTTPS://user:{KEY}@example.org"],
)  # fmt: skip
def test_a_url_holds_no_secret(url: str, run_main: RunMain, tmp_path: Path) -> None:
    for give in (
        lambda: load_config(None, {"RAG_GENERATION_MODEL": url}),
        lambda: load_config(None, {}, {"generation.model": url}),
        lambda: GenerationConfig(model=url),
    ):
        with pytest.raises(ConfigError) as caught:
            give()
        assert_hidden(everything_about(caught.value))
    file = tmp_path / "mine.toml"
    file.write_text(f"[generation]\nmodel = {json.dumps(url)}\n")
    done = run_main("info", "--config", file)
    assert done.code == 1
    assert_hidden(done.out + done.err)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_a_broken_proxy_is_named_without_its_password(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for proxy in (f"http://user:{KEY}@[bad", f"http://user:{KEY}@host:port", f"{KEY}://x"):
        monkeypatch.setenv(name, proxy)
        generator = load_generator(
            GenerationConfig(model="https://127.0.0.1:9", served_model="m", retries=0, timeout=1)
        )
        with pytest.raises(RagError) as caught:
            list(generator.stream(PROMPT))
        assert_hidden(everything_about(caught.value))


def test_an_unknown_setting_or_variable_is_named_without_its_value(
    tmp_path: Path, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in (f'[generation]\napi_key = "{KEY}"\n', f'api_key = "{KEY}"\n', f'key = "{KEY}\n'):
        (tmp_path / "rag.toml").write_text(text)
        done = run_main("info")
        assert done.code == 1
        assert_hidden(done.err)
    (tmp_path / "rag.toml").unlink()
    monkeypatch.setenv("RAG_APIKEY", KEY)
    monkeypatch.setenv("RAG_OPENAI_API_KEY", KEY)
    done = run_main("config")
    assert "RAG_APIKEY: unknown variable" in done.err
    assert_hidden(done.out + done.err)


@pytest.mark.parametrize(
    "text",
    ["bad URL https://user:{}@host/simple", "('http://{}@host', 'x')", "a://b:{}@c://d:{}@e"],
)
def test_a_library_that_shows_a_password_is_quoted_without_it(text: str) -> None:
    shown = first_line(OSError(text.format(KEY, KEY)))
    assert_hidden(shown)
    assert "host" in shown or "e" in shown
    assert first_line(OSError("see https://a/b@c, me@example.org")).endswith("b@c, me@example.org")


def test_one_place_reads_keys() -> None:
    reading = re.compile(r"RAG_API_KEY|OPENAI_API_KEY|reveal\(")
    found = {
        str(path.relative_to(Path(rag.__file__).parent)): len(reading.findall(text))
        for path in Path(rag.__file__).parent.rglob("*.py")
        if reading.search(text := path.read_text(encoding="utf-8"))
    }
    # In the others a message or a list names the variable.
    assert found.keys() == {
        *("generation/keys.py", "generation/openai.py", "config.py"),
        "serving/daemon/identity.py",
    }
    text = (Path(rag.__file__).parent / "generation" / "keys.py").read_text(encoding="utf-8")
    assert text.count(".reveal()") == 1
