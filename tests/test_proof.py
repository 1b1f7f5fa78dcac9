"""A saved answer is checked against the documents alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from commanding import run

pytestmark = pytest.mark.model

QUESTION = "When was the Vorn bridge opened?"
TEXT = "# The Vorn bridge\n\nThe Vorn bridge was opened in 1921. It is 340 metres long.\n"


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    Path("docs/bridge.md").write_text(TEXT)
    rag("index", "docs")
    assert rag("ask", QUESTION, "--save", "answer.json").returncode == 0
    # Neither index nor model is needed from here on.
    shutil.rmtree("indexes")
    return Path("answer.json")


def rag(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run(*arguments, cwd=Path.cwd())


def states(*options: str) -> tuple[list[str], int]:
    result = rag("verify", "answer.json", "--json", *options)
    return [each["state"] for each in json.loads(result.stdout)["quotes"]], result.returncode


def test_an_unchanged_document_says_so(saved: Path) -> None:
    assert states() == (["same"], 0)
    shown = rag("verify", "answer.json").stdout
    assert "unchanged" in shown and "1921" in shown


@pytest.mark.parametrize(
    ("text", "state", "code"),
    [
        (TEXT + "More.\n", "there", 0),
        ("An introduction.\n\n" + TEXT, "moved", 0),
        (TEXT.replace("1921", "1922"), "changed", 1),
        (None, "gone", 1),
    ],
)
def test_a_changed_document_is_told(saved: Path, text: str | None, state: str, code: int) -> None:
    file = Path("docs/bridge.md")
    file.unlink() if text is None else file.write_text(text)
    assert states() == ([state], code)


def test_the_documents_may_lie_elsewhere(saved: Path) -> None:
    Path("elsewhere").mkdir()
    Path("docs").rename("elsewhere/docs")
    assert states() == (["gone"], 1)
    assert states("--in", "elsewhere") == (["same"], 0)


def test_a_document_within_a_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("papers.zip", "w") as archive:
        archive.writestr("notes/bridge.md", TEXT)
    Path("more.jsonl").write_text(json.dumps({"_id": "a", "text": "The lamp weighs 7 kg."}) + "\n")
    rag("index", "papers.zip", "more.jsonl")
    for question in (QUESTION, "How much does the lamp weigh?"):
        rag("ask", question, "--save", "answer.json")
        assert states() == (["same"], 0)


@pytest.mark.parametrize(
    "change",
    [
        {"text": "It was opened in 1921. [1] It is red. [2]"},
        {"quotes": [{"number": 1}]},
        {"format": "other"},
        {"version": 2},
        {"quotes": 3},
    ],
)
def test_what_was_tampered_with_does_not_hold(saved: Path, change: dict[str, Any]) -> None:
    value = {**json.loads(saved.read_text()), **change}
    saved.write_text(json.dumps(value))
    assert rag("verify", "answer.json").returncode == 1


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"\xff\xfe\x00", b"[]"])
def test_no_saved_answer_is_a_line(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "answer.json"
    file.write_bytes(data)
    result = rag("verify", str(file))
    assert result.returncode == 1
    assert "is no saved answer" in result.stderr
