"""The reader that this package ships: a graph of 8-bit products, run by ONNX Runtime.

The graph is given the vectors of words, which are mapped from a file in the same folder, so that
only those of the words at hand are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rag.answering.passages import Stretch
from rag.answering.reader import SHIPPED
from rag.answering.reader.reading import NEVER, Reading, log_sum, trim, weigh
from rag.models.onnx.pairs import PairGraph, cut, read_facts, shipped_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

GRAPH, FACTS = "reader.int8.onnx", "reader.json"
WORDS, TOKENIZER = "words.safetensors", "tokenizer.json"
# Trained on so many tokens of question and passage; a longer passage is read in parts.
_LENGTH = 256
_OVERLAP = 64
_QUESTION = 64
# The most tokens of an answer, as in training.
_WIDTH = 40
# So many spans of each part are compared with those of the others.
_SPANS = 12


class _Facts(msgspec.Struct, frozen=True):
    """What `reader.json` says of the graph beside it."""

    temperature: float
    bias: float


def load_shipped() -> OnnxReader:
    """Return the reader in this package; it is loaded at first use.

    Raises:
        ModelError: if the package is damaged.
    """
    return open_reader(shipped_folder("rag.answering.reader", "mpnet"))


def open_reader(folder: Path) -> OnnxReader:
    """Return the reader in a folder that `rag.training.reader.export` wrote.

    Raises:
        ModelError: if the folder holds no such reader.
    """
    facts = read_facts(folder / FACTS, _Facts, "reader", "rag.training.reader.export")
    return OnnxReader(folder, facts)


class OnnxReader:
    """An extractive reader that compares the spans of several passages with one "no answer".

    Clark & Gardner, ACL 2018: spans of all passages of a question are normalized together. Safe
    to be called by several threads.
    """

    name = SHIPPED

    def __init__(self, folder: Path, facts: _Facts) -> None:
        self._graph = PairGraph(self.name, folder / GRAPH, folder / TOKENIZER, folder / WORDS)
        self._facts = facts

    def read(self, question: str, passages: Sequence[str], most: int = 10) -> Reading:
        """Find the best spans of all passages, and how probably there is an answer.

        Args:
            question: what is asked; its first 64 tokens are read.
            passages: what is read, together; those of more than 256 tokens in overlapping parts.
            most: how many spans are returned.

        Raises:
            ModelError: if the graph cannot be loaded.
            GenerationError: if the graph fails, for instance for want of memory.
        """
        first_text, *encoded = self._graph.tokenize([question, *passages])
        asked = first_text.ids[:_QUESTION]
        parts = [
            (number, first, ids)
            for number, encoding in enumerate(encoded, start=1)
            for first, ids in cut(encoding.ids, _LENGTH - len(asked) - 3, _OVERLAP)
        ]
        best: dict[Stretch, float] = {}
        odds: dict[int, float] = {}
        outputs = self._graph.run_each([(asked, ids) for _, _, ids in parts])
        for (number, first, ids), (starts, ends, silence) in zip(parts, outputs, strict=True):
            inside = slice(len(asked) + 2, len(asked) + 2 + len(ids))
            scores = _spans(starts[0][inside], ends[0][inside]) - silence[0]
            # Parts of a passage overlap: the surest of them speaks for it.
            odds[number] = max(odds.get(number, NEVER), log_sum(scores.ravel()))
            text, offsets = passages[number - 1], encoded[number - 1].offsets
            for low, high, score in _best(scores):
                start, end = trim(text, offsets[first + low][0], offsets[first + high][1])
                if start < end:
                    span = Stretch(number, start, end)
                    best[span] = max(best.get(span, NEVER), score)
        facts = self._facts
        total = log_sum(list(odds.values()))
        return weigh(best.items(), total, most, temperature=facts.temperature, bias=facts.bias)

    def load(self) -> None:
        """Load tokenizer, word vectors and graph now.

        Raises:
            ModelError: if one of them is missing or damaged.
        """
        self._graph.load()


def _spans(starts: Floats, ends: Floats) -> Floats:
    """Return the sum of the scores of each span's ends, `[start, length - 1]`."""
    import numpy as np

    padded = np.concatenate([ends, np.full(_WIDTH - 1, NEVER, dtype=np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WIDTH)
    found: Floats = starts[:, None] + windows
    return found


def _best(scores: Floats) -> list[tuple[int, int, float]]:
    """Return the best spans of one part: first token, last token, score."""
    import numpy as np

    flat = scores.ravel()
    count = min(_SPANS, flat.size)
    chosen = np.argpartition(flat, flat.size - count)[flat.size - count :]
    spans = []
    for at in chosen[np.argsort(-flat[chosen])]:
        start, width = divmod(int(at), _WIDTH)
        if start + width < len(scores):
            spans.append((start, start + width, float(flat[at])))
    return spans
