"""A process that holds the real embedder and forks children which index, to be killed at will.

    python survival.py: reads JSON lines {"index", "folder", "at", "by"}, and answers with the
    child's exit status. A child that came to its end leaves the number of its steps in a file
    `steps` beside the index.

A child sends itself the signal `by` at its step `at`: so it dies at the same point of the work on
any machine. A step is the beginning or the end of a change to the disk, as `rag.index.disk.steps`
names them.

Torch is imported once; a child starts in the time of a fork. Batches of one make a passage's vector
the same whatever it is embedded together with.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from rag import RAG
from rag.config import EmbeddingConfig
from rag.embedding import load_embedder
from rag.index.disk import steps


def main() -> None:
    """Serve until standard input ends."""
    embedder = load_embedder(EmbeddingConfig())
    # Loaded, but never run here: threads of this process would not survive a fork.
    embedder.dim  # noqa: B018
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            index(job["index"], job["folder"], embedder, job["at"], job["by"])
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


def index(path: str, folder: str, embedder: object, at: int | None, by: int) -> None:
    """Index and leave, with commits as often as can be."""
    settings = {"ingestion.commit_passages": 1, "ingestion.commit_seconds": 0.0}
    code, count = 1, 0

    def step(_when: str, _name: str, _path: Path) -> None:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), by)

    steps.fault = step
    try:
        rag = RAG(path, embedder=embedder, settings=settings)  # type: ignore[arg-type]
        code = 2 if rag.index(folder).failed else 0
        Path(path).with_name("steps").write_text(str(count))
    except KeyboardInterrupt:
        code = 130
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
