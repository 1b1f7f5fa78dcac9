"""Typing errors of a question are read as the words of the index; everything else stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import RunMain
from hypothesis import given
from hypothesis import strategies as st

from rag import RAG, Embedder
from rag.retrieval.spelling import edit_distance, prefix_distance

TEXT = """# Handbook

The salary is paid on the last working day. Whoever is ill keeps the salary for six weeks.

An index is rebuilt with the command REINDEX, and concurrently so that nobody waits; to reindex one
table takes minutes. A table is locked while it is vacuumed.

The contract was signed by Johanson in 2019, and the depot is run by Johanson today.

The maximum number of connections is set in the file; the defaults are listed below.
"""


@pytest.fixture(scope="module")
def rag(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> RAG:
    folder = tmp_path_factory.mktemp("spelling")
    (folder / "handbook.md").write_text(TEXT)
    settings = {"generation.model": "extractive"}
    rag = RAG(folder / "index", embedder=embedder, settings=settings)
    rag.index(folder / "handbook.md")
    return rag


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("When is the sallary paid?", "When is the salary paid?"),
        ("Sallary, when is it paid?", "Salary, when is it paid?"),
        ("How do I reindx concurently?", "How do I reindex concurrently?"),
        ("who signed the contarct", "who signed the contract"),
        ("how many conections (maximun)?", "how many connections (maximum)?"),
    ],
)
def test_a_typing_error_is_read_as_the_word_that_is_meant(rag: RAG, typed: str, meant: str) -> None:
    found = rag.explain(typed)
    assert (found.question, found.read_as) == (typed, meant)
    assert found.hits[0].terms


@pytest.mark.parametrize(
    "question",
    [
        "When is the salary paid?",
        "What are salaries?",
        # Names, which the documents may simply not hold; and no word becomes a name.
        "Who is Johansen?",
        "who is johansen?",
        "Does Sallary pay the depot?",
        # Too short, or no words of letters.
        "Is the tbl locked?",
        "What is sallary2?",
        "What does sallary_max do in conf/sallary?",
        "What is theSallary?",
        "SALLARY PAID?",
        # What is asked for word for word.
        'When is the "sallary" paid?',
        "When is the contract paid -sallary",
        # Words that the documents do not hold: common ones, and what is derived from them.
        "Is the tabler a defaulter?",
        "What about the celery and the report?",
    ],
)
def test_what_may_be_right_stays(rag: RAG, question: str) -> None:
    assert rag.explain(question).read_as == ""


def test_the_answer_is_that_of_the_corrected_question(rag: RAG) -> None:
    typed, meant = "When is the sallary paid?", "When is the salary paid?"
    answer = rag.ask(typed)
    assert (answer.question, answer.read_as) == (typed, meant)
    assert answer.prompt.question == meant
    assert answer.text == rag.ask(meant).text
    assert rag.ask(meant).read_as == ""
    hits = [[hit.chunk.id for hit in rag.search(question)] for question in (typed, meant)]
    assert hits[0] == hits[1]


def test_a_conversation_asks_the_corrected_question(rag: RAG) -> None:
    conversation = rag.chat()
    answer = conversation.ask("When is the sallary paid?")
    assert answer.read_as == conversation.turns[0].standalone == "When is the salary paid?"
    assert conversation.turns[0].question == "When is the sallary paid?"


def test_it_can_be_turned_off(rag: RAG, embedder: Embedder) -> None:
    settings = {"retrieval.correct": False, "generation.model": "extractive"}
    plain = RAG(rag.path, embedder=embedder, settings=settings)
    assert plain.explain("When is the sallary paid?").read_as == ""


def test_the_output_says_how_the_question_was_read(rag: RAG, run_main: RunMain) -> None:
    options = ("--index", rag.path)
    question = "When is the sallary paid?"
    read = "Read as: When is the salary paid?\n"
    assert run_main("search", question, *options).err == read
    assert run_main("ask", question, *options, "--generator", "extractive").err == read
    asked = run_main("ask", question, *options, "--generator", "extractive", "--json")
    assert json.loads(asked.out)["read_as"] == "When is the salary paid?"
    explained = run_main("search", question, *options, "--explain", "--json")
    assert json.loads(explained.out)["read_as"] == "When is the salary paid?"
    assert run_main("search", "When is the salary paid?", *options).err == ""


def test_words_that_were_removed_are_no_corrections(tmp_path: Path, embedder: Embedder) -> None:
    for name, text in (("a.txt", "The turbine is loud."), ("b.txt", "The valve is shut.")):
        (tmp_path / name).write_text(text)
    rag = RAG(tmp_path / "index", embedder=embedder)
    rag.index([tmp_path / "a.txt", tmp_path / "b.txt"])
    assert rag.explain("how loud is the turbinne").read_as == "how loud is the turbine"
    rag.remove(tmp_path / "a.txt")
    assert rag.explain("how loud is the turbinne").read_as == ""


def by_definition(one: str, other: str) -> int:
    """The optimal string alignment distance, as its recursive definition has it."""
    if not one or not other:
        return len(one) + len(other)
    ways = [
        by_definition(one[:-1], other) + 1,
        by_definition(one, other[:-1]) + 1,
        by_definition(one[:-1], other[:-1]) + (one[-1] != other[-1]),
    ]
    if len(one) > 1 and len(other) > 1 and one[-2:] == other[-2:][::-1]:
        ways.append(by_definition(one[:-2], other[:-2]) + 1)
    return min(ways)


words = st.text("abc", max_size=6)


@given(words, words, st.integers(0, 4))
def test_distances_are_those_of_the_definition(one: str, other: str, most: int) -> None:
    expected = by_definition(one, other)
    assert edit_distance(one, other, most) == min(expected, most + 1)
    nearest = min(by_definition(one, other[:end]) for end in range(len(other) + 1))
    assert prefix_distance(one, other, most) == min(nearest, most + 1)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("salary", "sallary", 1), ("form", "from", 1), ("ca", "abc", 3), ("kitten", "sitting", 3)],
)
def test_known_distances(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other, 5) == edit_distance(other, one, 5) == distance
