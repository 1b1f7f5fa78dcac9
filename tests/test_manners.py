"""What a newcomer tries, and is told in plain words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import RunMain

from rag import RAG, Embedder, QuestionError, RagError, SourceError, Work
from rag.cli.progress import TimeLeft
from rag.generation import from_callable
from rag.types import NO_ANSWER, NO_MATCH

QUESTION = "What is reward hacking?"
NOTHING = "type:docx"
QUOTING = {"generation.model": "extractive"}


@pytest.mark.parametrize("question", [None, 7, b"What?", ["What?"]])
@pytest.mark.parametrize("call", ["ask", "search", "explain", "check", "stream"])
def test_what_is_no_text_is_no_question(sample: RAG, call: str, question: Any) -> None:
    with pytest.raises(RagError, match=f"must be text, not {type(question).__name__}"):
        getattr(sample, call)(question)


def test_a_conversation_takes_text_alone(sample: RAG) -> None:
    conversation = sample.chat()
    for question in (None, 3):
        with pytest.raises(QuestionError, match="must be text"):
            conversation.ask(question)  # type: ignore[arg-type]


def test_an_empty_claim_is_called_a_claim(sample: RAG, run_main: RunMain) -> None:
    with pytest.raises(QuestionError, match="the claim is empty"):
        sample.check(" \n")
    result = run_main("check", "", "--index", sample.path)
    assert result.complaint == "rag: the claim is empty"


def test_an_answer_as_text_is_its_text_and_its_sources(sample: RAG) -> None:
    answer = sample.ask(QUESTION)
    text, blank, *sources = str(answer).split("\n")
    assert text == answer.text
    assert blank == ""
    assert sources == [f"[{c.number}] {c.location}" for c in answer.citations]
    assert "rlhf.md" in sources[0]
    assert str(replace(answer, text=NO_ANSWER, citations=())) == NO_ANSWER


def test_a_filter_that_matches_nothing_says_so(sample: RAG, run_main: RunMain) -> None:
    answer = sample.ask(QUESTION, where=NOTHING)
    assert (answer.text, answer.abstained, answer.filter_matched) == (NO_MATCH, True, False)
    assert answer.unsupported == ()
    assert not sample.explain(QUESTION, where=NOTHING).filter_matched
    assert not sample.check("Reward hacking is good.", where=NOTHING).filter_matched
    for command in ("ask", "search", "check"):
        options = ("--index", sample.path, "--where", NOTHING)
        quoting = ("--generator", "extractive") if command == "ask" else ()
        result = run_main(command, QUESTION, *options, *quoting)
        assert result.code == 3
        assert "o document matches the filter" in result.out + result.err
        assert "do not say" not in result.out
        assert "No passage supports" not in result.out
    told = run_main("chat", "--index", sample.path, "--where", NOTHING, typed="x\n")
    assert "no document matches" in told.err


def test_a_filter_that_matches_and_an_index_without_an_answer_are_told_apart(sample: RAG) -> None:
    answer = sample.ask("Which team won the football world cup of 1954?", where="type:pdf")
    assert (answer.text, answer.filter_matched) == (NO_ANSWER, True)
    found = sample.explain('"no such phrase anywhere"', where="type:pdf")
    assert (found.hits, found.filter_matched) == ((), True)


def test_a_filter_in_a_conversation_says_so_too(sample: RAG) -> None:
    conversation = sample.chat()
    answer = conversation.ask(QUESTION, where=NOTHING)
    assert (answer.text, answer.filter_matched) == (NO_MATCH, False)
    assert conversation.turns[0].abstained


def test_a_notebook_shows_hits_and_verdicts(sample: RAG) -> None:
    hits = sample.search("key-value cache", 3)
    assert isinstance(hits, list)
    shown = hits._repr_html_()
    assert shown.count("<blockquote>") == 3
    assert "serving.txt" in shown
    assert "<mark>" in sample.explain("key-value cache", 3)._repr_html_()
    verdict = sample.check("Exploiting flaws of the reward model is called reward hacking.")
    assert verdict.label in verdict._repr_html_()
    assert "<blockquote>" in verdict._repr_html_()
    assert "nothing was found" in sample.search("x", where=NOTHING)._repr_html_()


def test_a_notebook_gets_no_tags_of_documents(tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "a.txt").write_text("The <script>alert(1)</script> tag & its <b>text</b>.\nTwo.")
    rag = RAG(tmp_path / "index", embedder=embedder, settings=QUOTING)
    rag.index(tmp_path / "a.txt")
    shown = rag.explain("script tag")._repr_html_()
    assert "<mark>script</mark>" in shown
    assert "&lt;<mark>script</mark>&gt;alert(1)" in shown
    assert "<script>" not in shown
    assert "<br>Two" in shown
    assert "<script>" not in rag.check("A <script> is a tag.")._repr_html_()


def test_an_empty_folder_cannot_be_indexed(
    tmp_path: Path, embedder: Embedder, run_main: RunMain
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("A cat.")
    result = run_main("index", tmp_path / "empty", "--index", tmp_path / "none")
    assert "empty: holds no file to index" in result.complaint
    rag = RAG(tmp_path / "index", embedder=embedder, settings=QUOTING)
    rag.index(tmp_path / "full")
    with pytest.raises(SourceError, match="holds no file to index"):
        rag.index(tmp_path / "empty")
    assert rag.status().roots == (str(tmp_path / "full"),)
    assert rag.index([tmp_path / "empty", tmp_path / "full"]).unchanged == 1
    # A folder that became empty is up to date when its files have left the index.
    (tmp_path / "full" / "a.txt").unlink()
    assert len(rag.index(tmp_path / "full").removed) == 1


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    folder = tmp_path / "animals"
    folder.mkdir()
    for name in ("cat.md", "dog.txt", "fox.txt", "owl.csv"):
        (folder / name).write_text(f"The {name} is an animal.")
    return folder


def including(path: Path, embedder: Embedder, **settings: Any) -> RAG:
    chosen = {f"sources.{name}": value for name, value in settings.items()}
    return RAG(path, embedder=embedder, settings=QUOTING | chosen)


def test_adding_a_part_of_a_folder_leaves_the_rest_of_it(
    tmp_path: Path, animals: Path, embedder: Embedder
) -> None:
    whole = including(tmp_path / "index", embedder)
    whole.index(animals)
    including(tmp_path / "index", embedder, include=("*.md",)).add(animals)
    status = whole.status()
    assert (status.gone, status.left_out, status.new, status.unchanged) == ((), (), (), 4)
    assert whole.index().removed == ()


def test_adding_two_parts_of_a_folder_follows_both(
    tmp_path: Path, animals: Path, embedder: Embedder
) -> None:
    for pattern in ("*.md", "*.txt"):
        including(tmp_path / "index", embedder, include=(pattern,), exclude=("fox*",)).add(animals)
    rag = including(tmp_path / "index", embedder)
    status = rag.status()
    assert (status.gone, status.new, status.unchanged) == ((), (), 2)
    # What was left out when a part was added stays out.
    assert rag.index().added == ()


def test_files_that_are_there_are_left_out_and_not_gone(
    tmp_path: Path, animals: Path, embedder: Embedder, run_main: RunMain
) -> None:
    rag = including(tmp_path / "index", embedder)
    rag.index(animals)
    (animals / ".ragignore").write_text("dog.txt\n")
    (animals / "fox.txt").unlink()
    status = rag.status()
    assert status.gone == (str(animals / "fox.txt"),)
    assert status.left_out == (str(animals / "dog.txt"),)
    shown = run_main("status", "--index", tmp_path / "index").out
    assert f"gone:     {animals / 'fox.txt'}" in shown
    assert f"left out: {animals / 'dog.txt'}" in shown
    assert "1 gone, 1 left out, 2 unchanged" in shown
    assert set(rag.index().removed) == {str(animals / "fox.txt"), str(animals / "dog.txt")}


def work(seconds: float, done: int, total: int | None = 1000) -> Work:
    return Work(seconds=seconds, bytes=done, bytes_total=total)


def test_the_time_left_does_not_count_up() -> None:
    left = TimeLeft()
    assert left.estimate(work(1, 0)) is None
    assert left.estimate(work(10, 100)) == pytest.approx(90)
    # A large file is read for half a minute.
    assert left.estimate(work(20, 100)) == pytest.approx(80)
    assert left.estimate(work(40, 100)) == pytest.approx(60)
    # It was slow, and the end that was promised stays.
    assert left.estimate(work(41, 150)) == pytest.approx(59)
    assert left.estimate(work(50, 800)) == pytest.approx(12.5)
    assert left.estimate(work(63, 801)) is None


def test_the_time_left_of_nothing_known_is_not_told() -> None:
    left = TimeLeft()
    assert left.estimate(work(5, 900, None)) is None
    assert left.estimate(work(5, 10, 1000)) is None
    assert left.estimate(work(6, 30, 1000)) == pytest.approx(194)


def test_a_small_model_writes_no_questions_without_a_warning(
    sample: RAG, embedder: Embedder, tmp_path: Path, run_main: RunMain
) -> None:
    from rag.evaluation import make_questions

    trusted = RAG(
        sample.path,
        embedder=embedder,
        generator=from_callable("mine", lambda _: ["What is the key-value cache for?"]),
    )
    with pytest.warns(UserWarning) as caught:
        make_questions(RAG(sample.path, embedder=embedder), 1)
    assert "smollm2-135m-instruct was not measured" in str(caught[0].message)
    file = tmp_path / "made.csv"
    result = run_main("eval", "--make", file, "--questions", "1", "--index", sample.path)
    assert result.err.startswith("rag: warning: smollm2-135m-instruct")
    assert result.code == 0
    assert file.exists()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_questions(trusted, 1)


def test_the_outcome_of_a_filter_is_in_the_json(sample: RAG, run_main: RunMain) -> None:
    options = ("--index", sample.path, "--where", NOTHING, "--json")
    asked = json.loads(run_main("ask", QUESTION, *options, "--generator", "extractive").out)
    assert (asked["filter_matched"], asked["abstained"]) == (False, True)
    explained = json.loads(run_main("search", QUESTION, *options, "--explain").out)
    assert explained["filter_matched"] is False
