"""Windows lie in their documents, and their passages in them; neighbours become one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import RAG
from rag.retrieval.widening import merge, widen
from rag.text.sentences import split_sentences
from rag.types import Chunk, Document, Heading, Hit, Widened

PAGE = """Preface one. Preface two.

# Lighthouse

It was built in 1871. Ada Stone built it. Its lamp burns oil. It has 210 steps. Pets stay outside.

## Visitors

Come on Monday. Bring water. The gallery is open.

# Harbour

Ships come and go. Fish is sold.
"""


def make_document(text: str, name: str = "d") -> Document:
    headings = []
    at = 0
    for line in text.splitlines(keepends=True):
        if line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            headings.append(Heading(at, at + len(line.rstrip()), level, line.strip("# \n")))
        at += len(line)
    return Document(name, f"{name}.md", text, name, "", "", headings=tuple(headings))


def hit_at(document: Document, start: int, end: int, rank: int = 1) -> Hit:
    chunk = Chunk(rank, document.id, document.text[start:end], start, end, 0)
    return Hit(chunk, 1 / rank, rank, document.source, document.title)


def hit_of(document: Document, passage: str, rank: int = 1) -> Hit:
    start = document.text.index(passage)
    return hit_at(document, start, start + len(passage), rank)


DOCUMENT = make_document(PAGE)
BOTH = {"d": DOCUMENT}


def read(passage: str, context: str, **options: int) -> str:
    return widen([hit_of(DOCUMENT, passage)], BOTH, context, **options)[0].text


def test_a_window_takes_sentences_on_both_sides() -> None:
    assert read("Its lamp burns oil.", "window", sentences=1) == (
        "Ada Stone built it. Its lamp burns oil. It has 210 steps."
    )
    assert read("Its lamp burns oil.", "window", sentences=0) == "Its lamp burns oil."
    assert read("Its lamp burns oil.", "passage") == "Its lamp burns oil."


def test_a_window_stays_in_its_section() -> None:
    assert read("Fish is sold.", "window", sentences=9) == "Ships come and go. Fish is sold."
    assert read("Preface two.", "window", sentences=9) == "Preface one. Preface two."
    assert read("Bring water.", "window", sentences=9) == (
        "Come on Monday. Bring water. The gallery is open."
    )
    # The sections below belong to it; a heading is no sentence, and none ends a window.
    assert read("Pets stay outside.", "window", sentences=1) == (
        "It has 210 steps. Pets stay outside.\n\n## Visitors\n\nCome on Monday."
    )
    # A passage may begin with headings that have no text of their own.
    document = make_document("# A\n\n## B\n\nOne. Two. Three.\n\n# C\n\nFour.")
    hit = hit_of(document, "# A\n\n## B\n\nOne.")
    (shown,) = widen([hit], {"d": document}, "window", sentences=1)
    assert shown.text == "# A\n\n## B\n\nOne. Two."
    (shown,) = widen([hit], {"d": document}, "section")
    assert shown.text == "# A\n\n## B\n\nOne. Two. Three."


def test_a_section_is_read_with_those_below_it() -> None:
    section = PAGE[PAGE.index("# Lighthouse") : PAGE.index("# Harbour")].strip()
    assert read("Its lamp burns oil.", "section") == section
    assert read("Bring water.", "section") == section[section.index("## Visitors") :]
    assert read("Fish is sold.", "section") == "# Harbour\n\nShips come and go. Fish is sold."
    assert read("Preface one.", "section") == "Preface one. Preface two."


def test_a_long_section_is_cut_between_sentences() -> None:
    shown = read("Its lamp burns oil.", "section", limit=75)
    assert shown == "Ada Stone built it. Its lamp burns oil. It has 210 steps."
    # What one side leaves, the other one takes.
    assert read("# Lighthouse", "section", limit=60) == (
        "# Lighthouse\n\nIt was built in 1871. Ada Stone built it."
    )
    assert read("The gallery is open.", "section", limit=40) == "Bring water. The gallery is open."
    assert read("Its lamp burns oil.", "section", limit=5) == "Its lamp burns oil."


def test_lines_do_where_there_are_no_sentences() -> None:
    lines = "\n".join(f"value_{i} = compute({i})" for i in range(200))
    document = make_document(lines)
    passage = "value_100 = compute(100)"
    shown = widen([hit_of(document, passage)], {"d": document}, "section", limit=500)[0]
    assert 300 < len(shown.text) <= 500
    assert set(shown.text.splitlines()) <= set(lines.splitlines())
    assert passage in shown.text


def test_a_hit_of_a_changed_document_stays_as_it_is() -> None:
    hit = hit_of(DOCUMENT, "Its lamp burns oil.")
    changed = {"d": make_document("Now " + PAGE)}
    for documents in ({}, changed):
        assert widen([hit], documents, "section") == [hit]
        assert merge([hit, hit], documents) == [hit, replace(hit, rank=2)]
    fresh = hit_of(changed["d"], "Its lamp burns oil.", 2)
    assert merge([hit, fresh], changed) == [hit, fresh]


def test_neighbours_become_one_in_the_place_of_the_best() -> None:
    other = make_document("Something else. Entirely.", "e")
    first = replace(hit_of(DOCUMENT, "Its lamp burns oil.", 1), terms=("oil",), duplicates=("x",))
    second = hit_of(other, "Entirely.", 2)
    third = replace(
        hit_of(DOCUMENT, "Ada Stone built it.", 3), terms=("Ada", "oil"), duplicates=("y", "x")
    )
    fourth = hit_of(DOCUMENT, "Fish is sold.", 4)
    merged = merge([first, second, third, fourth], {"d": DOCUMENT, "e": other})
    assert merged == [
        replace(
            first,
            widened=Widened(
                "Ada Stone built it. Its lamp burns oil.", third.chunk.start, first.chunk.end
            ),
            terms=("oil", "Ada"),
            duplicates=("x", "y"),
        ),
        second,
        replace(fourth, rank=3),
    ]


def test_windows_that_touch_become_one() -> None:
    hits = [hit_of(DOCUMENT, "It has 210 steps.", 1), hit_of(DOCUMENT, "It was built in 1871.", 2)]
    assert merge(hits, BOTH) == hits
    (one,) = merge(widen(hits, BOTH, "window", sentences=1), BOTH)
    assert one.text == PAGE[PAGE.index("It was built") : PAGE.index("\n\n## Visitors")]
    assert one.chunk == hits[0].chunk


def test_what_lies_within_another_ends_nothing() -> None:
    long = "It was built in 1871. Ada Stone built it. Its lamp burns oil."
    hits = [
        hit_of(DOCUMENT, passage, rank)
        for rank, passage in enumerate(("Its lamp", long, "It was built"), start=1)
    ]
    (one,) = merge(hits, BOTH)
    assert (one.text, one.chunk, one.score) == (long, hits[0].chunk, hits[0].score)


def test_a_sentence_out_of_sight_is_left_out() -> None:
    long = "Then " + "it went on " * 200 + "and ended."
    document = make_document(f"{long} Short. Here. Brief. {long}")
    hit = hit_of(document, "Here.")
    (shown,) = widen([hit], {"d": document}, "window", sentences=2)
    assert shown.text == "Short. Here. Brief."


texts = st.lists(
    st.sampled_from(
        [
            "One two three. ",
            "It is so! ",
            "\n\n",
            "\n# A\n",
            "\n## B\n",
            "word " * 30,
            "\u00e9\u4e2d. ",
            "x",
        ]
    ),
    min_size=1,
    max_size=25,
).map("".join)


def passages_of(text: str, cuts: Sequence[int]) -> list[tuple[int, int]]:
    bounds = sorted({cut % (len(text) + 1) for cut in cuts})
    pairs = pairwise(bounds)
    return [(a, b) for a, b in pairs if text[a:b].strip() == text[a:b] != ""]


@given(
    text=texts,
    cuts=st.lists(st.integers(0, 2000), min_size=2, max_size=8),
    context=st.sampled_from(["passage", "window", "section"]),
    sentences=st.integers(0, 4),
    limit=st.integers(0, 400),
)
def test_the_laws_of_windows(
    text: str, cuts: list[int], context: str, sentences: int, limit: int
) -> None:
    document = make_document(text)
    hits = [hit_at(document, a, b, i) for i, (a, b) in enumerate(passages_of(text, cuts), 1)]
    widened = widen(hits, {"d": document}, context, sentences=sentences, limit=limit)
    for before, hit in zip(hits, widened, strict=True):
        assert replace(hit, widened=None) == before
        assert text[hit.start : hit.end] == hit.text == hit.text.strip()
        assert hit.start <= hit.chunk.start < hit.chunk.end <= hit.end
        assert len(hit.text) <= max(limit, len(before.text))
        if context == "window":
            for side in (text[hit.start : before.start], text[before.end : hit.end]):
                found = [side[a:b] for a, b in split_sentences(side)]
                assert len([s for s in found if not s.startswith("#")]) <= sentences
        if context != "passage":
            start, end = document.section_at(before.end - 1)
            assert min(start, before.start) <= hit.start <= hit.end <= max(end, before.end)
            if context == "section" and limit >= end - start + len(before.text):
                assert hit.text == text[min(start, before.start) : max(end, before.end)].strip()


@pytest.mark.slow
@given(
    text=texts,
    spans=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 40)), max_size=7),
    order=st.randoms(use_true_random=False),
)
def test_merging_is_the_union_of_what_touches(
    text: str, spans: list[tuple[int, int]], order: random.Random
) -> None:
    documents = {name: make_document(text, name) for name in "de"}
    hits = []
    for rank, (offset, length) in enumerate(spans, 1):
        start = offset % len(text)
        passage = text[start : start + length]
        if passage.strip() == passage:
            hits.append(hit_at(documents[order.choice("de")], start, start + len(passage), rank))
    merged = merge(hits, documents)
    assert [hit.rank for hit in merged] == list(range(1, len(merged) + 1))
    assert [hit.score for hit in merged] == sorted((hit.score for hit in merged), reverse=True)

    def covered(found: Sequence[Hit], name: str) -> set[int]:
        """Every character that is read, and the white space between two that are."""
        at = {
            i for hit in found if hit.chunk.document_id == name for i in range(hit.start, hit.end)
        }
        for i in sorted(at):
            j = i + 1
            while j < len(text) and j not in at and text[j].isspace():
                j += 1
            if j in at:
                at |= set(range(i, j))
        return at

    for name in "de":
        assert covered(merged, name) == covered(hits, name)
        mine = sorted(
            (hit for hit in merged if hit.chunk.document_id == name), key=lambda h: h.start
        )
        for hit, after in pairwise(mine):
            assert hit.end < after.start
            assert text[hit.end : after.start].strip()
    for hit in merged:
        assert text[hit.start : hit.end] == hit.text
        assert hit.start <= hit.chunk.start < hit.chunk.end <= hit.end
        inside = [
            other
            for other in hits
            if other.chunk.document_id == hit.chunk.document_id
            and hit.start <= other.start < hit.end
        ]
        assert hit.score == max(other.score for other in inside)
    assert merge(merged, documents) == merged


@pytest.mark.parametrize("context", ["window", "section"])
def test_real_documents(sample: RAG, context: str) -> None:
    hits = sample.search("How does low-rank adaptation save memory?", 200)
    documents = {hit.chunk.document_id: sample.document(hit.chunk.document_id) for hit in hits}
    widened = widen(hits, documents, context)
    # Most sections of the sample are one passage each; the others are introductions.
    assert sum(len(hit.text) > len(hit.chunk.text) for hit in widened) >= 10
    merged = merge(widened[:20], documents)
    assert 1 < len(merged) < 20
    for hit in (*widened, *merged):
        text = documents[hit.chunk.document_id].text
        assert text[hit.start : hit.end] == hit.text
        assert hit.chunk.text in hit.text
    assert merged[0].chunk == hits[0].chunk


@pytest.mark.parametrize(
    "text", ["word " * 400_000, "A sentence here. " * 120_000, "x" * 2_000_000]
)
def test_a_long_document_costs_no_more_than_its_stretch(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def counted(stretch: str, language: str) -> list[tuple[int, int]]:
        sizes.append(len(stretch))
        return split_sentences(stretch, language)

    monkeypatch.setattr("rag.retrieval.widening.split_sentences", counted)
    document = make_document(text)
    hits = [hit_at(document, 1_000_001, 1_000_001 + 1, 1)]
    for context in ("window", "section"):
        (hit,) = widen(hits, {"d": document}, context)
        assert len(hit.text) <= 6000
    assert 0 < sum(sizes) <= 4 * 1200
