"""`rag serve` as a process, and what goes wrong around it: upstream, TLS, signals, kills, disks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from servers import scripted, sse
from serving import OWNER, client, running, user, wait_for_job

from rag import RAG

pytestmark = pytest.mark.model

TEXT = "# The Vorn bridge\n\nThe Vorn bridge was opened in 1921. It is 340 metres long.\n"
TOKEN = "a-token-of-the-tests-1234"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "bridge.md").write_text(TEXT)
    RAG(folder / "index").index([folder / "bridge.md"])
    return folder / "index"


@contextmanager
def process(index: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `rag serve` as users do."""
    started = subprocess.Popen(
        [sys.executable, "-m", "rag", "serve", "--index", str(index), "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAG_SERVE_TOKEN": TOKEN},
    )
    assert started.stderr is not None
    try:
        line = ""
        while "open http" not in line:
            line = started.stderr.readline()
            assert line, started.wait()
        yield line.split()[1].rstrip("/"), started
    finally:
        started.kill()
        started.wait()
        started.stderr.close()


def completion(text: str) -> tuple[int, dict[str, str], str]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return 200, {"Content-Type": "application/json"}, json.dumps(body)


def test_another_models_answer_is_checked(index: Path) -> None:
    said = "The Vorn bridge was opened in 1921. It is painted blue and costs nine euro."
    with scripted() as (upstream, script):
        script.replies = [completion(said)]
        with running(index, serve__upstream=f"{upstream}/v1") as base:
            chat = openai.OpenAI(base_url=f"{base}/v1", api_key=OWNER, max_retries=0)
            asked = [{"role": "user", "content": "Tell me of the bridge."}]
            made = chat.chat.completions.create(model="m", messages=asked)  # type: ignore[arg-type]
            assert made.choices[0].message.content == said
            (first, *_) = made.choices[0].message.annotations or []
            assert "1921" in (first.url_citation.model_extra or {})["quote"]
            labels = [each["label"] for each in (made.model_extra or {})["rag"]["verified"]]
            assert labels[0] == "supported" and labels[1] != "supported"
            assert [each.id for each in chat.models.list()] == ["rag", "rag/index", "served"]
    assert script.asked[0]["messages"] == asked
    # Our own token stays here.
    assert OWNER not in str(script.seen)


def test_another_models_stream_is_checked(index: Path) -> None:
    with scripted() as (upstream, script):
        script.replies = [sse("The Vorn bridge was ", "opened in 1921.")]
        with running(index, serve__upstream=f"{upstream}/v1") as base:
            chat = openai.OpenAI(base_url=f"{base}/v1", api_key=OWNER, max_retries=0)
            chunks = list(
                chat.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "x"}], stream=True
                )
            )
    text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert text == "The Vorn bridge was opened in 1921."
    cited = [each for each in chunks if "annotations" in (each.choices[0].delta.model_extra or {})]
    assert len(cited) == 1


def test_thoughts_of_another_model_are_not_checked(index: Path) -> None:
    thoughts = "<think>The bridge is blue. It may be red.</think>"
    for said in (thoughts, thoughts.removeprefix("<think>")):
        with scripted() as (upstream, script):
            script.replies = [completion(f"{said}The Vorn bridge was opened in 1921.")]
            with running(index, serve__upstream=f"{upstream}/v1") as base, client(base) as asked:
                body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
                told = asked.post("/v1/chat/completions", json=body).json()
        (verified,) = told["rag"]["verified"]
        text = told["choices"][0]["message"]["content"]
        assert text[verified["start"] : verified["end"]] == "The Vorn bridge was opened in 1921."


def test_thoughts_that_nobody_saw_are_asked_again_by_the_library(index: Path) -> None:
    with scripted() as (url, script):
        said = sse("Perhaps in 1920. </think>", "The Vorn bridge was opened in 1921.")
        script.replies = [said] * 2
        settings = {"generation.model": f"{url}/v1", "answering.way": "generate"}
        rag = RAG(index, settings=settings)
        answer = asyncio.run(rag.aask("When was the Vorn bridge opened?"))
    assert "1921" in answer.text
    assert "1920" not in answer.text


