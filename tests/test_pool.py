"""Files are read in processes of their own: what goes wrong there stays there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from planted import expire_when_hanging, hanging, plant
from working import wait_for

from rag.config import SourcesConfig
from rag.sources import Finished, SourceFile, read_files
from rag.types import Document, Problem

LIMITS = SourcesConfig(seconds=60, memory_mb=512, workers=2)


@pytest.fixture(autouse=True)
def _readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path / "installed", monkeypatch)


def file(path: Path, text: str = "Some text of a file.") -> SourceFile:
    path.write_text(text)
    status = path.stat()
    return SourceFile(str(path), path.name, status.st_size, status.st_mtime_ns)


def outcomes(
    files: list[SourceFile], config: SourcesConfig = LIMITS
) -> dict[str, tuple[list[str], Finished | Problem]]:
    texts: dict[str, list[str]] = {}
    last: dict[str, Finished | Problem] = {}
    for result in read_files([(each, None) for each in files], config):
        if isinstance(result.item, Document):
            texts.setdefault(result.file.source, []).append(result.item.text)
        elif result.last:
            assert result.file.source not in last
            last[result.file.source] = result.item
    return {source: (texts.get(source, []), item) for source, item in last.items()}


BAD = {
    "a.hang": r"took more than 60 s to read \(`sources.seconds`\)",
    "a.hang_in_c": r"took more than 60 s",
    "a.crash": r"its reader crashed \(SIGSEGV\)",
    "a.leave": "its reader ended with exit code 7",
    "a.explode": r"needs more than (the )?512 MB .*`sources.memory_mb`",
    "a.vanish": "No such file",
    "a.change": "changed while it was being read: run again",
    "a.odd": "cannot be read as ODD: a message$",
}


@pytest.mark.slow
def test_each_misbehaving_reader_costs_its_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire_when_hanging(tmp_path / "installed", monkeypatch)
    good = [file(tmp_path / f"{n:02}.good", f"Good text {n}.") for n in range(20)]
    bad = [file(tmp_path / name) for name in BAD]
    mixed = [each for pair in zip(good, [*bad, *bad], strict=False) for each in pair]
    found = outcomes([*dict.fromkeys(mixed), *good[-4:]])
    for name, reason in BAD.items():
        item = found[name][1]
        assert isinstance(item, Problem)
        assert re.search(reason, item.reason), item.reason
        assert "\n" not in item.reason
    for each in good:
        assert found[each.source] == ([Path(each.path).read_text()], found[each.source][1])
        assert isinstance(found[each.source][1], Finished)
    assert found["a.hang_in_c"][0] == ["The first one came."]


def test_what_a_reader_prints_is_no_result(tmp_path: Path) -> None:
    found = outcomes([file(tmp_path / "a.chatter", "Quiet text.")])
    assert found["a.chatter"][0] == ["Quiet text."]


def test_half_characters_become_visible_and_keep_their_place(tmp_path: Path) -> None:
    found = outcomes([file(tmp_path / "a.half")])
    assert found["a.half"][0] == ["half \ufffd a pair, and \ufffd nothing"]


def test_known_content_is_not_read_again(tmp_path: Path) -> None:
    first = file(tmp_path / "a.good")
    (*_, read) = read_files([(first, None)], LIMITS)
    assert isinstance(read.item, Finished)
    (again,) = read_files([(first, read.item.sha256)], LIMITS)
    assert again.item == Finished(read.item.sha256, unchanged=True)


def test_a_file_that_has_become_a_folder_is_named(tmp_path: Path) -> None:
    place = SourceFile(str(tmp_path), "a.txt", 20, 1)
    (result,) = read_files([(place, None)], LIMITS)
    assert result.item == Problem("a.txt", "cannot be read: Is a directory", lasting=False)


def test_files_are_taken_a_few_ahead_and_no_more(tmp_path: Path) -> None:
    taken = 0

    def jobs():  # type: ignore[no-untyped-def]
        nonlocal taken
        for n in range(200):
            taken += 1
            yield file(tmp_path / f"{n}.good", f"Text {n}."), None

    results = read_files(jobs(), LIMITS)
    next(results)
    assert taken <= 8
    results.close()


def running_readers() -> int:
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        count += b"rag.sources.worker" in line and parent == os.getpid()
    return count


def test_an_interruption_leaves_no_process_behind(tmp_path: Path) -> None:
    files = [file(tmp_path / f"{n}.hang") for n in range(4)]
    # Whoever waited for these readers would wait for an hour.
    results = read_files([(each, None) for each in files], SourcesConfig(seconds=3600, workers=2))

    def interrupt() -> None:
        wait_for(lambda: len(hanging(tmp_path / "installed")) == 2, "readers that hang")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        list(results)
    assert running_readers() == 0


def test_ctrl_c_is_for_the_owner_of_a_reader(tmp_path: Path) -> None:
    good = file(tmp_path / "a.good")
    script = (
        "import signal\n"
        "from rag.config import SourcesConfig\n"
        "from rag.sources import SourceFile, read_files\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        f"file = SourceFile({good.path!r}, 'a.good', 20, 1)\n"
        "(*_, last) = read_files([(file, None)], SourcesConfig(workers=1))\n"
        "print(type(last.item).__name__)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: _all_children(owner.pid), "the reader")
    # As a terminal does, while the reader imports what it needs.
    for _ in range(10):
        os.killpg(owner.pid, signal.SIGINT)
        time.sleep(0.01)
    assert owner.communicate(timeout=300) == (b"Finished\n", b"")


def test_a_reader_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    hanging = file(tmp_path / "a.hang")
    script = (
        "import sys; from rag.config import SourcesConfig\n"
        "from rag.sources import SourceFile, read_files\n"
        f"file = SourceFile({hanging.path!r}, 'a.hang', 1, 1)\n"
        "list(read_files([(file, None)], SourcesConfig(seconds=0.5, workers=1)))"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    wait_for(lambda: _all_children(owner.pid), "the reader")
    found = _all_children(owner.pid)
    owner.kill()
    owner.wait()
    # The alarm that each job sets is the limit and ten seconds.
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in found), "the reader's end")


def _all_children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found
