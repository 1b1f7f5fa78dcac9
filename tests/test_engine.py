from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT, XQUAD, read_queries

from rag import RAG, Answer, Config, GenerationError, QuestionError
from rag.evaluation.answer_metrics import token_f1
from rag.generation import from_callable
from rag.protocols import Embedder
from rag.types import NO_ANSWER

QUESTIONS = read_queries(ROOT / "data" / "queries.jsonl")


def assert_quotes_are_exact(rag: RAG, answer: Answer) -> int:
    for citation in answer.citations:
        document = rag.document(citation.document_id)
        assert citation.quote == document.text[citation.start : citation.end] != ""
        assert 1 <= citation.number <= len(answer.prompt.hits)
        assert answer.prompt.hits[citation.number - 1].chunk.document_id == document.id
        if citation.page is not None:
            page = next(page for page in document.pages if page.number == citation.page)
            assert page.start <= citation.start <= page.end
    return len(answer.citations)


def test_every_quote_of_the_sample_questions_is_exact(sample: RAG) -> None:
    asked = QUESTIONS[::2]
    cited = sum(assert_quotes_are_exact(sample, sample.ask(q["text"])) > 0 for q in asked)
    assert cited >= sum(q["answerable"] for q in asked) * 0.9


def test_every_quote_of_a_hundred_xquad_questions_is_exact(xquad: RAG) -> None:
    questions = read_queries(XQUAD / "queries.jsonl")
    assert len(questions) == 100
    cited = sum(assert_quotes_are_exact(xquad, xquad.ask(q["text"])) > 0 for q in questions)
    # Recorded; one more or less is no loss. The others are refused.
    assert cited == pytest.approx(93, abs=1)


def test_extraction_answers_most_sample_questions(sample: RAG) -> None:
    answerable = [q for q in QUESTIONS if q["answerable"]][1::2]
    answers = [sample.ask(q["text"]) for q in answerable]
    quoted = [
        any(
            gold.lower() in " ".join(citation.quote.split()).lower()
            for gold in question["answers"]
            for citation in answer.citations
        )
        for question, answer in zip(answerable, answers, strict=True)
    ]
    assert sum(quoted) / len(quoted) > 0.8
    overlaps = [
        token_f1(answer.brief, question["answers"])
        for question, answer in zip(answerable, answers, strict=True)
    ]
    assert sum(overlaps) / len(overlaps) > 0.5


def test_quotes_of_the_small_model_are_exact_too(sample: RAG, embedder: Embedder) -> None:
    settings = {"generation.max_tokens": 40, "answering.way": "generate"}
    rag = RAG(sample.path, embedder=embedder, settings=settings)
    answers = [rag.ask(q["text"]) for q in QUESTIONS[:8:2]]
    written = [answer for answer in answers if answer.way == "generate"]
    assert len(written) >= 2
    for answer in written:
        assert_quotes_are_exact(rag, answer)
        assert answer.model == "smollm2-135m-instruct"
        assert answer.timings["first_token"] > 0
    again = rag.ask(QUESTIONS[0]["text"])
    assert again.text == answers[0].text


def test_a_stream_is_the_answer(sample: RAG) -> None:
    stream = sample.stream("What is reward hacking?")
    text = "".join(stream)
    assert text == stream.answer.text
    assert stream.answer.citations
    assert "flaws of the reward model" in text


def test_silence_where_the_documents_hold_nothing(sample: RAG) -> None:
    answer = sample.ask("zxcv qwerty asdf?")
    assert answer.abstained
    assert answer.text == NO_ANSWER
    assert not answer.citations


def test_an_empty_question(sample: RAG) -> None:
    with pytest.raises(QuestionError, match="the question is empty"):
        sample.ask("  ")


def test_a_users_own_generator(sample: RAG, embedder: Embedder) -> None:
    mine = from_callable("mine", lambda prompt: ["Labellers rank several answers [1] ", "[44]."])
    answer = RAG(sample.path, embedder=embedder, generator=mine).ask("How is a reward model made?")
    assert answer.model == "mine"
    assert "44" not in answer.text
    assert "rank several answers" in answer.citations[0].quote


def test_a_generator_out_of_reach_is_an_error_not_an_answer(
    sample: RAG, embedder: Embedder
) -> None:
    settings = {
        "generation.model": "http://127.0.0.1:9",
        "generation.retries": 0,
        "answering.way": "generate",
    }
    with pytest.raises(GenerationError, match="cannot be reached"):
        RAG(sample.path, embedder=embedder, settings=settings).ask("What is LoRA?")


def test_threads_share_one_object(sample: RAG) -> None:
    questions = [q["text"] for q in QUESTIONS[:8]]
    expected = [sample.ask(question).text for question in questions]
    found: dict[int, str] = {}

    def ask(at: int) -> None:
        found[at] = sample.ask(questions[at]).text

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[at] for at in range(8)] == expected


def test_a_notebook_shows_an_answer_with_its_text_escaped(sample: RAG, embedder: Embedder) -> None:
    shown = sample.ask("What is reward hacking?")._repr_html_()
    assert "rlhf.md" in shown
    assert "<blockquote>" in shown
    evil = from_callable("evil", lambda _: ["<script>alert(1)</script>"])
    answer = RAG(sample.path, embedder=embedder, generator=evil).ask("What is <b>LoRA</b>?")
    assert "<script>" not in answer._repr_html_()
    assert "<b>LoRA" not in answer._repr_html_()


def test_info_says_what_is_held(sample: RAG) -> None:
    info = sample.info()
    assert info.documents == info.files == 20
    assert info.chunks > 60
    assert (info.embedder, info.dim) == ("all-minilm-l6-v2", 384)
    assert info.bytes > 100_000


def test_threads_that_begin_at_different_ends_do_not_wait_for_one_another(tmp_path: Path) -> None:
    """The retriever needs the embedder: whoever begins with either must not hold the other up."""

    class Slow(RAG):
        @property
        def config(self) -> Config:  # type: ignore[override]
            # Read while a property is made: the other thread comes in between.
            time.sleep(0.01)
            return self._slow_config

        @config.setter
        def config(self, value: Config) -> None:
            self._slow_config = value

    for _ in range(5):
        rag = Slow(tmp_path / "index")
        threads = [
            threading.Thread(target=lambda name=name, rag=rag: getattr(rag, name), daemon=True)
            for name in ("retriever", "embedder", "retriever", "embedder")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
            assert not thread.is_alive()
        assert rag.retriever is rag.retriever
