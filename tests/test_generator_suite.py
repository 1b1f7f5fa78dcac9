"""The same tests for all generators."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoints import (
    HIT,
    MESSAGES,
    PROMPT,
    TEXT,
    make_causal,
    make_reader,
    make_seq2seq,
    read,
    start_server,
)

from rag import GenerationError, LanguageModel, Message, Prompt
from rag.answering.extractive import ExtractiveGenerator
from rag.answering.reader.transformer import load_transformer
from rag.answering.schema import parse
from rag.config import AnsweringConfig, GenerationConfig
from rag.generation import from_callable, load_generator

WRITERS = ["llama.cpp", "causal", "seq2seq", "http"]
QUOTERS = ["extractive", "reader", "callable"]


@pytest.fixture(scope="session")
def server(generator_path: Path) -> Iterator[str]:
    """llama.cpp's own OpenAI-compatible server on loopback."""
    process, url = start_server(generator_path)
    yield url
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def make(
    generator_path: Path, server: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., LanguageModel]:
    folder = tmp_path_factory.mktemp("checkpoints")
    places = {
        "llama.cpp": str(generator_path),
        "http": server,
        "causal": str(make_causal(folder / "causal")),
        "seq2seq": str(make_seq2seq(folder / "seq2seq")),
        "reader": str(make_reader(folder / "reader")),
    }

    def build(backend: str, max_tokens: int = 12) -> LanguageModel:
        if backend == "callable":
            return from_callable("mine", lambda prompt: prompt.question.split())
        if backend == "extractive":
            return ExtractiveGenerator(GenerationConfig(max_tokens=max_tokens))
        if backend == "reader":
            return load_transformer(AnsweringConfig(reader=places[backend]), max_tokens=max_tokens)
        return load_generator(GenerationConfig(model=places[backend], max_tokens=max_tokens))

    return build


@pytest.fixture(scope="session", params=[*WRITERS, *QUOTERS])
def generator(request: pytest.FixtureRequest, make: Callable[..., LanguageModel]) -> LanguageModel:
    return make(request.param)


def test_it_streams_text_and_repeats_itself(generator: LanguageModel) -> None:
    pieces = list(read(generator, PROMPT))
    assert "".join(pieces).strip()
    assert all(pieces)
    # A prompt with the same beginning in between must leave no trace.
    other = Prompt("Who built it?", (MESSAGES[0], Message("user", f"{TEXT} Who?")), (HIT,), 0)
    assert "".join(read(generator, other)).strip()
    assert "".join(read(generator, PROMPT)) == "".join(pieces)


@pytest.mark.parametrize("backend", WRITERS)
def test_it_writes_no_more_than_it_may(make: Callable[..., LanguageModel], backend: str) -> None:
    short = list(read(make(backend, 3), PROMPT))
    longer = list(read(make(backend, 12), PROMPT))
    # No piece is less than a token, but for white space that came with one.
    sizes = [len([piece for piece in pieces if piece.strip()]) for pieces in (short, longer)]
    assert 0 < sizes[0] <= 3 < sizes[1] <= 12
    assert "".join(longer).startswith("".join(short))


def test_a_reader_quotes_no_more_than_it_may(make: Callable[..., LanguageModel]) -> None:
    for most in (1, 2, 3):
        quote, number = make("reader", most).stream(PROMPT)
        assert 1 <= len(quote.replace(".", " . ").split()) <= most
        assert number == " [1]"


def test_tokens_are_counted(generator: LanguageModel) -> None:
    counts = [generator.count_tokens(MESSAGES[:1]), generator.count_tokens(MESSAGES)]
    for words in (1, 10, 100):
        longer = Message("user", f"{MESSAGES[1].content}{' lamp' * words}")
        counts.append(generator.count_tokens((MESSAGES[0], longer)))
    assert counts == sorted(set(counts))
    assert counts[0] > 0
    assert counts[1] + generator.max_tokens < generator.context_tokens


def test_llama_counts_as_its_server_does(make: Callable[..., LanguageModel], server: str) -> None:
    import httpx

    body = {"messages": [{"role": m.role, "content": m.content} for m in MESSAGES]}
    reply = httpx.post(f"{server}/v1/chat/completions", json={**body, "max_tokens": 1}, timeout=60)
    counted = make("llama.cpp").count_tokens(MESSAGES)
    assert counted == reply.json()["usage"]["prompt_tokens"]
    assert make("http").count_tokens(MESSAGES) >= counted


