"""`rag search` as a user runs it; by words alone where no model is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rag import RAG
from rag.cli import cli

WORDS = ("--mode", "lexical")


@pytest.fixture
def index(sample: RAG) -> str:
    return str(sample.path)


def search(index: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["search", *arguments, "--index", index])


def test_a_hit_shows_its_place_and_how_near_it_is(index: str) -> None:
    result = search(index, "What is the key-value cache?", "-k", "1")
    assert result.exit_code == 0
    assert re.search(r"^\[1\] .*serving\.txt:\d+  \(1\.000, cosine 0\.\d\d\)$", result.stdout, re.M)


def test_explain_tells_places_words_and_times(index: str) -> None:
    result = search(index, "What is the key-value cache?", "-k", "2", "--explain")
    assert "looked for: key, valu, cach" in result.stdout
    assert re.search(r"dense #1 0\.\d+  lexical #1 \d+\.\d+  fusion #1 1\.000", result.stdout)
    assert re.search(r"words: .*key-value", result.stdout)
    assert re.search(r"milliseconds: .*embed \d+\.\d, dense", result.stdout)


def test_one_side_alone_is_explained_alone(index: str) -> None:
    result = search(index, "PagedAttention", *WORDS, "-k", "1", "--explain", "--json")
    found = json.loads(result.stdout)
    assert [stage["name"] for stage in found["hits"][0]["trace"]] == ["lexical"]
    assert found["hits"][0]["terms"] == ["PagedAttention"]
    assert "embed" not in found["timings"]


def test_a_filter_is_obeyed_and_a_wrong_one_named(index: str) -> None:
    hits = json.loads(search(index, "memory", *WORDS, "--where", "type:pdf", "--json").stdout)
    assert hits
    assert {Path(hit["source"]).suffix for hit in hits} == {".pdf"}
    assert search(index, "memory", *WORDS, "--where", "type:docx").exit_code == 3
    wrong = search(index, "memory", *WORDS, "--where", "titel:x")
    assert "did you mean `title`" in str(wrong.exception)


def test_a_phrase_that_is_nowhere_is_said(index: str) -> None:
    result = search(index, 'what "eats attention" in memory', *WORDS)
    assert result.exit_code == 0
    assert "no passage holds the quoted phrase" in result.stderr
    assert search(index, '"eats attention"', *WORDS).exit_code == 3


def test_a_section_is_shown_whole(index: str) -> None:
    question = "outlier features in quantization"
    plain = json.loads(search(index, question, *WORDS, "--json").stdout)
    wide = json.loads(search(index, question, *WORDS, "--context", "section", "--json").stdout)
    assert all(hit["window"] is None for hit in plain)
    assert any(hit["window"] for hit in wide)
    for hit in filter(lambda hit: hit["window"], wide):
        assert hit["chunk"]["text"] in hit["window"]["text"]
