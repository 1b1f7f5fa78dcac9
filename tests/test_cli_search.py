"""`rag search` as a user runs it; by words alone where no model is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

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
