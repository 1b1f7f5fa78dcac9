"""Messages: what a client sends to the daemon, what a daemon sends back, what a server answers."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from fuzzers import made, mutation
from fuzzers.attempts import (
    FINE,
    MOST_SECONDS,
    REFUSED,
    WrongError,
    check_spans,
    wait_until,
)
from fuzzers.indexes import TextsTarget


class _Messages(TextsTarget):
    """An input is some messages of the daemon's protocol: MessagePack after its length."""

    def mutate(self, data: bytes, random: Random) -> bytes:
        try:
            bodies = _split(data)
            at = random.randrange(len(bodies))
            value = msgspec.msgpack.decode(bodies[at])
            if random.random() < 0.75:
                changed = _encodable(mutation.change_value(_plain(value), random))
                bodies[at] = msgspec.msgpack.encode(changed)
                return b"".join(struct.pack("!I", len(body)) + body for body in bodies)
        except (ValueError, msgspec.MsgspecError, struct.error, RecursionError, OverflowError):
            pass
        return mutation.change_bytes(data, random)


class DaemonServer(_Messages):
    """Bytes on the socket of a daemon, which must go on answering afterwards."""

    name = "daemon"

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        from rag.serving.daemon import find_socket_folder
        from rag.serving.daemon.server import _Server

        self._sockets = find_socket_folder()
        self._sockets.prepare()
        self._server = _Server(self._sockets, 1e6)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def seeds(self) -> Iterator[bytes]:
        from rag.config import load_config
        from rag.serving import operations
        from rag.serving.daemon import messages
        from rag.serving.daemon.identity import identity
        from rag.serving.paths import make_paths_absolute

        config = make_paths_absolute(load_config())
        greeting = messages.encode(messages.Greeting(identity(), "answer"))
        for operation in (
            operations.Explain(made.QUESTION, 3, "title~vorn"),
            operations.Ask(made.QUESTION, None, "", None),
            operations.Check("The Vorn bridge was opened in 1921.", 2, "", False),
        ):
            yield greeting + messages.encode(messages.Request(config, operation))
        yield messages.encode(messages.Greeting(identity(), "state"))

    def run(self, data: bytes) -> str:
        if b"stop" in data:
            return REFUSED
        printed = io.StringIO()
        with contextlib.redirect_stderr(printed):
            sent = self._converse(data)
            if not wait_until(lambda: not self._server._connections, MOST_SECONDS):
                raise WrongError("the daemon keeps a connection that the client has left")
        if "Traceback" in printed.getvalue() or "Exception occurred" in printed.getvalue():
            raise WrongError(f"the daemon printed {printed.getvalue()[-1500:]}")
        from rag.serving.daemon import read_state

        if read_state(self._sockets) is None:
            raise WrongError("the daemon does not answer any more")
        return FINE if sent else REFUSED

    def _converse(self, data: bytes) -> bytes:
        received = b""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(MOST_SECONDS)
            connection.connect(str(self._sockets.socket))
            with suppress(OSError):
                connection.sendall(data)
                # An end of the messages, but not of the client, who waits for an answer.
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(1 << 16):
                    received += part
        return received


class DaemonClient(_Messages):
    """A client of something that listens where a daemon would, and sends what it likes."""

    name = "events"

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        from rag.serving.daemon import find_socket_folder

        self._data = b""
        self._sockets = find_socket_folder()
        self._sockets.prepare()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._sockets.socket))
        self._listener.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def seeds(self) -> Iterator[bytes]:
        from rag import RAG
        from rag.config import load_config
        from rag.errors import QuestionError
        from rag.serving import operations
        from rag.serving.daemon import messages
        from rag.types import Progress

        rag = RAG(config=load_config())
        accepted = messages.encode(messages.Acceptance())
        answer = rag.ask(made.QUESTION)
        pieces = messages.encode(operations.TextPiece(answer.text))
        step = messages.encode(operations.ProgressEvent(Progress("loading", 1, 2, "files")))
        for value in (answer, rag.explain(made.QUESTION)):
            yield accepted + step + pieces + messages.encode(operations.Result.of(value))
        yield accepted + messages.encode(
            operations.Failure.of(QuestionError("the question is bad"))
        )
        yield messages.encode(messages.Refusal(("version",)))

    def run(self, data: bytes) -> str:
        self._data = data
        os.environ["RAG_DAEMON_USE"] = "true"
        try:
            outcomes = [
                self.command(command, made.QUESTION, *given).outcome
                for command, given in (("search", ("--json",)), ("ask", ()))
            ]
        finally:
            os.environ["RAG_DAEMON_USE"] = "false"
        return REFUSED if REFUSED in outcomes else FINE

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(MOST_SECONDS)
                connection.recv(1 << 20)
                connection.sendall(self._data)
                connection.shutdown(socket.SHUT_WR)
                # What was sent is lost to the client if it is closed with something unread.
                while connection.recv(1 << 16):
                    pass


