"""What a user may not see is told on no route and by no tool: 500 secrets are planted."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from serving import OWNER, client, running, user

from rag import RAG
from rag.serving.http.application import ROUTES

pytestmark = [pytest.mark.model, pytest.mark.slow]

COUNT = 500
ASKED = 10


def secret(number: int) -> str:
    """A word that occurs nowhere else."""
    return "zq" + hashlib.sha256(str(number).encode()).hexdigest()[:10]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rights")
    for number in range(COUNT):
        file = folder / "docs" / "hidden" / f"{secret(number)}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        word = secret(number)
        text = (
            f"# Room {number} {word}\n\nThe code of room {number} is {word}. It opens the safe.\n"
        )
        file.write_text(text)
    for number in range(40):
        file = folder / "docs" / "open" / f"room{number}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Room {number}\n\nRoom {number} has {number + 2} chairs and a table.\n")
    RAG(folder / "index").index([folder / "docs"])
    return folder / "index"


@pytest.fixture(scope="module")
def base(index: Path) -> Iterator[str]:
    _, reader = user("reader", where="path~/open/")
    with running(index, reader, serve__queue=100) as address:
        yield address


@pytest.fixture(scope="module")
def hidden(base: str) -> list[str]:
    """The ids of what may not be seen."""
    with client(base) as owner:
        found = owner.get("/documents", params={"where": "path~hidden", "limit": 1000}).json()
    assert found["total"] == COUNT
    return [each["id"] for each in found["documents"]]


def leaks(text: str, *sent: str) -> list[str]:
    """The secrets in a reply, but for those that were sent."""
    for each in sent:
        text = text.replace(each, "")
    return [secret(number) for number in range(COUNT) if secret(number) in text]


def routes(number: int, hidden: list[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each route with requests that would tell a secret, could it be told."""
    question = f"What is the code of room {number}?"
    name, where = hidden[number], "path~hidden OR path~open"
    chat = {"model": "rag", "messages": [{"role": "user", "content": question}]}
    yield "POST", "/search", {"json": {"question": question, "k": 50}}
    yield "POST", "/search", {"json": {"question": "zq", "where": where}}
    # A typing error: its correction would be a secret.
    yield "POST", "/search", {"json": {"question": f"cdoe {secret(number)[:-1]}"}}
    yield "GET", "/documents", {"params": {"where": where, "limit": 1000}}
    yield "GET", f"/documents/{name}", {}
    yield "GET", f"/documents/{name}/pages/1", {}
    yield "GET", f"/documents/{name}/picture", {}
    yield "DELETE", f"/documents/{name}", {}
    yield "GET", "/places", {"params": {"place": name}}
    yield "GET", "/places", {"params": {"place": ".md"}}
    yield "GET", "/places", {"params": {"place": "hidden"}}
    yield "GET", "/collections", {}
    yield "POST", "/collections", {"json": {"name": "x"}}
    yield "POST", "/documents", {"json": {"sources": ["x"]}}
    yield "PUT", "/collections/index/files/a.md", {"content": b"x"}
    yield "GET", "/feedback", {}
    yield "DELETE", "/feedback/x", {}
    yield "POST", "/feedback", {"json": {"question": "x", "answer": "y", "rating": "good"}}
    yield "GET", "/jobs", {}
    yield "GET", "/jobs/x", {}
    yield "POST", "/jobs/x/retry", {}
    yield "DELETE", "/jobs/x", {}
    yield "GET", "/examination", {}
    yield "GET", "/metrics", {}
    yield "GET", "/v1/models", {}
    yield "GET", "/v1/models/rag", {}
    yield "POST", "/v1/embeddings", {"json": {"input": question}}
    yield "GET", "/v1/files", {}
    yield "POST", "/v1/files", {"files": {"file": b"x"}}
    yield "GET", "/v1/files/x", {}
    yield "GET", "/v1/files/x/content", {}
    yield "DELETE", "/v1/files/x", {}
    yield "GET", "/v1/vector_stores", {}
    yield "POST", "/v1/vector_stores", {"json": {"name": "x"}}
    yield "GET", "/v1/vector_stores/vs_index", {}
    yield "POST", "/v1/vector_stores/vs_index/search", {"json": {"query": question}}
    files = "/v1/vector_stores/vs_index/files"
    yield "GET", files, {"params": {"limit": 100, "after": name}}
    yield "GET", files, {"params": {"limit": 100}}
    yield "POST", files, {"json": {"file_id": name}}
    yield "GET", f"{files}/{name}", {}
    yield "DELETE", f"{files}/{name}", {}
    if number < ASKED or number in (50, 100, 150):
        yield "POST", "/ask", {"json": {"question": question}}
        yield "POST", "/ask", {"json": {"question": question, "stream": True, "where": where}}
        yield "POST", "/check", {"json": {"claim": f"Room {number} has a code."}}
        yield "POST", "/verify", {"json": {"text": f"Room {number} has a code. It is long."}}
        yield "POST", "/v1/chat/completions", {"json": chat}
        yield "POST", "/v1/chat/completions", {"json": {**chat, "stream": True}}
        asked = {"input": question, "include": ["file_search_call.results"]}
        yield "POST", "/v1/responses", {"json": asked}
        yield "POST", "/v1/responses", {"json": {**asked, "stream": True}}


