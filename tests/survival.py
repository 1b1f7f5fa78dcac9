"""A process that holds the real embedder and forks children which index, to be killed at will.

    python survival.py: reads JSON lines {"index", "folder"}, answers with the child's process id,
    and again with its exit status once it has ended.

Torch is imported once; a child starts in the time of a fork. Batches of one make a passage's vector
the same whatever it is embedded together with.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from rag import RAG
from rag.config import EmbeddingConfig
from rag.embedding import load_embedder


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
            index(job["index"], job["folder"], embedder)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


def index(path: str, folder: str, embedder: object) -> None:
    """Index and leave, with commits as often as can be."""
    settings = {"ingestion.commit_passages": 1, "ingestion.commit_seconds": 0.0}
    code = 1
    try:
        rag = RAG(path, embedder=embedder, settings=settings)  # type: ignore[arg-type]
        code = 2 if rag.index(folder).failed else 0
    except KeyboardInterrupt:
        code = 130
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
