"""What a command loads before it does its work, which is what its user waits for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from rag import RAG, Embedder, ModelError

# Libraries that take long to load, and are of no use to a search.
UNUSED = {
    *("torch", "transformers", "sentence_transformers", "onnx", "huggingface_hub"),
    *("rich", "httpx", "jinja2", "jsonschema", "lxml", "docutils", "py3langid", "sentencex"),
    *("tenacity", "xllamacpp", "matplotlib"),
}
# What only vectors need.
OF_VECTORS = {"faiss", "onnxruntime", "openvino", "tokenizers"}


def loaded_by(*arguments: str) -> set[str]:
    """The packages that `rag` with these arguments has loaded at its end."""
    script = (
        "import sys\n"
        "from rag.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: code = left.code\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})\n"
        "sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    shown, _, loaded = result.stdout.rpartition("LOADED")
    assert shown.strip()
    return set(loaded.split())


@pytest.mark.parametrize("mode", ["lexical", "dense", "hybrid"])
def test_a_search_loads_what_it_uses(sample: RAG, mode: str) -> None:
    loaded = loaded_by(
        "search", "What is the key-value cache?", "--index", str(sample.path), "--mode", mode
    )
    assert {"rag", "apsw", "tantivy"} <= loaded
    assert sorted(loaded & UNUSED) == []
    if mode == "lexical":
        assert sorted(loaded & OF_VECTORS) == []
    else:
        assert {"faiss", "tokenizers"} <= loaded


def test_help_loads_neither_settings_nor_types() -> None:
    script = (
        "import sys\nfrom rag.cli import cli\n"
        "try: cli(['--help'])\nexcept SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.rpartition("LOADED")[2].split())
    assert {"click", "rag.cli.commands"} <= loaded
    assert not loaded & {"msgspec", "rich", "numpy", "rag.config", "rag.engine", "rag.types"}


@pytest.mark.parametrize("command", ["info", "status", "show"])
def test_a_look_at_an_index_loads_no_model(sample: RAG, command: str) -> None:
    document = [next(sample.documents()).id] if command == "show" else []
    loaded = loaded_by(command, *document, "--index", str(sample.path))
    assert sorted(loaded & (UNUSED | OF_VECTORS)) == []


class Loaded:
    """The real embedder, which notes when it is told to load, and may fail at it."""

    def __init__(self, embedder: Embedder, error: Exception | None = None) -> None:
        self.loads = 0
        self._embedder = embedder
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def load(self) -> None:
        self.loads += 1
        if self._error is not None:
            raise self._error

    def embed_query(self, text: str) -> Any:
        if self._error is not None:
            raise self._error
        return self._embedder.embed_query(text)


def test_an_embedder_is_loaded_once_beside_the_index(sample: RAG, embedder: Embedder) -> None:
    loaded = Loaded(embedder)
    rag = RAG(sample.path, embedder=loaded)
    question = "What is the key-value cache?"
    assert rag.search(question) == rag.search(question) == sample.search(question)
    assert loaded.loads == 1


def test_an_embedder_that_fails_to_load_is_told_by_the_search(
    sample: RAG, embedder: Embedder
) -> None:
    rag = RAG(sample.path, embedder=Loaded(embedder, ModelError("odd: cannot be loaded")))
    with pytest.raises(ModelError, match="odd: cannot be loaded"):
        rag.search("What is the key-value cache?")


def test_words_alone_need_no_embedder_to_be_loaded(sample: RAG, embedder: Embedder) -> None:
    loaded = Loaded(embedder)
    rag = RAG(sample.path, embedder=loaded, settings={"retrieval.mode": "lexical"})
    assert rag.search("key-value cache")
    assert not loaded.loads


def test_numpy_is_whole_before_onnxruntime_asks_for_a_part_of_it(embedder: Embedder) -> None:
    """Else two threads that begin at once may each be given half of it.

    A model is loaded in a thread while another one imports NumPy for the index.
    """
    script = (
        "import sys\n"
        "def heard(event, given):\n"
        "    whole = hasattr(sys.modules.get('numpy'), 'ndarray')\n"
        "    if event == 'import' and given[0] == 'onnxruntime' and not whole:\n"
        "        raise SystemExit('onnxruntime before numpy')\n"
        "from rag.config import EmbeddingConfig\n"
        "from rag.embedding import load_embedder\n"
        "embedder = load_embedder(EmbeddingConfig())\n"
        "sys.addaudithook(heard)\n"
        "embedder.load()\n"
        "print('onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr
