"""`rag chat` as a user runs it: at a terminal, and from a pipe."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Ran, RunMain

from rag import RAG
from rag.answering.conversation import Conversation

COMMAND = [sys.executable, "-m", "rag", "chat"]
FIRST = "Who proposed direct preference optimization?"
PATIENCE = 120.0

on_a_terminal = pytest.mark.skipif(os.name == "nt", reason="there are no such terminals")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def piped(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process that is given the text; models take most of its time."""
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


Talk = Callable[..., Ran]


@pytest.fixture
def talk(sample: RAG, run_main: RunMain) -> Talk:
    """The same within this process, where the libraries are loaded already."""

    def run(text: str | bytes, *arguments: str, generator: str = "extractive") -> Ran:
        common = ("--index", sample.path, "--generator", generator)
        return run_main("chat", *common, *arguments, typed=text)

    return run


class Terminal:
    """A process at a pseudo-terminal, driven by keys."""

    def __init__(self, *arguments: str) -> None:
        self.ours, theirs = os.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "RAG_GENERATION_RETRIES": "0"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # Only of its controlling terminal does Ctrl-C interrupt a process.
            preexec_fn=_take_terminal,  # noqa: PLW1509
        )
        os.close(theirs)
        self.seen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def interrupt(self) -> None:
        # One that comes while the process turns to its keyboard would wait for the next key.
        time.sleep(1)
        self.type("\x03")

    def until(self, pattern: str) -> str:
        """What is shown up to and with the pattern."""
        while (match := re.search(pattern, self.seen, re.DOTALL)) is None:
            piece = self._read()
            assert piece, f"ended or stuck without {pattern!r}: {self.seen!r}"
            self.seen = (self.seen + self._decoder.decode(piece)).replace("\r\n", "\n")
        shown, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return shown

    def ends(self) -> int:
        while self._read():
            pass
        return self.process.wait(300)

    def _read(self) -> bytes:
        """What comes next; nothing where the process has ended, or is stuck."""
        ready, _, _ = select.select([self.ours], [], [], PATIENCE)
        with contextlib.suppress(OSError):
            if ready:
                return os.read(self.ours, 65536)
        return b""

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)


def _take_terminal() -> None:
    import fcntl
    import termios

    signal.signal(signal.SIGINT, signal.default_int_handler)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def terminal(rag: RAG, *arguments: str) -> Iterator[Terminal]:
    opened = Terminal("--index", str(rag.path), *arguments)
    try:
        opened.until(r"Ctrl-D ends.*?\n.*?> ")
        yield opened
    finally:
        opened.close()


@on_a_terminal
def test_a_conversation_at_a_terminal(sample: RAG, tmp_path: Path) -> None:
    arguments = ("--generator", "extractive", "--session", "session.json")
    with terminal(sample, *arguments) as at:
        at.type(f"{FIRST}\n")
        assert re.search(
            r" \[1\]\n.*“Direct preference optimization, DPO", at.until(r"\n> "), re.DOTALL
        )
        at.type("When?\n")
        shown = at.until(r"\n> ")
        # Dim, and then as before.
        whole = r"When was direct preference optimization proposed\?"
        assert re.search(rf"\x1b\[2masked as: {whole}\x1b\[0m\n", shown)
        assert re.search(r"\[1\] [^\n]*rlhf\.md:\d+ › Direct preference optimization", shown)
        assert "asked as" not in shown.split("asked as", 1)[1]

        # The question before the last is at hand, and can be changed.
        at.type("\x1b[A\x1b[A\x7f, pray?\n")
        at.until(r"pray\?\n.*Rafailov.*\n> ")
        at.type("half a question")
        at.until("half a question")
        at.interrupt()
        at.until(r"\n> ")
        at.type("/histroy\n")
        assert "rag: /histroy: unknown command; did you mean /history?" in at.until(r"\n> ")
        at.type("\x04")
        assert at.ends() == 0
    kept = Conversation.load(sample, tmp_path / "session.json").turns
    assert [turn.question for turn in kept] == [FIRST, "When?", FIRST[:-1] + ", pray?"]


EVIL = "\x1b]0;owned\x07\x1b[41m"
WRITTEN = {
    "Who introduced adapters?": "Adapters were introduced by Houlsby and colleagues.",
    "Who is the keeper of the lighthouse?": f"The keeper of the lighthouse is {EVIL}Ada Berg.",
}


