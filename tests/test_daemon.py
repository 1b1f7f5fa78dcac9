"""The resident process: real processes, real sockets, and what happens when either goes away."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

import rag
from rag import RAG
from rag.config import known_settings, load_config
from rag.errors import DaemonError, GenerationError, QuestionError, SourceError
from rag.serving.daemon import find_socket_folder, read_state
from rag.serving.daemon.identity import identity
from rag.serving.daemon.messages import (
    LONGEST_EVENT,
    Event,
    Failure,
    Greeting,
    Refusal,
    encode,
    receive,
)
from rag.serving.daemon.socket_folder import SocketFolder
from rag.serving.paths import MODELS, PATHS, make_paths_absolute

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="takes Unix sockets")

QUESTION = "What is the key-value cache?"
PATIENCE = 180.0


@dataclass(frozen=True, slots=True)
class Home:
    """A user's session: a runtime folder of its own, and an index of the sample in `folder`."""

    folder: Path
    environment: dict[str, str]
    sockets: SocketFolder

    def rag(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rag", *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "rag", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def state(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = json.loads(self.rag("daemon", "status", "--json").stdout)
        return found

    def questions(self) -> int:
        found = self.state()
        assert found is not None
        return int(found["questions"])

    def alone(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.rag(*arguments, RAG_DAEMON_USE="false")


@pytest.fixture
def home(sample: RAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    # pytest's own folders may be too deep for a socket.
    runtime = Path(tempfile.mkdtemp(prefix="rag-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("RAG_DAEMON_USE", "true")
    shutil.copytree(sample.path, tmp_path / "indexes" / "default")
    found = find_socket_folder()
    yield Home(tmp_path, dict(os.environ), found)
    state = read_state(found)
    if state is not None:
        os.kill(state.process, signal.SIGKILL)
    shutil.rmtree(runtime)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def has_ended(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def without_times(text: str) -> Any:
    """JSON without what differs from one time to the next."""

    def clear(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clear(item) for key, item in value.items() if key != "timings"}
        return [clear(item) for item in value] if isinstance(value, list) else value

    return clear(json.loads(text))


def start(home: Home, *arguments: str) -> int:
    result = home.rag("daemon", *arguments)
    assert result.returncode == 0, result.stderr
    found = re.match(r"(?:started|running already): process (\d+),", result.stdout)
    assert found, result.stdout
    return int(found[1])


@pytest.mark.slow
def test_it_answers_as_a_process_of_its_own_does(home: Home) -> None:
    asked = [
        ("search", QUESTION, "--json"),
        ("search", QUESTION, "-k", "2", "--explain", "--json"),
        ("search", QUESTION, "-k", "2"),
        ("search", "memory", "--mode", "lexical", "--where", "type:docx"),
        ("search", 'what "eats attention" in memory', "--mode", "lexical", "-k", "1"),
        ("ask", QUESTION, "--json"),
        ("ask", QUESTION),
        ("ask", "How old is the oldest lighthouse of Denmark?"),
        ("check", "The key-value cache holds keys and values."),
        ("check", "The key-value cache holds keys and values.", "--json"),
    ]
    alone = [home.alone(*arguments) for arguments in asked]
    start(home)
    for arguments, expected in zip(asked, alone, strict=True):
        found = home.rag(*arguments)
        assert found.returncode == expected.returncode, (arguments, found.stderr)
        assert found.stderr == expected.stderr
        if "--json" in arguments:
            assert without_times(found.stdout) == without_times(expected.stdout)
        else:
            assert found.stdout == expected.stdout
    assert home.questions() == len(asked)


@pytest.mark.slow
def test_errors_are_the_same_lines_but_for_absolute_paths(home: Home) -> None:
    (home.folder / "empty").mkdir()
    asked = [
        ("search", " "),
        ("search", QUESTION, "--where", "titel:x"),
        ("search", QUESTION, "--index", "empty"),
        ("search", QUESTION, "--index", "./no/such/"),
        ("search", QUESTION, "--index", str(home.folder / "nowhere")),
        ("search", QUESTION, "--embedder", "no-such-model"),
        ("search", QUESTION, "--embedder", "./empty"),
        ("ask", QUESTION, "--way", "generate", "--generator", "./none.gguf"),
        ("search", QUESTION * 2000),
    ]
    alone = [home.alone(*arguments) for arguments in asked]
    start(home)
    for arguments, expected in zip(asked, alone, strict=True):
        found = home.rag(*arguments)
        assert (found.returncode, found.stdout) == (1, "")
        # Before it, a model may have been prepared.
        line, alone_line = (each.stderr.splitlines()[-1] for each in (found, expected))
        assert line.startswith("rag: ")
        # The daemon's working directory is another: it names files by their whole paths.
        both = [each.replace(f"{home.folder}/", "./") for each in (line, alone_line)]
        assert both[0].replace("./", "") == both[1].replace("./", "")
    assert home.questions() == len(asked)


@pytest.mark.slow
def test_a_written_answer_is_the_same_text(home: Home, generator_path: Path) -> None:
    model = str(generator_path)
    arguments = ("ask", QUESTION, "--way", "generate", "--generator", model, "-k", "2")
    expected = home.alone(*arguments)
    start(home)
    for _ in range(2):
        assert home.rag(*arguments).stdout == expected.stdout
    assert home.questions() == 2


@pytest.mark.slow
def test_the_index_is_seen_as_it_is_now(home: Home) -> None:
    start(home)
    asked = ("search", "Who keeps the lighthouse of Anholt?", "-k", "1")
    assert "Ada Berg" not in home.rag(*asked).stdout
    (home.folder / "note.txt").write_text("The lighthouse of Anholt is kept by Ada Berg.\n")
    assert home.rag("add", "note.txt").returncode == 0
    assert "Ada Berg" in home.rag(*asked).stdout
    assert home.rag("index", "note.txt", "--rebuild").returncode == 0
    found = json.loads(home.rag(*asked, "--json").stdout)
    assert [hit["source"] for hit in found] == ["note.txt"]
    shutil.rmtree(home.folder / "indexes")
    assert f"rag: {home.folder}/indexes/default: " in home.rag(*asked).stderr
    assert home.rag("index", "note.txt").returncode == 0
    assert "Ada Berg" in home.rag(*asked).stdout
    assert home.questions() == 5


def test_ask_with_documents_brings_the_index_up_to_date_itself(home: Home) -> None:
    start(home)
    (home.folder / "note.txt").write_text("The lighthouse of Anholt is kept by Ada Berg.\n")
    asked = ("ask", "Who keeps the lighthouse of Anholt?", "--index", "new", "--docs", "note.txt")
    assert "Ada Berg" in home.rag(*asked).stdout
    assert home.questions() == 0


def test_one_is_started_and_stopped(home: Home) -> None:
    none = home.rag("daemon", "status")
    assert (none.returncode, none.stdout) == (1, "no daemon is running\n")
    assert home.rag("daemon", "stop").stdout == "no daemon was running\n"
    process = start(home)
    assert start(home) == process
    home.rag("search", QUESTION)
    state = home.rag("daemon", "status")
    assert state.returncode == 0
    assert f"process {process}, ends after 900 s without a question" in state.stdout
    assert "1 questions" in state.stdout
    assert f"open: {home.folder / 'indexes' / 'default'}" in state.stdout
    assert home.rag("daemon", "stop").stdout == f"ended: process {process}\n"
    assert not home.sockets.socket.exists()
    assert has_ended(process)
    assert home.rag("search", QUESTION).returncode == 0


def test_two_that_are_started_at_once_are_one(home: Home) -> None:
    both = [home.begin("daemon") for _ in range(2)]
    said = [each.communicate(timeout=PATIENCE) for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    processes = {re.search(r"process (\d+)", output)[1] for output, _ in said}  # type: ignore[index]
    assert len(processes) == 1
    third = home.rag("daemon", "--foreground")
    assert third.returncode == 1
    assert third.stderr == "rag: a daemon is running already: `rag daemon stop` ends it\n"


def test_it_ends_when_nobody_asks(home: Home) -> None:
    start(home, "--idle", "1")
    assert home.rag("search", QUESTION).returncode == 0
    until(lambda: not home.sockets.socket.exists())
    assert home.state() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_manager_runs_and_ends_it(home: Home, number: signal.Signals) -> None:
    process = home.begin("daemon", "--foreground")
    until(home.sockets.socket.exists)
    assert home.rag("search", QUESTION).returncode == 0
    assert home.questions() == 1
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 0
    assert not home.sockets.socket.exists()


def test_the_setting_turns_it_off(home: Home) -> None:
    start(home)
    (home.folder / "rag.toml").write_text("[daemon]\nuse = false\n")
    environment = {name: v for name, v in home.environment.items() if name != "RAG_DAEMON_USE"}
    other = Home(home.folder, environment, home.sockets)
    assert other.rag("search", QUESTION).returncode == 0
    assert home.questions() == 0


@pytest.mark.slow
def test_another_environment_is_not_answered(home: Home) -> None:
    process = start(home)
    other = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    assert home.rag("search", QUESTION, **other).returncode == 0
    assert home.rag("search", QUESTION, RAG_API_KEY="secret").returncode == 0
    assert home.questions() == 0
    state = home.rag("daemon", "status", **other)
    assert "not asked from here, for it differs in HF_ENDPOINT" in state.stdout
    anew = home.rag("daemon", **other)
    assert anew.stdout.startswith("started: ")
    assert has_ended(process)
    assert home.rag("search", QUESTION, **other).returncode == 0
    assert home.rag("daemon", "status", **other).stdout.count("not asked") == 0
    # The version is one of the facts, and so is the code.
    assert {"version", "code", "python"} <= identity({}).keys()


def test_another_version_is_told_so(home: Home) -> None:
    start(home)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(home.sockets.socket))
        facts = {**identity(home.environment), "version": "0.0.1"}
        connection.sendall(encode(Greeting(facts, "answer")))
        reply: Any = receive(connection, Event, LONGEST_EVENT)
    assert reply == Refusal(("version",))


def test_a_key_is_told_apart_and_not_sent() -> None:
    secrets = {
        "RAG_API_KEY": "secret",
        "HF_TOKEN": "hidden",
        "HTTPS_PROXY": "http://user:hidden@proxy",
        "PIP_INDEX_URL": "https://user:secret@index/simple",
    }
    facts = identity({**secrets, "HF_HOME": "/models"})
    assert {"HF_HOME", *secrets} <= facts.keys()
    assert not any("secret" in value or "hidden" in value for value in facts.values())
    assert facts["HF_HOME"] != identity({"HF_HOME": "/others"})["HF_HOME"]
    assert facts["RAG_API_KEY"] != identity({"RAG_API_KEY": "other"})["RAG_API_KEY"]


def test_a_relative_cache_is_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = identity({"RAG_CACHE": "cache"})
    assert ours == identity({"RAG_CACHE": str(tmp_path / "cache")})


def test_the_socket_of_a_dead_one_is_passed_over_and_taken(home: Home) -> None:
    process = start(home)
    os.kill(process, signal.SIGKILL)
    until(lambda: read_state(home.sockets) is None)
    assert home.sockets.socket.exists()
    assert home.rag("search", QUESTION).returncode == 0
    assert start(home) != process
    home.rag("search", QUESTION)
    assert home.questions() == 1


@pytest.mark.slow
def test_what_is_no_daemon_is_passed_over(home: Home) -> None:
    """One that accepts and says nothing, and one that talks nonsense."""
    home.sockets.prepare()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home.sockets.socket))
        listener.listen()
        assert home.rag("search", QUESTION).returncode == 0

        def nonsense() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"\0\0\0\5hello")

        connection, _ = listener.accept()
        connection.close()
        thread = threading.Thread(target=nonsense)
        thread.start()
        assert home.rag("search", QUESTION).returncode == 0
        thread.join(PATIENCE)


def test_a_folder_that_others_can_enter_is_not_used(home: Home) -> None:
    home.sockets.prepare()
    assert home.sockets.path.stat().st_mode & 0o777 == 0o700
    home.sockets.path.chmod(0o755)
    refused = home.rag("daemon")
    assert refused.returncode == 1
    assert re.fullmatch(r"rag: /.*: belongs to another user, or is open to .*\n", refused.stderr)
    home.sockets.path.chmod(0o700)
    start(home)
    assert home.sockets.socket.stat().st_mode & 0o777 == 0o600
    home.sockets.path.chmod(0o755)
    assert home.rag("search", QUESTION).returncode == 0
    home.sockets.path.chmod(0o700)
    assert home.questions() == 0


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="takes root, who can be somebody else")
def test_another_user_is_not_answered(home: Home) -> None:
    start(home)
    for folder in (home.sockets.path, *home.sockets.path.parents[:2]):
        folder.chmod(0o755)
    home.sockets.socket.chmod(0o666)
    script = (
        "import socket, sys\nconnection = socket.socket(socket.AF_UNIX)\n"
        "connection.connect(sys.argv[1])\nprint(connection.recv(1))"
    )
    python = shutil.which("python3", path="/usr/bin") or sys.executable
    told = subprocess.run(
        [python, "-I", "-c", script, str(home.sockets.socket)],
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    # The fixture is to find it again.
    home.sockets.path.chmod(0o700)
    if "Permission" in told.stderr or not told.stdout:
        pytest.skip(f"nobody cannot run Python here: {told.stderr[-200:]}")
    # Closed without a word.
    assert told.stdout == "b''\n"


class _Dripping(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that writes a word, waits until it may go on, and goes on."""

    may_go_on: threading.Event
    asked: threading.Event
    left: threading.Event
    silent = False

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._begin("application/json", json.dumps({"data": [{"id": "dripping"}]}))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.set()
        if self.silent:
            self.may_go_on.wait(PATIENCE)
        try:
            self._begin("text/event-stream", self._piece("Reward "))
            self.may_go_on.wait(PATIENCE)
            for _ in range(200):
                self.wfile.write(self._piece("hacking ").encode())
                time.sleep(0.02)
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.left.set()

    def _begin(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())
        self.wfile.flush()

    def _piece(self, text: str) -> str:
        return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"


@pytest.fixture
def dripping() -> Iterator[tuple[str, type[_Dripping]]]:
    events = {name: threading.Event() for name in ("may_go_on", "asked", "left")}
    handler = type("Dripping", (_Dripping,), events)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    handler.may_go_on.set()
    server.shutdown()
    server.socket.close()


def writing(url: str) -> tuple[str, ...]:
    return ("ask", "What is reward hacking?", "--generator", url, "--way", "generate")


def begin_answer(home: Home, url: str) -> subprocess.Popen[str]:
    """Ask for an answer, and return when its first word is there."""
    client = home.begin(*writing(url))
    assert client.stdout is not None
    assert client.stdout.read(6) == "Reward"
    return client


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_goes_stops_its_answer(
    home: Home, dripping: tuple[str, type[_Dripping]], number: signal.Signals
) -> None:
    url, server = dripping
    start(home)
    client = begin_answer(home, url)
    client.send_signal(number)
    _, errors = client.communicate(timeout=PATIENCE)
    assert client.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in errors
    server.may_go_on.set()
    assert server.left.wait(PATIENCE)
    assert home.rag("search", QUESTION).returncode == 0
    assert home.questions() == 2
    assert home.sockets.log.read_text() == ""


def test_a_daemon_killed_in_the_middle_of_an_answer_is_one_line(
    home: Home, dripping: tuple[str, type[_Dripping]]
) -> None:
    url, _ = dripping
    process = start(home)
    client = begin_answer(home, url)
    os.kill(process, signal.SIGKILL)
    _, errors = client.communicate(timeout=PATIENCE)
    assert client.returncode == 1
    assert errors.strip() == "rag: the daemon ended in the middle of the answer: ask again"


def test_a_daemon_killed_before_the_answer_began_is_replaced_by_the_client(
    home: Home, dripping: tuple[str, type[_Dripping]]
) -> None:
    url, server = dripping
    server.silent = True
    process = start(home)
    client = home.begin(*writing(url))
    assert server.asked.wait(PATIENCE)
    os.kill(process, signal.SIGKILL)
    server.silent = False
    server.may_go_on.set()
    output, errors = client.communicate(timeout=PATIENCE)
    assert errors == ""
    assert output.startswith("Reward hacking hacking")


def test_a_daemon_that_is_stopped_finishes_its_answer(
    home: Home, dripping: tuple[str, type[_Dripping]]
) -> None:
    url, server = dripping
    process = start(home)
    client = begin_answer(home, url)
    stopping = home.begin("daemon", "stop")
    until(lambda: not home.sockets.socket.exists())
    server.may_go_on.set()
    output, errors = client.communicate(timeout=PATIENCE)
    assert errors == ""
    assert output.startswith(" hacking hacking")
    assert stopping.communicate(timeout=PATIENCE)[0] == f"ended: process {process}\n"


@pytest.mark.slow
def test_four_at_once_get_what_each_asked(home: Home) -> None:
    start(home)
    asked = [
        ("search", QUESTION, "-k", "1"),
        ("search", "PagedAttention", "--mode", "lexical", "-k", "1"),
        ("ask", "Who introduced adapters?"),
        ("ask", "What is reward hacking?", "--strict"),
    ]
    clients = [home.begin(*arguments) for arguments in asked]
    said = [client.communicate(timeout=PATIENCE) for client in clients]
    assert home.questions() == 4
    for arguments, (output, errors) in zip(asked, said, strict=True):
        assert (output, errors) == (home.alone(*arguments).stdout, "")


@pytest.mark.slow
def test_templates_and_models_that_were_changed_are_read_again(
    home: Home, dripping: tuple[str, type[_Dripping]]
) -> None:
    url, server = dripping
    server.may_go_on.set()
    start(home)
    folder = home.folder / "templates"
    folder.mkdir()
    arguments = (*writing(url), "--json")
    built_in = Path(rag.__file__).parent / "answering" / "prompt" / "templates"
    name = "system.jinja"
    (folder / name).write_text((built_in / name).read_text())
    before = home.rag(*arguments, RAG_PROMPT_TEMPLATES="templates")
    (folder / name).write_text("Answer like a pirate.\n" + (built_in / name).read_text())
    after = home.rag(*arguments, RAG_PROMPT_TEMPLATES="templates")
    assert "pirate" not in before.stdout
    assert "pirate" in after.stdout
    assert home.questions() == 2


def test_models_are_shared_by_settings_that_agree_on_them(home: Home, sample: RAG) -> None:
    from rag.serving.residents import MOST, Residents

    residents = Residents()
    config = load_config(None, {}, {"index.path": str(sample.path)})
    first = residents.rag(config)
    strict = load_config(None, {}, {"index.path": str(sample.path), "answering.strict": True})
    second = residents.rag(strict)
    assert second is not first
    assert second.embedder is first.embedder
    assert residents.rag(config) is first
    other = load_config(None, {}, {"index.path": str(sample.path), "embedding.device": "cpu"})
    assert residents.rag(other).embedder is not first.embedder
    for k in range(1, MOST + 1):
        residents.rag(load_config(None, {}, {"retrieval.top_k": k}))
    assert len(residents.all()) == MOST
    assert residents.rag(config) is not first


def test_a_relative_path_means_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/mine").mkdir(parents=True)
    Path("mine").mkdir()
    Path("all-minilm-l6-v2").mkdir()
    Path("extractive").mkdir()

    def path_of(key: str, value: str) -> str:
        config = make_paths_absolute(load_config(None, {}, {key: value}))
        section, name = key.split(".")
        path: str = getattr(getattr(config, section), name)
        return path

    assert path_of("index.path", "indexes/default") == f"{tmp_path}/indexes/default"
    assert path_of("index.path", ".") == str(tmp_path)
    assert path_of("index.path", "/elsewhere") == "/elsewhere"
    assert path_of("embedding.model", "models/mine") == f"{tmp_path}/models/mine"
    assert path_of("retrieval.rerank", "mine") == f"{tmp_path}/mine"
    # A name that is known everywhere comes first, as it does where a model is resolved.
    for key, name in (
        ("embedding.model", "all-minilm-l6-v2"),
        ("generation.model", "extractive"),
        ("embedding.model", "owner/name"),
    ):
        assert path_of(key, name) == name


def test_every_setting_that_is_text_is_known_to_be_a_path_or_not() -> None:
    """A new one that names a file has to be made absolute for the daemon."""
    words = {
        "index.kind",
        "sources.encoding",
        "sources.json_text",
        "sources.json_title",
        "sources.json_id",
        "embedding.device",
        "embedding.runtime",
        "embedding.precision",
        "retrieval.mode",
        "retrieval.fusion",
        "retrieval.context",
        "generation.served_model",
        "generation.device",
        "answering.way",
        "serve.host",
        "serve.upstream",
    }
    texts = {key for key, setting in known_settings().items() if setting.kind is str}
    assert texts - words == {*PATHS, *MODELS}


def test_errors_cross_as_what_they_are() -> None:
    source = Failure.of(SourceError("a.pdf", "is damaged", lasting=False))
    assert source.kind == "SourceError"
    raised = source.error()
    assert isinstance(raised, SourceError)
    assert (str(raised), raised.source, raised.lasting) == ("a.pdf: is damaged", "a.pdf", False)

    class Own(GenerationError):
        """Of a room, or of somebody else's package."""

    assert Failure.of(Own("no")).kind == "GenerationError"
    assert type(Failure.of(QuestionError("no")).error()) is QuestionError


def test_a_runtime_folder_that_is_too_deep_for_a_socket_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tempfile.mkdtemp(prefix="rag-")
    monkeypatch.setenv("TMPDIR", short)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("d" * 120)))
    assert find_socket_folder().path.parent == Path(short, f"rag-{os.getuid()}")
    first = find_socket_folder()
    monkeypatch.setenv("RAG_CACHE", str(tmp_path))
    assert find_socket_folder() != first
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("d" * 120)))
    with pytest.raises(DaemonError, match="too long for a socket: set XDG_RUNTIME_DIR"):
        find_socket_folder()
    Path(short).rmdir()


def test_a_question_through_it_loads_next_to_nothing(home: Home) -> None:
    start(home)
    script = (
        "import sys\nfrom rag.cli import cli\n"
        f"try:\n    cli(['search', {QUESTION!r}])\n"
        "except SystemExit: pass\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=home.folder,
        env=home.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(result.stdout.rsplit("LOADED", 1)[1].split())
    assert not loaded & {
        *("numpy", "faiss", "apsw", "tantivy", "onnxruntime", "tokenizers", "torch", "httpx"),
        *("rich", "filelock", "psutil", "platformdirs", "jinja2", "regex"),
    }
    assert home.questions() == 1