def open_sockets() -> int:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system does not tell which sockets are open")
    count = 0
    for file in folder.iterdir():
        try:
            count += str(file.readlink()).startswith("socket:")
        except OSError:  # The folder's own descriptor is closed by now.
            continue
    return count


def test_a_reader_that_leaves_stops_it_and_nothing_stays_behind(generator: LanguageModel) -> None:
    expected = "".join(read(generator, PROMPT))
    before = threading.active_count(), open_sockets()
    stream = generator.stream(PROMPT)
    next(stream)
    stream.close()
    assert (threading.active_count(), open_sockets()) == before
    assert "".join(read(generator, PROMPT)) == expected


@pytest.mark.parametrize("backend", WRITERS)
def test_a_prompt_longer_than_the_window_is_refused(
    make: Callable[..., LanguageModel], backend: str, server: str
) -> None:
    generator = make(backend)
    long = replace(PROMPT, messages=(Message("user", "word " * 5000),))
    with pytest.raises(GenerationError, match="tokens") as caught:
        list(generator.stream(long))
    assert str(caught.value).startswith(server if backend == "http" else f"{generator.name}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", QUOTERS)
def test_without_a_window_any_length_is_read(
    make: Callable[..., LanguageModel], backend: str
) -> None:
    text = f"{'a b c d. ' * 1000}{TEXT}"
    hit = replace(HIT, chunk=replace(HIT.chunk, text=text, end=len(text)))
    long = replace(PROMPT, messages=(Message("user", text),), hits=(hit,))
    assert "".join(read(make(backend), long)).strip()


def test_a_conversation_is_read(generator: LanguageModel) -> None:
    history = (
        Message("user", "Is there a lighthouse?"),
        Message("assistant", "There is one, with 210 steps. [1]"),
    )
    longer = replace(PROMPT, messages=(MESSAGES[0], *history, MESSAGES[1]))
    assert generator.count_tokens(longer.messages) > generator.count_tokens(MESSAGES)
    assert "".join(read(generator, longer)).strip()


def test_threads_may_ask_at_once(generator: LanguageModel, request: pytest.FixtureRequest) -> None:
    expected = "".join(read(generator, PROMPT))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append("".join(read(generator, PROMPT))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Batched beside another request, float sums differ in the last bits: text may, a little.
    alike = 5 if "http" in request.node.name else None
    assert [text[:alike] for text in found] == [expected[:alike]] * 2


SCHEMA = {
    "type": "object",
    "properties": {"year": {"type": "integer", "maximum": 9999}, "sure": {"type": "boolean"}},
    "required": ["year", "sure"],
    "additionalProperties": False,
}


def test_a_schema_does_no_harm(generator: LanguageModel) -> None:
    assert "".join(read(generator, replace(PROMPT, schema=SCHEMA))).strip()


@pytest.mark.parametrize("backend", ["llama.cpp", "http"])
@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA,
        {"enum": ["yes", "no"]},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2},
    ],
    ids=["object", "enum", "array"],
)
def test_a_schema_is_enforced(
    make: Callable[..., LanguageModel], backend: str, schema: dict[str, object]
) -> None:
    text = "".join(read(make(backend, 60), replace(PROMPT, schema=schema)))
    # Nothing around it: the value is all that was written.
    assert text[0] in '{["'
    assert text[-1] in '}]"'
    parse(text, schema)


def test_a_schema_without_a_grammar_is_told(make: Callable[..., LanguageModel]) -> None:
    with pytest.raises(GenerationError, match=r"no grammar of the JSON schema: .*colour") as caught:
        list(make("llama.cpp").stream(replace(PROMPT, schema={"type": "colour"})))
    assert "\n" not in str(caught.value)


def test_a_server_killed_in_the_middle(generator_path: Path) -> None:
    process, url = start_server(generator_path)
    generator = load_generator(GenerationConfig(model=url, max_tokens=2000))
    pieces = []
    story = Prompt("q", (Message("user", "Tell a long story about the sea."),), (), 0)
    with pytest.raises(GenerationError, match=r"in the middle of the answer|before its end"):
        for piece in generator.stream(story):
            pieces.append(piece)
            if len(pieces) == 3:
                process.kill()
    process.wait()
    assert len(pieces) >= 3


def test_a_function_that_fails_is_named() -> None:
    def write(prompt: Prompt) -> Iterator[str]:
        yield "half"
        raise KeyError(prompt.question)

    pieces = from_callable("mine", write).stream(PROMPT)
    assert next(pieces) == "half"
    with pytest.raises(GenerationError, match="mine failed: 'When was the lighthouse built"):
        next(pieces)