class ModelServer(_Messages):
    """The answer of an OpenAI-compatible server, as bytes; it may send its end without an end."""

    name = "servers"
    plain = True

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        self._data = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        os.environ.update(
            RAG_GENERATION_MODEL=f"http://127.0.0.1:{port}/v1",
            RAG_GENERATION_RETRIES="0",
            RAG_GENERATION_TIMEOUT="5",
            RAG_ANSWERING_WAY="generate",
            RAG_API_KEY="sk-fuzzed-0123456789abcdef",
        )
        threading.Thread(target=self._serve, daemon=True).start()

    def seeds(self) -> Iterator[bytes]:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        pieces = b"".join(
            b"data: " + json.dumps({"choices": [{"delta": {"content": each}}]}).encode() + b"\n\n"
            for each in ("The bridge was opened ", "in 1921 [1].", " And in 1999 [7].")
        )
        ended = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        yield b"once\n" + head + pieces + ended
        yield b"ever\n" + head + pieces
        yield b"once\nHTTP/1.1 429 No\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}"
        yield b"once\nHTTP/1.1 302 F\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
        body = json.dumps(
            {"error": {"message": "a key sk-fuzzed-0123456789abcdef is bad", "code": 7}}
        ).encode()
        length = str(len(body)).encode()
        yield b"once\nHTTP/1.1 401 No\r\nContent-Length: " + length + b"\r\n\r\n" + body
        yield b"once\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n0\r\n\r\n"

    def mutate(self, data: bytes, random: Random) -> bytes:
        return mutation.change_bytes(data, random)

    def smaller(self, data: bytes) -> Iterator[bytes]:
        return mutation.smaller_bytes(data)

    def run(self, data: bytes) -> str:
        self._data = data
        ran = self.command("ask", made.QUESTION, "--json")
        if "sk-fuzzed-0123456789abcdef" in ran.out + ran.err:
            raise WrongError(f"the key is shown: {ran.err[-300:]}")
        outcome = ran.outcome
        if ran.out.strip().startswith("{"):
            check_spans(json.loads(ran.out), self._texts)
        return outcome

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._reply, args=(connection,), daemon=True).start()

    def _reply(self, connection: socket.socket) -> None:
        models = json.dumps({"data": [{"id": "served"}]}).encode()
        with connection, suppress(OSError):
            connection.settimeout(MOST_SECONDS * 3)
            asked = b""
            while b"\r\n\r\n" not in asked:
                part = connection.recv(1 << 16)
                if not part:
                    return
                asked += part
            if asked.startswith(b"GET"):
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(models)}\r\nConnection: close"
                connection.sendall(head.encode() + b"\r\n\r\n" + models)
                return
            how, _, reply = self._data.partition(b"\n")
            connection.sendall(reply)
            while how == b"ever" and reply:
                connection.sendall(reply[-300:] * 200)


def _split(data: bytes) -> list[bytes]:
    bodies = []
    while data:
        (length,) = struct.unpack_from("!I", data)
        bodies.append(data[4 : 4 + length])
        data = data[4 + length :]
    return bodies


def _plain(value: Any) -> Any:
    """Return a value of MessagePack as one of JSON, whose keys are texts."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.hex() if isinstance(value, bytes) else value


def _encodable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return sys.maxsize
    return value
