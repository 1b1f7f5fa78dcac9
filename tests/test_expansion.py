"""Expansion: worked numbers for feedback, real and scripted generators for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rag.answering.extractive import ExtractiveGenerator
from rag.answering.followups import complete_question
from rag.config import GenerationConfig
from rag.errors import GenerationError
from rag.generation import from_callable, load_generator
from rag.protocols import LanguageModel
from rag.retrieval.feedback import rm3, rocchio
from rag.retrieval.rewording import hyde, multi_query
from rag.text.words import content_words
from rag.types import NO_ANSWER, Message, Prompt

QUESTION = "How many people lived in Oslo in 2010?"


@pytest.fixture(scope="module")
def small(generator_path: Path) -> LanguageModel:
    return load_generator(GenerationConfig(model=str(generator_path), max_tokens=60))


def scripted(text: str) -> LanguageModel:
    return from_callable("scripted", lambda _: [text[i : i + 7] for i in range(0, len(text), 7)])


def talk(*turns: str) -> list[Message]:
    roles = ("user", "assistant")
    return [Message(roles[i % 2], turn) for i, turn in enumerate(turns)]


# Feedback


def test_rm3_by_hand() -> None:
    # p(t|R), with 3/4 and 1/4 of the scores:
    #   cat 3/4 * 2/4 + 1/4 * 0 = 0.375, dog 3/4 * 1/4 + 1/4 * 1/2 = 0.3125,
    #   fox 3/4 * 1/4 = 0.1875, owl 1/4 * 1/2 = 0.125.
    feedback = [({"cat": 2, "dog": 1, "fox": 1}, 3.0), ({"dog": 1, "owl": 1}, 1.0)]
    # Of the strongest two: cat 0.375 / 0.6875 = 6/11, dog 5/11. The question: cat 1/2, hen 1/2.
    mixed = rm3({"cat": 1, "hen": 1}, feedback, terms=2, weight=0.4)
    assert mixed == pytest.approx(
        {
            "cat": 0.6 / 2 + 0.4 * 6 / 11,
            "hen": 0.6 / 2,
            "dog": 0.4 * 5 / 11,
        }
    )
    assert list(mixed) == ["cat", "hen", "dog"]
    everything = rm3({"cat": 1}, feedback, weight=1.0)
    assert everything == pytest.approx({"cat": 0.375, "dog": 0.3125, "fox": 0.1875, "owl": 0.125})


def test_rm3_breaks_ties_by_the_alphabet() -> None:
    assert list(rm3({}, [({"b": 1, "c": 1, "a": 1}, 1.0)], terms=2)) == ["a", "b"]


counts = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9), max_size=6)
scores = st.floats(-5, 50, allow_nan=False)


@given(
    question=counts.filter(bool),
    feedback=st.lists(st.tuples(counts, scores), max_size=6),
    terms=st.integers(1, 8),
    weight=st.floats(0, 1),
)
def test_rm3_gives_a_distribution(
    question: dict[str, int],
    feedback: list[tuple[dict[str, int], float]],
    terms: int,
    weight: float,
) -> None:
    mixed = rm3(question, feedback, terms=terms, weight=weight)
    assert sum(mixed.values()) == pytest.approx(1)
    assert list(mixed.values()) == sorted(mixed.values(), reverse=True)
    assert set(question) <= set(mixed)
    assert len(set(mixed) - set(question)) <= terms
    total = sum(question.values())
    own = {term: count / total for term, count in question.items()}
    plain = rm3(question, feedback, terms=terms, weight=0)
    assert {term: w for term, w in plain.items() if w} == pytest.approx(own)
    if not any(score > 0 and passage for passage, score in feedback):
        assert mixed == pytest.approx(own)


def test_rocchio_by_hand() -> None:
    question = np.array([1, 0, 0], dtype=np.float32)
    passages = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=np.float32)
    # The centroid is (0, 3/4, 1/4); halfway (1/2, 3/8, 1/8), of length sqrt(16 + 9 + 1) / 8.
    moved = rocchio(question, passages, [3, 1, 0], weight=0.5)
    assert moved == pytest.approx(np.array([4, 3, 1]) / math.sqrt(26))
    assert moved.dtype == np.float32


def test_rocchio_stays_without_a_direction() -> None:
    question = np.array([1, 0], dtype=np.float32)
    assert rocchio(question, np.zeros((0, 2), np.float32), []) is question
    assert rocchio(question, -question[None], [1.0], weight=0.5) is question
    assert rocchio(question, np.array([[0, 1]], np.float32), [-0.2]) is question


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 5), weight=st.floats(0, 1))
def test_rocchio_stays_on_the_sphere_and_comes_nearer(seed: int, n: int, weight: float) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n + 1, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    question, passages = vectors[0], vectors[1:]
    given_scores = random.uniform(0.1, 1, size=n).tolist()
    moved = rocchio(question, passages, given_scores, weight=weight)
    assert np.linalg.norm(moved) == pytest.approx(1, abs=1e-5)
    centroid = np.average(passages, axis=0, weights=given_scores)
    assert moved @ centroid >= question @ centroid - 1e-5
    assert (rocchio(question, passages, given_scores, weight=0) == question).all()


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_a_weight_out_of_range_is_an_error(weight: float) -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        rm3({"a": 1}, [], weight=weight)
    with pytest.raises(ValueError, match="within 0 and 1"):
        rocchio(np.ones(1, np.float32), np.ones((1, 1), np.float32), [1], weight=weight)


def test_a_score_for_each_passage() -> None:
    with pytest.raises(ValueError, match="2 passages, but 1 scores"):
        rocchio(np.ones(1, np.float32), np.ones((2, 1), np.float32), [1])


# Other wordings


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (
            "Here are 3 other ways:\n\n1. What was Oslo's population in 2010?\n"
            '2) "What number of people did Oslo have in 2010?"\n'
            "- **In 2010, who lived in Oslo?**",
            [
                "What was Oslo's population in 2010?",
                "What number of people did Oslo have in 2010?",
                "In 2010, who lived in Oslo?",
            ],
        ),
        # The question again, repeats, and repeats in other letters.
        (
            "1. How many people lived in Oslo in 2010?\n2. Who lived in Oslo in 2010?\n"
            "3. who lived in  OSLO in 2010?",
            ["Who lived in Oslo in 2010?"],
        ),
        # Another year, no year, an answer, something else altogether, a ramble.
        ("How many people lived in Oslo in 2011?\nHow many people live in Oslo?", []),
        ("In 2010, 580,000 people lived in Oslo.", []),
        ("How do you make a cup of tea in 2010?", []),
        ("What was " + "the population of Oslo or " * 20 + "so in 2010?", []),
        ("Question 1: Who lived in Oslo in 2010?", ["Who lived in Oslo in 2010?"]),
        ("Oslo: who lived there in 2010?", ["Oslo: who lived there in 2010?"]),
        ("", []),
        ("1.\n2.\n3.", []),
        (NO_ANSWER, []),
    ],
)
def test_wordings_are_told_from_noise(written: str, found: list[str]) -> None:
    assert multi_query(QUESTION, scripted(written)) == found


def test_no_more_wordings_than_asked_for_and_the_stream_is_left() -> None:
    asked: list[Prompt] = []

    def write(prompt: Prompt) -> Sequence[str]:
        asked.append(prompt)
        for i in range(1, 100):
            yield f"{i}. Who was person {'x' * i} of Oslo in 2010?\n"
        raise AssertionError("read to the end")

    assert len(multi_query(QUESTION, from_callable("endless", write), n=2)) == 2
    assert QUESTION in asked[0].messages[-1].content
    assert asked[0].tokens > 0


def test_the_small_model_words_anew(small: LanguageModel) -> None:
    question = "Why do language models hallucinate?"
    found = multi_query(question, small)
    assert 0 < len(found) <= 3
    assert len({*found, question}) == len(found) + 1
    for wording in found:
        assert wording.endswith("?")
        assert content_words(wording) & content_words(question)
    assert multi_query(question, small) == found


# A hypothetical passage


@pytest.mark.parametrize(
    ("written", "passage"),
    [
        ("Oslo grew. It had 580,000 people. It also had a", "Oslo grew. It had 580,000 people."),
        ("Oslo grew.\n\nOslo grew. Oslo  grew.", "Oslo grew."),
        ("Oslo had many people and", "Oslo had many people and"),
        (NO_ANSWER, ""),
        ("  \n", ""),
    ],
)
def test_a_passage_is_tidied(written: str, passage: str) -> None:
    assert hyde(QUESTION, scripted(written)) == passage


def test_a_passage_has_an_end() -> None:
    many = " ".join(f"Oslo had {i} people in some year." for i in range(500))
    assert len(hyde(QUESTION, scripted(many))) <= 800
    assert hyde(QUESTION, scripted(many)).endswith(" year.")
    assert len(hyde(QUESTION, scripted("x" * 5000))) == 800


def test_the_small_model_writes_a_passage(small: LanguageModel) -> None:
    passage = hyde("What is quantization?", small)
    assert "uantization" in passage
    assert passage.endswith(".")
    # The extractive generator has nothing to quote, and says so.
    assert (
        hyde("What is quantization?", ExtractiveGenerator(GenerationConfig(model="extractive")))
        == ""
    )


# A conversation

OSLO = talk(QUESTION, "About 580,000 people lived in Oslo in 2010.")


@pytest.mark.parametrize(
    ("history", "question", "expected"),
    [
        ([], "And in 2020?", "And in 2020?"),
        (OSLO, "And in 2020?", "How many people lived in Oslo in 2020?"),
        (OSLO, "And in Bergen?", "How many people lived in Bergen in 2010?"),
        (
            [*OSLO, *talk("And in 2020?", "About 690,000.")],
            "And in Bergen?",
            "How many people lived in Bergen in 2020?",
        ),
        (talk("What is LoRA?", "An adapter."), "Why?", "Why? LoRA"),
        (
            talk("What is LoRA?", "An adapter."),
            "How much memory does it save?",
            "How much memory does LoRA save?",
        ),
        (
            talk("What is LoRA?", "An adapter.", "Who built the lighthouse?", "Ada Stone."),
            "When was she born?",
            "When was she born? built lighthouse",
        ),
        (talk("Who proposed LoRA?"), "When?", "When was LoRA proposed?"),
        (talk("Who proposed adapters?"), "And why?", "Why were adapters proposed?"),
        (talk("Who proposed LoRA?"), "When was it proposed?", "When was LoRA proposed?"),
        (talk("What are adapters?"), "What is their size?", "What is adapters' size?"),
        (
            talk("What does the dental insurance cost?"),
            "And the pet insurance?",
            "What does the pet insurance cost?",
        ),
        (talk("How tall is Mount Everest?"), "And K2?", "How tall is K2?"),
        (talk("Who wrote Hamlet?"), "And Faust?", "Who wrote Faust?"),
        (
            talk("Which team won the world cup of 1954?"),
            "And in 1958?",
            "Which team won the world cup of 1958?",
        ),
        (
            talk("What is the default of work_mem?"),
            "What about shared_buffers?",
            "What is the default of shared_buffers?",
        ),
        (
            talk("How long is the notice period?"),
            "And for managers?",
            "How long is the notice period for managers?",
        ),
        # Where it is not clear what the phrase stands for, the words are added.
        (talk("How long are backups kept?"), "And the logs?", "And the logs? long backups kept"),
        # What can stand alone does, whatever was said before.
        (OSLO, "What is LoRA?", "What is LoRA?"),
        (OSLO, "Which index needs the least memory?", "Which index needs the least memory?"),
        (
            OSLO,
            "量子化するとモデルの精度はどうなりますか",
            "量子化するとモデルの精度はどうなりますか",
        ),
        # Only what the user said counts.
        ([Message("system", "Be brief."), Message("assistant", "Hello.")], "Why?", "Why?"),
    ],
)
def test_a_follow_up_by_rules(history: list[Message], question: str, expected: str) -> None:
    assert complete_question(question, history, None) == expected


def test_a_pasted_page_does_not_swell_the_question() -> None:
    page = " ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(300))
    assert len(complete_question("Why is it so?", talk(page), None).split()) == 4 + 12


@pytest.mark.parametrize(
    ("question", "written", "kept"),
    [
        ("And in 2020?", "So how many people lived in Oslo in 2020?", True),
        ("And in 2020?", '1. "So how many people lived in Oslo in 2020?"\nIt was', True),
        # The user's year is lost, or only the old question is repeated.
        ("And in 2020?", "How many people lived in Oslo?", False),
        ("And in 2020?", QUESTION, False),
        # An answer, an echo, and something out of the blue.
        ("And in 2020?", "In 2020, about 580,000 people lived in Oslo.", False),
        ("And in 2020?", "And in 2020?", False),
        ("And in 2020?", "How many penguins lived in Oslo in 2020?", False),
        ("And in 2020?", "", False),
        ("And in 2020?", NO_ANSWER, False),
        # Signs and negations are the user's words too.
        ("And in C++?", "How many people lived in C?", False),
        ("And who did not?", "Who lived in Oslo?", False),
        ("And who did not?", "Who did not live in Oslo in 2010?", True),
        ('And "in town"?', "How many people lived in town in 2010?", False),
    ],
)
def test_a_rewriting_counts_if_it_is_faithful(question: str, written: str, kept: bool) -> None:
    found = complete_question(question, OSLO, scripted(written))
    by_rule = complete_question(question, OSLO, None)
    assert (found != by_rule) == kept
    if kept:
        assert found in written


def test_a_question_that_stands_alone_asks_no_generator() -> None:
    def write(_: Prompt) -> Sequence[str]:
        raise AssertionError("was asked")

    generator = from_callable("idle", write)
    assert complete_question("What is LoRA?", OSLO, generator) == "What is LoRA?"
    assert complete_question("And in 2020?", [], generator) == "And in 2020?"


def test_the_small_model_completes(small: LanguageModel) -> None:
    lighthouse = talk("Who built the lighthouse?", "Ada Stone built it.")
    assert complete_question("When was she born?", lighthouse, small) == "When was Ada Stone born?"
    completed = complete_question("And in 2020?", OSLO, small)
    assert {"2020", "oslo"} <= content_words(completed)


words = st.sampled_from(
    ["Oslo", "2010", "2020", "K2", "it", "and", "why", "C++", "not", "the", "people", "-old", "8.5"]
)
sentences = st.lists(words, min_size=1, max_size=6).map(" ".join)


@given(question=sentences, before=st.lists(sentences, min_size=1, max_size=4), written=sentences)
def test_no_word_of_the_user_is_lost(question: str, before: list[str], written: str) -> None:
    for generator in (None, scripted(written)):
        found = complete_question(question, talk(*before), generator)
        assert content_words(question) <= content_words(found)
        for token in question.split():
            if token in {"C++", "-old", "8.5", "K2", "not"}:
                assert token in found.split()


@given(question=sentences, written=st.text(max_size=200))
def test_whatever_is_written_is_survived(question: str, written: str) -> None:
    assume(question.strip())
    generator = scripted(written)
    found = multi_query(question, generator)
    assert len(found) == len(set(found)) <= 3
    assert all(wording.strip() for wording in found)
    assert hyde(question, generator) == hyde(question, generator).strip()


@pytest.mark.parametrize(
    "ask",
    [
        lambda g: multi_query(QUESTION, g),
        lambda g: hyde(QUESTION, g),
        lambda g: complete_question("And in 2020?", OSLO, g),
    ],
)
def test_a_generator_that_fails_is_told(ask: Callable[[LanguageModel], object]) -> None:
    def write(_: Prompt) -> Sequence[str]:
        yield "How"
        raise GenerationError("gone")

    with pytest.raises(GenerationError, match="gone"):
        ask(from_callable("failing", write))
