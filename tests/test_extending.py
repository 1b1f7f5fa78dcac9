"""The package that docs/extending.md describes works as it is described there."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

from rag import RAG
from rag.protocols import Embedder

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files, installed as pip would install them."""
    folder = tmp_path / "installed"
    info = folder / "rag_subtitles-1.0.dist-info"
    info.mkdir(parents=True)
    reader, test = blocks("python")
    (folder / "rag_subtitles.py").write_text(reader)
    (folder / "test_rag_subtitles.py").write_text(test)
    (toml,) = blocks("toml")
    project = tomllib.loads(toml)["project"]
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [f"{name} = {at}" for name, at in project["entry-points"]["rag.readers"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[rag.readers]", *lines, ""]))
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_the_tests_of_the_page_pass(package: Path, tmp_path: Path) -> None:
    tests = importlib.import_module("test_rag_subtitles")
    tests.test_what_is_said_stands_under_its_minute(tmp_path)
    tests.test_a_file_without_cues_says_so(tmp_path)


def test_its_suffix_is_indexed_and_cited_by_heading(
    package: Path, tmp_path: Path, embedder: Embedder
) -> None:
    talks = tmp_path / "talks"
    talks.mkdir()
    tests = importlib.import_module("test_rag_subtitles")
    (talks / "talk.srt").write_text(tests.TALK)
    (talks / "bad.srt").write_text("no cue at all")
    rag = RAG(tmp_path / "index", embedder=embedder)
    report = rag.index(talks)
    assert [(Path(p.source).name, p.reason) for p in report.failed] == [
        ("bad.srt", "holds no cues: it is damaged, or not in SubRip format")
    ]
    best = rag.search("When does a writer wait?")[0]
    assert best.chunk.heading == ("Minute 1",)
    assert best.chunk.text.endswith("A writer never waits.")
