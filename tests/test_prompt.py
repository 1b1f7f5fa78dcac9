from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import RunMain
from hypothesis import given
from hypothesis import strategies as st

from rag import ConfigError, QuestionError
from rag.answering.prompt import (
    Example,
    build_prompt,
    copy_templates,
    load_examples,
    load_templates,
    nearest_examples,
)
from rag.config import GenerationConfig
from rag.generation import load_generator
from rag.protocols import Embedder, LanguageModel
from rag.types import NO_ANSWER, Chunk, Hit, Message, Prompt

NAMES = ["passage.jinja", "question.jinja", "system.jinja"]


class Counter:
    """A generator of known size whose tokens are words."""

    name = "counter"

    def __init__(self, context_tokens: int, max_tokens: int = 0) -> None:
        self.context_tokens, self.max_tokens = context_tokens, max_tokens
        self.counts = 0

    def count_tokens(self, messages: Sequence[Message]) -> int:
        self.counts += 1
        return sum(len(message.content.split()) for message in messages)

    def stream(self, prompt: Prompt) -> Iterator[str]:
        yield from ()


def hits(lengths: Sequence[int]) -> list[Hit]:
    return [
        Hit(Chunk(i, "d", f"p{i} " * n, 0, 1, i, ("Heading",)), 1.0 - i / 10, i + 1, "d.md", "D")
        for i, n in enumerate(lengths)
    ]


def said(*texts: str) -> list[Message]:
    roles = ("user", "assistant")
    return [Message(roles[at % 2], text) for at, text in enumerate(texts)]


BARE = Counter(10_000).count_tokens(build_prompt("why?", [], Counter(10_000)).messages)
# `<passage 1>` and `</passage>`
FENCES = 3


def test_passages_are_numbered_as_in_hits_and_fenced() -> None:
    counter = Counter(10_000)
    prompt = build_prompt("why?", hits([2, 3]), counter)
    assert prompt.messages[1].content == (
        "<passage 1>\np0 p0\n</passage>\n\n<passage 2>\np1 p1 p1\n</passage>\n\nQuestion: why?"
    )
    assert NO_ANSWER in prompt.messages[0].content
    assert counter.counts == 1


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    room=st.integers(1, 120),
    answer=st.integers(0, 50),
    history=st.lists(st.integers(1, 20), max_size=6),
    shots=st.lists(st.integers(1, 20), max_size=4),
)
def test_the_budget_holds_and_nothing_is_cut(
    lengths: list[int], room: int, answer: int, history: list[int], shots: list[int]
) -> None:
    """Against the rule written out: passages, then the newest turns, then the nearest examples."""
    given_hits = hits(lengths)
    turns = [(f"h{i} " * n, f"r{i}") for i, n in enumerate(history)]
    examples = [Example(f"e{i} " * n, f"a{i}") for i, n in enumerate(shots)]
    generator: LanguageModel = Counter(BARE + room + answer, answer)
    messages = said(*(text for turn in turns for text in turn))

    left = room
    passages = []
    for hit, length in zip(given_hits, lengths, strict=True):
        if length + FENCES <= left:
            left -= length + FENCES
            passages.append(hit)
    if not passages:
        with pytest.raises(QuestionError, match="none of the"):
            build_prompt("why?", given_hits, generator, history=messages, examples=examples)
        return
    kept = []
    for i in reversed(range(len(turns))):
        if history[i] + 1 > left:
            break
        left -= history[i] + 1
        kept.insert(0, turns[i])
    shown = []
    for i in reversed(range(len(examples))):
        # Its label is the word `Question:`.
        if shots[i] + 2 > left:
            break
        left -= shots[i] + 2
        shown.insert(0, examples[i])

    prompt = build_prompt("why?", given_hits, generator, history=messages, examples=examples)
    assert list(prompt.hits) == passages
    assert list(prompt.left_out) == [hit for hit in given_hits if hit not in passages]
    assert prompt.tokens == generator.count_tokens(prompt.messages) == BARE + room - left
    middle = [message.content.strip() for message in prompt.messages[1:-1]]
    pairs = [(f"Question: {each.question.strip()}", each.answer) for each in shown] + kept
    assert middle == [text.strip() for pair in pairs for text in pair]
    for hit in passages:
        assert hit.text.strip() in prompt.messages[-1].content


