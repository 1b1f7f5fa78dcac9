"""Imports point one way, and importing costs little."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import rag

PACKAGE = Path(rag.__file__).parent

# What every room may use: what passes between the rooms, and what they raise.
SHARED = {"characters", "errors", "parsing", "types", "protocols", "once", "stopwatch", "private"}
# Each room with the rooms that it may import besides.
ALLOWED: dict[str, set[str]] = {
    "characters": set(),
    "errors": set(),
    "types": set(),
    "protocols": set(),
    "once": set(),
    "stopwatch": set(),
    "private": set(),
    "parsing": set(),
    "plugins": set(),
    "processes": set(),
    "trust": set(),
    "config": {"trust", "models"},
    "text": set(),
    "query": {"text"},
    "models": {"processes"},
    "sources": {"config", "models", "plugins", "processes"},
    "chunking": {"config", "text"},
    "embedding": {"config", "models", "plugins"},
    "index": {"query", "text"},
    "ingestion": {"config", "trust", "sources", "chunking", "index"},
    "retrieval": {"config", "models", "plugins", "text", "query", "index"},
    "generation": {"config", "models", "plugins"},
    "answering": {"config", "models", "text"},
    "viewing": {"config", "trust", "sources"},
    "engine": {"config", "models", "embedding", "index", "ingestion", "retrieval", "generation"}
    | {"answering", "query", "sources", "trust", "viewing"},
    "evaluation": {"config", "text", "index", "engine"},
    "training": {
        "config",
        "processes",
        "models",
        "text",
        "chunking",
        "embedding",
        "index",
        "engine",
    }
    | {"evaluation"},
    "integrations": {"engine"},
    "serving": {"config", "processes", "models", "plugins", "query", "sources", "generation"}
    | {"answering", "viewing", "engine"},
    "cli": {
        "config",
        "trust",
        "text",
        "models",
        "viewing",
        "embedding",
        "generation",
        "answering",
        "engine",
    }
    | {"evaluation", "training", "serving"},
    "__main__": {"cli"},
    "__init__": {"config", "query", "generation", "answering", "engine", "evaluation", "training"},
}
# The modules by which a room is entered, besides its `__init__`.
DOORS: dict[str, set[str]] = {
    "text": {"normalization", "sentences", "stopwords", "terms", "tokens", "wording"}
    | {"languages.english", "words", "excerpts"},
    "query": {"filters"},
    "models": {"checkpoints", "devices", "fingerprint", "sentence_models", "tokenization"}
    | {"onnx.graph", "onnx.quantization", "onnx.runtimes", "onnx.pairs", "onnx.words"},
    "sources": {"watching"},
    "embedding": {"measuring", "static"},
    "generation": {"keys", "measuring", "thoughts"},
    "index": {"upkeep"},
    "retrieval": {"rerank"},
    "answering": {"claims", "conversation", "entailment", "extractive", "prompt", "reader"}
    | {"asynchronous", "schema", "stopping", "stream", "tools", "verification", "writing"},
    "training": {"distillation"},
    "viewing": {"finding", "links", "pages", "proof"},
    "serving": {"daemon", "feedback", "http", "http.access", "mcp"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_module(dotted: str) -> bool:
    path = PACKAGE.joinpath(*dotted.split(".")[1:])
    return path.with_suffix(".py").is_file() or path.is_dir()


def modules_imported(path: Path) -> set[str]:
    """The modules of this package that a file imports anywhere in it, as `rag.room.module`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "rag"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            if (node.module or "").split(".")[0] == "rag":
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if is_module(name) else str(node.module) for name in inner}
    # `from rag import RAG` is for whoever uses this package, and the version is everybody's.
    return found - {"rag"}


def entrances(path: Path) -> set[tuple[str, str]]:
    """The other rooms that a file enters, each with the module by which it does."""
    parts = [name.split(".")[1:] for name in modules_imported(path)]
    return {(room, ".".join(rest)) for room, *rest in parts if room != room_of(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way_and_enter_by_doors(path: Path) -> None:
    room = room_of(path)
    for entered, door in entrances(path):
        assert entered in ALLOWED[room] | SHARED, f"{room} imports {entered}"
        assert not door or door in DOORS.get(entered, set()), f"rag.{entered}.{door} is no door"


def test_every_allowance_and_every_door_is_used() -> None:
    entered = {(room_of(path), *entrance) for path in FILES for entrance in entrances(path)}
    used = {(room, other) for room, other, _ in entered if other not in SHARED}
    assert used == {(room, other) for room, others in ALLOWED.items() for other in others}
    doors = {(other, door) for _, other, door in entered if door}
    assert doors == {(room, door) for room, names in DOORS.items() for door in names}


def test_rooms_build_on_one_another_without_a_circle() -> None:
    order = list(TopologicalSorter(ALLOWED).static_order())
    assert set(order) == {room_of(path) for path in FILES}


def test_no_module_needs_itself_to_be_imported() -> None:
    needs = {dotted(path): needed_at_once(path) - {dotted(path)} for path in FILES}
    assert list(TopologicalSorter(needs).static_order())


def dotted(path: Path) -> str:
    parts = ["rag", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def needed_at_once(path: Path) -> set[str]:
    """What a module imports while it is imported itself, not in functions or for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rag":
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if is_module(name) else str(node.module) for name in inner}
    return found - {"rag"}


def test_every_public_name_is_there() -> None:
    assert len(set(rag.__all__)) == len(rag.__all__)
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
