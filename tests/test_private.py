"""What is written beside an index is for its owner alone, too, whatever the umask allows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rag import private
from rag.answering.conversation import Conversation
from rag.models import speeds
from rag.models.catalogue import CATALOGUE, Speed
from rag.serving.daemon import control
from rag.serving.daemon.socket_folder import SocketFolder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="it has no modes of POSIX")


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    mask = os.umask(0)
    yield
    os.umask(mask)


def modes_below(folder: Path) -> set[tuple[str, int]]:
    return {(path.name, path.stat().st_mode & 0o777) for path in folder.rglob("*")}


def test_sessions(tmp_path: Path) -> None:
    rag = SimpleNamespace(tools=None, query=None)
    Conversation(rag).save(tmp_path / "new" / "folder" / "session.json")  # type: ignore[arg-type]
    assert modes_below(tmp_path) == {("new", 0o700), ("folder", 0o700), ("session.json", 0o600)}


def test_the_cache_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    name = next(name for name, entry in CATALOGUE.items() if entry.kind == "generator")
    speeds.keep_speed(name, Speed(1.0, 1.0))
    assert {("cache", 0o700), ("speeds.json", 0o600)} <= modes_below(tmp_path)


def test_the_log_of_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "start_python", lambda *_, **__: None)
    folder = SocketFolder(tmp_path / "sockets")
    folder.prepare()
    control._launch(folder, 1.0)
    assert modes_below(tmp_path) == {("sockets", 0o700), ("log", 0o600)}


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    private.make_folder(tmp_path / "shared" / "mine")
    private.make_folder(tmp_path / "shared" / "mine")
    assert modes_below(tmp_path) == {("shared", 0o755), ("mine", 0o700)}