def test_a_question_too_long_is_an_error_not_cut() -> None:
    with pytest.raises(QuestionError, match="has room for"):
        build_prompt("why " * 500, hits([3]), Counter(BARE + 100))


def test_the_real_model_counts_and_keeps_the_budget(generator_path: Path) -> None:
    config = GenerationConfig(model=str(generator_path), context_tokens=512)
    generator = load_generator(config)
    history = said("What is it?", "A lighthouse.", "Who built it?", "Nobody knows. " * 150)
    prompt = build_prompt("When was it built?", hits([60, 60, 60]), generator, history=history)
    assert len(prompt.hits) == 2 and len(prompt.left_out) == 1
    assert prompt.tokens == generator.count_tokens(prompt.messages)
    assert prompt.tokens <= generator.context_tokens - generator.max_tokens
    # The newest turn does not fit; an older one without it would make no sense.
    assert [message.role for message in prompt.messages] == ["system", "user"]


def test_history_goes_between_the_instructions_and_the_question() -> None:
    history = [
        Message("system", "Obey."),
        Message("assistant", "Hello."),
        *said("Who?", "Ada [2].", "Where?"),
        *said("When?", "In 1843. [1][3]"),
    ]
    prompt = build_prompt("why?", hits([1]), Counter(10_000), history=history)
    assert [(message.role, message.content) for message in prompt.messages[1:-1]] == [
        ("user", "Who?"),
        ("assistant", "Ada."),
        ("user", "When?"),
        ("assistant", "In 1843."),
    ]


def test_examples_are_turns_with_passages_of_their_own() -> None:
    examples = [Example("Who?", "Ada.", ("Ada wrote it.",)), Example("Where?", "In London.")]
    history = said("When?", "In 1843.")
    prompt = build_prompt("why?", [], Counter(10_000), examples=examples, history=history)
    assert [message.content for message in prompt.messages[1:]] == [
        "<passage 1>\nAda wrote it.\n</passage>\n\nQuestion: Who?",
        "Ada.",
        "Question: Where?",
        "In London.",
        "When?",
        "In 1843.",
        "Question: why?",
    ]


def test_a_schema_is_told_and_kept() -> None:
    schema = {"type": "object", "title": "Größe"}
    prompt = build_prompt("why?", hits([1]), Counter(10_000), schema=schema)
    assert '{"type": "object", "title": "Größe"}' in prompt.messages[0].content
    assert prompt.schema == schema
    assert "JSON" not in build_prompt("why?", [], Counter(10_000)).messages[0].content


def test_own_templates_are_used_and_the_others_are_built_in(tmp_path: Path) -> None:
    (tmp_path / "passage.jinja").write_text(
        "{{ number }} = {{ text }} ({{ title }}, {{ source }}, {{ location }}, {{ heading }}"
        "{% if page %}, page {{ page }}{% endif %})\n"
    )
    templates = load_templates(tmp_path)
    hit = Hit(Chunk(0, "d", "A & <b>.", 0, 1, 0, ("One", "Two"), 3), 1.0, 1, "d.pdf", "D")
    prompt = build_prompt("why?", [hit], Counter(10_000), templates=templates)
    assert prompt.messages[-1].content == (
        "1 = A & <b>. (D, d.pdf, d.pdf:p3 › Two, One › Two, page 3)\n\nQuestion: why?"
    )
    assert templates.system == load_templates().system


