"""Where memory runs out, a command ends in one line or in its answer, and the index stays well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RunMain

from rag.errors import is_out_of_memory

# Places for each way of failing; `python tests/starving.py` walks all of them.
MOST = "2"


# What meets a limit of the address space is anything in the process: it is walked at night.
@pytest.mark.parametrize(
    "ways",
    [
        pytest.param(("numpy", "sqlite"), marks=pytest.mark.slow),
        pytest.param(("address space",), marks=pytest.mark.nightly),
    ],
    ids="+".join,
)
def test_no_allocation_that_fails_ends_in_a_traceback(ways: tuple[str, ...]) -> None:
    script = Path(__file__).parent / "starving.py"
    commands = ("search", "ask", "index", "optimize", "export", "import")
    chosen = [part for way in ways for part in ("--way", way)]
    done = subprocess.run(
        [sys.executable, str(script), *chosen, "--most", MOST, "--json", *commands],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert not [problem for each in found.values() for problem in each["wrong"]]
    # Some were refused: otherwise no memory was missing.
    for name in ("search", "ask", "index"):
        assert found[name]["refused"] > 1, found
        assert found[name]["tried"] > found[name]["refused"], found


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8 bytes"),
        SystemError("<ufunc 'equal'> returned NULL without setting an exception"),
        SystemError("error return without exception set"),
        RuntimeError("can't start new thread"),
    ],
    ids=repr,
)
def test_it_is_told_in_a_line(
    error: Exception, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("rag.index.Index.manifest", fail)
    monkeypatch.setattr("rag.engine.RAG.info", fail)
    assert "not enough memory" in run_main("info").complaint


def test_no_other_error_passes_for_it() -> None:
    for other in (RuntimeError("no"), SystemError("bad argument"), ValueError("without exception")):
        assert not is_out_of_memory(other)