def test_thoughts_that_nobody_saw_are_asked_again(index: Path) -> None:
    """A model that begins in the middle of its thoughts, which only their end shows."""
    with scripted() as (url, script):
        script.replies = [
            sse("Perhaps in 1920. </think>", "The Vorn bridge was opened in 1921.")
        ] * 2
        settings = {"generation__model": f"{url}/v1", "answering__way": "generate"}
        with running(index, **settings) as base, client(base) as asked:
            answer = asked.post("/ask", json={"question": "When was the Vorn bridge opened?"})
    assert "1921" in answer.json()["text"]
    assert "1920" not in answer.json()["text"]


@pytest.mark.parametrize(
    "reply", [(500, {}, "no"), (200, {}, "no json"), (200, {}, "[]"), (302, {"Location": "/"}, "")]
)
def test_an_upstream_that_fails_is_named(
    index: Path, reply: tuple[int, dict[str, str], str]
) -> None:
    with (
        scripted() as (upstream, script),
        running(index, serve__upstream=f"{upstream}/v1") as base,
        client(base) as asked,
    ):
        for streamed in (False, True):
            script.replies = [reply]
            body = {"model": "m", "messages": [], "stream": streamed}
            told = asked.post("/v1/chat/completions", json=body)
            assert "upstream server" in told.text
            assert told.status_code == (200 if streamed else 502)
    with running(index, serve__upstream=f"{upstream}/v1") as base, client(base) as asked:
        told = asked.post("/v1/chat/completions", json={"model": "m", "messages": []})
        assert (told.status_code, told.json()["error"]["type"]) == (502, "server_error")


def test_the_generator_of_our_own_may_be_down(index: Path) -> None:
    settings = {"generation__model": "http://127.0.0.1:9/v1", "generation__retries": 0}
    token, reader = user("reader", where="path~bridge")
    with running(index, reader, answering__way="generate", **settings) as base:
        question = {"question": "When was the Vorn bridge opened?"}
        with client(base) as owner, client(base, token) as asked:
            assert owner.post("/ask", json=question).status_code == 502
            told = asked.post("/ask", json=question)
            assert told.json()["error"]["message"].startswith("the generator gave no answer")
            assert owner.post("/search", json=question).status_code == 200
            streamed = owner.post("/ask", json={**question, "stream": True})
            assert "event: error" in streamed.text or streamed.status_code == 502


def test_each_request_is_noted_without_its_text(index: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    with running(index, serve__audit=str(log)) as base, client(base) as asked:
        asked.post("/ask", json={"question": "When was the Vorn bridge opened?"})
        httpx.get(f"{base}/documents")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(each["user"], each["route"], each["status"]) for each in lines] == [
        ("owner", "/ask", 200),
        (None, "/documents", 401),
    ]
    assert lines[0]["collection"] == "index"
    assert "Vorn" not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_pages_of_other_sites_may_not_ask(index: Path) -> None:
    allowing = "access-control-allow-origin"
    headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    with running(index) as base:
        assert allowing not in httpx.options(f"{base}/ask", headers=headers).headers
    with running(index, serve__origins=["https://example.org"]) as base:
        allowed = httpx.options(f"{base}/ask", headers=headers).headers
        assert allowed[allowing] == "https://example.org"
        other = {**headers, "Origin": "https://example.com"}
        assert allowing not in httpx.options(f"{base}/ask", headers=other).headers


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rag.serving.http import uploads

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with running(tmp_path / "index") as base, client(base) as asked:
        with monkeypatch.context() as patched:
            patched.setattr(uploads.os, "fsync", lambda _: fail(tmp_path, tmp_path))
            told = asked.put("/collections/index/files/a.md", content=b"some text")
            assert told.status_code == 500
            assert "No space left" in told.json()["error"]["message"]
        assert not list((tmp_path / "server" / "files" / "index").iterdir())
        job = asked.put("/collections/index/files/a.md", content=b"some text")
        assert wait_for_job(asked, job.json())["state"] == "done"


