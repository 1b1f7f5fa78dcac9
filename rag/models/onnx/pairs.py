"""A graph over pairs of texts that is given the vectors of their words.

The graph holds all but the word embeddings: those are mapped from a file of their own, so that only
the vectors of the words at hand are read. The reader and the judge of claims are of this form.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from rag.errors import GenerationError, ModelError, first_line
from rag.models.devices import usable_cores
from rag.models.onnx.words import PackedWords, map_word_vectors
from rag.once import once

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


Facts = TypeVar("Facts", bound=msgspec.Struct)


def shipped_folder(package: str, name: str) -> Path:
    """Return the folder, by its name, of a model that comes with a package of this project."""
    with as_file(files(package) / name) as folder:
        return folder


def read_facts(file: Path, form: type[Facts], what: str, maker: str) -> Facts:
    """Read what a JSON file says of the graph beside it.

    Args:
        file: in the model's folder.
        form: what it has to hold.
        what: what errors call the model.
        maker: the module that writes such folders.

    Raises:
        ModelError: if the folder holds no such model.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=form)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(
            f"{file.parent}: holds no {what} of the form that {maker} writes "
            f"({first_line(error)}): install the package again, or export it again"
        ) from error


class PairGraph:
    """The graph, the tokenizer and the word vectors; safe to be called by several threads.

    Args:
        name: what errors call the model.
        graph: an ONNX file with the inputs `words`, `[1, tokens, width]`, and `types`.
        tokenizer: the `tokenizer.json` that cuts texts into the words the graph knows.
        words: the safetensors file with their vectors.
    """

    def __init__(self, name: str, graph: Path, tokenizer: Path, words: Path) -> None:
        self._name = name
        self._graph = graph
        self._tokenizer_file = tokenizer
        self._words = words
        # A tokenizer that one thread sets up anew would change under the others.
        self._lock = threading.RLock()

    def tokenize(self, texts: Sequence[str]) -> list[Any]:
        """Cut texts into tokens, with their `ids` and `offsets`, without marks around them.

        Raises:
            ModelError: if the tokenizer cannot be read.
        """
        with self._lock:
            found: list[Any] = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return found

    def run(self, first: Sequence[int], second: Sequence[int]) -> list[Floats]:
        """Return the graph's outputs for `[CLS] first [SEP] second [SEP]`.

        Raises:
            ModelError: if the graph or the word vectors cannot be loaded.
            GenerationError: if the graph fails, for instance for want of memory.
        """
        import numpy as np

        cls, sep = self._marks
        rows = np.asarray([cls, *first, sep, *second, sep])
        types = np.zeros((1, len(rows)), dtype=np.int64)
        types[0, len(first) + 2 :] = 1
        words = np.ascontiguousarray(self._vectors[rows])[None]
        session = self._session
        try:
            outputs: list[Floats] = session.run(None, {"words": words, "types": types})
        # ONNX Runtime raises its own classes, which share no parent but Exception.
        except Exception as error:
            raise GenerationError(f"{self._name} failed: {first_line(error)}") from error
        return outputs

    def run_each(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> Iterator[list[Floats]]:
        """Yield the graph's outputs for each pair, which are read side by side, the longest first.

        Small products gain little from a second core: pairs beside one another do. A long one that
        came last would be waited for alone.

        Raises:
            ModelError, GenerationError: as `run`.
        """
        longest = sorted(range(len(pairs)), key=lambda at: -sum(map(len, pairs[at])))
        jobs = {at: self._pool.submit(self.run, *pairs[at]) for at in longest}
        return (jobs[at].result() for at in range(len(pairs)))

    def load(self) -> None:
        """Load tokenizer, word vectors and graph now.

        Raises:
            ModelError: if one of them is missing or damaged.
        """
        _ = self._tokenizer, self._vectors, self._session

    @once
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(usable_cores(), thread_name_prefix=self._name)

    @once
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        file = self._tokenizer_file
        try:
            tokenizer = Tokenizer.from_file(str(file))
        # Tokenizers written in Rust raise bare exceptions.
        except Exception as error:
            raise ModelError(
                f"{file}: is no tokenizer ({first_line(error)}): fetch the model again"
            ) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @once
    def _marks(self) -> tuple[int, int]:
        return self._tokenizer.token_to_id("[CLS]"), self._tokenizer.token_to_id("[SEP]")

    @once
    def _vectors(self) -> Floats | PackedWords:
        return map_word_vectors(self._words)

    @once
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(
                str(self._graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(
                f"{self._graph}: ONNX Runtime cannot load it ({first_line(error)}): "
                "install the package again"
            ) from error


def cut(ids: Sequence[int], room: int, overlap: int) -> list[tuple[int, Sequence[int]]]:
    """Cut a text into parts of `room` tokens that overlap, each with its first token's number."""
    if len(ids) <= room:
        return [(0, ids)] if ids else []
    firsts = [*range(0, len(ids) - room, room - overlap), len(ids) - room]
    return [(first, ids[first : first + room]) for first in firsts]
