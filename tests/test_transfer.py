"""An index in one file, and out of it again: the same bytes, the same answers, or one line."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import working
from received import Directions
from synthetic import DIM, found, unit, write

from rag import RAG, SourceError, StoreError
from rag.config import ChunkingConfig, Config
from rag.index import FileRecord, Index, StoredRoot
from rag.index.upkeep import export_index, import_index
from rag.ingestion import ingest, remove, status, watch
from rag.protocols import Embedder
from rag.types import Problem, Progress

VECTORS = {name: unit(np.random.default_rng(at), 3 + at) for at, name in enumerate("abc")}


def grown(folder: Path) -> Index:
    """An index with files, a problem, a root, and settings."""
    index = Index(folder)
    write(index, VECTORS)
    settle(index)
    return index


def settle(index: Index) -> None:
    with index.write() as writer:
        failed = FileRecord("/x.pdf", "x.pdf", 7, 9)
        writer.fail_file(failed, [Problem("x.pdf", "is damaged", lasting=False)])
        writer.put_root(StoredRoot("/docs", "docs", ("*.md",), (), False))
        writer.set_reading_settings("settings")
        writer.commit()
        writer.refresh_cache()


def exported(index: Index, path: Path) -> bytes:
    export_index(index, path, force=True)
    return path.read_bytes()


def state(index: Index) -> tuple[object, ...]:
    """All that an index holds, but for ids."""
    with index.contents() as contents:
        return (
            contents.manifest,
            contents.reading_settings,
            [(each.record, each.complete, each.problems) for each in contents.files()],
            contents.roots(),
            list(contents.documents()),
            list(contents.chunks()),
            list(contents.vectors()),
        )


def test_what_was_exported_comes_back_and_gives_the_same_bytes(tmp_path: Path) -> None:
    index = grown(tmp_path / "index")
    signs: list[Progress] = []
    first = exported(index, tmp_path / "one")
    done = export_index(index, tmp_path / "two", progress=signs.append)
    assert (tmp_path / "two").read_bytes() == first
    assert (done.files, done.documents, done.chunks, done.bytes) == (4, 3, 12, len(first))
    assert signs[-1].done == signs[-1].total == 4 + 1 + 3 + 2 * 12

    other = Index(tmp_path / "other")
    signs.clear()
    taken = import_index(other, tmp_path / "one", progress=signs.append)
    assert (taken.documents, taken.chunks, taken.path) == (3, 12, str(other.directory))
    assert [sign.stage for sign in signs] == ["check", "import"]
    assert all(sign.done == sign.total for sign in signs)
    assert state(other) == state(index)
    assert exported(other, tmp_path / "three") == first
    for query in unit(np.random.default_rng(5), 4):
        assert found(other, query, 12) == found(index, query, 12)
    # The caches are there, and name what the database holds.
    assert list(other.directory.glob("*.faiss"))
    assert list(other.directory.glob("terms-*"))


def test_the_bytes_do_not_tell_how_an_index_came_about(tmp_path: Path) -> None:
    index = grown(tmp_path / "index")
    other = Index(tmp_path / "other")
    write(other, {"z": unit(np.random.default_rng(8), 300), "c": VECTORS["b"]})
    write(other, {"c": VECTORS["c"]}, ("z",))
    settle(other)
    write(other, {"b": VECTORS["a"]})
    write(other, {"b": VECTORS["b"], "a": VECTORS["a"]})
    assert exported(index, tmp_path / "one") == exported(other, tmp_path / "two")
    other.compact()
    assert exported(index, tmp_path / "one") == exported(other, tmp_path / "two")
    write(other, {"b": VECTORS["a"]})
    assert exported(index, tmp_path / "one") != exported(other, tmp_path / "two")


def test_any_program_reads_the_file(tmp_path: Path) -> None:
    export_index(grown(tmp_path / "index"), tmp_path / "one.zip")
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.testzip() is None
        about = json.loads(archive.read("manifest.json"))
        vectors = np.load(io.BytesIO(archive.read("vectors.npy")), allow_pickle=False)
        chunks = [json.loads(line) for line in archive.read("chunks.jsonl").splitlines()]
        documents = [json.loads(line) for line in archive.read("documents.jsonl").splitlines()]
    named = {"name": "embedder", "fingerprint": "weights", "revision": "", "dim": DIM}
    assert about["embedder"] == named
    assert vectors.dtype == np.float16
    assert np.array_equal(vectors, np.concatenate([*VECTORS.values()]).astype(np.float16))
    texts = {each["id"]: each["text"] for each in documents}
    assert texts["b"][chunks[4]["start"] : chunks[4]["end"]] == "b passage 1"
    unzip = shutil.which("unzip")
    if unzip:
        subprocess.run([unzip, "-tq", tmp_path / "one.zip"], check=True, capture_output=True)


def test_an_index_without_documents_comes_back(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    write(index, VECTORS)
    write(index, {}, tuple(VECTORS))
    first = exported(index, tmp_path / "one")
    other = Index(tmp_path / "other")
    import_index(other, tmp_path / "one")
    assert other.counts() == {"files": 0, "documents": 0, "chunks": 0}
    assert exported(other, tmp_path / "two") == first


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    index, path = grown(tmp_path / "index"), tmp_path / "one"
    path.write_text("mine")
    with pytest.raises(StoreError, match=r"exists already.*--force"):
        export_index(index, path)
    assert path.read_text() == "mine"
    export_index(index, path, force=True)
    with pytest.raises(StoreError, match="holds an index already"):
        import_index(index, path)
    with pytest.raises(StoreError, match="is a folder"):
        export_index(index, tmp_path, force=True)
    with pytest.raises(StoreError, match="cannot be written: No such"):
        export_index(index, tmp_path / "no" / "folder")
    with pytest.raises(StoreError, match="holds no index"):
        export_index(Index(tmp_path / "none"), tmp_path / "two")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["index", "one"]


def test_what_cannot_be_written_whole_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(when: str, name: str, _: Path) -> None:
        if (when, name) == ("before", "sync"):
            raise OSError(28, "No space left on device")

    index = grown(tmp_path / "index")
    before = exported(index, tmp_path / "one")
    monkeypatch.setattr("rag.index.disk.steps.fault", full)
    with pytest.raises(StoreError, match="No space left"):
        export_index(index, tmp_path / "one", force=True)
    assert (tmp_path / "one").read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["index", "one"]


def refused(path: Path, folder: Path) -> str:
    """What is said about a file that cannot be imported; nothing is left of it."""
    index = Index(folder)
    with pytest.raises(StoreError) as caught:
        import_index(index, path)
    assert not folder.exists()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def changed(
    source: Path, target: Path, change: Callable[[dict[str, bytes]], None], **written: object
) -> Path:
    """An export with other members, whose hashes and lengths are put right."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    about = json.loads(members["manifest.json"])
    about["members"] = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items()
        if name != "manifest.json"
    }
    members["manifest.json"] = json.dumps(about).encode()
    with zipfile.ZipFile(target, "w", **written) as archive:  # type: ignore[arg-type]
        for name, data in members.items():
            archive.writestr(name, data)
    return target