class _Writing(BaseHTTPRequestHandler):
    """A server that writes what it is to write, and begins all other answers and never ends."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._reply("application/json", json.dumps({"data": [{"id": "writing"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["messages"][-1]["content"]
        whole = [text for question, text in WRITTEN.items() if question in asked]
        piece = {"choices": [{"delta": {"content": whole[0] if whole else "Reward hacking is "}}]}
        self._reply("text/event-stream", f"data: {json.dumps(piece)}\n\n")
        if whole:
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            time.sleep(PATIENCE)

    def _reply(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())
        self.wfile.flush()


@pytest.fixture
def server_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Writing)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    # Not `server_close`, which would wait for the answers that never end.
    server.socket.close()


@on_a_terminal
def test_ctrl_c_stops_an_answer_and_at_an_empty_prompt_the_conversation(
    sample: RAG, tmp_path: Path, server_url: str
) -> None:
    arguments = ("--generator", server_url, "--way", "generate", "--session", "session.json")
    with terminal(sample, *arguments) as at:
        at.type("What is reward hacking?\n")
        at.until("Reward hacking is")
        at.interrupt()
        assert "stopped" in at.until(r"\n.{0,10}> ")
        at.type("Who introduced adapters?\n")
        assert "Houlsby and colleagues" in at.until(r"\n> ")
        at.interrupt()
        assert at.ends() == 0
    (turn,) = Conversation.load(sample, tmp_path / "session.json").turns
    assert turn.question == "Who introduced adapters?"


@on_a_terminal
def test_a_document_cannot_command_the_terminal(
    sample: RAG, tmp_path: Path, server_url: str
) -> None:
    (tmp_path / "note.txt").write_text(f"The keeper of the lighthouse is {EVIL}Ada Berg.\n")
    rag = RAG(tmp_path / "index", embedder=sample.embedder)
    rag.index(tmp_path / "note.txt")
    with terminal(rag, "--generator", server_url, "--way", "generate") as at:
        at.type("Who is the keeper of the lighthouse?\n")
        shown = at.until(r"“The keeper[^\n]*\n.*\n> ")
        at.type("/why\n")
        shown += at.until(r"confidence[^\n]*\n.*> ")
        at.type("/history\n")
        shown += at.until(r"Berg[^\n]*\n.*> ")
    # In the answer and in its source, by /why as a passage and a sentence, by /history.
    assert shown.count("\ufffd]0;owned\ufffd\ufffd[41mAda Berg.") == 5
    assert not re.search(r"\x1b\]|\x07|\x1b\[41m", shown)


def test_a_pipe_gets_answers_alone(sample: RAG) -> None:
    arguments = ("--index", str(sample.path), "--generator", "extractive")
    result = piped(f"{FIRST}\n\nWhen?\n/quit\nnot asked", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    first, second = result.stdout.split("asked as: ")
    assert "[1]" in first.splitlines()[0]
    assert re.search(r"^\[1\] .*rlhf\.md:\d+ › Direct preference", first, re.MULTILINE)
    assert second.startswith("When was direct preference optimization proposed?")
    assert re.search(r"2023\.? \[1\]", second.splitlines()[1])
    assert "> " not in result.stdout
    assert "\x1b" not in result.stdout


def test_the_commands(sample: RAG, talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("my notes")
    lines = [
        "/sources",
        FIRST,
        "When?",
        "/sources",
        "/why",
        "/where type:zip",
        "/where year:1",
        "/where type:text",
        "What is reward hacking?",
        "/where",
        "What is reward hacking?",
        "/history",
        "/save kept/session.json",
        "/save notes.md",
        "/save",
        "/clear",
        "/history",
        "/help",
        "/frobnicate",
    ]
    result = talk("\n".join(lines))
    assert result.code == 1
    complaints = [line for line in result.err.splitlines() if line.startswith("rag: ")]
    expected = [
        "rag: nothing was asked yet",
        "rag: type:zip: no document matches",
        "rag: .*year.*",
        "rag: notes.md: is not a conversation: .*",
        "rag: /save: name a FILE",
        "rag: /frobnicate: unknown command; /help lists them",
    ]
    assert len(complaints) == len(expected), complaints
    for complaint, pattern in zip(complaints, expected, strict=True):
        assert re.fullmatch(pattern, complaint)
    out = result.out
    # Two answers with their sources, and once more by /sources.
    sources = re.findall(r"^\[1\] .*rlhf\.md:\d+ › Direct preference.*$", out, re.MULTILINE)
    assert len([line for line in sources if "cosine" not in line]) == 3
    assert re.search(r"^looked for: .*optim", out, re.MULTILINE)
    assert re.search(r"^\d\.\d\d \[1\] +\S", out, re.MULTILINE)
    assert re.search(r"^answerability \d\.\d\d, confidence \d\.\d\d; ", out, re.MULTILINE)
    # Of the text files alone the documents say nothing; then of all of them they do.
    assert "is called reward hacking" in out
    history = out[out.index(f"1. {FIRST}") :]
    assert re.search(r"^2\. When\?\nasked as: When was ", history, re.MULTILINE)
    assert re.search(r"^4\. What is reward hacking\?$", history, re.MULTILINE)
    assert re.search(r"^/sources .*\n/why ", out, re.MULTILINE)
    kept = Conversation.load(sample, tmp_path / "kept" / "session.json").turns
    assert len(kept) == 4
    assert not any("rlhf" in citation.source for citation in kept[2].citations)
    assert (tmp_path / "notes.md").read_text() == "my notes"


def test_a_session_is_taken_up_and_kept(sample: RAG, talk: Talk, tmp_path: Path) -> None:
    arguments = ("--session", "session.json")
    assert talk(FIRST, *arguments).code == 0
    again = talk("/sources\n/why\nWhen?\n", *arguments)
    assert again.code == 0
    sources, _, rest = again.out.partition("looked for: ")
    assert "“Direct preference optimization, DPO, was proposed" in sources
    assert "ask again" in again.err
    assert "asked as: When was direct preference optimization proposed?" in rest
    kept = Conversation.load(sample, tmp_path / "session.json").turns
    assert [turn.question for turn in kept] == [FIRST, "When?"]
    talk("/clear", *arguments)
    assert Conversation.load(sample, tmp_path / "session.json").turns == ()


def test_json_is_one_line_a_turn(talk: Talk) -> None:
    text = f"{FIRST}\nWhen?\n/sources\n/history\n/why\n/nonsense\n".encode()
    result = talk(text + b"\xff\xfe caf\xe9?\n", "--json")
    lines = [json.loads(line) for line in result.out.splitlines()]
    first, when, sources, history, why, error, odd = lines
    assert first["question"] == first["standalone"] == FIRST
    assert (when["question"], when["abstained"]) == ("When?", False)
    assert when["standalone"] == "When was direct preference optimization proposed?"
    assert when["citations"] == sources
    assert [turn["question"] for turn in history] == [FIRST, "When?"]
    assert why["search"]["question"] == when["standalone"]
    assert why["answer"]["sentences"] == when["sentences"]
    assert error["question"] == "/nonsense"
    assert "unknown command" in error["error"]
    assert "caf" in odd["question"]
    assert "\ufffd" in odd["question"]


def test_a_session_that_is_none_and_an_index_that_is_none_end_it(sample: RAG) -> None:
    Path("notes.md").write_text("my notes")
    for arguments, reason in (
        (("--index", str(sample.path), "--session", "notes.md"), "notes.md: is not a conversation"),
        (("--index", "nowhere"), "nowhere: "),
    ):
        result = piped(f"{FIRST}\n", *arguments)
        assert (result.returncode, result.stdout) == (1, "")
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"rag: {reason}")
    assert Path("notes.md").read_text() == "my notes"


def test_a_filter_that_takes_nothing_ends_it(talk: Talk) -> None:
    result = talk(f"{FIRST}\n", "--where", "type:zip")
    assert result.complaint == "rag: type:zip: no document matches"
    assert result.out == ""


def test_a_question_that_fails_does_not_end_the_conversation(talk: Talk) -> None:
    text = f"What is reward hacking?\n/history\n{FIRST}\n"
    Path("rag.toml").write_text("[generation]\nretries = 0\n")
    arguments = ("--way", "generate", "--session", "session.json")
    result = talk(text, *arguments, generator="http://127.0.0.1:9")
    assert result.code == 1
    complaints = result.err.splitlines()
    assert len(complaints) == 2
    assert all("cannot be reached" in line for line in complaints)
    assert not Path("session.json").exists()
