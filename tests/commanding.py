"""Run `rag` in processes whose imports are done already, in a tenth of the time.

`python commanding.py` reads JSON lines {"arguments", "cwd", "environment", "output", "errors"}, and
answers each with the exit code of a process of its own. That process is forked from one which has
imported the libraries and run none of them; tests of what a command imports start it themselves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `rag` with these arguments in a folder, with nothing on its standard input."""
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        job = {
            "arguments": arguments,
            "cwd": str(cwd),
            "environment": {**os.environ, **environment},
            "output": str(output),
            "errors": str(errors),
        }
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(
            ["rag", *arguments], code, output.read_text("utf-8"), errors.read_text("utf-8")
        )


def assert_one_line(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Assert that a command ended with one line on standard error, which holds these parts."""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("rag: ")
    for part in parts:
        assert part in lines[0]
    assert "Traceback" not in result.stderr


@cache
def _server() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def serve() -> None:
    """Answer until standard input ends."""
    import faiss  # noqa: F401
    import sentence_transformers  # noqa: F401
    import tantivy  # noqa: F401
    import torch  # noqa: F401

    import rag.cli  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            command(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def command(job: dict) -> None:
    """Become the command, and leave with its exit code."""
    code = 70
    try:
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["environment"])
        places = [os.devnull, job["output"], job["errors"]]
        for number, place in enumerate(places):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
            os.dup2(os.open(place, flags, 0o600), number)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.argv = ["rag", *job["arguments"]]
        from rag.cli import main

        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
