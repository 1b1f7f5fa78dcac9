"""The tools for agents, by the SDK's own client: over standard input and output, and by HTTP."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from serving import OWNER, running, user

from rag import RAG

pytestmark = pytest.mark.model

READING = {
    *("search", "fetch", "search_passages", "ask", "check", "read", "grep"),
    *("list_documents", "list_collections"),
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agents")
    docs = folder / "docs"
    docs.mkdir()
    (docs / "bridge.md").write_text("# The Vorn bridge\n\nIt was opened in 1921, over the Vorn.\n")
    (docs / "secret.md").write_text("# Secret\n\nThe codeword is zanzibarium.\n")
    RAG(folder / "index").index([docs])
    return folder / "index"


@asynccontextmanager
async def over_stdio(index: Path, *options: str) -> AsyncIterator[Client]:
    arguments = ["-m", "rag", "mcp", "--index", str(index), *options]
    server = StdioServerParameters(command=sys.executable, args=arguments)
    async with Client(server) as client:
        yield client


@asynccontextmanager
async def over_http(base: str, token: str = OWNER) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{base}/mcp", http_client=http)) as client,
    ):
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def use_every_tool(client: Client, text: str) -> None:
    found = await call(client, "search_passages", query="When was the bridge opened?")
    passage = found["passages"][0]
    assert text[passage["start"] : passage["end"]] == passage["text"]
    answer = await call(client, "ask", question="When was the Vorn bridge opened?")
    assert "1921" in answer["text"] and not answer["abstained"]
    quoted = answer["citations"][0]
    assert text[quoted["start"] : quoted["end"]] == quoted["quote"]
    verdict = await call(client, "check", claim="The Vorn bridge was opened in 1921.")
    assert verdict["label"] == "supported"
    whole = await call(client, "read", document="bridge.md")
    assert whole["text"] == text
    part = await call(client, "read", document=passage["document_id"], start=2, end=10)
    assert part["text"] == text[2:10]
    lines = await call(client, "grep", pattern=r"opened in \d+")
    (line,) = lines["matches"]
    assert text[line["start"] : line["end"]] == "opened in 1921"
    listing = await call(client, "list_documents", where="title~vorn")
    assert listing["total"] == 1
    assert (await call(client, "list_collections"))["collections"] == ["index"]
    results = json.loads((await client.call_tool("search", {"query": "bridge"})).content[0].text)
    (first, *_) = results["results"]
    fetched = json.loads((await client.call_tool("fetch", {"id": first["id"]})).content[0].text)
    assert fetched.keys() == {"id", "title", "text", "url", "metadata"}
    resource = await client.read_resource(f"rag://documents/{passage['document_id']}")
    assert resource.contents[0].text == text


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


@pytest.fixture
def text(index: Path) -> str:
    return RAG(index).find("bridge.md").text


@pytest.mark.slow
def test_every_tool_over_stdio(index: Path, text: str) -> None:
    async def work() -> None:
        async with over_stdio(index) as client:
            assert {each.name for each in (await client.list_tools()).tools} == READING
            await use_every_tool(client, text)

    run(work)


@pytest.mark.slow
def test_documents_are_added_and_removed_only_if_allowed(tmp_path: Path) -> None:
    (tmp_path / "lamp.md").write_text("The lamp weighs 7 kg.\n")

    async def work() -> None:
        async with over_stdio(tmp_path / "index", "--write") as client:
            done = await call(client, "add", sources=[str(tmp_path / "lamp.md")])
            assert "1 added" in done["detail"]
            (entry,) = (await call(client, "list_documents"))["documents"]
            await call(client, "remove", document_id=entry["document_id"])
            assert (await call(client, "list_documents"))["total"] == 0

    run(work)


def test_every_tool_over_http(index: Path, text: str) -> None:
    with running(index, serve__read_only=True) as base:

        async def work() -> None:
            async with over_http(base) as client:
                tools = (await client.list_tools()).tools
                assert {each.name for each in tools} == READING
                assert all(each.annotations and each.annotations.read_only_hint for each in tools)
                await use_every_tool(client, text)

        run(work)


def test_an_error_is_one_that_the_model_reads(index: Path) -> None:
    with running(index) as base:

        async def work() -> None:
            async with over_http(base) as client:
                wrong = [
                    ("search_passages", {"query": "x", "where": "nofield:1"}, "unknown field"),
                    ("read", {"document": "nothing.md"}, "no such document"),
                    ("grep", {"pattern": "("}, "no regular expression"),
                    ("ask", {"question": ""}, "empty"),
                    ("ask", {"question": "x", "collection": "other"}, "no collection"),
                ]
                for tool, arguments, told in wrong:
                    result = await client.call_tool(tool, arguments)
                    assert result.is_error
                    assert told in result.content[0].text

        run(work)


def test_a_token_sees_what_it_may_see(index: Path) -> None:
    token, reader = user("reader", where="-title:Secret")
    with running(index, reader) as base:

        async def work() -> None:
            async with over_http(base, token) as client:
                told = [
                    await client.call_tool("search_passages", {"query": "codeword zanzibarium"}),
                    await client.call_tool("ask", {"question": "What is the secret word?"}),
                    await client.call_tool("grep", {"pattern": "zanzi.*"}),
                    await client.call_tool("list_documents", {}),
                    await client.call_tool("read", {"document": "secret.md"}),
                    await client.call_tool("search", {"query": "codeword"}),
                    await client.call_tool("check", {"claim": "There is a secret codeword."}),
                    await client.call_tool("add", {"sources": ["/etc/passwd"]}),
                ]
                assert "zanzibarium" not in str(told)
                assert "codeword is" not in str(told)
                assert told[-1].is_error
                assert told[4].is_error

        run(work)
