"""What `rag doctor` finds, mends, and leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from damage import DIM, NAMES, QUERY, contents, line, looks, put, restore
from processes import working
from received import change, index_of

from rag import LockedError, StoreError
from rag.index import Index
from rag.index.disk import database, steps
from rag.index.upkeep import examine, pages, repair
from rag.types import Examination


def problems(found: Examination) -> list[str]:
    return [each.check for each in found.findings if each.status == "problem"]


def notes(found: Examination) -> str:
    return " ".join(each.text + each.file for each in found.findings if each.status == "note")


def sources(index: Index) -> list[str]:
    return [document.source for document in index.documents()]


def rowid_page(index: Index, document_id: str) -> int:
    """The page of the database (from 0) on which a document's row begins."""
    data = (index.directory / database.NAME).read_bytes()
    at = data.index(f"{document_id}.txt{document_id}text/plain".encode())
    return at // 4096


def overwrite_page(index: Index, page: int) -> None:
    path = index.directory / database.NAME
    data = path.read_bytes()
    path.write_bytes(data[: page * 4096] + b"A" * 4096 + data[(page + 1) * 4096 :])


def test_a_well_index_is_well_and_a_repair_changes_nothing_but_what_is_left_over(
    tmp_path: Path,
) -> None:
    index = index_of(tmp_path)
    found = examine(index.directory)
    assert found.well
    assert {each.status for each in found.findings} <= {"ok", "note"}
    checks = {each.check for each in found.findings}
    assert {"database", "manifest", "commits", "references", "documents", "vectors"} <= checks
    assert {"cache of terms", "cache of vectors"} <= checks
    before = contents(index.directory)
    assert repair(index).well
    after = contents(index.directory)
    assert before.items() >= after.items()
    assert {name.split("/")[0] for name in before.keys() - after.keys()} == {"terms-1"}


def test_what_is_no_index_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no index"):
        examine(tmp_path)
    with pytest.raises(StoreError, match="holds no index"):
        repair(Index(tmp_path / "none"))
    assert not list(tmp_path.iterdir())


def test_a_repair_waits_for_a_writer_and_names_it(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    with index.write():
        assert f"process {os.getpid()}" in notes(examine(index.directory))
        with pytest.raises(LockedError, match=f"process {os.getpid()}"):
            repair(Index(index.directory), wait=0.1)


@pytest.mark.parametrize("cache", ["vectors", "terms"])
@pytest.mark.parametrize("damage", ["gone", "flipped", "other"])
def test_caches_are_written_anew(tmp_path: Path, cache: str, damage: str) -> None:
    index = index_of(tmp_path)
    good = {name: look() for name, look in looks(index.directory).items()}
    (path,) = (p for p in index.directory.glob(f"{cache}-*") if p.name != "terms-1")
    if damage == "other":
        # Whole, and not of these chunks.
        change(index, "UPDATE caches SET count = count - 1 WHERE kind = ?", cache)
    else:
        file = next(path.glob("*.idx")) if cache == "terms" else path
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 16
        file.write_bytes(data) if damage == "flipped" else file.unlink()
    assert problems(examine(index.directory)) == [f"cache of {cache}"]
    mended = repair(index)
    assert mended.well
    assert not mended.lost
    assert {name: look() for name, look in looks(index.directory).items()} == good


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ('UPDATE chunks SET "end" = 99999 WHERE document_id = ? AND ordinal = 3', "documents"),
        ("UPDATE chunks SET start = -1 WHERE document_id = ? AND ordinal = 0", "documents"),
        ("UPDATE chunks SET heading = '[' WHERE document_id = ? AND ordinal = 9", "documents"),
        ("DELETE FROM chunks WHERE document_id = ? AND ordinal = 7", "documents"),
        ("UPDATE documents SET metadata = '[]' WHERE id = ?", "documents"),
        ("UPDATE documents SET pages = '[[1]]' WHERE id = ?", "documents"),
        ("UPDATE documents SET text = x'ff' WHERE id = ?", "documents"),
        ("UPDATE documents SET file_id = 77 WHERE id = ?", "references"),
        (
            "UPDATE chunks SET vector = zeroblob(16) WHERE document_id = ? AND ordinal = 2",
            "vectors",
        ),
        ("UPDATE chunks SET vector = x'00' WHERE document_id = ? AND ordinal = 2", "vectors"),
        (
            "UPDATE chunks SET vector = x'007e007e007e007e007e007e007e007e' "
            "WHERE document_id = ? AND ordinal = 2",
            "vectors",
        ),
    ],
)
def test_documents_that_break_the_laws_are_taken_out_and_named(
    tmp_path: Path, statement: str, check: str
) -> None:
    index = index_of(tmp_path)
    change(index, statement, "gamma")
    assert check in problems(examine(index.directory))
    mended = repair(index)
    assert mended.well
    assert mended.lost == ("gamma.txt",)
    assert sources(index) == ["alpha.txt", "delta.txt", "epsilon.txt"]
    states = {state.record.source: state.complete for state in index.files()}
    assert states == {
        "alpha.txt": True,
        "delta.txt": True,
        "epsilon.txt": True,
        # Read again by the next run, or new to it where its row is of no file.
        "gamma.txt": check == "references",
    }


