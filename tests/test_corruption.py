"""Whatever happens to a file of an index: the same results, or an error that says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from damage import NAMES, build, contents, restore

from rag.index import Index
from rag.index.disk import database

STATES = ("settled", "log")


@pytest.mark.slow
def test_no_damage_gives_wrong_results_or_is_beyond_repair(tmp_path: Path) -> None:
    """`damage.py` goes through all of them if it is told to take every one."""
    script = Path(__file__).parent / "damage.py"
    processes = {}
    for state in STATES:
        (tmp_path / state).mkdir()
        arguments = [state, str(tmp_path / state), "3", "3", "7"]
        processes[state] = subprocess.Popen(
            [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True
        )
    for state, process in processes.items():
        printed, _ = process.communicate()
        lines = [json.loads(line) for line in printed.splitlines()]
        assert not [line for line in lines if "wrong" in line]
        assert process.returncode == 0, f"{state}: ended in {lines[-1:]}"
        assert lines[-1]["done"] > 70


@pytest.mark.parametrize(
    "damage", ["emptied", "cut", "garbage", "gone", "page", "log", "counter", "first byte"]
)
def test_the_command_line_says_it_in_one_line(tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "index"
    build(Index(directory))
    path = directory / database.NAME
    data = path.read_bytes()
    if damage == "emptied":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
        path.write_bytes(b"garbage " * 1000)
    elif damage == "gone":
        path.unlink()
    elif damage == "page":
        path.write_bytes(data[:4096] + b"\x55" * 4096 + data[8192:])
    elif damage == "log":
        # A log that does not belong to it is as if there was none; the commits in it are lost.
        _put_back_an_older_database(directory, data)
    elif damage == "counter":
        (directory / "commits").write_bytes(b"\xff" * 128)
    else:
        path.write_bytes(b"\x00" + data[1:])
    command = [sys.executable, "-m", "rag"]
    for arguments in (["info"], ["status"]):
        done = subprocess.run(
            [*command, *arguments, "--index", str(directory)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        if damage == "counter" and arguments == ["info"]:
            assert (done.returncode, done.stderr) == (0, "")
            continue
        assert done.returncode == 1
        assert done.stderr.startswith("rag: ")
        assert done.stderr.count("\n") == 1
    examined = subprocess.run(
        [*command, "doctor", "--json", "--index", str(directory)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (examined.returncode, examined.stderr) == (1, "")
    assert not json.loads(examined.stdout)["well"]


def _put_back_an_older_database(directory: Path, data: bytes) -> None:
    with Index(directory).write() as writer:
        for file_id, _ in list(writer.files_below(f"/{NAMES[0]}.txt")):
            writer.remove_file(file_id)
        writer.commit()
    newer = contents(directory)
    restore(directory, {**newer, database.NAME: data})
