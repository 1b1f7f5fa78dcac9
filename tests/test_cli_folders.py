"""The commands that take in folders, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commanding import assert_one_line, run

pytestmark = pytest.mark.model


@pytest.fixture
def here(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "pump.md").write_text(
        "# Pump\n\nA pump moves water.\n\n## Seal\n\nThe seal is worn after a year.\n"
    )
    (docs / "valve.txt").write_text("A valve stops water.\n")
    return tmp_path


def events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_events_tell_each_file_and_end_with_the_report(here: Path) -> None:
    (here / "docs" / "bad.pdf").write_bytes(b"%PDF-1.7 junk")
    (here / "docs" / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    result = run("index", "docs", "--json", cwd=here)
    assert result.returncode == 1
    told = events(result.stdout)
    assert {event["event"] for event in told} == {"file", "progress", "report"}
    files = {e["source"]: (e["outcome"], e["passages"]) for e in told if e["event"] == "file"}
    assert files == {
        "docs/pump.md": ("added", 2),
        "docs/valve.txt": ("added", 1),
        "docs/bad.pdf": ("failed", 0),
        "docs/dot.png": ("skipped", 0),
    }
    report = told[-1]
    assert report["event"] == "report"
    assert (report["documents"], report["chunks"], report["embedded"]) == (2, 3, 3)
    assert [problem["source"] for problem in report["failed"]] == ["docs/bad.pdf"]
    assert report["timings"].keys() >= {"read", "chunk", "embed", "write", "total"}


def test_the_summary_names_what_was_passed_over_and_where_the_time_went(here: Path) -> None:
    for n in range(5):
        (here / "docs" / f"{n}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    result = run("index", "docs", cwd=here)
    assert result.returncode == 0
    assert "2 added, 0 updated, 0 removed, 0 unchanged, 5 skipped, 0 failed" in result.stdout
    assert "the index holds 2 documents in 3 passages" in result.stdout
    assert "slowest: docs/" in result.stdout
    skipped = [line for line in result.stderr.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == 1
    assert skipped[0].startswith("skipped: docs/0.png, docs/1.png, docs/2.png and 2 more: ")
    assert "Traceback" not in result.stderr


def test_status_show_add_and_remove(here: Path) -> None:
    assert run("index", "docs", cwd=here).returncode == 0
    (here / "docs" / "valve.txt").unlink()
    (here / "docs" / "rotor.txt").write_text("A rotor turns.\n")
    status = run("status", cwd=here)
    assert status.returncode == 0
    assert "new:      docs/rotor.txt" in status.stdout
    assert "gone:     docs/valve.txt" in status.stdout
    assert "1 new, 0 changed, 1 gone, 1 unchanged, 0 skipped, 0 failed" in status.stdout

    added = run("add", "docs", cwd=here)
    assert "1 added, 0 updated, 0 removed" in added.stdout
    assert "3 documents" in added.stdout
    assert "1 file removed" in run("remove", "docs/valve.txt", cwd=here).stdout
    assert_one_line(run("remove", "docs/valve.txt", cwd=here), "the index holds nothing of it")

    text = (here / "docs" / "pump.md").read_text()
    whole = run("show", "pump.md", cwd=here)
    assert text.strip() in whole.stdout
    assert "title: Pump" in whole.stdout
    start = text.index("The seal")
    part = run("show", f"docs/pump.md:{start}-{start + 8}", cwd=here)
    assert "▶The seal◀ is worn after a year." in part.stdout
    assert "Pump › Seal" in part.stdout
    assert "moves water" not in part.stdout
    shown = json.loads(run("show", f"pump.md:{start}-{start + 8}", "--json", cwd=here).stdout)
    assert shown["passage"] == "The seal"
    assert shown["text"] == text
    assert_one_line(run("show", "pump.md:5-9999", cwd=here), "no 5-9999")
    assert_one_line(run("show", "none.md", cwd=here), "holds no document 'none.md'")


def test_patterns_choose_and_are_kept(here: Path) -> None:
    (here / "docs" / ".hidden.txt").write_text("Hidden text.\n")
    result = run("index", "docs", "--exclude", "*.md", "--hidden", cwd=here)
    assert "2 added" in result.stdout
    assert "2 unchanged" in run("index", cwd=here).stdout
    result = run("index", "docs", "--include", "*.md", cwd=here)
    assert "1 added, 0 updated, 2 removed" in result.stdout


def test_an_index_of_nothing_says_what_to_do(here: Path) -> None:
    assert_one_line(run("index", cwd=here), "follows no folder yet", "rag index PATH")
    assert_one_line(run("status", cwd=here), "holds no index")
    assert_one_line(run("remove", "docs", cwd=here), "holds no index")
    assert_one_line(run("show", "x", cwd=here), "holds no index")
    assert not (here / "indexes").exists() or not list((here / "indexes").rglob("*.faiss"))


@pytest.fixture
def watching(here: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "rag", "index", "docs", "--watch", "--json"],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    yield process
    process.kill()
    process.wait()


def next_change(process: subprocess.Popen[str], key: str) -> Any:
    """What the next report has under `key`; a change may come in two reports, one of nothing."""
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "report" and event[key]:
            return event[key]
    raise AssertionError("the command ended")


def test_watching_takes_in_what_changes(here: Path, watching: subprocess.Popen[str]) -> None:
    assert next_change(watching, "documents") == 2
    docs = here / "docs"
    (docs / "rotor.txt").write_text("A rotor turns.\n")
    assert next_change(watching, "added") == ["docs/rotor.txt"]
    (docs / "rotor.txt").write_text("A rotor turns fast.\n")
    assert next_change(watching, "updated") == ["docs/rotor.txt"]
    (docs / ".ragignore").write_text("valve.txt\n")
    assert next_change(watching, "removed") == ["docs/valve.txt"]
    (docs / "pump.md").unlink()
    assert next_change(watching, "removed") == ["docs/pump.md"]
    watching.send_signal(signal.SIGINT)
    assert watching.wait(120) == 130
    assert watching.stderr is not None
    assert "Traceback" not in watching.stderr.read()
    assert "1 unchanged" in run("index", cwd=here).stdout


def test_info_of_an_index_without_documents_names_no_embedder(tmp_path: Path) -> None:
    from rag import RAG

    (tmp_path / "docs").mkdir()
    RAG(tmp_path / "indexes" / "default").index(tmp_path / "docs", allow_empty=True)
    told = run("info", cwd=tmp_path)
    assert told.returncode == 0
    assert "passages   0" in told.stdout
    assert "None" not in told.stdout
