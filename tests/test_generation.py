"""What is peculiar to one generator; the suite holds what all of them have to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from checkpoints import (
    HIT,
    MESSAGES,
    NO_SYSTEM,
    PROMPT,
    TEMPLATE,
    TEXT,
    make_causal,
    make_reader,
    read,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Script, scripted, sse

from rag import (
    GenerationError,
    LanguageModel,
    Message,
    ModelError,
    Prompt,
    QuestionError,
)
from rag.answering.extractive import ExtractiveGenerator
from rag.answering.reader import load_reader
from rag.answering.reader.transformer import ReaderGenerator, load_transformer
from rag.config import AnsweringConfig, GenerationConfig
from rag.generation import load_generator
from rag.protocols import LikelihoodModel, Loadable
from rag.types import NO_ANSWER


def test_extraction_quotes_word_for_word() -> None:
    extractive = ExtractiveGenerator(GenerationConfig(model="extractive", max_tokens=100))
    quote, _, mark = "".join(extractive.stream(PROMPT)).rpartition(" ")
    assert quote in TEXT
    assert "1871" in quote
    assert mark == "[1]"
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


@pytest.mark.slow
def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    generator = load_generator(GenerationConfig(model=str(tmp_path)))
    with pytest.raises(ModelError, match="transformers cannot load it") as caught:
        generator.count_tokens(MESSAGES)
    assert "\n" not in str(caught.value)


class Counting:
    """A llama.cpp server that notes how many tokens each request found read and read."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.counts: list[tuple[int, int]] = []

    def handle_completions(self, request: dict[str, Any]) -> Any:
        reply = self.server.handle_completions(request)
        self._note(reply)
        return reply

    def handle_chat_completions(
        self, request: dict[str, Any], receive: Callable[[Any], bool]
    ) -> Any:
        def noted(reply: Any) -> bool:
            for chunk in reply if isinstance(reply, list) else [reply or {}]:
                self._note(chunk)
            return receive(reply)

        return self.server.handle_chat_completions(request, noted)

    def _note(self, chunk: Any) -> None:
        if "timings" in chunk:
            self.counts.append((chunk["timings"]["cache_n"], chunk["timings"]["prompt_n"]))


PASSAGES = " ".join(
    f"Lighthouse {number} was built in {1800 + 7 * number} by Ada Stone, has {number} lamps and "
    f"burns whale oil."
    for number in range(1, 12)
)


def about(question: str, passages: str = PASSAGES, schema: dict[str, Any] | None = None) -> Prompt:
    user = Message("user", f"{passages}\n\nQuestion: {question}")
    return Prompt(question, (MESSAGES[0], user), (HIT,), 0, schema=schema)


def llama(path: Path) -> tuple[LanguageModel, Counting]:
    generator = load_generator(GenerationConfig(str(path), max_tokens=12, context_tokens=1024))
    assert isinstance(generator, Loadable)
    generator.load()
    counting = generator._server = Counting(generator._server)  # type: ignore[attr-defined]
    return generator, counting


def write(generator: LanguageModel, prompt: Prompt) -> str:
    return "".join(read(generator, prompt))


def test_llama_reads_the_same_passages_once(generator_path: Path) -> None:
    generator, server = llama(generator_path)
    length = generator.count_tokens(about("Who built it?").messages)
    write(generator, about("Who built it?"))
    assert server.counts == [(0, length)]
    server.counts.clear()
    write(generator, about("Who built it?"))
    # Whole steps are kept, and one token is read to go back to their end.
    kept = (length - 1) // 64 * 64
    assert server.counts == [(kept, 1), (kept, length - kept)]
    server.counts.clear()
    other = generator.count_tokens(about("How many lamps has the third?").messages)
    write(generator, about("How many lamps has the third?"))
    assert sum(read for _, read in server.counts) <= other - kept + 64 + 1
    server.counts.clear()
    # Nothing in common but less than a step.
    write(generator, about("Who?", "No lighthouse."))
    assert [found for found, _ in server.counts] == [0]


