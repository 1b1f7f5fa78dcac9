"""The snippets of the page on frameworks run."""

from __future__ import annotations

import os
import re

import pytest
from conftest import ROOT

from rag import RAG
from rag.protocols import Embedder

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.splitlines()[-1][:30])
def test_snippets_run(
    snippet: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    embedder: Embedder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path_factory.mktemp("snippet")
    (folder / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(folder)
    RAG(embedder=embedder).index("data/corpus")
    exec(compile(snippet, "snippet", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.strip()
