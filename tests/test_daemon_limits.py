"""What a daemon does with messages that are none, without descriptors, and in an open folder."""

from __future__ import annotations

import errno
import io
import os
import socket
import socketserver
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rag.config import Config
from rag.errors import DaemonError
from rag.serving.daemon import messages, server
from rag.serving.daemon.messages import LONGEST_REQUEST, Greeting, Request, encode, receive
from rag.serving.daemon.socket_folder import SocketFolder

SETTINGS: dict[str, Any] = msgspec.to_builtins(Config())
ASK = {"type": "Ask", "question": "a", "k": None, "where": "", "schema": None}


def pack(value: Any) -> bytes:
    body = value if isinstance(value, bytes) else msgspec.msgpack.encode(value)
    return struct.pack("!I", len(body)) + body


def with_settings(**sections: dict[str, Any]) -> dict[str, Any]:
    changed = {name: {**SETTINGS[name], **values} for name, values in sections.items()}
    return {"config": {**SETTINGS, **changed}, "operation": ASK}


UNDECODABLE = {
    "nothing": b"",
    "another type": pack(7),
    "random": pack(bytes(range(256))),
    "nested deep": pack(b"\x91" * 200_000),
    "no UTF-8": pack(b"\x82\xa5facts\x80\xa5wants\xa6\xff\xfe\xff\xfe\xff\xfe"),
    "a surrogate": pack(b"\x82\xa5facts\x80\xa5wants\xa3\xed\xa0\x80"),
    "too long": struct.pack("!I", LONGEST_REQUEST + 1),
    "cut short": pack({"facts": {}, "wants": "answer"})[:-1],
    "a number of 64 bits": pack(with_settings(retrieval={"top_k": 2**64 - 1})),
    "nan": pack(with_settings(sources={"seconds": float("nan")})),
    "settings that disagree": pack(with_settings(chunking={"size": 5, "overlap": 9})),
    "a password in a URL": pack(with_settings(generation={"model": "https://a:b@c"})),
    "a k that is no number": pack({"config": SETTINGS, "operation": {**ASK, "k": "many"}}),
    "a huge list": pack(b"\xdd\xff\xff\xff\xff"),
    "a huge text": pack(b"\xdb\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("kind", [Greeting, Request, messages.Event, messages.State])
@pytest.mark.parametrize("what", UNDECODABLE)
def test_what_is_no_message_is_a_broken_connection(what: str, kind: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        sent = UNDECODABLE[what]
        theirs.setblocking(True)
        # More than a socket holds at once.
        from threading import Thread

        def send() -> None:
            theirs.sendall(sent)
            theirs.shutdown(socket.SHUT_WR)

        sender = Thread(target=send)
        sender.start()
        with pytest.raises(ConnectionError):
            receive(ours, kind, LONGEST_REQUEST)
        sender.join()


def test_a_message_is_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(encode(Greeting({}, "state")))
        assert receive(ours, Greeting, LONGEST_REQUEST) == Greeting({}, "state")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Any]:
    """A server whose loop is not running."""
    folder = SocketFolder(tmp_path / "d")
    folder.prepare()
    made = server._Server(folder, 900.0)
    yield made
    made.server_close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_without_descriptors_it_pauses(
    number: int, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def refuse(_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socketserver.UnixStreamServer, "get_request", refuse)
    monkeypatch.setattr(running._ending, "wait", pauses.append)
    for _ in range(3):
        running._handle_request_noblock()
    assert len(pauses) == 3
    assert all(pause >= 0.1 for pause in pauses)


def test_a_log_has_an_end(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    for _ in range(1000):
        try:
            raise ValueError("\x1b[31m" + "x" * 50_000)
        except ValueError:
            running.handle_error(None, None)
    written = log.getvalue()
    assert written.count("\n") >= 100
    assert len(written) < 100 * 9000
    assert "\x1b" not in written
    assert "The log ends here." in written


def test_no_folder_is_private_below_one_that_others_can_write(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    folder = SocketFolder(above / "d")
    folder.prepare()
    assert folder.is_private
    for mode in (0o777, 0o775, 0o722):
        above.chmod(mode)
        assert not folder.is_private
        with pytest.raises(DaemonError, match="others could put another folder in place of d"):
            folder.prepare()
    # As /tmp has it: others may write there, and not rename what is mine.
    above.chmod(0o1777)
    assert folder.is_private
    link = tmp_path / "link"
    link.symlink_to(above)
    assert SocketFolder(link / "d").is_private
    above.chmod(0o777)
    assert not SocketFolder(link / "d").is_private


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_no_folder_is_private_below_that_of_another_user(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    folder = SocketFolder(above / "d")
    folder.prepare()
    os.chown(above, 12345, -1)
    assert not folder.is_private
