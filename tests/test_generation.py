"""One suite over all generators: llama.cpp, transformers, a real HTTP server, extraction."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag import GenerationError, Generator, Message, ModelError, Prompt
from rag.config import GenerationConfig
from rag.generation import from_callable, load_generator
from rag.types import NO_ANSWER, Chunk, Hit

TEXT = (
    "The lighthouse was built in 1871 by Ada Stone. Its lamp burns whale oil. "
    "Visitors climb 210 steps to the gallery."
)
HIT = Hit(Chunk(1, "d", TEXT, 0, len(TEXT), 0), 0.9, 1, "d.txt", "The lighthouse")
MESSAGES = (
    Message("system", "Answer in one sentence."),
    Message("user", f"{TEXT}\n\nQuestion: When was the lighthouse built?"),
)
PROMPT = Prompt("When was the lighthouse built?", MESSAGES, (HIT,), 60)

SERVER = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.verbosity = -1
params.n_ctx = 4096
params.n_parallel = 2
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
time.sleep(600)
"""


def start_server(model: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.fixture(scope="session")
def server(generator_path: Path) -> Iterator[str]:
    """llama.cpp's own OpenAI-compatible server on loopback."""
    process, url = start_server(generator_path)
    yield url
    process.kill()
    process.wait()


TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"


def make_checkpoint(folder: Path, kind: str) -> Path:
    """A tiny model of random weights with a tokenizer trained on a few lines."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from tokenizers.decoders import ByteLevel
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        T5Config,
        T5ForConditionalGeneration,
    )

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel()
    trained.decoder = ByteLevel()
    trained.train_from_iterator(
        [TEXT] * 4,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<pad>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="<pad>", eos_token="</s>", model_max_length=2048
    )
    torch.manual_seed(0)
    size = len(tokenizer)
    if kind == "causal":
        tokenizer.chat_template = TEMPLATE
        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
        ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
        model = LlamaForCausalLM(
            LlamaConfig(vocab_size=size, **shape, **heads, **ends, max_position_embeddings=2048)
        )
    else:
        shape = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
        ends = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
        model = T5ForConditionalGeneration(T5Config(vocab_size=size, **shape, **ends))
        # Random weights like nothing better than to end at once.
        model.generation_config.suppress_tokens = [0, 1]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


BACKENDS = ["llama.cpp", "causal", "seq2seq", "http", "extractive", "callable"]


@pytest.fixture(scope="session")
def make(
    generator_path: Path, server: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Generator]:
    folder = tmp_path_factory.mktemp("checkpoints")
    places = {"llama.cpp": str(generator_path), "http": server, "extractive": "extractive"}
    for kind in ("causal", "seq2seq"):
        places[kind] = str(make_checkpoint(folder / kind, kind))

    def build(backend: str, max_tokens: int = 12) -> Generator:
        if backend == "callable":
            return from_callable("mine", lambda prompt: prompt.question.split()[:max_tokens])
        return load_generator(GenerationConfig(model=places[backend], max_tokens=max_tokens))

    return build


@pytest.fixture(scope="session", params=BACKENDS)
def generator(request: pytest.FixtureRequest, make: Callable[..., Generator]) -> Generator:
    return make(request.param)


def test_it_streams_text_and_repeats_itself(
    generator: Generator, request: pytest.FixtureRequest
) -> None:
    first = "".join(generator.stream(PROMPT))
    assert first.strip()
    # A prompt with the same beginning in between must leave no trace.
    other = Prompt("Who built it?", (MESSAGES[0], Message("user", f"{TEXT} Who?")), (HIT,), 0)
    assert "".join(generator.stream(other)).strip()
    if "http" not in request.node.name:
        assert "".join(generator.stream(PROMPT)) == first


@pytest.mark.parametrize("backend", ["llama.cpp", "causal", "seq2seq", "http"])
def test_it_writes_no_more_than_it_may(make: Callable[..., Generator], backend: str) -> None:
    short = "".join(make(backend, 3).stream(PROMPT))
    longer = "".join(make(backend, 12).stream(PROMPT))
    assert longer.startswith(short.rstrip("\ufffd"))
    assert len(short) < len(longer)


def test_a_reader_that_leaves_stops_it_and_it_can_be_asked_again(generator: Generator) -> None:
    stream = generator.stream(PROMPT)
    next(stream)
    started = time.monotonic()
    stream.close()
    assert time.monotonic() - started < 5
    assert "".join(generator.stream(PROMPT)).strip()


def test_threads_may_ask_at_once(generator: Generator) -> None:
    expected = "".join(generator.stream(PROMPT))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append("".join(generator.stream(PROMPT))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    # Batched beside another request, float sums differ in the last bits: text may, a little.
    assert all(text.strip()[:5] == expected.strip()[:5] for text in found)


def test_tokens_are_counted(generator: Generator) -> None:
    short = generator.count_tokens(MESSAGES[:1])
    assert 0 < short < generator.count_tokens(MESSAGES) < generator.context_tokens


def test_llama_counts_as_its_server_does(
    make: Callable[..., Generator], server: str, generator_path: Path
) -> None:
    import httpx

    body = {"messages": [{"role": m.role, "content": m.content} for m in MESSAGES]}
    reply = httpx.post(f"{server}/v1/chat/completions", json={**body, "max_tokens": 1}, timeout=60)
    counted = make("llama.cpp").count_tokens(MESSAGES)
    assert counted == reply.json()["usage"]["prompt_tokens"]
    assert make("http").count_tokens(MESSAGES) >= counted


def test_a_prompt_longer_than_the_window_is_an_error(make: Callable[..., Generator]) -> None:
    long = Prompt("q", (Message("user", "word " * 5000),), (), 0)
    with pytest.raises(GenerationError, match="exceeds the available context"):
        list(make("llama.cpp").stream(long))


def test_extraction_quotes_word_for_word(make: Callable[..., Generator]) -> None:
    extractive = make("extractive", 100)
    text = "".join(extractive.stream(PROMPT))
    assert text == "The lighthouse was built in 1871 by Ada Stone. [1]"
    other = Prompt("How do penguins sleep?", (), (HIT,), 0)
    assert "".join(extractive.stream(other)) == NO_ANSWER


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\x03" * 200, b"hello there"])
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    generator = load_generator(GenerationConfig(model=str(path)))
    with pytest.raises(ModelError, match=r"bad\.gguf") as caught:
        generator.count_tokens(MESSAGES)
    assert "\n" not in str(caught.value)


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    generator = load_generator(GenerationConfig(model=str(tmp_path)))
    with pytest.raises(ModelError, match="transformers cannot load it") as caught:
        generator.count_tokens(MESSAGES)
    assert "\n" not in str(caught.value)


def http_generator(url: str, **settings: object) -> Generator:
    return load_generator(GenerationConfig(model=url, **settings))


def test_an_absent_server_is_named_after_its_retries() -> None:
    started = time.monotonic()
    with pytest.raises(GenerationError, match=r"http://127\.0\.0\.1:9/v1: cannot be reached"):
        list(http_generator("http://127.0.0.1:9", retries=1).stream(PROMPT))
    assert 0.4 < time.monotonic() - started < 10


def test_a_server_killed_in_the_middle(generator_path: Path) -> None:
    process, url = start_server(generator_path)
    pieces = []
    story = Prompt("q", (Message("user", "Tell a long story about the sea."),), (), 0)
    with pytest.raises(GenerationError, match=r"in the middle of the answer|before its end"):
        for piece in http_generator(url, max_tokens=2000).stream(story):
            pieces.append(piece)
            if len(pieces) == 3:
                process.kill()
    process.wait()
    assert len(pieces) >= 3


class Script(http.server.BaseHTTPRequestHandler):
    """Injects faults: each request takes the next (status, headers, body) of the script."""

    replies: list[tuple[int, dict[str, str], str]]
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.reply(200, {}, json.dumps({"data": [{"id": "served"}]}))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(dict(self.headers))
        self.reply(*self.replies.pop(0))

    def reply(self, status: int, headers: dict[str, str], body: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def faulty() -> Iterator[tuple[str, type[Script]]]:
    script = type("Faulty", (Script,), {"replies": [], "seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), script)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", script
    server.shutdown()


def sse(*pieces: str, done: bool = True) -> tuple[int, dict[str, str], str]:
    lines = [f'data: {{"choices": [{{"delta": {{"content": "{piece}"}}}}]}}' for piece in pieces]
    body = "\n\n".join([*lines, *(["data: [DONE]"] if done else [])]) + "\n\n"
    return 200, {"Content-Type": "text/event-stream"}, body


def test_passing_failures_are_tried_again(faulty: tuple[str, type[Script]]) -> None:
    url, script = faulty
    script.replies = [(429, {"Retry-After": "0"}, ""), (503, {}, "busy"), sse("he", "llo")]
    generator = http_generator(url, retries=2)
    assert list(generator.stream(PROMPT)) == ["he", "llo"]
    assert generator.name == "served"
    script.replies = [(500, {}, '{"error": {"message": "out of order"}}')]
    with pytest.raises(GenerationError, match="replied 500: out of order"):
        list(http_generator(url, retries=0).stream(PROMPT))


def test_refusals_are_not_tried_again_and_keys_stay_secret(
    faulty: tuple[str, type[Script]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, script = faulty
    monkeypatch.setenv("RAG_API_KEY", "key-123")
    script.replies = [(401, {}, '{"error": {"message": "bad key"}}')]
    with pytest.raises(GenerationError, match="replied 401: bad key: set RAG_API_KEY") as caught:
        list(http_generator(url).stream(PROMPT))
    assert script.seen[0]["Authorization"] == "Bearer key-123"
    assert "key-123" not in str(caught.value)
    assert len(script.seen) == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (sse("half", done=False), "ended the answer before its end"),
        ((200, {"Content-Type": "text/event-stream"}, "data: nonsense\n\n"), "chat protocol"),
    ],
)
def test_a_stream_that_breaks_off_is_told(
    faulty: tuple[str, type[Script]], reply: tuple[int, dict[str, str], str], message: str
) -> None:
    url, script = faulty
    script.replies = [reply]
    with pytest.raises(GenerationError, match=message):
        list(http_generator(url, retries=0).stream(PROMPT))
