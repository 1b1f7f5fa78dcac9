"""`rag search` as a user runs it; by words alone where no model is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Ran, RunMain

from rag import RAG

WORDS = ("--mode", "lexical")


Search = Callable[..., Ran]


@pytest.fixture
def search(sample: RAG, run_main: RunMain) -> Search:
    return lambda *arguments: run_main("search", *arguments, "--index", sample.path)


def test_a_hit_shows_its_place_and_how_near_it_is(search: Search) -> None:
    result = search("What is the key-value cache?", "-k", "1")
    assert result.code == 0
    assert re.search(r"^\[1\] .*serving\.txt:\d+  \(1\.000, cosine 0\.\d\d\)$", result.out, re.M)


def test_explain_tells_places_words_and_times(search: Search) -> None:
    result = search("What is the key-value cache?", "-k", "2", "--explain")
    assert "looked for: key, valu, cach" in result.out
    assert re.search(r"dense #1 0\.\d+  lexical #1 \d+\.\d+  fusion #1 1\.000", result.out)
    assert re.search(r"words: .*key-value", result.out)
    assert re.search(r"milliseconds: .*embed \d+\.\d, dense", result.out)


def test_one_side_alone_is_explained_alone(search: Search) -> None:
    result = search("PagedAttention", *WORDS, "-k", "1", "--explain", "--json")
    found = json.loads(result.out)
    assert [stage["name"] for stage in found["hits"][0]["trace"]] == ["lexical"]
    assert found["hits"][0]["terms"] == ["PagedAttention"]
    assert "embed" not in found["timings"]


def test_a_filter_is_obeyed_and_a_wrong_one_named(search: Search) -> None:
    hits = json.loads(search("memory", *WORDS, "--where", "type:pdf", "--json").out)
    assert hits
    assert {Path(hit["source"]).suffix for hit in hits} == {".pdf"}
    assert search("memory", *WORDS, "--where", "type:docx").code == 3
    wrong = search("memory", *WORDS, "--where", "titel:x")
    assert "did you mean `title`" in wrong.complaint


def test_a_phrase_that_is_nowhere_is_said(search: Search) -> None:
    result = search('what "eats attention" in memory', *WORDS)
    assert result.code == 0
    assert "no passage holds the quoted phrase" in result.err
    assert search('"eats attention"', *WORDS).code == 3


def test_a_section_is_shown_whole(search: Search) -> None:
    question = "outlier features in quantization"
    plain = json.loads(search(question, *WORDS, "--json").out)
    wide = json.loads(search(question, *WORDS, "--context", "section", "--json").out)
    assert all(hit["window"] is None for hit in plain)
    assert any(hit["window"] for hit in wide)
    for hit in filter(lambda hit: hit["window"], wide):
        assert hit["chunk"]["text"] in hit["window"]["text"]


def test_the_part_that_matches_is_shown_and_marked(search: Search, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = search("paging fragmentation", *WORDS, "-k", "1").out.splitlines()
    assert "serving.txt" in shown[0]
    assert any("paging" in line for line in shown[1:])
    assert all(len(line) <= 60 and line.startswith("    ") for line in shown[1:])
    (hit,) = json.loads(search("paging fragmentation", *WORDS, "-k", "1", "--json").out)
    text = hit["chunk"]["text"]
    assert len(text) > 400
    marked = [text[start:end] for start, end in hit["matches"]]
    named = {"pages", "paging", "pagedattention", "fragmentation"}
    assert {"paging", "fragmentation"} <= {word.casefold() for word in marked} <= named
    words = text.split()
    for line in shown[1:]:
        assert set(line.replace("…", "").split()) <= set(words)


def test_a_widened_hit_marks_its_words_where_they_stand(sample: RAG) -> None:
    settings = {"retrieval.context": "section", "generation.model": "extractive"}
    found = RAG(sample.path, embedder=sample.embedder, settings=settings).explain("paging", 3)
    marked = [hit.text[a:b] for hit in found.hits if hit.widened for a, b in hit.matches]
    assert "paging" in marked


def test_a_question_needs_no_quotation_marks_and_may_be_piped(
    sample: RAG, run_main: RunMain
) -> None:
    one = run_main("search", "key-value cache", "--index", sample.path, *WORDS, "--json")
    for typed in ("key-value cache\n", "key-value\ncache"):
        piped = run_main("search", "--index", sample.path, *WORDS, "--json", typed=typed)
        assert json.loads(piped.out) == json.loads(one.out)
    words = run_main("search", "key-value", "cache", "--index", sample.path, *WORDS, "--json")
    assert json.loads(words.out) == json.loads(one.out)
    index = ("--index", sample.path, "--generator", "extractive")
    asked = run_main("ask", "What", "is", "reward", "hacking?", *index)
    assert asked.out == run_main("ask", *index, typed="What is reward hacking?\n").out
    assert "reward hacking" in asked.out


def test_no_question_at_all_is_wrong_usage(run_main: RunMain) -> None:
    for typed in ("", " \n"):
        result = run_main("ask", typed=typed)
        assert result.code == 2
        assert "QUESTION" in result.err


def test_bytes_that_are_no_text_are_an_odd_question(sample: RAG, run_main: RunMain) -> None:
    result = run_main("search", "--index", sample.path, *WORDS, typed=b"\xff\xfe paging")
    assert result.code == 0
    assert "serving.txt" in result.out
