"""texts -> float32 vectors of unit length, through a graph of ONNX on the processor's cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from rag.errors import EmbeddingError, ModelError, first_line
from rag.models import LocalModel
from rag.models.devices import usable_cores
from rag.models.fingerprint import fingerprint, former_fingerprint, hub_commit
from rag.models.onnx.graph import TOKENS, VECTOR, Graph, calibration
from rag.models.tokenization import cut

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rag.models.onnx.runtimes import Session
    from rag.types import Vectors


class OnnxEmbedder:
    """A sentence-transformers model as a graph, without torch.

    The same text has the same vector, whatever it is embedded with. Threads may call it at once:
    passages are run by a pool of one thread a core, a question by the thread that asks it, on
    several cores while no other text is being embedded.

    Args:
        model: whose weights they are.
        graph: what was made of them.
        precision: `int8`, `float32`, or `auto` for what is fastest on this machine.
        runtime: `onnxruntime` or `openvino`; the fastest that is installed if it is left empty.
    """

    def __init__(
        self, model: LocalModel, graph: Graph, precision: str = "auto", runtime: str = ""
    ) -> None:
        self.name = model.name
        self.fingerprint = fingerprint(model)
        self.dim = graph.dim
        self.max_tokens = graph.max_tokens
        self.special_tokens = graph.before + graph.after
        self._model = model
        self._graph = graph
        self._wanted = precision
        self._runtime = runtime
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._sessions: dict[bool, Session] = {}
        self._running = 0
        self._tokenizer: Tokenizer | None = None
        self._pool: ThreadPoolExecutor | None = None

    @property
    def revision(self) -> str:
        """The commit of a hub's model; empty for other models."""
        return hub_commit(self._model)

    @property
    def former_fingerprint(self) -> str:
        """The fingerprint that these weights have in an index of format 3."""
        return former_fingerprint(self._model)

    def load(self) -> None:
        """Load what the first question would have to wait for.

        Raises:
            ModelError: if the graph cannot be loaded.
        """
        self._opened(alone=True)

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """The code-point span of each token of `text`, special tokens not among them."""
        offsets: Sequence[tuple[int, int]] = (
            self._tokens().encode(text, add_special_tokens=False).offsets
        )
        return offsets

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32 `[len(texts), dim]`, each row of length 1.

        Raises:
            EmbeddingError: if the model gives something that is not a number.
        """
        import numpy as np

        prompt = self._graph.document_prompt
        rows = self._embedded([prompt + text for text in texts], VECTOR)
        return self._unit(np.array(rows, dtype=np.float32).reshape(len(texts), self.dim))

    def embed_query(self, text: str) -> Vectors:
        """float32 `[dim]`, of length 1.

        Raises:
            EmbeddingError: if the model gives something that is not a number.
        """
        found: Vectors = self._unit(self._embedded([self._graph.query_prompt + text], VECTOR)[0])
        return found

    def embed_tokens(self, texts: Sequence[str]) -> list[Vectors]:
        """For each text float32 `[tokens, dim]`, each row of length 1; no special tokens.

        A row is the last layer's vector of a token. No prompt of the model's is put before a text.

        Raises:
            EmbeddingError: if the model gives something that is not a number.
        """
        before, after = self._graph.before, self._graph.after
        found = self._embedded(texts, TOKENS)
        return [self._unit(rows[before : len(rows) - after]) for rows in found]

    def _embedded(self, texts: Sequence[str], output: str) -> list[Vectors]:
        with self._lock:
            # Two texts on all cores each would keep each other waiting.
            alone = len(texts) == 1 and not self._running
            self._running += 1
        try:
            if len(texts) < 2:
                return [self._run(text, output, alone=alone) for text in texts]
            # The longest first: no core is to be left with a long one at the end.
            order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
            run = partial(self._run, output=output, alone=False)
            rows = self._threads().map(run, [texts[at] for at in order])
            found = dict(zip(order, rows, strict=True))
            return [found[at] for at in range(len(texts))]
        finally:
            with self._lock:
                self._running -= 1

    def _run(self, text: str, output: str, *, alone: bool) -> Vectors:
        ids: list[int] = self._tokens().encode(text).ids
        read = cut(ids, self.max_tokens, self._graph.after)
        return self._opened(alone=alone).run(read, output)

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="embedder")
            return self._pool

    def _unit(self, rows: Vectors) -> Vectors:
        import numpy as np

        vectors: Vectors = np.ascontiguousarray(rows, dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise EmbeddingError(
                f"{self.name} gave vectors with NaN or infinite values: its weights are damaged"
            )
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
        unit: Vectors = vectors / np.maximum(lengths, 1e-12)
        return unit

    def _tokens(self) -> Tokenizer:
        with self._lock:
            if self._tokenizer is None:
                from tokenizers import Tokenizer

                self._tokenizer = self._loading(Tokenizer.from_file, str(self._graph.tokenizer))
            return self._tokenizer

    def _opened(self, *, alone: bool) -> Session:
        session = self._sessions.get(alone)
        if session is not None:
            return session
        with self._opening:
            if alone not in self._sessions:
                from rag.models.onnx.runtimes import cores_for_a_question, open_session

                choice, cores = self._loading(self.choice), 0
                if alone:
                    cores = self._loading(
                        cores_for_a_question, self._graph, choice, self._calibration_tokens
                    )
                # Where one core is as fast, one session is enough for all.
                session = None if cores else self._sessions.get(False)
                self._sessions[alone] = session or self._loading(
                    open_session, choice[1], self._graph.file(choice[0]), cores
                )
                if not cores:
                    self._sessions[False] = self._sessions[alone]
            return self._sessions[alone]

    def choice(self) -> tuple[str, str]:
        """The precision and the runtime in use; measured first, where that is to be found out."""
        from rag.models.onnx.runtimes import fastest, runtimes

        choices = [
            (precision, runtime)
            for precision in (self._graph.precisions if self._wanted == "auto" else [self._wanted])
            for runtime in ([self._runtime] if self._runtime else runtimes())
        ]
        return fastest(self._graph, choices, self._calibration_tokens)

    def _calibration_tokens(self) -> list[Sequence[int]]:
        encode, limit, after = self._tokens().encode, self.max_tokens, self._graph.after
        return [cut(encode(text).ids, limit, after) for text in calibration()]

    def _loading(self, load: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return load(*arguments)
        except ModelError:
            raise
        # Runtimes raise classes of their own, which have no common parent.
        except Exception as error:
            raise ModelError(
                f"{self._graph.folder}: cannot be loaded ({first_line(error)}): "
                "remove that folder, and it is made anew"
            ) from error
