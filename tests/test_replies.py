"""What servers do besides streaming text: think, refuse, cut, filter, call tools, or not stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checkpoints import MESSAGES, PROMPT, TEMPLATE, make_causal
from conftest import RunMain
from hypothesis import given
from hypothesis import strategies as st
from servers import Script, scripted, sse

from rag import (
    RAG,
    GenerationError,
    IncompleteError,
    LanguageModel,
    Prompt,
    RetractedError,
)
from rag.config import GenerationConfig
from rag.generation import from_callable, load_generator
from rag.generation.thoughts import ThoughtFilter
from rag.protocols import Embedder, generate_text

QUESTION = "Who proposed HyDE?"
SENTENCE = "HyDE was proposed by Gao and colleagues."
SCHEMA = {"type": "object", "properties": {"year": {"type": "integer"}}}
STREAMED = {"Content-Type": "text/event-stream"}


@pytest.fixture
def faulty() -> Iterator[tuple[str, type[Script]]]:
    with scripted() as server:
        yield server


def generator(url: str, **settings: object) -> LanguageModel:
    values: dict[str, Any] = {"served_model": "any", "retries": 0, **settings}
    return load_generator(GenerationConfig(model=url, **values))


def deltas(*said: dict[str, Any], reason: str | None = "stop") -> tuple[int, dict[str, str], str]:
    """A stream of these deltas."""
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": delta}]} for delta in said]
    if reason is not None:
        chunks.append({"choices": [{"delta": {}, "finish_reason": reason}]})
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return 200, STREAMED, "".join([*events, "data: [DONE]\n\n"])


def texts(*pieces: str, reason: str | None = "stop") -> tuple[int, dict[str, str], str]:
    return deltas(*({"content": piece} for piece in pieces), reason=reason)


def whole(message: dict[str, Any], reason: str = "stop") -> tuple[int, dict[str, str], str]:
    """A reply in one piece, as of a server that does not stream."""
    body = {"choices": [{"message": message, "finish_reason": reason}]}
    return 200, {"Content-Type": "application/json"}, json.dumps(body)


def refusal(said: str, status: int = 400) -> tuple[int, dict[str, str], str]:
    return status, {}, json.dumps({"error": {"message": said}})


def read(reply: tuple[int, dict[str, str], str], **settings: object) -> list[str]:
    with scripted() as (url, script):
        script.replies = [reply]
        return list(generator(url, **settings).stream(PROMPT))


# Thoughts.


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        (["<think>Hm, 1870?</think>", "In 1871."], "In 1871."),
        (["<th", "ink>Hm", ", 18", "70?</", "thi", "nk>\n", "\nIn 18", "71."], "In 1871."),
        (["  \n<think>\n\n</think>\n\n", "In 1871."], "In 1871."),
        (["<think>Hm</think>", "<think>Hm?</think>", "In 1871."], "In 1871."),
        (["[THINK]Hm[/TH", "INK]In 1871."], "In 1871."),
        (["In 1871.\n", "<think>Sure?</think>Surely."], "In 1871.\nSurely."),
        # Text about tags.
        (["It thinks between <think> and ", "</think> tags."], None),
        (["It ends with `</", "think>` [1]."], None),
        (["a < b, a <t", "able>, [1", "] and [T"], None),
    ],
)
def test_a_block_of_thoughts_is_no_answer(pieces: list[str], answer: str | None) -> None:
    assert "".join(read(texts(*pieces))) == (answer or "".join(pieces))


@given(st.data())
def test_tags_may_be_cut_anywhere(data: st.DataObject) -> None:
    text = "<think>So <b> it [is] 1870 </thin> no</think>\nIn 1871 [1], </b> said <i>."
    edges = sorted(data.draw(st.sets(st.integers(1, len(text) - 1))))
    kept = ThoughtFilter("any")
    pieces = [text[a:b] for a, b in zip([0, *edges], [*edges, len(text)], strict=True)]
    shown = "".join(kept.feed(piece) for piece in pieces) + kept.finish()
    assert shown == "In 1871 [1], </b> said <i>."


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_by_themselves_are_no_answer(name: str) -> None:
    said = [{name: "Hm, 1870?"}, {name: "", "content": "In "}, {name: None, "content": "1871."}]
    # A model that is known to think streams as well, once its server keeps the two apart.
    for served in ("any", "DeepSeek-R1"):
        assert read(deltas(*said), served_model=served) == ["In ", "1871."]


def test_a_normal_model_is_read_piece_by_piece() -> None:
    pieces = ["The", " lighthouse", " was", " built", " in", " 1871", "."]
    with scripted() as (url, script):
        script.replies = [texts(*pieces)] * 2
        model = generator(url)
        for _ in range(2):
            found = list(model.stream(PROMPT))
            assert "".join(found) == "".join(pieces)
            # "The" may become "The user asks", with which thoughts begin.
            assert found[1:] == pieces[2:]


@pytest.mark.parametrize(
    ("served", "thinks"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "auto"),
        ("Qwen3-4B-Thinking-2507", "auto"),
        ("qwq:32b", "auto"),
        ("any", "yes"),
    ],
)
def test_text_waits_for_the_end_of_thoughts_without_a_beginning(served: str, thinks: str) -> None:
    pieces = ["It says 1870", " or so.\n</th", "ink>\n\nIn", " 1871", "."]
    assert read(texts(*pieces), served_model=served, thinks=thinks) == ["In", " 1871", "."]


def test_thoughts_are_known_by_their_first_words() -> None:
    pieces = ["Ok", "ay, so", " the user", " asks when.\n</think>\n\n", "In", " 1871."]
    assert read(texts(*pieces)) == ["In", " 1871."]
    # An answer that begins so has waited for nothing, and is whole.
    assert "".join(read(texts("Okay, so it was", " built in 1871."))) == (
        "Okay, so it was built in 1871."
    )


def test_thoughts_that_were_shown_are_taken_back(faulty: tuple[str, type[Script]]) -> None:
    url, script = faulty
    thoughts = texts("Passage one", " says 1871.\n", "</think>", "In 1871.")
    script.replies = [thoughts] * 4
    model = generator(url)
    shown = []
    with pytest.raises(RetractedError, match=r"thoughts, and no answer.*`generation\.thinks`"):
        for piece in model.stream(PROMPT):
            shown.append(piece)
    assert "".join(shown) == "Passage one says 1871.\n"
    # It is remembered.
    assert list(model.stream(PROMPT)) == ["In 1871."]
    # Who has shown nothing asks once more.
    assert generate_text("When?", MESSAGES, generator(url)) == "In 1871."
    assert len(script.asked) == 4


def test_a_model_that_stops_thinking_streams_again(faulty: tuple[str, type[Script]]) -> None:
    url, script = faulty
    script.replies = [texts("In ", "1871.")] * 2
    model = generator(url, served_model="DeepSeek-R1")
    assert list(model.stream(PROMPT)) == ["In 1871."]
    assert list(model.stream(PROMPT)) == ["In ", "1871."]


@pytest.mark.parametrize("begun", ["<think>Hm", "Okay, so the user asks"])
def test_thoughts_that_take_all_tokens_are_no_answer(begun: str) -> None:
    with pytest.raises(GenerationError, match=r"no answer: its thoughts took all of its 160 tok"):
        read(texts(begun, ", let me", " see", reason="length"))


def test_no_means_that_a_tag_alone_is_text() -> None:
    pieces = ["Okay, so the user", " writes </think>", " here."]
    assert read(texts(*pieces), thinks="no") == pieces


# Ends.


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("length", r"stopped at 160 tokens: raise `generation\.max_tokens`"),
        ("model_length", "stopped at 160 tokens"),
        ("content_filter", "a content filter broke the answer off"),
        ("SAFETY", "a content filter broke the answer off"),
        ("error", r"broke the answer off \(error\)"),
        ("tool_calls", "called a tool in the middle"),
    ],
)
def test_an_answer_that_was_cut_is_told(
    faulty: tuple[str, type[Script]], reason: str, message: str
) -> None:
    url, script = faulty
    script.replies = [texts("In ", "1871", reason=reason)]
    shown = []
    with pytest.raises(IncompleteError, match=message):
        for piece in generator(url).stream(PROMPT):
            shown.append(piece)
    assert shown == ["In ", "1871"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (texts(), "its text is empty"),
        (texts(" ", "\n"), "its text is empty"),
        (texts("<think>Hm.</think>"), "it wrote nothing but thoughts"),
        (deltas({"reasoning_content": "Hm."}), "it wrote nothing but thoughts"),
        (deltas({"reasoning": "Hm."}, reason="length"), "its thoughts took all of its 160 tokens"),
        (deltas({"refusal": "I can"}, {"refusal": "not."}), r"it refused: I cannot\."),
        (whole({"content": None, "refusal": "No."}), r"it refused: No\."),
        (deltas({"tool_calls": [{"index": 0}]}, reason="tool_calls"), "it called a tool"),
        (texts(reason="content_filter"), "a content filter held it back"),
    ],
)
def test_no_text_is_no_answer(reply: tuple[int, dict[str, str], str], message: str) -> None:
    with pytest.raises(GenerationError, match=f"the model gave no answer: {message}") as caught:
        read(reply)
    assert not isinstance(caught.value, IncompleteError)


@pytest.mark.parametrize(
    "reply",
    [
        deltas({"content": [{"type": "text", "text": "In "}]}, {"content": [{"text": "1871."}]}),
        deltas(
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]},
            {"content": "In 1871."},
        ),
        whole({"content": "In 1871."}),
        whole({"content": [{"type": "text", "text": "In "}, {"type": "text", "text": "1871."}]}),
        whole({"content": "<think>Hm</think>In 1871."}),
        (200, {"Content-Type": "text/plain"}, sse("In ", "1871.")[2]),
        (200, STREAMED, "data: \n\n" + sse("In 1871.")[2].replace('{"ch', '{"error": null, "ch')),
    ],
)
def test_text_is_read_in_whatever_shape(reply: tuple[int, dict[str, str], str]) -> None:
    assert "".join(read(reply)) == "In 1871."


@pytest.mark.parametrize(
    "reply",
    [
        (200, {"Content-Type": "text/html"}, "<html>Sign in</html>"),
        (200, {"Content-Type": "application/json"}, '{"detail": "hello"}'),
        (200, {"Content-Type": "application/json"}, '{"choices": 1}'),
        deltas({"content": 7}),
    ],
)
def test_what_is_no_chat_is_told(reply: tuple[int, dict[str, str], str]) -> None:
    with pytest.raises(GenerationError, match="something other than the chat protocol"):
        read(reply)


# Requests that are refused.


@pytest.mark.parametrize(
    "said",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        "Unrecognized request argument supplied: max_tokens",
    ],
)
def test_the_newer_name_of_the_limit_is_tried(faulty: tuple[str, type[Script]], said: str) -> None:
    url, script = faulty
    script.replies = [refusal(said), texts("a"), texts("b")]
    model = generator(url, max_tokens=7)
    assert [*model.stream(PROMPT), *model.stream(PROMPT)] == ["a", "b"]
    limits = [(each.get("max_tokens"), each.get("max_completion_tokens")) for each in script.asked]
    # It is remembered.
    assert limits == [(7, None), (None, 7), (None, 7)]


def test_a_field_that_is_refused_is_left_out(faulty: tuple[str, type[Script]]) -> None:
    url, script = faulty
    script.replies = [
        refusal("Unsupported value: 'temperature' does not support 0 with this model."),
        (422, {}, '{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}'),
        texts("a"),
    ]
    assert list(generator(url).stream(PROMPT)) == ["a"]
    assert {"temperature", "seed"} & set(script.asked[-1]) == set()


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 4096 tokens, you asked for 5000",
        "'max_tokens' or 'max_completion_tokens' is too large: 160",
        "the model `any` does not exist",
    ],
)
def test_a_refusal_of_something_else_is_told(faulty: tuple[str, type[Script]], said: str) -> None:
    url, script = faulty
    script.replies = [refusal(said)]
    with pytest.raises(GenerationError, match=said[:30]):
        list(generator(url).stream(replace(PROMPT, schema=SCHEMA)))
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "reply",
    [
        refusal("Invalid schema for response_format 'answer'"),
        refusal("guided decoding is off", 422),
        (400, {}, ""),
        (400, {}, "Bad Request"),
    ],
)
def test_a_refusal_of_the_schema_is_not(
    faulty: tuple[str, type[Script]], reply: tuple[int, dict[str, str], str]
) -> None:
    url, script = faulty
    script.replies = [reply, texts("{}")]
    assert list(generator(url).stream(replace(PROMPT, schema=SCHEMA))) == ["{}"]
    assert ["response_format" in asked for asked in script.asked] == [True, False]


# The list of models.


@pytest.mark.parametrize(
    "others",
    [
        [{"id": name}]
        for name in (
            *("text-embedding-3-small", "nomic-embed-text:latest", "intfloat/e5-base-v2"),
            *("BAAI/bge-m3", "thenlper/gte-large", "all-MiniLM-L6-v2", "jina-reranker-v2"),
            *("whisper-1", "tts-1-hd", "omni-moderation-latest", "dall-e-3"),
        )
    ]
    + [
        [{"id": "a", "type": "embeddings"}, {"id": "b", "task": "text-classification"}],
        [{"id": "a", "capabilities": {"completion_chat": False, "vision": True}}],
        [{"id": "a", "capabilities": ["embedding"]}, "nonsense", {"id": 7}, {}],
    ],
    ids=lambda others: others[0]["id"],
)
def test_only_a_model_that_chats_is_chosen(others: list[Any]) -> None:
    chats = {"id": "mistral-7b", "capabilities": {"completion_chat": True}}
    for listing in ({"data": [*others, chats]}, [*others, {"id": "mistral-7b"}]):
        with listed(json.dumps(listing)) as (url, script):
            script.replies = [texts("a")]
            model = generator(url, served_model="")
            assert list(model.stream(PROMPT)) == ["a"]
            assert model.name == script.asked[0]["model"] == "mistral-7b"
    with (
        listed(json.dumps({"data": others})) as (url, _),
        pytest.raises(GenerationError, match=r"no model that chats \(.*`generation.served_model`"),
    ):
        list(generator(url, served_model="").stream(PROMPT))


@pytest.mark.parametrize("name", ["qwen3-8b", "gemma-3n-e4b", "llama-guardian", "granite-4"])
def test_what_chats_is_not_passed_over(name: str) -> None:
    with listed(json.dumps({"data": [{"id": name}, {"id": "other"}]})) as (url, script):
        script.replies = [texts("a")]
        list(generator(url, served_model="").stream(PROMPT))
        assert script.asked[0]["model"] == name


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, "not found"),
        (501, ""),
        (500, "Internal Server Error"),
        (200, '{"data": []}'),
        (200, "<html>"),
        (200, "[]"),
        (200, "7"),
    ],
)
def test_a_server_without_a_list_asks_for_a_name(status: int, body: str) -> None:
    with (
        listed(body, status) as (url, _),
        pytest.raises(
            GenerationError,
            match=r"lists no model(?: \(replied .*\))?: set `generation\.served_model`",
        ),
    ):
        list(generator(url, served_model="").stream(PROMPT))


def listed(body: str, status: int = 200) -> Any:
    return scripted(do_GET=lambda script: script.reply(status, {}, body))


# Answers.


def asking(
    sample: RAG, embedder: Embedder, model: LanguageModel, **settings: object
) -> Callable[[], Any]:
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    rag = RAG(sample.path, embedder=embedder, generator=model, settings=keys)
    return lambda: rag.ask(QUESTION)


def test_an_answer_says_that_it_was_cut(
    sample: RAG, embedder: Embedder, faulty: tuple[str, type[Script]]
) -> None:
    url, script = faulty
    script.replies = [texts(f"{SENTENCE} It was praised by Einst", reason="length")]
    answer = asking(sample, embedder, generator(url), answering__way="generate")()
    assert answer.interrupted == f"{url}/v1: stopped at 160 tokens: raise `generation.max_tokens`"
    assert answer.text.endswith("It was praised by Einst")
    assert answer.citations
    assert not answer.abstained
    # Nobody knows what the last sentence would have said.
    assert not answer.unsupported
    assert not any(sentence.flagged for sentence in answer.sentences)


def test_only_the_sentence_that_was_cut_is_spared(
    sample: RAG, embedder: Embedder, faulty: tuple[str, type[Script]]
) -> None:
    url, script = faulty
    ended = "It was praised by Einstein in 1905."
    script.replies = [
        texts(f"{SENTENCE} {ended} It was pra", reason="length"),
        texts(f"{SENTENCE} {ended}", reason="length"),
    ]
    ask = asking(sample, embedder, generator(url), answering__way="generate")
    for _ in range(2):
        answer = ask()
        assert answer.interrupted
        assert [each.text for each in answer.unsupported] == [ended]
        assert answer.unsupported[0].flagged == ("Einstein", "1905")


def test_strictly_nothing_that_was_cut_is_shown_without_support(
    sample: RAG, embedder: Embedder, faulty: tuple[str, type[Script]]
) -> None:
    url, script = faulty
    script.replies = [
        texts(f"{SENTENCE} It was praised by Einst", reason="length"),
        texts("It was praised by Einst", reason="length"),
    ]
    ask = asking(
        sample, embedder, generator(url), answering__way="generate", answering__strict=True
    )
    answer = ask()
    assert "Einst" not in answer.text
    assert answer.interrupted
    answer = ask()
    assert answer.abstained
    assert not answer.citations


def test_auto_quotes_where_what_was_cut_has_no_support(
    sample: RAG, embedder: Embedder, faulty: tuple[str, type[Script]]
) -> None:
    url, script = faulty
    script.replies = [texts("It was praised by Einst", reason="length")]
    answer = asking(sample, embedder, generator(url))()
    assert answer.way == "extract"
    assert answer.interrupted is None


def test_thoughts_that_nobody_saw_are_taken_back_without_a_word(
    sample: RAG, embedder: Embedder, faulty: tuple[str, type[Script]]
) -> None:
    url, script = faulty
    script.replies = [texts("Einstein praised it. Then", "\n</think>", SENTENCE)] * 2
    answer = asking(sample, embedder, generator(url), answering__way="generate")()
    assert "Einstein" not in answer.text
    assert answer.interrupted is None
    assert len(script.asked) == 2


@pytest.mark.parametrize("reply", [texts(), texts("<think>Hm", reason="length")])
@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_no_answer_is_not_that_the_documents_hold_none(
    sample: RAG,
    embedder: Embedder,
    faulty: tuple[str, type[Script]],
    reply: tuple[int, dict[str, str], str],
    schema: dict[str, Any] | None,
) -> None:
    url, script = faulty
    script.replies = [reply]
    rag = RAG(sample.path, embedder=embedder, generator=generator(url))
    with pytest.raises(GenerationError, match="gave no answer"):
        rag.ask(QUESTION, schema=schema)


def test_a_function_that_writes_nothing_gave_no_answer(sample: RAG, embedder: Embedder) -> None:
    with pytest.raises(GenerationError, match="silent: the model gave no answer"):
        asking(sample, embedder, from_callable("silent", lambda _: ["", " "]))()


def test_json_that_was_cut_says_so(
    sample: RAG, embedder: Embedder, faulty: tuple[str, type[Script]]
) -> None:
    url, script = faulty
    script.replies = [
        texts('{"year": 20', reason="length"),
        texts('{"year": 2022}', reason="length"),
    ]
    rag = RAG(sample.path, embedder=embedder, generator=generator(url))
    with pytest.raises(GenerationError, match=r"cut off before its JSON ended: .*160 tokens"):
        rag.ask(QUESTION, schema=SCHEMA)
    answer = rag.ask(QUESTION, schema=SCHEMA)
    assert answer.data == {"year": 2022}
    assert "160 tokens" in (answer.interrupted or "")


def test_rag_ask_tells_what_happened(
    sample: RAG, faulty: tuple[str, type[Script]], run_main: RunMain
) -> None:
    url, script = faulty
    options = ("--index", str(sample.path), "--generator", url, "--way", "generate")
    script.replies = [
        deltas({"reasoning_content": "Hm."}, reason="length"),
        texts(f"{SENTENCE} It was pra", reason="length"),
    ]
    result = run_main("ask", QUESTION, *options)
    assert result.code == 1
    assert "the model gave no answer: its thoughts took all of its 160 tokens" in result.err
    assert "do not" not in result.out
    result = run_main("ask", QUESTION, *options)
    assert result.code == 1
    assert SENTENCE.rstrip(".") in result.out
    assert "no passage supports" not in result.out
    assert "the answer is not complete" in result.err
    assert "stopped at 160 tokens" in result.err


# Models of this process.


def test_a_template_that_opens_the_thoughts_is_noticed(tmp_path: Path) -> None:
    folder = make_causal(tmp_path / "thinker", TEMPLATE + "<think>\n")
    model = load_generator(GenerationConfig(model=str(folder), max_tokens=4))
    with pytest.raises(GenerationError, match="no answer: its thoughts took all of its 4 tokens"):
        list(model.stream(PROMPT))
    folder = make_causal(tmp_path / "plain")
    model = load_generator(GenerationConfig(model=str(folder), max_tokens=4))
    pieces = model.stream(PROMPT)
    assert next(pieces)
    with pytest.raises(IncompleteError, match="stopped at 4 tokens"):
        list(pieces)


@pytest.mark.model
def test_llama_says_that_it_was_cut(generator_path: Path) -> None:
    cut = load_generator(GenerationConfig(model=str(generator_path), max_tokens=3))
    pieces = cut.stream(PROMPT)
    assert next(pieces)
    with pytest.raises(IncompleteError, match=r"stopped at 3 tokens: raise"):
        list(pieces)
    ends = load_generator(GenerationConfig(model=str(generator_path), max_tokens=100))
    short = Prompt("", (replace(MESSAGES[-1], content="Say only: yes."),), (), 0)
    assert "".join(ends.stream(short)).strip()