def shape(method: str, path: str) -> tuple[str, str]:
    """The route that a request is for."""
    import re

    for known, pattern in ((each.method, each.path) for each in ROUTES):
        form = re.sub(r"\{\w+:path\}", ".+", re.sub(r"\{\w+(:int)?\}", "[^/]+", pattern))
        if known == method and re.fullmatch(form, path):
            return known, pattern
    return method, path


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.nightly), 25])
def test_no_route_tells_a_secret(base: str, hidden: list[str], step: int) -> None:
    tried = set()
    told: dict[str, list[str]] = {}
    with client(base, "reader-token-of-the-tests") as reader:
        # Each reply is searched for all secrets; at night, each is asked for as well.
        for number in range(0, COUNT, step):
            for at, (method, path, given) in enumerate(routes(number, hidden)):
                # What is the same for every secret is asked for some of them.
                if number >= ASKED * step and at > 4:
                    continue
                reply = reader.request(method, path, **given)
                assert reply.status_code < 500, (method, path, reply.text[:200])
                tried.add(shape(method, path))
                sent = json.dumps(given.get("json", ""), ensure_ascii=False)
                if found := leaks(reply.text + str(reply.headers), sent):
                    told[f"{method} {path}"] = found
    assert not told
    assert {(each.method, each.path) for each in ROUTES} <= tried | {("GET", "/metrics")}


def test_the_owner_is_told_them(base: str, hidden: list[str]) -> None:
    """So that the test above could fail."""
    told = set()
    with client(base) as owner:
        for number in range(0, COUNT, 50):
            question = {"question": f"What is the code of room {number}?", "k": 20}
            told.update(leaks(owner.post("/search", json=question).text))
    assert len(told) >= 10


def test_no_tool_tells_a_secret(base: str, hidden: list[str]) -> None:
    async def use(token: str) -> str:
        headers = {"Authorization": f"Bearer {token}"}
        said = []
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(f"{base}/mcp", http_client=http)) as agent,
        ):
            tools = {each.name for each in (await agent.list_tools()).tools}
            for number in range(10):
                question = f"What is the code of room {number}?"
                calls: list[tuple[str, dict[str, Any]]] = [
                    ("search_passages", {"query": question, "limit": 50}),
                    ("ask", {"question": question}),
                    ("check", {"claim": f"Room {number} has a code."}),
                    ("read", {"document": hidden[number]}),
                    ("read", {"document": ".md"}),
                    ("grep", {"pattern": "zq[0-9a-f]+"}),
                    ("list_documents", {"where": "path~hidden OR path~open", "limit": 1000}),
                    ("list_collections", {}),
                    ("search", {"query": question}),
                    ("fetch", {"id": f"index/{hidden[number]}"}),
                    ("add", {"sources": ["x"]}),
                    ("remove", {"document_id": hidden[number]}),
                ]
                assert tools == {name for name, _ in calls}
                for name, arguments in calls:
                    said.append(str(await agent.call_tool(name, arguments)))
        return "".join(said)

    assert not leaks(asyncio.run(use("reader-token-of-the-tests")))
    with httpx.Client(base_url=base) as nobody:
        assert nobody.post("/mcp", json={}).status_code == 401
    assert OWNER != "reader-token-of-the-tests"
