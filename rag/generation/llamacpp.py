"""GGUF models through llama.cpp, in this process."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

from rag.config import GenerationConfig
from rag.errors import GenerationError, ModelError, first_line
from rag.generation.replies import Ending, read_chunk, read_local
from rag.generation.requests import chat_request, response_format
from rag.generation.thoughts import ThoughtFilter
from rag.generation.threaded import stream_from_thread
from rag.models import LocalModel
from rag.models.devices import usable_cores
from rag.once import once
from rag.types import Message, Prompt

_SILENT = -1
# How many tokens of a prompt are computed together on a CPU; only whole steps are remembered. With
# longer steps more is read again; with half as long ones all is read a quarter slower (SmolLM2).
_STEP = 64


class LlamaCppGenerator:
    """A chat model in a GGUF file, loaded at first use; threads take turns.

    A beginning that a prompt shares with the prompt before is not read again. That must not change
    the text: the last bits of what is computed for a token depend on the tokens that are computed
    together with it, and in a close call they decide the next word. So a prompt is always read in
    the same steps, counted from its beginning, whether some of them are remembered or not.
    """

    def __init__(self, model: LocalModel, config: GenerationConfig) -> None:
        self.name = model.name
        self.max_tokens = config.max_tokens
        self.context_tokens = config.context_tokens
        self._path = Path(model.location)
        self._config = config
        self._lock = threading.RLock()
        self._turn = threading.Lock()
        self._step = _STEP
        self._read: list[int] = []
        self._goes_back = True
        self._socket_directory: tempfile.TemporaryDirectory[str] | None = None

    def load(self) -> None:
        """Load the model unless that is done.

        Raises:
            ModelError: if it cannot be loaded.
        """
        _ = self._client

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Count the tokens of `messages`, chat template included."""
        return len(self._tokens({"messages": [asdict(message) for message in messages]}))

    def stream(self, prompt: Prompt) -> Iterator[str]:
        """Yield pieces of the answer as they are written.

        A schema is enforced: llama.cpp turns it into a grammar and writes nothing else.

        Raises:
            GenerationError: if the prompt does not fit, no grammar can be made of the schema,
                llama.cpp reports an error, or the model only thinks.
            IncompleteError: if the answer was cut at its limit of tokens.
        """
        server = self._server
        request = chat_request(prompt, self._config)
        if prompt.schema is not None:
            request["response_format"] = response_format(prompt.schema)
        tokens: list[int] = []
        ending = Ending()
        # A schema that no grammar can be made of raises its error below.
        with suppress(GenerationError):
            tokens = self._tokens(request)

        def write(emit: Callable[[str], bool]) -> None:
            problems: list[str] = []

            def receive(reply: Any) -> bool:
                # Errors are collected: an exception here would be lost in foreign code.
                for chunk in reply if isinstance(reply, list) else [reply or {}]:
                    if "error" in chunk:
                        problems.append(chunk["error"].get("message"))
                        return True
                    if emit(read_chunk(chunk, ending)):
                        return True
                return False

            with self._turn:
                request["cache_prompt"] = self._resume(tokens)
                try:
                    receive(server.handle_chat_completions(request, receive))
                except ValueError as error:
                    if prompt.schema is None:
                        raise
                    raise GenerationError(
                        f"{self.name}: llama.cpp can make no grammar of the JSON schema: "
                        f"{first_line(error).rpartition('failed: ')[2]}"
                    ) from error
                if problems:
                    raise GenerationError(f"{self.name}: {problems[0]}")
                self._read = tokens

        # llama.cpp knows from the template whether a model begins with thoughts, and tells.
        thoughts = ThoughtFilter(self.name, begun=False)
        pieces = stream_from_thread(write, self.name)
        yield from read_local(pieces, thoughts, ending, self.name, self.max_tokens)

    def log_likelihood(self, context: str, text: str) -> float:
        """Return the mean log probability of a token of `text` after `context`.

        No chat template is applied, and the two are tokenized apart. If `context` does not fit into
        the window, its beginning is left out. Tokens that hold only a part of a character, as in an
        emoji or a script that the model hardly knows, are read but not counted, since llama.cpp
        does not report how likely they are.

        Raises:
            GenerationError: if at most half of the tokens of `text` can be counted, or `text`
                alone fills the window.
        """
        options = {"parse_special": False, "with_pieces": True}
        pieces = self._post("/tokenize", {"content": text, **options})["tokens"]
        before = self._post("/tokenize", {"content": context, **options, "add_special": True})
        room = self.context_tokens - len(pieces)
        if room < 1:
            raise GenerationError(
                f"{self.name}: the text takes {len(pieces)} tokens, the window holds "
                f"{self.context_tokens} with what comes before: shorten it"
            )
        read = [piece["id"] for piece in before["tokens"]][-room:]
        logs: list[float] = []
        for whole, run in groupby(pieces, key=lambda piece: isinstance(piece["piece"], str)):
            tokens = [piece["id"] for piece in run]
            logs += self._log_probabilities(read, tokens) if whole else []
            read += tokens
        if 2 * len(logs) <= len(pieces):
            raise GenerationError(
                f"{self.name}: cannot say how likely {text.strip()[:40]!r} is, whose script it "
                "hardly knows: set `retrieval.rerank` to something other than `likelihood`"
            )
        return math.fsum(logs) / len(logs)

    def _log_probabilities(self, before: list[int], after: list[int]) -> list[float]:
        request: dict[str, Any] = {
            "prompt": before,
            "max_tokens": len(after),
            # llama.cpp reports only on tokens that it writes, so it may write no others than these.
            # The probabilities that it reports are those before this rule.
            "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in after),
            "logprobs": 1,
        }
        server = self._server
        with self._turn:
            request["cache_prompt"] = self._resume(before)
            reply = server.handle_completions(request)
            if "error" in reply:
                raise GenerationError(f"{self.name}: {reply['error'].get('message')}")
            self._read = list(before)
        written = reply["choices"][0]["logprobs"]["content"]
        if [token["id"] for token in written] != after:
            raise GenerationError(f"{self.name}: llama.cpp wrote something other than it had to")
        return [token["logprob"] for token in written]

    def _tokens(self, request: dict[str, Any]) -> list[int]:
        """Return the tokens of a request's messages, and of its `response_format` if it has one."""
        fields = {"messages", "response_format"}
        body = {name: value for name, value in request.items() if name in fields}
        content = self._post("/apply-template", body)["prompt"]
        question = {"content": content, "add_special": True, "parse_special": True}
        tokens: list[int] = self._post("/tokenize", question)["tokens"]
        return tokens

    def _resume(self, tokens: list[int]) -> bool:
        """Make llama.cpp forget all but the whole steps that `tokens` begins with.

        Return whether there are any, from where it is to read on.
        """
        read, self._read = self._read, []
        same = takewhile(lambda pair: pair[0] == pair[1], zip(read, tokens, strict=False))
        # At least one token has to be read for the next one to be written.
        length = min(len(list(same)), len(tokens) - 1) // self._step * self._step
        if length < 1 or not self._goes_back:
            return False
        # It reads on from where a prompt differs from the one before: this one differs here.
        differing = [*tokens[:length], 0 if tokens[length] else 1]
        reply = self._server.handle_completions(
            {"prompt": differing, "max_tokens": 0, "cache_prompt": True}
        )
        # Models with a state instead of a cache have to begin anew each time.
        self._goes_back = reply.get("timings", {}).get("cache_n") == length
        return self._goes_back

    @once
    def _client(self) -> Any:
        return _connect(self._server.listening_address)

    @once
    def _server(self) -> Any:
        try:
            with self._path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise ModelError(f"{self._path}: cannot be read: {error.strerror}") from error
        if magic != b"GGUF":
            raise ModelError(f"{self._path}: is not a GGUF file, or a damaged one")
        import xllamacpp

        cores = usable_cores()
        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.verbosity = _SILENT
        params.n_ctx = self._config.context_tokens
        params.n_parallel = 1
        params.cache_ram_mib = 0
        params.n_ctx_checkpoints = 0
        kinds = xllamacpp.ggml_backend_dev_type
        if all(
            device["type"] == kinds.GGML_BACKEND_DEVICE_TYPE_CPU
            for device in xllamacpp.get_device_info()
        ):
            params.n_ubatch = _STEP
            # To find out what fits a GPU, llama.cpp would load the model twice.
            params.fit_params = False
        self._step = params.n_ubatch
        # With its own defaults, llama.cpp was up to 50 times slower than with both of these.
        params.cpuparams.n_threads = cores
        params.cpuparams_batch.n_threads = cores
        params.warmup = False
        params.ui = False
        params.endpoint_slots = False
        # The library always listens somewhere: here, on a socket that only this user can reach.
        self._socket_directory = tempfile.TemporaryDirectory(prefix="rag-")
        params.hostnames = [str(Path(self._socket_directory.name, "llama.sock"))]
        try:
            return xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{self._path}: llama.cpp cannot load it: {first_line(error)}"
            ) from error

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        import httpx

        try:
            response = self._client.post(path, json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise GenerationError(f"{self.name}: cannot count tokens: {error}") from error
        reply: dict[str, Any] = response.json()
        return reply


def _connect(address: str) -> Any:
    import httpx

    transport = httpx.HTTPTransport(uds=address.removeprefix("unix://"))
    return httpx.Client(transport=transport, base_url="http://llama", timeout=60)