def test_llama_writes_the_same_whatever_it_has_read_before(generator_path: Path) -> None:
    prompts = [
        about("Who built it?"),
        about("How many lamps has the third?"),
        about("How many lamps has the third, and how many the fourth?"),
        about("Who built it?", PASSAGES[: len(PASSAGES) // 2]),
        about("Who built it?", schema={"enum": ["Ada Stone", "nobody"]}),
    ]
    fresh = []
    for prompt in prompts:
        generator, server = llama(generator_path)
        fresh.append(write(generator, prompt))
        assert [found for found, _ in server.counts] == [0]
    generator, server = llama(generator_path)
    assert isinstance(generator, LikelihoodModel)
    likelihoods = set()
    for at in (0, 1, 0, 2, 1, 4, 0, 3, 2, 2, 4, 3, 1):
        assert write(generator, prompts[at]) == fresh[at]
        likelihoods.add(generator.log_likelihood(PASSAGES, " Ada") if at % 2 else 0.0)
    assert len(likelihoods) == 2
    assert any(found for found, _ in server.counts)


def test_llama_computes_the_same_whatever_it_has_read_before(generator_path: Path) -> None:
    """The likelihoods of the tokens, which tell of every bit."""
    generator, server = llama(generator_path)
    contexts = [PASSAGES[:end] for end in (350, 500, 501, 640)]

    def likelihood(context: str) -> float:
        assert isinstance(generator, LikelihoodModel)
        return generator.log_likelihood(context, " and the keeper")

    def forgotten(context: str) -> float:
        generator._read = []  # type: ignore[attr-defined]
        return likelihood(context)

    fresh = [forgotten(context) for context in contexts]
    server.counts.clear()
    assert [likelihood(contexts[at]) for at in (1, 2, 3, 0, 3, 1)] == [
        fresh[at] for at in (1, 2, 3, 0, 3, 1)
    ]
    assert min(found for found, _ in server.counts) >= 64


def test_llama_stopped_in_the_middle_goes_on_as_ever(generator_path: Path) -> None:
    generator, server = llama(generator_path)
    expected = write(generator, about("Who built it?"))
    stream = generator.stream(about("How many lamps has the third?"))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    server.counts.clear()
    assert write(generator, about("Who built it?")) == expected
    assert all(found for found, _ in server.counts)


def test_llama_begins_anew_where_it_cannot_go_back(generator_path: Path) -> None:
    generator, server = llama(generator_path)
    expected = write(generator, about("Who built it?"))

    class Recurrent(Counting):
        """Has a state in place of a cache: it reads a prompt that it cannot go on from whole."""

        def handle_completions(self, request: dict[str, Any]) -> Any:
            return super().handle_completions({**request, "cache_prompt": False})

    recurrent = generator._server = Recurrent(server.server)  # type: ignore[attr-defined]
    for _ in range(3):
        assert write(generator, about("Who built it?")) == expected
    assert [found for found, _ in recurrent.counts] == [0] * 4


def causal(folder: Path, template: str) -> LanguageModel:
    place = make_causal(folder, template)
    return load_generator(GenerationConfig(model=str(place), max_tokens=4))


@pytest.mark.slow
def test_without_a_system_role_the_user_says_it(tmp_path: Path) -> None:
    plain, refusing = causal(tmp_path / "plain", TEMPLATE), causal(tmp_path / "ref", NO_SYSTEM)
    later = (Message("assistant", "In 1871."), Message("user", "By whom?"))
    both = Message("user", f"{MESSAGES[0].content}\n\n{MESSAGES[1].content}")
    for messages, folded in [
        ((*MESSAGES, *later), (both, *later)),
        (MESSAGES[:1], (Message("user", MESSAGES[0].content),)),
        (MESSAGES[1:], MESSAGES[1:]),
        ((MESSAGES[0], *later), (Message("user", MESSAGES[0].content), *later)),
    ]:
        written = ["".join(read(refusing, replace(PROMPT, messages=messages)))]
        written.append("".join(read(plain, replace(PROMPT, messages=folded))))
        assert written[0] == written[1] != ""
        assert refusing.count_tokens(messages) == plain.count_tokens(folded)


@pytest.mark.slow
def test_a_template_that_refuses_everything_is_named(tmp_path: Path) -> None:
    generator = causal(tmp_path / "mute", "{{ raise_exception('not today') }}")
    with pytest.raises(GenerationError, match=r"mute: its chat template refuses .*: not today"):
        list(generator.stream(PROMPT))


QUESTION = "When was it built ?"
WORDS = ["a", "b", "c", "d", "e", "f", "g", "h", ".", "Ada", "Stone", "1871", "oil", "unknown"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ReaderGenerator:
    folder = make_reader(tmp_path_factory.mktemp("reader"))
    return load_transformer(AnsweringConfig(reader=str(folder)), "cpu")


@pytest.fixture(scope="module")
def raw(reader: ReaderGenerator) -> tuple[Any, Any]:
    """The checkpoint of the reader, opened without our code."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    place = reader._model.location
    model = AutoModelForQuestionAnswering.from_pretrained(place).eval()
    return model, AutoTokenizer.from_pretrained(place)


def spans_by_brute_force(
    raw: tuple[Any, Any], passages: list[str], longest: int
) -> list[tuple[float, int, str]]:
    """(margin over no answer, passage, words) of every span of every window."""
    import torch

    model, tokenizer = raw
    asked = tokenizer(QUESTION, add_special_tokens=False)["input_ids"]
    room = 96 - len(asked) - 3
    found = []
    for number, passage in enumerate(passages, start=1):
        words = passage.split()
        tokens = tokenizer.convert_tokens_to_ids(words)
        begin = 0
        while begin == 0 or begin + room // 2 < len(words):
            held = tokens[begin : begin + room]
            ids = [2, *asked, 3, *held, 3]
            kinds = [0] * (len(asked) + 2) + [1] * (len(held) + 1)
            with torch.inference_mode():
                output = model(torch.tensor([ids]), token_type_ids=torch.tensor([kinds]))
            starts, ends = output.start_logits[0].tolist(), output.end_logits[0].tolist()
            first = len(asked) + 2
            for i, j in product(range(len(held)), repeat=2):
                if i <= j < i + longest:
                    margin = starts[first + i] + ends[first + j] - starts[0] - ends[0]
                    found.append((margin, number, " ".join(words[begin:][i : j + 1])))
            begin += room - room // 2
    return found


@pytest.mark.slow
@settings(max_examples=25)
@given(
    passages=st.lists(
        st.one_of(
            st.lists(st.sampled_from(WORDS), max_size=12),
            st.lists(st.sampled_from(WORDS), min_size=80, max_size=200),
        ).map(" ".join),
        max_size=3,
    ),
    longest=st.integers(1, 40),
)
def test_a_reader_finds_the_best_of_all_spans(
    reader: ReaderGenerator, raw: tuple[Any, Any], passages: list[str], longest: int
) -> None:
    short = ReaderGenerator(reader._model, "cpu", longest)
    short._checkpoint = reader._checkpoint
    spans = spans_by_brute_force(raw, passages, min(longest, 30))
    found = short.best_span(QUESTION, passages)
    best = max(spans, default=(-1.0, 0, ""))[0]
    if found is None:
        assert best < 1e-3
        return
    number, start, end = found.number, found.start, found.end
    assert found.probability == pytest.approx(1 / (1 + math.exp(-best)), abs=1e-4)
    quote = passages[number - 1][start:end]
    margins = [m for m, n, words in spans if (n, words) == (number, quote)]
    assert max(margins) == pytest.approx(best, abs=1e-3)


@pytest.mark.slow
def test_a_reader_quotes_with_the_passage_number(reader: ReaderGenerator) -> None:
    other = "a b c . d e f"
    chunk = replace(HIT.chunk, text=other, end=len(other))
    prompt = Prompt(QUESTION, MESSAGES, (replace(HIT, chunk=chunk), HIT), 0)
    found = reader.best_span(QUESTION, [other, TEXT])
    assert found is not None
    assert 0.5 < found.probability <= 1
    quote = [other, TEXT][found.number - 1][found.start : found.end]
    assert quote == quote.strip() != ""
    assert "".join(reader.stream(prompt)) == f"{quote} [{found.number}]"


@pytest.mark.slow
def test_a_reader_says_when_there_is_no_answer(tmp_path: Path, reader: ReaderGenerator) -> None:
    silent = load_transformer(AnsweringConfig(reader=str(make_reader(tmp_path, silent=True))))
    assert silent.best_span(QUESTION, [TEXT, f"{TEXT} " * 5]) is None
    assert "".join(silent.stream(PROMPT)) == NO_ANSWER
    for passages in ([], [""], [" \n"]):
        assert reader.best_span(QUESTION, passages) is None


@pytest.mark.slow
def test_a_question_longer_than_a_reader_reads(reader: ReaderGenerator) -> None:
    with pytest.raises(QuestionError, match=r"the question has 200 tokens, .* reads 96"):
        reader.best_span("a " * 200, [TEXT])


@pytest.mark.slow
def test_a_checkpoint_that_cannot_read_is_named(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    headless = make_reader(tmp_path / "headless")
    config = BertConfig.from_pretrained(headless)
    BertModel(config).save_pretrained(headless)
    for place, reason in [
        (headless, "headless: is no model for question answering"),
        (tmp_path, "transformers cannot load it"),
    ]:
        with pytest.raises(ModelError, match=reason) as caught:
            load_transformer(AnsweringConfig(reader=str(place))).best_span(QUESTION, [TEXT])
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="no such reader"):
        load_reader(AnsweringConfig(reader="nowhere"))


def http_generator(url: str, **settings: object) -> LanguageModel:
    return load_generator(GenerationConfig(model=url, **settings))


def test_an_absent_server_is_named_after_its_retries() -> None:
    with pytest.raises(GenerationError, match=r"http://127\.0\.0\.1:9/v1: .*\(2 tries\)"):
        list(http_generator("http://127.0.0.1:9", retries=1).stream(PROMPT))


@pytest.fixture
def faulty() -> Iterator[tuple[str, type[Script]]]:
    with scripted() as server:
        yield server


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


SCHEMA = {"type": "object", "properties": {"year": {"type": "integer"}}}


def test_a_schema_goes_to_the_server(faulty: tuple[str, type[Script]]) -> None:
    url, script = faulty
    script.replies = [sse("{}"), sse("{}")]
    generator = http_generator(url)
    assert list(generator.stream(replace(PROMPT, schema=SCHEMA))) == ["{}"]
    assert list(generator.stream(PROMPT)) == ["{}"]
    assert script.asked[0].pop("response_format") == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }
    assert script.asked[0] == script.asked[1]


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_knows_no_schema_is_asked_without(
    faulty: tuple[str, type[Script]], status: int
) -> None:
    url, script = faulty
    refused = (status, {}, '{"error": {"message": "response_format: not supported"}}')
    script.replies = [(503, {"Retry-After": "0"}, ""), refused, sse("{}")]
    generator = http_generator(url, retries=1)
    assert list(generator.stream(replace(PROMPT, schema=SCHEMA))) == ["{}"]
    assert ["response_format" in asked for asked in script.asked] == [True, True, False]
    # What is wrong with the rest of the request is told.
    script.replies = [refused, (status, {}, '{"error": {"message": "too long"}}')]
    with pytest.raises(GenerationError, match=f"replied {status}: too long"):
        list(generator.stream(replace(PROMPT, schema=SCHEMA)))
