"""What `deploy/` sets is what the program knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rag.config import RESERVED_VARIABLES, known_settings

FOLDER = Path(__file__).parent.parent / "deploy"
FILES = [path for path in sorted(FOLDER.rglob("*")) if path.is_file()]
KNOWN = {f"RAG_{key.upper().replace('.', '_')}" for key in known_settings()} | RESERVED_VARIABLES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_variable_is_a_setting(file: Path) -> None:
    named = set(re.findall(r"\bRAG_[A-Z_]+\b", file.read_text(encoding="utf-8")))
    assert named
    assert named <= KNOWN


def test_images_run_as_somebody_without_rights_and_are_watched() -> None:
    for file in FOLDER.glob("Dockerfile*"):
        text = file.read_text(encoding="utf-8")
        assert re.search(r"^USER \d+$", text, re.M)
        assert "HEALTHCHECK" in text
