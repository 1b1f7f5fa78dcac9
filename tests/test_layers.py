"""Imports point one way, and importing costs little."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rag

PACKAGE = Path(rag.__file__).parent

# Each room with what it may import of this package, besides rooms of its own folder.
FOUNDATION = {"errors", "types"}
ALLOWED = {
    "__init__": {"answering", "config", "conversation", "engine", "errors", "types"},
    "__main__": {"cli"},
    "errors": set(),
    "types": set(),
    "config": {"errors"},
    "models": FOUNDATION,
    "machine": set(),
    "checkpoints": FOUNDATION | {"models"},
    "sentences": set(),
    "normalization": set(),
    "lexical": {"normalization"},
    "filters": FOUNDATION,
    "fusion": set(),
    "rerank": FOUNDATION | {"checkpoints", "config", "models", "normalization"},
    "expansion": FOUNDATION | {"sentences"},
    "diversity": {"types", "normalization"},
    "context": {"types", "sentences"},
    "sources": FOUNDATION | {"config"},
    "chunking": FOUNDATION | {"config", "sentences", "normalization"},
    "embedding": FOUNDATION | {"checkpoints", "config", "machine", "models"},
    "index": FOUNDATION | {"lexical", "filters"},
    "injection": {"sentences"},
    "extraction": {"types", "sentences", "injection"},
    "grounding": {"types", "sentences", "injection"},
    "entailment": FOUNDATION | {"checkpoints", "config", "models"},
    "structure": {"errors"},
    "prompt": FOUNDATION | {"injection", "normalization"},
    "generation": FOUNDATION | {"checkpoints", "config", "machine", "models", "extraction"},
    "citations": FOUNDATION | {"sentences", "grounding", "extraction", "quoting"},
    "quoting": FOUNDATION,
    "checking": FOUNDATION | {"sentences", "injection", "prompt", "quoting"},
    "answering": FOUNDATION
    | {"config", "sentences", "extraction", "grounding", "prompt", "citations", "structure"},
    "conversation": FOUNDATION | {"config", "expansion"},
    "retrieval": FOUNDATION
    | {"config", "index", "filters", "lexical", "normalization"}
    | {"fusion", "expansion", "diversity", "context"},
    "ingestion": FOUNDATION | {"config", "sources", "chunking", "index"},
    "upkeep": FOUNDATION | {"index", "lexical"},
    "engine": FOUNDATION
    | {"config", "index", "embedding", "ingestion", "retrieval", "generation", "rerank"}
    | {"answering", "checking", "conversation", "entailment", "models", "prompt", "upkeep"},
    "evaluation": FOUNDATION | {"config", "engine", "sentences", "index", "grounding"},
    "distillation": FOUNDATION
    | {"chunking", "config", "embedding", "engine", "evaluation", "index"},
    "daemon": FOUNDATION | {"config", "models", "answering", "engine"},
    "cli": FOUNDATION
    | {"config", "engine", "models", "evaluation", "conversation", "prompt", "structure"}
    | {"generation", "daemon", "distillation", "embedding"},
}


def rooms_imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            parts = node.module.split(".")
            if parts == ["rag"]:
                found |= {alias.name for alias in node.names}
            elif parts[0] == "rag":
                found.add(parts[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("rag.")}
    return found & set(ALLOWED) | {name for name in found if name not in ALLOWED}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    imported = rooms_imported(path) - {room} - ({"RAG"} if room == "cli" else set())
    assert imported <= ALLOWED[room], f"{room} imports {imported - ALLOWED[room]}"


def test_every_public_name_is_there() -> None:
    for name in rag.__all__:
        assert getattr(rag, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        rag.no_such_name  # noqa: B018


HEAVY = {"torch", "transformers", "sentence_transformers", "faiss", "numpy", "xllamacpp", "httpx"}


@pytest.mark.parametrize("command", ["import rag", "from rag.cli import cli; cli(['--help'])"])
def test_importing_loads_no_model_library(command: str) -> None:
    script = (
        "import sys\ntry:\n"
        f"    {command}\nexcept SystemExit: pass\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.rsplit("LOADED", 1)[1].split())
    assert not loaded & HEAVY
    assert "rag" in loaded


def test_readers_are_imported_when_needed() -> None:
    script = "import sys, rag.sources; print(*{name.split('.')[0] for name in sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    readers = {"docutils", "docx", "lxml", "markdown_it", "pptx", "pypdfium2", "python_calamine"}
    assert not set(result.stdout.split()) & (readers | HEAVY | {"py3langid", "puremagic"})
