"""A small embedder, a few documents and an index of them: what an honest user has."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from fuzzers.attempts import Target, run_command

DOCUMENTS = {
    "bridge.md": (
        "# The Vorn bridge\n\nThe Vorn bridge was opened in 1921 and is 214 metres long.\n\n"
        "## Builders\n\nIt was built by Ada Lindqvist. She had 40 workers, and 3 of them fell ill."
        "\n\n| part | metres |\n| --- | ---: |\n| arch | 90 |\n| ramp | 124 |\n"
    ),
    "ferry.txt": (
        "Before the bridge there was a ferry.\nIt crossed the Vorn six times a day, and carried "
        "up to 30 people. The last ferry sailed on 3 May 1921.\n"
    ),
    "tolls.csv": "year,toll\n1921,5 öre\n1930,10 öre\n1948,none\n",
    "gone.txt": "This file leaves the index again, so that it holds what was removed.\n",
}
QUESTION = "When was the Vorn bridge opened?"
DIM = 16


def set_environment(folder: Path) -> None:
    """Let commands of this process use the embedder and the index in `folder`, and nothing else."""
    for name in list(os.environ):
        if name.startswith("RAG_") or name in ("OPENAI_API_KEY", "PYTHONPATH"):
            del os.environ[name]
    for name in (
        *("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "RAG_CACHE"),
        *("IR_DATASETS_HOME", "MPLCONFIGDIR"),
    ):
        (folder / name.lower()).mkdir(mode=0o700, exist_ok=True)
        os.environ[name] = str(folder / name.lower())
    os.environ.update(
        HF_HUB_OFFLINE="1",
        RAG_ANSWERING_READER="",
        RAG_DAEMON_USE="false",
        RAG_EMBEDDING_MODEL=str(make_embedder(folder / "embedder")),
        RAG_GENERATION_MODEL="extractive",
        RAG_INDEX_PATH=str(folder / "index"),
        RAG_SOURCES_WORKERS="1",
    )
    os.chdir(folder)


def make_documents(folder: Path) -> Path:
    """Write the documents into a folder."""
    folder.mkdir()
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def make_index(folder: Path) -> Path:
    """Index the documents; one of them is removed again."""
    documents = make_documents(folder / "docs")
    for _ in range(2):
        ran = run_command("index", documents)
        if ran.code:
            raise RuntimeError(f"no index can be made: {ran.err}")
        (documents / "gone.txt").unlink(missing_ok=True)
    return folder / "index"


def make_embedder(folder: Path) -> Path:
    """Make a static embedder whose vocabulary is that of the documents."""
    if folder.is_dir():
        return folder
    import numpy as np
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = sorted(set(re.findall(r"\w+|[^\w\s]", " ".join((*DOCUMENTS.values(), QUESTION)))))
    tokenizer = Tokenizer(
        WordLevel({word: at for at, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]")  # noqa: S106
    )
    tokenizer.pre_tokenizer = Whitespace()
    table = np.random.default_rng(0).normal(size=(len(words) + 1, DIM)).astype(np.float32)
    inner = folder / "0_StaticEmbedding"
    inner.mkdir(parents=True)
    kind = "sentence_transformers.models.StaticEmbedding"
    modules = [{"idx": 0, "name": "0", "path": inner.name, "type": kind}]
    (folder / "modules.json").write_text(json.dumps(modules))
    tokenizer.save(str(inner / "tokenizer.json"))
    save_file({"embedding.weight": table}, inner / "model.safetensors")
    return folder


def copy_index(source: Path, target: Path) -> Path:
    """Put a copy of an index in place of what an input before has left."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.lock"))
    return target


class IndexTarget(Target):
    """A target that runs commands on an index which is made once."""

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        set_environment(folder)
        if not (folder / "index").exists():
            make_index(folder)