@pytest.mark.slow
def test_a_signal_lets_requests_end(index: Path) -> None:
    with process(index) as (base, started):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        body = {"question": "When was the Vorn bridge opened?", "stream": True}
        with httpx.stream("POST", f"{base}/ask", json=body, headers=headers, timeout=60) as reply:
            started.send_signal(signal.SIGTERM)
            assert "1921" in reply.read().decode()
        assert started.wait(30) in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_a_server_that_is_killed_while_it_indexes_goes_on(tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    lines = [
        json.dumps({"_id": str(at), "text": f"Lamp {at} weighs {at + 7} kg."}) for at in range(3000)
    ]
    with process(tmp_path / "index") as (base, started):
        reply = httpx.put(
            f"{base}/collections/index/files/lamps.jsonl",
            content="\n".join(lines).encode(),
            headers=headers,
        )
        job = reply.json()["id"]
        while httpx.get(f"{base}/jobs/{job}", headers=headers).json()["state"] == "waiting":
            time.sleep(0.01)
        started.kill()
    with process(tmp_path / "index") as (base, _), client(base, TOKEN) as asked:
        done = wait_for_job(asked, {"id": job})
        assert (done["state"], done["error"]) == ("done", "")
        assert asked.get("/documents?limit=1").json()["total"] == 3000


@pytest.mark.slow
def test_an_index_is_rebuilt_beneath_a_server(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(TEXT)
    RAG(tmp_path / "index").index([tmp_path / "a.md"])
    with running(tmp_path / "index") as base, client(base) as asked:
        question = {"question": "When was the Vorn bridge opened?"}
        assert "1921" in asked.post("/ask", json=question).json()["text"]
        (tmp_path / "a.md").write_text(TEXT.replace("1921", "1934"))
        RAG(tmp_path / "index").index(rebuild=True)
        assert "1934" in asked.post("/ask", json=question).json()["text"]


@pytest.mark.slow
def test_tls_is_spoken(index: Path, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    make += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    options = ("--certificate", str(certificate), "--key", str(key))
    with process(index, *options) as (base, _):
        assert base.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(certificate))
        assert httpx.get(f"{base}/health", verify=trusted).json() == {"status": "ok"}


@pytest.mark.slow
def test_what_cannot_be_served_is_a_line(index: Path, tmp_path: Path) -> None:
    with process(index) as (base, _):
        port = base.rpartition(":")[2]
        for options, told in (
            (["--port", port], "cannot be listened at"),
            (["--certificate", "x.pem"], "both `serve.certificate` and `serve.key`"),
            (["--folder", str(tmp_path / "none")], "no folder of indexes"),
            (["--users", str(tmp_path / "none.json")], "holds no user"),
            (["--upstream", "http://example.org/v1"], "everybody on the way can read"),
        ):
            found = subprocess.run(
                [sys.executable, "-m", "rag", "serve", "--index", str(index), *options],
                capture_output=True,
                text=True,
                check=False,
            )
            assert found.returncode == 1
            assert told in found.stderr
            assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_users_are_given_tokens(index: Path, tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    rag = [sys.executable, "-m", "rag", "serve", "users"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*rag, *arguments, "--users", str(file)], capture_output=True, text=True, check=False
        )

    token = run("add", "alice", "--where", "title~nothing").stdout.strip()
    assert token.startswith("rag-") and token not in file.read_text()
    assert "alice" in run("list").stdout
    assert run("add", "alice").returncode == 1
    with process(index, "--users", str(file)) as (base, _), client(base, token) as asked:
        assert asked.get("/documents").json()["total"] == 0
        assert httpx.get(f"{base}/documents", headers={"Authorization": f"Bearer {TOKEN}"}).is_error
    assert run("remove", "alice").returncode == 0
    assert "alice" not in run("list").stdout