def test_text_is_never_read_as_a_template() -> None:
    prompt = build_prompt("{{ 7 * 7 }}?", hits([1]), Counter(10_000), history=said("{% x %}", "{#"))
    assert [message.content for message in prompt.messages[1:3]] == ["{% x %}", "{#"]
    assert prompt.messages[-1].content.endswith("Question: {{ 7 * 7 }}?")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        (
            "system",
            "Hello.\n{{ no_anser }}",
            r"system.jinja:2: unknown variable `no_anser`; its variables are no_answer, schema$",
        ),
        ("system", "{% if schema %}\n{{ missing }}{% endif %}", r"jinja:2: unknown variable"),
        ("system", "\n\n{% if schema %}", r"system.jinja:3: "),
        ("system", "\n{{ schema.a.b }}", r"system.jinja:2: .*a.*; its variables are "),
        ("system", "{{ no_answer.__class__.__mro__ }}", r"system.jinja:1: access to attribute"),
        ("system", "{% include 'other' %}", r"system.jinja:1: "),
        ("question", "{{ question }}", r"question.jinja: does not use `passages`"),
        ("question", "{{ passages }}", r"question.jinja: does not use `question`"),
        ("passage", "{{ text }}", r"passage.jinja: does not use `number`"),
        ("passage", "{{ number }}", r"passage.jinja: does not use `text`"),
        ("passage", "{{ number }}{{ text }}\n{{ page + 1 }}", r"passage.jinja:2: unsupported"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_when_loaded(
    name: str, source: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / f"{name}.jinja").write_text(source)
    with pytest.raises(ConfigError, match=message) as error:
        load_templates(tmp_path)
    assert "\n" not in str(error.value)


def test_a_template_that_fails_later_says_where(tmp_path: Path) -> None:
    (tmp_path / "passage.jinja").write_text("{{ number }}\n{{ 1 // (3 - number) }} {{ text }}")
    templates = load_templates(tmp_path)
    with pytest.raises(ConfigError, match=r"passage.jinja:2: integer division"):
        build_prompt("why?", hits([1, 1, 1]), Counter(10_000), templates=templates)


def test_a_folder_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_templates(tmp_path / "none")
    with pytest.raises(ConfigError, match="holds none of"):
        load_templates(tmp_path)
    (tmp_path / "notes.txt").write_text("not a template")
    (tmp_path / "pasage.jinja").write_text("{{ number }} {{ text }}")
    with pytest.raises(ConfigError, match=r"pasage.jinja: unknown .* did you mean `passage.jinja`"):
        load_templates(tmp_path)
    (tmp_path / "pasage.jinja").rename(tmp_path / "passage.jinja")
    (tmp_path / "passage.jinja").write_bytes(b"\xff{{ number }} {{ text }}")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_templates(tmp_path)


def test_copies_are_the_built_in_ones_and_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "prompts"
    assert sorted(path.name for path in copy_templates(folder)) == NAMES
    given_hits, built_in = hits([2, 1]), load_templates()
    for templates in (built_in, load_templates(folder)):
        prompt = build_prompt("why?", given_hits, Counter(999), templates=templates, schema={})
        assert prompt == build_prompt("why?", given_hits, Counter(999), schema={})
    for name in ("question.jinja", "passage.jinja"):
        (folder / name).unlink()
    (folder / "system.jinja").write_text("Mine.")
    with pytest.raises(ConfigError, match=r"system.jinja: is there already"):
        copy_templates(folder)
    assert [path.name for path in folder.iterdir()] == ["system.jinja"]
    with pytest.raises(ConfigError, match="cannot be written"):
        copy_templates(folder / "system.jinja" / "below")


def test_examples_are_read_from_both_formats(tmp_path: Path) -> None:
    jsonl, table = tmp_path / "examples.jsonl", tmp_path / "examples.csv"
    rows = [
        {"question": "Who?", "answer": "Ada."},
        {"question": "Where?", "answer": "There.", "passages": ["It was there."]},
    ]
    jsonl.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n")
    assert load_examples(jsonl) == (
        Example("Who?", "Ada."),
        Example("Where?", "There.", ("It was there.",)),
    )
    table.write_text(
        '\ufeffanswer,question,note\r\n"Ada,\nthe countess",Who?,x\r\nThere.,Where?,\r\n'
    )
    assert load_examples(table) == (
        Example("Who?", "Ada,\nthe countess"),
        Example("Where?", "There."),
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"question": "a", "answer": "b"}\n{"question"', r"a.jsonl:2: is not JSON"),
        ("a.jsonl", '\n["a"]', r"a.jsonl:2: an example is an object"),
        ("a.jsonl", '{"question": "a"}', r"a.jsonl:1: `answer` must be"),
        ("a.jsonl", '{"question": " ", "answer": "b"}', r"a.jsonl:1: `question` must be"),
        ("a.jsonl", '{"question": "a", "answer": "b", "passage": "c"}', r"unknown field `passage`"),
        ("a.jsonl", '{"question": "a", "answer": "b", "passages": "c"}', r"list of texts"),
        ("a.jsonl", "\n", r"a.jsonl: holds no example"),
        ("a.csv", "question\na\n", r"a.csv: has no column answer"),
        ("a.csv", "question,answer\na,b\nc\n", r"a.csv:3: `answer` must be"),
        ("a.txt", "Who? Ada.", r"a.txt: examples are read from"),
    ],
)
def test_what_is_wrong_with_examples_is_named(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_examples(tmp_path / name)


def test_no_such_file_of_examples(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_examples(tmp_path / "none.csv")


QUESTIONS = (
    "How tall is the lighthouse?",
    "Who baked the bread?",
    "What is the height of the tower?",
    "When do trains leave for Vienna?",
)


def test_the_nearest_examples_are_the_most_similar_and_the_best_comes_last(
    embedder: Embedder,
) -> None:
    examples = tuple(Example(question, "An answer.") for question in QUESTIONS)
    asked = "What height has the lighthouse?"
    cosines = embedder.embed_documents(QUESTIONS) @ embedder.embed_query(asked)
    expected = [QUESTIONS[at] for at in np.argsort(cosines)]
    assert set(expected[-2:]) == {QUESTIONS[0], QUESTIONS[2]}
    for shots in range(6):
        found = nearest_examples(asked, examples, embedder, shots)
        assert [example.question for example in found] == expected[max(4 - shots, 0) :]
    assert nearest_examples(asked, (), embedder, 3) == ()


def test_examples_are_embedded_once(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = tuple(Example(f"{question} Really?", "Yes.") for question in QUESTIONS)
    embedded: list[Sequence[str]] = []
    embed = embedder.embed_documents
    monkeypatch.setattr(
        embedder, "embed_documents", lambda texts: embedded.append(texts) or embed(texts)
    )
    first = nearest_examples("Who?", examples, embedder, 2)
    assert nearest_examples("Who?", tuple(examples), embedder, 2) == first
    assert len(embedded) == 1
    nearest_examples("Who?", examples[1:], embedder, 2)
    assert len(embedded) == 2


def test_the_command_shows_and_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_main: RunMain
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run_main("prompts")
    assert shown.code == 0, shown.err
    assert "built-in system.jinja" in shown.out
    assert "<passage 1>\nThe bridge was built in 1921." in shown.out
    copied = run_main("prompts", "--copy", "mine")
    assert sorted(path.name for path in Path("mine").iterdir()) == NAMES
    assert 'prompt.templates = "mine"' in copied.out
    Path("mine", "system.jinja").write_text("Answer in verse.")
    Path("rag.toml").write_text('[prompt]\ntemplates = "mine"\n')
    shown = run_main("prompts", "--config", "rag.toml")
    assert str(Path("mine", "system.jinja")) in shown.out
    assert "[system]\nAnswer in verse.\n" in shown.out
