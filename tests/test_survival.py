"""An ingestion that is killed at any moment and run again ends where an undisturbed one does."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag import RAG
from rag.index import Index
from rag.index.disk import database
from rag.protocols import Embedder
from rag.query import parse_question

KILLS = 8


class Zygote:
    """Starts children that index, and ends them."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "survival.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def index(
        self, index: Path, folder: Path, *, at: int | None = None, by: int = signal.SIGKILL
    ) -> int:
        """The wait status of one child; it gets a signal at its step `at`."""
        assert self.process.stdin is not None
        job = {"index": str(index), "folder": str(folder), "at": at, "by": by}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self._line())

    def count_steps(self, index: Path, folder: Path) -> int:
        """Index undisturbed; returns how many steps that took."""
        assert self.index(index, folder) == 0
        return int(index.with_name("steps").read_text())


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    started = Zygote()
    yield started
    started.process.kill()
    started.process.wait()


def write_tree(folder: Path) -> None:
    folder.mkdir()
    for n in range(12):
        parts = [
            f"## Part {part}\n\nMatter {n * 7 % 40} and {part}.\n" for part in range(n % 4 + 1)
        ]
        (folder / f"{n}.md").write_text(f"# Page {n}\n\n" + "\n".join(parts))
    rows = [{"_id": f"row{n}", "text": f"Row number {n}."} for n in range(24)]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "same.md").write_text((folder / "3.md").read_text())


def change_tree(folder: Path) -> None:
    (folder / "1.md").write_text("# Page 1\n\nAll is new here.\n")
    (folder / "2.md").unlink()
    (folder / "3.md").rename(folder / "renamed.md")
    (folder / "more.txt").write_text("One more file.\n")
    rows = [{"_id": f"row{n}", "text": f"Row number {n * 2}."} for n in range(8, 30)]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def contents(index: Path) -> dict[str, Any]:
    """Everything that an index holds, but for ids that count up."""
    with database.open_to_read(index) as connection:
        files = connection.execute("SELECT path, size, sha256, complete FROM files").fetchall()
        documents = {
            row[0]: row[1:]
            for row in connection.execute(
                "SELECT documents.id, documents.source, title, text, content_hash, path "
                "FROM documents JOIN files ON files.id = file_id"
            )
        }
        chunks = {
            (row[0], row[1]): (row[2:-1], np.frombuffer(row[-1], dtype="<f2").astype(np.float32))
            for row in connection.execute(
                'SELECT document_id, ordinal, start, "end", heading, passage_hash, vector '
                "FROM chunks"
            )
        }
        problems = connection.execute("SELECT source, reason FROM problems").fetchall()
    return {"files": sorted(files), "documents": documents, "chunks": chunks, "problems": problems}


def assert_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for part in ("files", "documents", "problems"):
        assert ours[part] == theirs[part]
    assert ours["chunks"].keys() == theirs["chunks"].keys()
    for key, (fields, vector) in theirs["chunks"].items():
        assert ours["chunks"][key][0] == fields
        assert np.abs(ours["chunks"][key][1] - vector).max() <= 1e-6


def assert_whole(index: Path) -> None:
    """A reader finds nothing but whole documents, whatever was going on."""
    if not (index / "index.sqlite").exists():
        return
    store = Index(index)
    for document in store.documents():
        chunks = store.chunks(document.id)
        assert chunks
        assert all(document.text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
        assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    with store.snapshot() as snapshot:
        # Each passage holds one of these: what is in is found by its words at once.
        found = snapshot.matching(parse_question("matter row new file"), 10_000)
        assert len(snapshot.passages([each for each, _ in found])) == len(found)
    assert len(found) == store.counts()["chunks"]


@pytest.mark.slow
@pytest.mark.model
def test_kills_lose_nothing_that_the_next_run_does_not_bring(
    zygote: Zygote, tmp_path: Path, embedder: Embedder
) -> None:
    chance = random.Random(7)  # noqa: S311
    folder = tmp_path / "docs"
    write_tree(folder)
    steps = zygote.count_steps(tmp_path / "undisturbed", folder)

    for _ in range(KILLS // 2):
        # Each run goes on from where the last one was killed, and has less to do.
        at = chance.randint(1, steps // KILLS)
        assert os.WIFSIGNALED(zygote.index(tmp_path / "killed", folder, at=at))
        assert_whole(tmp_path / "killed")
        if chance.random() < 0.2:
            shutil.rmtree(tmp_path / "killed", ignore_errors=True)
    assert zygote.index(tmp_path / "killed", folder) == 0
    assert_equal(contents(tmp_path / "killed"), contents(tmp_path / "undisturbed"))

    change_tree(folder)
    shutil.copytree(tmp_path / "killed", tmp_path / "before")
    steps = zygote.count_steps(tmp_path / "undisturbed", folder)
    for n in range(KILLS // 2):
        at = chance.randint(1, steps // KILLS)
        assert os.WIFSIGNALED(zygote.index(tmp_path / "killed", folder, at=at))
        assert_whole(tmp_path / "killed")
        if n % 5 == 4:
            # From the state before the changes once more.
            assert zygote.index(tmp_path / "killed", folder) == 0
            assert_equal(contents(tmp_path / "killed"), contents(tmp_path / "undisturbed"))
            shutil.rmtree(tmp_path / "killed")
            shutil.copytree(tmp_path / "before", tmp_path / "killed")
    assert zygote.index(tmp_path / "killed", folder) == 0
    assert_equal(contents(tmp_path / "killed"), contents(tmp_path / "undisturbed"))

    rag = RAG(tmp_path / "killed", embedder=embedder)
    assert rag.search("All is new here.", 1)[0].source.endswith("1.md")


@pytest.mark.slow
@pytest.mark.model
def test_an_interruption_keeps_what_was_done(zygote: Zygote, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    write_tree(folder)
    steps = zygote.count_steps(tmp_path / "undisturbed", folder)
    status = zygote.index(tmp_path / "stopped", folder, at=steps // 2, by=signal.SIGINT)
    assert os.WEXITSTATUS(status) == 130
    assert_whole(tmp_path / "stopped")
    assert zygote.index(tmp_path / "stopped", folder) == 0
    assert_equal(contents(tmp_path / "stopped"), contents(tmp_path / "undisturbed"))