def test_a_document_whose_page_is_lost_is_the_only_one_lost(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    kept = {name: index.chunks(name) for name in NAMES}
    overwrite_page(index, rowid_page(index, "gamma"))
    damaged = (index.directory / database.NAME).read_bytes()
    assert problems(examine(index.directory)) == ["database"]
    assert (index.directory / database.NAME).read_bytes() == damaged
    mended = repair(index)
    assert mended.well
    assert mended.lost == ("gamma.txt",)
    assert sources(index) == ["alpha.txt", "delta.txt", "epsilon.txt"]
    assert index.chunks("delta") == kept["delta"]
    assert (Path(mended.kept) / database.NAME).read_bytes() == damaged
    assert repair(index).lost == ()
    with index.write() as writer:
        put(writer, "gamma", 40, 2)
        writer.commit()
    assert [c.text for c in index.chunks("gamma")] == [c.text for c in kept["gamma"]]


def test_a_flipped_bit_is_put_right_where_it_can_be_told(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    good = {name: look() for name, look in looks(index.directory).items()}
    path = index.directory / database.NAME
    data = bytearray(path.read_bytes())
    # In the first page, the root of all.
    data[2000] ^= 4
    path.write_bytes(data)
    mended = repair(index)
    assert mended.well
    assert mended.lost == ()
    assert "1 damaged pages were put right" in notes(mended)
    assert {name: look() for name, look in looks(index.directory).items()} == good


def test_a_page_is_put_right_or_left_and_never_made_another(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    data = (index.directory / database.NAME).read_bytes()
    assert not pages.find_damaged(data, 4096)
    generator = np.random.default_rng(0)
    right = 0
    for _ in range(60):
        at = int(generator.integers(len(data) // 4096)) * 4096
        page = bytearray(data[at : at + 4096])
        page[generator.integers(4096)] ^= 1 << generator.integers(8)
        found = pages.put_right(bytes(page))
        assert found in (None, data[at : at + 4096])
        right += found is not None
        page[generator.integers(4096)] ^= 1 << generator.integers(8)
        assert pages.put_right(bytes(page)) in (None, data[at : at + 4096])
    assert right > 20


@pytest.mark.parametrize("damage", ["emptied", "garbage", "gone"])
def test_where_nothing_can_be_salvaged_all_is_left_as_it_is(tmp_path: Path, damage: str) -> None:
    index = index_of(tmp_path)
    path = index.directory / database.NAME
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "emptied" else b"\x81" * 50_000)
    before = contents(index.directory)
    found = repair(index)
    assert not found.well
    assert "nothing can be salvaged" in str(found.findings)
    assert contents(index.directory) == before
    with pytest.raises(StoreError), index.write():
        pass
    assert contents(index.directory) == before


def test_lost_commits_are_told_and_accepted(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    older = (index.directory / database.NAME).read_bytes()
    with index.write() as writer:
        put(writer, "zeta", 3, 7)
        writer.commit()
    restore(index.directory, {**contents(index.directory), database.NAME: older})
    with pytest.raises(StoreError, match="1 of its 5 commits are lost"):
        index.counts()
    assert "commits" in problems(examine(index.directory))
    mended = repair(index)
    assert mended.well
    assert "1 are lost for good" in str(mended.findings)
    assert sources(index) == ["alpha.txt", "delta.txt", "epsilon.txt", "gamma.txt"]


def test_a_lost_counter_is_no_damage_and_is_set_again(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    counter = index.directory / "commits"
    kept = counter.read_bytes()
    counter.unlink()
    assert examine(index.directory).well
    assert repair(index).well
    assert counter.read_bytes() == kept
    counter.write_bytes(b"\x00" * 60)
    assert problems(examine(index.directory)) == ["commits"]
    assert repair(index).well
    assert counter.read_bytes() == kept


def test_leftovers_go_and_files_of_others_stay(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    (index.directory / "vectors-99.faiss").write_bytes(b"old")
    (index.directory / "vectors-98.faiss.tmp").write_bytes(b"half")
    (index.directory / "terms-77").symlink_to(tmp_path)
    (index.directory / "notes.md").write_text("mine")
    found = examine(index.directory)
    assert found.well
    assert "notes.md" in notes(found)
    assert repair(index).well
    names = {path.name for path in index.directory.iterdir()}
    assert "notes.md" in names
    assert not names & {"vectors-99.faiss", "vectors-98.faiss.tmp", "terms-77", "terms-1"}
    assert tmp_path.is_dir()


class Crash(BaseException):
    """The process ends."""


@pytest.mark.slow
def test_a_repair_that_crashes_at_any_step_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever others do meanwhile: they see the damage, or what is whole, and never a mixture."""
    index = index_of(tmp_path)
    overwrite_page(index, rowid_page(index, "gamma"))
    start = contents(index.directory)
    step = 0
    while True:
        restore(index.directory, start)
        left = step

        def crash(when: str, name: str, path: Path) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash

        monkeypatch.setattr(steps, "fault", crash)
        try:
            repair(Index(index.directory))
            break
        except Crash:
            pass
        finally:
            monkeypatch.setattr(steps, "fault", None)
        _look_in_between(index.directory)
        mended = repair(Index(index.directory))
        assert mended.well, (step, mended)
        assert sources(index) == ["alpha.txt", "delta.txt", "epsilon.txt"]
        assert (mended.lost == ("gamma.txt",)) or step > 20
        assert len(list(index.directory.glob("damaged-*/index.sqlite"))) == 1
        assert not list(index.directory.glob("*.tmp"))
        # Every step of the exchange, and some of those after it, which only write caches.
        step += 1 if step < 40 else 7
    assert step > 20


def _look_in_between(directory: Path) -> None:
    index = Index(directory)
    try:
        with index.snapshot() as snapshot:
            found = snapshot.nearest(QUERY, 200)
        assert len(found) in (85, 125)
        assert {line("alpha", 3), line("delta", 4)} <= {
            chunk.text for name in ("alpha", "delta") for chunk in index.chunks(name)
        }
    except StoreError:
        pass


@pytest.mark.slow
def test_another_process_that_reads_is_not_pulled_from_under(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    overwrite_page(index, rowid_page(index, "gamma"))
    with working("hold-snapshot", index.directory) as reader:
        assert reader.line() == str(DIM)
        found = repair(index)
    assert not found.well
    assert "is being read by another process" in str(found.findings)
    assert repair(index).well


@pytest.mark.slow
def test_the_command_line_names_what_it_found_and_did(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    overwrite_page(index, rowid_page(index, "gamma"))
    command = [sys.executable, "-m", "rag", "doctor", "--index", str(index.directory)]

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *options], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    examined = run()
    assert (examined.returncode, examined.stderr) == (1, "")
    assert examined.stdout.startswith("problem: database: ")
    assert examined.stdout.endswith("1 problem remains\n")
    mended = run("--repair")
    assert (mended.returncode, mended.stderr) == (0, "")
    assert "\nlost: gamma.txt\n" in mended.stdout
    assert "damaged-" in mended.stdout
    told = run("--json")
    assert told.returncode == 0
    assert json.loads(told.stdout)["well"]


def test_a_network_disk_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of(tmp_path)
    assert "network disk" not in notes(examine(index.directory))
    mount = psutil._ntuples.sdiskpart("server:/share", str(tmp_path), "nfs4", "rw")
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [mount])  # noqa: A006
    found = examine(index.directory)
    assert found.well
    assert f"network disk (nfs4 at {tmp_path})" in notes(found)
