"""Whatever is in a folder, each bad file is named, each good one indexed, and that is all."""

from __future__ import annotations

import re
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hostile import good_files, hostile_files
from planted import expire_when_hanging, plant

from rag import RAG
from rag.protocols import Embedder
from rag.types import Problem


class ReadersPeak:
    """The peak memory of any process that reads for this one, by Linux's /proc."""

    def __init__(self) -> None:
        self.megabytes = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> ReadersPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.05):
            for children in Path("/proc/self/task").glob("*/children"):
                with suppress(OSError):
                    for child in children.read_text().split():
                        self._look_at(Path("/proc", child))

    def _look_at(self, process: Path) -> None:
        if b"rag.sources.worker" in (process / "cmdline").read_bytes():
            status = (process / "status").read_text()
            peak = re.search(r"VmHWM:\s+(\d+) kB", status)
            self.megabytes = max(self.megabytes, int(peak[1]) / 1024 if peak else 0.0)


@pytest.mark.slow
def test_every_bad_file_is_named_and_every_good_one_indexed(
    tmp_path: Path,
    embedder: Embedder,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plant(tmp_path / "installed", monkeypatch)
    expire_when_hanging(tmp_path / "installed", monkeypatch)
    folder = tmp_path / "docs"
    folder.mkdir()
    good = good_files(folder)
    expected = hostile_files(folder)
    assert len(expected) >= 60
    before = {path for path in tmp_path.parent.rglob("*") if path.is_file()}
    rag = RAG(
        tmp_path / "index",
        embedder=embedder,
        settings={"sources.seconds": 60, "sources.memory_mb": 768},
    )
    with ReadersPeak() as peak:
        report = rag.index(folder)
    problems: list[Problem] = [*report.failed, *report.skipped]

    taken = {document.source for document in rag.documents()}
    assert {str(folder / name) for name in good} <= taken
    wrong = []
    for pattern, (kind, reason) in expected.items():
        wanted = re.compile(f"{re.escape(str(folder))}/(?:{pattern})", re.DOTALL)
        named = [problem for problem in problems if wanted.fullmatch(problem.source)]
        fits = [re.search(reason, p.reason) and re.fullmatch(kind, p.kind) for p in named]
        if not named or not all(fits):
            wrong.append((pattern, named))
    names = "|".join(f"(?:{pattern})" for pattern in expected)
    known = re.compile(f"{re.escape(str(folder))}/(?:{names})(/.*)?", re.DOTALL)
    wrong += [("not expected", p) for p in problems if not known.fullmatch(p.source)]
    assert not wrong, "\n".join(map(str, wrong))
    for problem in problems:
        assert "\n" not in problem.reason
        assert "Traceback" not in problem.reason
        assert len(problem.reason) < 400

    # The good within the bad.
    for name in ("bomb.zip/fine.txt", "bad.tar.gz/fine.txt", "bad.jsonl#1", "evil.eml"):
        assert str(folder / name) in taken
    texts = "\n".join(document.text for document in rag.documents())
    assert "root:" not in texts
    assert Path("/etc/hostname").read_text().strip() not in texts
    assert "code of a document was run')" in texts
    assert capfd.readouterr() == ("", "")
    # Nothing is written but the index, and what the planted reader takes away.
    after = {path for path in tmp_path.parent.rglob("*") if path.is_file()}
    assert {
        path for path in after - before if {"index", "__pycache__"}.isdisjoint(path.parts)
    } <= set()
    assert not list(Path("/").glob("slipped*"))
    assert not list(Path(tempfile.gettempdir()).glob("slipped*"))
    assert 20 < peak.megabytes < 768, f"a reader took {peak.megabytes:.0f} MB"

    # A second run says the same of what has not changed, and reads it no more.
    again = rag.index(folder)
    assert not again.added + again.updated
    lasting = {(p.source, p.reason) for p in problems if p.lasting}
    assert lasting <= {(p.source, p.reason) for p in (*again.failed, *again.skipped)}
