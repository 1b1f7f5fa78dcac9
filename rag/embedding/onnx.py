"""texts -> float32 vectors of unit length, through an ONNX graph on the processor's cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from rag.embedding.local import LocalEmbedder
from rag.errors import ModelError, first_line
from rag.models import LocalModel
from rag.models.devices import usable_cores
from rag.models.onnx.graph import TOKENS, VECTOR, Graph, calibration
from rag.models.tokenization import truncate
from rag.once import once

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rag.models.onnx.runtimes import Session
    from rag.types import Vectors


class OnnxEmbedder(LocalEmbedder):
    """A sentence-transformers model as a graph, without torch.

    A text's vector does not depend on the texts it is embedded with. Threads may call it at once: a
    pool of one thread a core runs passages, and the thread that asks a question runs it, on several
    cores while no other text is being embedded.

    Args:
        model: the model that the graph was made from.
        graph: its graphs and facts.
        precision: `int8`, `float32`, or `auto` for the fastest on this machine.
        runtime: `onnxruntime` or `openvino`; the fastest that is installed if it is left empty.
    """

    def __init__(
        self, model: LocalModel, graph: Graph, precision: str = "auto", runtime: str = ""
    ) -> None:
        super().__init__(model)
        self._facts = graph.facts
        self.dim = graph.facts.dim
        self.max_tokens = graph.facts.max_tokens
        self.special_tokens = graph.facts.before + graph.facts.after
        self._graph = graph
        self._precision = precision
        self._runtime = runtime
        self._opening = threading.Lock()
        self._sessions: dict[bool, Session] = {}
        self._running = 0

    def load(self) -> None:
        """Load the session that the first question is run in."""
        # Whoever asks the question loads the tokenizer meanwhile: both at once take less time.
        self._session(alone=True)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed passages side by side, each on one core: float32 `[len(texts), dim]`."""
        import numpy as np

        rows = self._run_all([self._facts.document_prompt + text for text in texts], VECTOR)
        return self._unit(np.array(rows, dtype=np.float32).reshape(len(texts), self.dim))

    def embed_query(self, text: str) -> Vectors:
        """Embed a question, on several cores if it comes alone: float32 `[dim]`."""
        return self._unit(self._run_all([self._facts.query_prompt + text], VECTOR)[0])

    def embed_tokens(self, texts: Sequence[str]) -> list[Vectors]:
        """Embed the tokens of each text: float32 `[tokens, dim]`, each row of length 1.

        A row is the last layer's vector of a token. Special tokens are left out, and the model's
        prompts are not put before a text.
        """
        before, after = self._facts.before, self._facts.after
        return [
            self._unit(rows[before : len(rows) - after]) for rows in self._run_all(texts, TOKENS)
        ]

    def choice(self) -> tuple[str, str]:
        """Return the precision and the runtime in use, measuring which is fastest if need be."""
        from rag.models.onnx.runtimes import choose_fastest, installed_runtimes

        precisions = self._graph.precisions if self._precision == "auto" else [self._precision]
        runtimes = [self._runtime] if self._runtime else installed_runtimes()
        choices = [(precision, runtime) for precision in precisions for runtime in runtimes]
        return choose_fastest(self._graph, choices, self._calibration_tokens)

    def _run_all(self, texts: Sequence[str], output: str) -> list[Vectors]:
        with self._lock:
            # Two texts that each use all cores would keep each other waiting.
            alone = len(texts) == 1 and not self._running
            self._running += 1
        try:
            if len(texts) < 2:
                return [self._run(text, output, alone=alone) for text in texts]
            # The longest go first, so that no core is left with a long one at the end.
            order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
            run = partial(self._run, output=output, alone=False)
            rows = self._pool.map(run, [texts[at] for at in order])
            by_place = dict(zip(order, rows, strict=True))
            return [by_place[at] for at in range(len(texts))]
        finally:
            with self._lock:
                self._running -= 1

    def _run(self, text: str, output: str, *, alone: bool) -> Vectors:
        return self._session(alone=alone).run(self._token_ids(text), output)

    def _token_ids(self, text: str) -> Sequence[int]:
        ids: list[int] = self._tokenizer().encode(text).ids
        return truncate(ids, self.max_tokens, self._facts.after)

    def _calibration_tokens(self) -> list[Sequence[int]]:
        return [self._token_ids(text) for text in calibration()]

    @once
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(usable_cores(), thread_name_prefix="embedder")

    def _tokenizer(self) -> Tokenizer:
        return self._loaded_tokenizer

    @once
    def _loaded_tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer: Tokenizer = self._load_file(Tokenizer.from_file, str(self._graph.tokenizer))
        return tokenizer

    def _session(self, *, alone: bool) -> Session:
        session = self._sessions.get(alone)
        if session is not None:
            return session
        with self._opening:
            if alone not in self._sessions:
                from rag.models.onnx.runtimes import choose_question_cores, open_session

                choice, cores = self._load_file(self.choice), 0
                if alone:
                    cores = self._load_file(
                        choose_question_cores, self._graph, choice, self._calibration_tokens
                    )
                # If one core is as fast, one session is enough for all.
                session = None if cores else self._sessions.get(False)
                self._sessions[alone] = session or self._load_file(
                    open_session, choice[1], self._graph.file(choice[0]), cores
                )
                if not cores:
                    self._sessions[False] = self._sessions[alone]
            return self._sessions[alone]

    def _load_file(self, load: Callable[..., Any], *arguments: Any) -> Any:
        """Call `load`, turning what it raises into a ModelError that names the graph's folder."""
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