def edit(name: str, **values: object) -> Callable[[dict[str, bytes]], None]:
    """Other values in the first line of a member, or in the manifest."""

    def change(members: dict[str, bytes]) -> None:
        if name == "manifest.json":
            members[name] = json.dumps({**json.loads(members[name]), **values}).encode()
            return
        first, _, rest = members[name].partition(b"\n")
        row = json.dumps({**json.loads(first), **values}).encode()
        members[name] = row + b"\n" + rest

    return change


def replaced(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        assert old in members[name]
        members[name] = members[name].replace(old, new, 1)

    return change


def duplicated(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members[name] = members[name].split(b"\n")[0] + b"\n" + members[name]

    return change


def number(value: float) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        data = members["vectors.npy"]
        members["vectors.npy"] = data[:-2] + np.float16(value).tobytes()

    return change


COUNTS = {"files": 4, "roots": 1, "documents": 3, "chunks": 12}
WRONG: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "another format": (edit("manifest.json", format="else"), "not an export"),
    "a later version": (edit("manifest.json", version=2), "use a newer"),
    "no version": (edit("manifest.json", version="1"), "`version`: expected `int`, got `str`"),
    "a further field": (edit("manifest.json", more=1), "unknown field `more`"),
    "too many chunks": (
        edit("manifest.json", counts={**COUNTS, "chunks": 10**12}),
        "vectors.npy does not hold",
    ),
    "a huge count": (edit("manifest.json", counts={**COUNTS, "chunks": 10**30}), "`counts.chunks`"),
    "a negative count": (edit("manifest.json", counts={**COUNTS, "files": -1}), "`counts.files`"),
    "too few files": (edit("manifest.json", counts={**COUNTS, "files": 3}), "has not the 3 lines"),
    "too many files": (edit("manifest.json", counts={**COUNTS, "files": 5}), "has not the 5 lines"),
    "another dimension": (
        edit("manifest.json", embedder={"name": "e", "fingerprint": "", "revision": "", "dim": 9}),
        "vectors.npy does not hold",
    ),
    "no dimension": (
        edit("manifest.json", embedder={"name": "e", "fingerprint": "", "revision": "", "dim": 0}),
        "`embedder.dim`: expected `int` >= 1",
    ),
    "a wide shape": (
        replaced("vectors.npy", b"(12, 8)", b"(8, 12)"),
        "is not float16 of the shape",
    ),
    "not a number": (number(float("nan")), "not a number"),
    "infinite": (number(float("-inf")), "not a number"),
    "a vector of another length": (number(4.0), "holds a vector of another length than 1"),
    "a huge chunk": (
        edit("manifest.json", chunking={"size": 1 << 40, "overlap": 0}),
        "`chunking.size`",
    ),
    "a huge overlap": (
        edit("manifest.json", chunking={"size": 100, "overlap": 1 << 40}),
        "`chunking.overlap`",
    ),
    "a path with a NUL": (edit("files.jsonl", path="/a\0b"), "`path`: expected `str` matching"),
    "a root without a path": (edit("roots.jsonl", path=""), "`path`: expected `str` matching"),
    "no JSON": (replaced("files.jsonl", b"{", b"["), "files.jsonl, line 1: is no JSON"),
    "deep JSON": (replaced("roots.jsonl", b"{", b"[" * 100_000), "is no JSON"),
    "no text": (edit("documents.jsonl", text=7), "line 1: `text`: expected `str`, got `int`"),
    "half a character": (edit("documents.jsonl", title="\ud800"), "`title` holds what is no text"),
    "a true number": (edit("files.jsonl", size=True), "`size`: expected `int`, got `bool`"),
    "a large number": (edit("files.jsonl", size=1 << 63), "`size`: expected `int` <= "),
    "no finite time": (edit("documents.jsonl", modified=float("inf")), "`modified` is not"),
    "an unknown file": (edit("documents.jsonl", file="/etc/passwd"), "is of no known file"),
    "a page outside": (edit("documents.jsonl", pages=[[0, 10_000, 1]]), "outside of the text"),
    "a heading of three": (
        edit("documents.jsonl", headings=[[0, 1, 1]]),
        "`headings[0]`: expected `array` of length 4",
    ),
    "a span outside": (edit("chunks.jsonl", end=10_000), "has no text from"),
    "an empty span": (edit("chunks.jsonl", end=0), "has no text from"),
    "a negative span": (edit("chunks.jsonl", start=-5), "has no text from"),
    "out of order": (edit("chunks.jsonl", ordinal=1), "are not in order"),
    "no hash": (edit("chunks.jsonl", passage="abc"), "hexadecimal"),
    "of no document": (edit("chunks.jsonl", document="0"), "is no document"),
    "a problem of no kind": (
        replaced("files.jsonl", b'"failed"', b'"passed"'),
        "`problems[0].kind`: invalid enum value 'passed'",
    ),
    "a document twice": (duplicated("documents.jsonl"), "holds one twice"),
    "a file twice": (duplicated("files.jsonl"), "holds one twice"),
    "a chunk too many": (duplicated("chunks.jsonl"), "are not in order"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named_and_nothing_imported(tmp_path: Path, wrong: str) -> None:
    export_index(grown(tmp_path / "index"), tmp_path / "one")
    change, said = WRONG[wrong]
    changed(tmp_path / "one", tmp_path / "wrong", change)
    assert said in refused(tmp_path / "wrong", tmp_path / "other")


def test_an_import_does_not_choose_what_is_read_next(tmp_path: Path) -> None:
    """A folder that the exporter chose may be one of the importer, with what is private."""
    private = tmp_path / "private"
    private.mkdir()
    (private / ".hidden.md").write_text("The password is swordfish.\n")
    index = Index(tmp_path / "index")
    write(index, VECTORS)
    with index.write() as writer:
        writer.put_root(StoredRoot(str(private), "docs", (), (), True))
        writer.commit()
    first = exported(index, tmp_path / "one")
    other = Index(tmp_path / "other")
    assert import_index(other, tmp_path / "one").waiting == ("docs",)
    assert (other.roots(), [each.source for each in other.waiting_roots()]) == ([], ["docs"])
    settings = Config(chunking=ChunkingConfig(size=100, overlap=10))
    for use in (
        lambda: ingest(other, Directions(), settings),
        lambda: status(other, settings),
        lambda: next(watch(other, Directions(), settings)),
    ):
        with pytest.raises(SourceError, match="where it was made, it followed docs"):
            use()
    assert "swordfish" not in str(list(other.documents()))
    # What waits is exported again, and goes where the folder is taken out.
    assert exported(other, tmp_path / "two") == first
    ingest(other, Directions(), settings, [private], allow_empty=True)
    assert [each.hidden for each in other.roots()] == [False]
    assert other.waiting_roots() == []
    third = Index(tmp_path / "third")
    import_index(third, tmp_path / "one")
    remove(third, [private])
    assert third.waiting_roots() == []


def test_a_member_that_was_changed_is_told_by_its_hash(tmp_path: Path) -> None:
    export_index(grown(tmp_path / "index"), tmp_path / "one")
    with zipfile.ZipFile(tmp_path / "one") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, whole in members.items():
        if name == "manifest.json":
            continue
        other = {**members, name: whole.replace(b"a", b"b", 1)}
        with zipfile.ZipFile(tmp_path / "wrong", "w") as archive:
            for each, data in other.items():
                archive.writestr(each, data)
        refused(tmp_path / "wrong", tmp_path / "other")


def test_an_archive_of_other_things_is_not_believed(tmp_path: Path) -> None:
    export_index(grown(tmp_path / "index"), tmp_path / "one")
    wrong, other = tmp_path / "wrong", tmp_path / "other"
    # As many zeros as one likes would fit into a small file that is compressed.
    changed(tmp_path / "one", wrong, lambda _: None, compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(wrong, other)
    with zipfile.ZipFile(wrong, "w") as archive:
        archive.writestr("../../evil", "x")
    assert "not an export" in refused(wrong, other)
    assert not list(tmp_path.parent.rglob("evil"))
    for data in (b"", b"hello", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + b"\xff" * 500):
        wrong.write_bytes(data)
        refused(wrong, other)
    wrong.unlink()
    assert "No such file" in refused(wrong, other)
    wrong.mkdir()
    assert "Is a directory" in refused(wrong, other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    return exported(grown(folder / "index"), folder / "one")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1 << 16), bit=st.integers(0, 7), cut=st.booleans())
@pytest.mark.slow
def test_damage_anywhere_is_noticed_or_means_nothing(
    tmp_path: Path, whole: bytes, at: int, bit: int, cut: bool
) -> None:
    data = bytearray(whole)
    at %= len(data)
    data[at] ^= 1 << bit
    path, folder = tmp_path / "damaged", tmp_path / "other"
    path.write_bytes(whole[:at] if cut else data)
    try:
        import_index(Index(folder), path)
    except StoreError as error:
        assert "\n" not in str(error)
        assert not folder.exists()
    else:
        # Such as the time of a member.
        assert not cut
        assert exported(Index(folder), tmp_path / "again") == whole
        shutil.rmtree(folder)


def test_a_killed_import_leaves_no_index_and_can_be_run_again(tmp_path: Path) -> None:
    export_index(grown(tmp_path / "index"), tmp_path / "one")
    other = tmp_path / "other"
    for when in ("before", "after"):
        task = ("import-file", tmp_path / "one", other)
        with working("die-at", when, "commit", *task) as process:
            assert process.end() == -signal.SIGKILL
        # The first commit makes the tables.
        assert not Index(other).exists()
    import_index(Index(other), tmp_path / "one")
    assert state(Index(other)) == state(Index(tmp_path / "index"))


def test_an_imported_index_embeds_nothing_that_it_knows(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    for at in range(4):
        (here / f"{at}.md").write_text(f"# Part {at}\n\nPassage {at} tells of the number {at}.\n")
    rag = RAG(tmp_path / "index", embedder=embedder)
    assert rag.index(here).embedded == 4
    rag.export_to(tmp_path / "one")
    hits = [(hit.text, hit.score, hit.location) for hit in rag.search("number 2", 4)]

    same = RAG(tmp_path / "same", embedder=embedder)
    same.import_from(tmp_path / "one")
    assert [(hit.text, hit.score, hit.location) for hit in same.search("number 2", 4)] == hits
    report = same.index(here)
    assert (report.unchanged, report.embedded, report.added) == (4, 0, ())

    # On another machine the files lie elsewhere, and some have changed.
    here.rename(there)
    (there / "3.md").write_text("# Part 3\n\nPassage 3 is new.\n")
    moved = RAG(tmp_path / "moved", embedder=embedder)
    moved.import_from(tmp_path / "one")
    assert moved.index(there).embedded == 1
    moved.remove(here)
    assert moved.info().documents == 4
    assert moved.search("number 2", 1)[0].source.startswith(str(there))


def rag(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rag", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )


@pytest.mark.slow
def test_the_commands_say_what_they_did(tmp_path: Path) -> None:
    grown(tmp_path / "index")
    path, other = tmp_path / "one.zip", tmp_path / "other"
    done = rag("export", path, "--index", tmp_path / "index")
    assert done.returncode == 0
    assert done.stdout.startswith(f"exported 3 documents in 12 passages to {path}: ")
    done = rag("export", path, "--index", tmp_path / "index")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    done = rag("import", path, "--index", other, "--json")
    assert json.loads(done.stdout)["chunks"] == 12
    done = rag("import", path, "--index", other)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "holds an index already" in done.stderr
