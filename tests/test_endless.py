"""Servers that send without an end, never come to it, or send what is not the protocol."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from servers import raw, scripted

from rag import GenerationError
from rag.config import GenerationConfig
from rag.errors import ConfigError
from rag.generation import bounds
from rag.generation.bounds import LONGEST_EVENT, BoundedClient, read_retry_after
from rag.generation.openai import OpenAIGenerator
from rag.types import Message, Prompt

PROMPT = Prompt("Why?", (Message("user", "Why?"),), (), 1)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
PIECE = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
# What a client may have taken before it gave up, with what lies in the buffers between.
MOST_SENT = 40 << 20


def generator(url: str, **settings: Any) -> OpenAIGenerator:
    values: dict[str, Any] = {"served_model": "any", "retries": 0, "max_tokens": 1, **settings}
    return OpenAIGenerator(url, GenerationConfig(model=url, **values))


def endlessly(
    *head: bytes, body: bytes
) -> tuple[Callable[[socket.socket, bytes], None], list[int]]:
    """Return what sends a body again and again after a head, and how much it has sent."""
    sent: list[int] = []

    def converse(connection: socket.socket, _: bytes) -> None:
        for piece in head:
            connection.sendall(piece)
        while sum(sent) < MOST_SENT:
            connection.sendall(body)
            sent.append(len(body))

    return converse, sent


ENDLESS = {
    "a line": endlessly(STREAM, b"data: ", body=b"x" * 65536),
    "a line after an answer began": endlessly(STREAM, PIECE, b"data: ", body=b"x" * 65536),
    "an event of short lines": endlessly(STREAM, body=b"data: x\n" * 4096),
    "an event of comments": endlessly(STREAM, body=b": x\n" * 8192),
    "comments, an event each": endlessly(STREAM, body=b": x\n\n" * 8192),
    "carriage returns": endlessly(STREAM, body=b"data: x\r" * 4096),
    "a refusal": endlessly(b"HTTP/1.1 400 No\r\n\r\n", body=b"x" * 65536),
    "a failure": endlessly(b"HTTP/1.1 500 No\r\n\r\n", body=b"x" * 65536),
    "headers": endlessly(b"HTTP/1.1 200 OK\r\n", body=b"X-A: " + b"x" * 1000 + b"\r\n"),
    "a header": endlessly(b"HTTP/1.1 200 OK\r\nX-A: ", body=b"x" * 65536),
    "a status": endlessly(b"HTTP/1.1 200 ", body=b"x" * 65536),
    "no protocol": endlessly(body=b"\0" * 65536),
    "a long chunk": endlessly(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"FFFFFFFF\r\n", body=b"x" * 65536),
}  # fmt: skip


@pytest.mark.parametrize("what", ENDLESS)
def test_a_server_without_an_end_is_a_line(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_LONGEST_BODY", 1 << 18)
    converse, sent = ENDLESS[what]
    with raw(converse) as url, pytest.raises(GenerationError) as caught:
        list(generator(url, timeout=20.0).stream(PROMPT))
    assert str(caught.value).startswith(f"{url}/v1: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert sum(sent) < MOST_SENT


@pytest.mark.parametrize("length", [1, 100, 100_000])
def test_an_answer_is_no_longer_than_its_tokens_can_be(length: int) -> None:
    """Each sentence of what a server wrote is compared with the passages."""
    piece = PIECE.replace(b'"a"', b'"' + b"a" * length + b'"')

    def converse(connection: socket.socket, _: bytes) -> None:
        connection.sendall(STREAM)
        while True:
            connection.sendall(piece)

    found: list[str] = []
    with (
        raw(converse) as url,
        pytest.raises(GenerationError, match="wrote more than 2 tokens can hold"),
    ):
        found.extend(generator(url, max_tokens=2).stream(PROMPT))
    assert not found or len("".join(found)) < 10_000


def test_informational_answers_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from rag.generation import openai

    monkeypatch.setattr(openai, "_TIMES_SILENT", 0.005)
    converse, _ = endlessly(body=b"HTTP/1.1 103 Early\r\n\r\n")
    with raw(converse) as url, pytest.raises(GenerationError, match=r"generation\.timeout"):
        list(generator(url, timeout=60.0).stream(PROMPT))


@pytest.mark.parametrize("ask", ["models", "echo"])
def test_other_answers_have_an_end_too(ask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_LONGEST_BODY", 1 << 18)
    converse, sent = endlessly(b'HTTP/1.1 200 OK\r\n\r\n{"data": [', body=b"1," * 32768)
    with raw(converse) as url, pytest.raises(GenerationError, match="bytes without an end"):
        if ask == "models":
            list(generator(url, served_model="").stream(PROMPT))
        else:
            generator(url).log_likelihood("Why", "because")
    assert sum(sent) < MOST_SENT


def test_a_long_answer_of_short_events_passes() -> None:
    def converse(connection: socket.socket, _: bytes) -> None:
        connection.sendall(STREAM + PIECE * 3000 + b"data: [DONE]\n\n")

    with raw(converse) as url:
        assert "".join(generator(url).stream(PROMPT)) == "a" * 3000


def test_an_event_as_long_as_allowed_passes_however_it_is_cut() -> None:
    text = "é" * (LONGEST_EVENT // 2 - 200)
    event = f'data: {{"choices": [{{"delta": {{"content": "{text}"}}}}]}}\r\n\r\n'.encode()

    def converse(connection: socket.socket, _: bytes) -> None:
        connection.sendall(STREAM)
        for _ in range(2):
            connection.sendall(event[:-3])
            connection.sendall(event[-3:-1])
            connection.sendall(event[-1:])
        connection.sendall(b"data: [DONE]\n\n")

    with raw(converse) as url:
        assert "".join(generator(url, max_tokens=20_000).stream(PROMPT)) == text * 2


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x"])
def test_what_is_compressed_is_not_unpacked(encoding: str) -> None:
    packed = gzip.compress(b"data: x\n" * (1 << 20))

    def converse(connection: socket.socket, asked: bytes) -> None:
        assert b"accept-encoding: identity\r\n" in asked.lower()
        head = STREAM.replace(b"\r\n\r\n", f"\r\nContent-Encoding: {encoding}\r\n\r\n".encode())
        connection.sendall(head + packed)

    with raw(converse) as url, pytest.raises(GenerationError, match="compressed"):
        list(generator(url).stream(PROMPT))


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX-A: ", STREAM])
def test_a_server_that_trickles_is_left_in_the_end(head: bytes) -> None:
    ended = threading.Event()

    def converse(connection: socket.socket, _: bytes) -> None:
        try:
            connection.sendall(head)
            while True:
                connection.sendall(b":")
                time.sleep(0.01)
        finally:
            ended.set()

    # It is never silent for long: without an end of the whole, this would wait for ever.
    options: dict[str, Any] = {"max_tokens": 1, "headers": {}, "timeout": 60.0}
    with raw(converse) as url, BoundedClient(seconds=0.2, **options) as client:
        with pytest.raises(httpx.HTTPError):
            request = client.build_request("GET", url)
            client.send(request, stream=True).read()
            # One that ends with its connection cannot be told from a whole one by httpx.
            assert client.timed_out
            raise httpx.ReadError("ended")
        assert client.timed_out
    assert ended.wait(60)


def test_the_time_of_the_whole_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from rag.generation import openai

    monkeypatch.setattr(openai, "_TIMES_SILENT", 0.005)

    def converse(connection: socket.socket, _: bytes) -> None:
        connection.sendall(STREAM + PIECE)
        while True:
            connection.sendall(b": still here\n\n")
            time.sleep(0.01)

    with raw(converse) as url, pytest.raises(GenerationError, match=r"generation\.timeout"):
        list(generator(url, timeout=60.0).stream(PROMPT))


WAITS = {
    "0": 0.0, "7": 7.0, " 7 ": 7.0, "999999999": 999999999.0, "Fri, 06 Nov 2020 08:49:37 GMT": 0.0,
    **dict.fromkeys(
        ("", "²", "٣", "nan", "inf", "-1", "+1", "1.5", "1e9", "1_0", "9" * 5000, "0x1", "soon",
         "Fri", "Fri, 99 Foo 2026 00:00:00 GMT", "Mon, 01 Jan 99999 00:00:00 GMT", "\0", "7, 7",
         "Mon, 01 Jan 2026 00:00:00 +9999999999", "1 2 3 4 5 6 7 8 9"), None),
}  # fmt: skip


@pytest.mark.parametrize("header", WAITS)
def test_any_retry_after_is_a_wait_or_none(header: str) -> None:
    found = read_retry_after(header)
    assert found == WAITS[header] or (WAITS[header] is None and found == 0.0)


def test_a_date_to_retry_after_is_a_wait() -> None:
    later = datetime.now(UTC) + timedelta(hours=9)
    found = read_retry_after(format_datetime(later, usegmt=True))
    assert found is not None
    assert 0 < found <= 9 * 3600


@pytest.mark.parametrize("header", ["\xb2", "nan", "-5", "9" * 5000, "Fri, 99 Foo", "\xff\xfe"])
def test_an_odd_retry_after_is_no_traceback(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import tenacity.nap

    naps: list[float] = []
    monkeypatch.setattr(tenacity.nap.time, "sleep", naps.append)
    with scripted() as (url, script):
        script.replies = [(503, {"Retry-After": header}, "busy")] * 3
        with pytest.raises(GenerationError, match="replied 503"):
            list(generator(url, retries=2).stream(PROMPT))
    assert naps == [0.5, 1.0]


DEEP, DIGITS = "[" * 100_000, "9" * 5000
NO_PROTOCOL = (
    *(DEEP, DIGITS, f'{{"choices": {DEEP}', f'{{"choices": [{DIGITS}]}}', '"\\ud800"', "[]", "1"),
    *("null", '{"choices": 7}', '{"choices": {"0": 1}}', '{"choices": [[]]}', "\ufeff{}", "{"),
    '{"error": {"message": "\\u001b[31m\\ud800"}}',
)


@pytest.mark.parametrize("body", NO_PROTOCOL, ids=range(len(NO_PROTOCOL)))
def test_what_is_not_the_protocol_is_a_line(body: str) -> None:
    stream = 200, {"Content-Type": "text/event-stream"}, f"data: {body}\n\n"
    whole = 200, {"Content-Type": "application/json"}, body
    with scripted() as (url, script):
        script.replies = [stream]
        with pytest.raises(GenerationError) as caught:
            list(generator(url).stream(PROMPT))
        assert len(str(caught.value)) < 500
        script.replies = [whole]
        with pytest.raises(GenerationError):
            generator(url).log_likelihood("Why", "because")
        for status in (400, 500, 401, 302):
            script.replies = [(status, {}, body)]
            with pytest.raises(GenerationError):
                list(generator(url).stream(PROMPT))


def test_lone_surrogates_of_an_answer_are_replaced() -> None:
    piece = 'data: {"choices": [{"delta": {"content": "a\\ud800b"}}]}\n\ndata: [DONE]\n\n'
    with scripted() as (url, script):
        script.replies = [(200, {"Content-Type": "text/event-stream"}, piece)]
        assert "".join(generator(url).stream(PROMPT)) == "a\ufffdb"


@pytest.mark.parametrize("logs", ['["a", "b"]', "[NaN, 1]", "[null, Infinity]", '[[1], {"a": 1}]'])
def test_likelihoods_that_are_no_numbers_are_a_line(logs: str) -> None:
    body = (
        '{"choices": [{"text": "Why because", "logprobs": {"tokens": ["Why", " because", "."],'
        f' "token_logprobs": {logs[:-1]}, 0]}}}}]}}'
    )
    with scripted() as (url, script):
        script.replies = [(200, {}, body)]
        with pytest.raises(GenerationError, match="no log probabilities"):
            generator(url).log_likelihood("Why", " because")


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost:99999999", "http://localhost:-1", "http://localhost:²", "http://[::1"),
        *(
            "http://localhost:nan",
            "https://",
            "http://",
            "http://\x00",
            "http://a b/",
            "http://é\ud800",
        ),
        "http://" + "a" * 70_000,
        "http://localhost:" + "9" * 5000,
    ],
    ids=lambda url: ascii(url)[:30],
)
def test_a_url_that_is_none_is_a_line(url: str) -> None:
    with pytest.raises((ConfigError, GenerationError)):
        list(generator(url, plain_http=True).stream(PROMPT))
