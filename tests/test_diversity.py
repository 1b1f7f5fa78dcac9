"""What says the same shows once, what differs in a fact shows; variety against the formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import RAG
from rag.protocols import Embedder
from rag.retrieval.diversity import collapse, diversify
from rag.types import Chunk, Hit, Stage

if TYPE_CHECKING:
    from rag.types import Vectors

LICENCE = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this "
    "software, to deal in it without restriction, and to permit others to do so. The above notice "
    "shall be included in all copies. The software is provided as it is, without warranty of any "
    "kind."
)


def make_hits(
    texts: Sequence[str], headings: Sequence[tuple[str, ...]] = (), document: str = ""
) -> list[Hit]:
    found = []
    for i, text in enumerate(texts):
        heading = headings[i] if headings else ()
        chunk = Chunk(i + 1, document or f"d{i}", text, 0, len(text), i, heading, line=i + 1)
        found.append(Hit(chunk, 1 - i / 100, i + 1, f"d{i}.md", "", (Stage("dense", i + 1, 0.5),)))
    return found


def same_direction(n: int) -> Vectors:
    return np.tile(np.array([[0.6, 0.8]], np.float32), (n, 1))


def apart(n: int) -> Vectors:
    return np.eye(n, dtype=np.float32)


def test_a_licence_in_many_files_shows_once() -> None:
    found = make_hits([LICENCE, "Another text.", *[LICENCE] * 50])
    kept = collapse(found, same_direction(52), 0.95)
    assert [hit.chunk.id for hit in kept] == [1, 2]
    assert [hit.rank for hit in kept] == [1, 2]
    assert [hit.score for hit in kept] == [found[0].score, found[1].score]
    assert kept[0].duplicates == tuple(f"d{i}.md:{i + 1}" for i in range(2, 52))
    assert kept[1].duplicates == ()
    assert kept[0].trace == found[0].trace


@pytest.mark.parametrize(
    "copy",
    [
        "# " + LICENCE.replace(". ", ".\n# "),
        "/*\n * " + LICENCE.replace(", ", ",\n * ") + "\n */",
        "> " + LICENCE.replace(", ", ",\n> > "),
        LICENCE.replace("free of charge", "**free of charge**").replace("software", "`software`"),
        LICENCE.replace(" ", "\u00a0\n"),
        LICENCE.replace("software", "soft\u00adware"),
    ],
)
def test_a_copy_in_another_dress_is_a_copy(copy: str) -> None:
    # Whatever the vectors say: a long text speaks for itself.
    assert len(collapse(make_hits([LICENCE, copy]), apart(2), 0.95)) == 1


ENDINGS = {
    " Since 2019.": " Since 2020.",
    " Since 5 March.": " Since 5 May.",
    " Ask Ada Stone.": " Ask Ada Strand.",
    " It may be sold.": " It may not be sold.",
    " The lessee pays.": " The lessor pays.",
    " At most 5 mg.": " At most 5 µg.",
    " It costs $5.": " It costs €5.",
    " Below 1.5 V.": " Below 15 V.",
    " Written in C++.": " Written in C#.",
    " x < 3": " x > 3",
}


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Version 14 needs 8 GB of memory.", "Version 15 needs 16 GB of memory."),
        *((LICENCE + one, LICENCE + other) for one, other in ENDINGS.items()),
        (f"{LICENCE}\n- 5 degrees", f"{LICENCE}\n5 degrees"),
        (f"{LICENCE}\n> 5 mg", f"{LICENCE}\n5 mg"),
        # A part of a sentence is another sentence.
        ("The tenant may sublet with consent.", "The tenant may sublet"),
        ("Never open the lid. It is hot.", "open the lid."),
    ],
)
def test_a_fact_that_differs_keeps_both(text: str, other: str) -> None:
    for pair in ([text, other], [other, text]):
        assert len(collapse(make_hits(pair), same_direction(2), 0.95)) == 2


def test_the_vectors_of_a_model_do_not_overrule_a_number(embedder: Embedder) -> None:
    texts = [f"{LICENCE} It ends in 2024.", f"{LICENCE} It ends in 2025.", LICENCE]
    vectors = embedder.embed_documents(texts)
    assert (vectors @ vectors.T).min() > 0.94
    kept = collapse(make_hits(texts), vectors, 0.94)
    assert [hit.chunk.id for hit in kept] == [1, 2]
    assert kept[0].duplicates == ("d2.md:3",)


def test_what_stands_in_a_better_one_is_left_out_if_their_vectors_are_near() -> None:
    sentences = LICENCE.split(". ")
    part = sentences[1] + "."
    assert len(collapse(make_hits([LICENCE, part]), same_direction(2), 0.95)) == 1
    assert len(collapse(make_hits([LICENCE, part]), apart(2), 0.95)) == 2
    # The better one says less: the other one has news.
    assert len(collapse(make_hits([part, LICENCE]), same_direction(2), 0.95)) == 2


def test_short_texts_mean_what_their_headings_say(embedder: Embedder) -> None:
    texts, headings = ["3 kg", "3 kg"], [("Heat pump", "Weight"), ("Washing machine", "Weight")]
    embedded = ["\n".join((*h, "", t)) for h, t in zip(headings, texts, strict=True)]
    vectors = embedder.embed_documents(embedded)
    assert len(collapse(make_hits(texts, headings), vectors, 0.95)) == 2
    assert len(collapse(make_hits(texts, [headings[0]] * 2), vectors[[0, 0]], 0.95)) == 1
    releases = [("2.1.0", "Bug fixes"), ("2.2.0", "Bug fixes")]
    assert len(collapse(make_hits([LICENCE] * 2, releases), same_direction(2), 0.95)) == 2


def test_overlapping_passages_of_a_document_stay() -> None:
    text = LICENCE
    cut = text.index("The above")
    whole = Chunk(1, "d", text, 0, len(text), 0)
    tail = Chunk(2, "d", text[cut:], cut, len(text), 1)
    copied = Chunk(3, "e", text[cut:], 0, len(text) - cut, 0)
    found = [Hit(c, 0.5, i, f"{c.document_id}.md", "") for i, c in enumerate((whole, tail, copied))]
    kept = collapse(found, same_direction(3), 0.95)
    assert [(hit.chunk.id, hit.duplicates) for hit in kept] == [(1, ("e.md",)), (2, ())]


def test_nothing_is_collapsed_at_0_and_the_same_vector_counts_at_1() -> None:
    found = make_hits(["3 kg", "3 kg"])
    assert collapse(found, same_direction(2), 0) == found
    # As float16 keeps it.
    halved = np.array([[0.6, 0.8]] * 2, np.float16).astype(np.float32)
    assert len(collapse(found, halved, 1.0)) == 1


phrases = st.sampled_from(
    ["The rent is 800 a month.", "The rent is 900 a month.", "Pets are allowed.", LICENCE]
)


@given(
    texts=st.lists(st.lists(phrases, min_size=1, max_size=3).map(" ".join), max_size=8),
    near=st.booleans(),
    threshold=st.sampled_from([0.5, 0.95, 1.0]),
)
def test_no_sentence_is_lost_and_no_place(texts: list[str], near: bool, threshold: float) -> None:
    found = make_hits(texts)
    vectors = same_direction(len(texts)) if near else apart(max(1, len(texts)))[: len(texts)]
    kept = collapse(found, vectors, threshold)
    for hit in found:
        assert any(hit.text in other.text for other in kept)
    places = [place for hit in kept for place in (hit.location, *hit.duplicates)]
    assert sorted(places) == sorted(hit.location for hit in found)
    assert [hit.rank for hit in kept] == list(range(1, len(kept) + 1))
    ids = [hit.chunk.id for hit in kept]
    assert ids == sorted(ids)
    assert collapse(kept, vectors[[i - 1 for i in ids]], threshold) == kept


def test_real_passages_are_no_duplicates(sample: RAG) -> None:
    found = sample.search("How does low-rank adaptation work?", 60)
    vectors = sample.embedder.embed_documents([hit.chunk.text for hit in found])
    assert collapse(found, vectors, 0.95) == found


# Variety


def test_mmr_by_hand() -> None:
    found = [
        Hit(Chunk(i, "d", "t", 0, 1, i), score, i + 1, "d", "")
        for i, score in enumerate((0.9, 0.8, 0.5))
    ]
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    # Relevance 1, 0.75, 0. First 0.5 * 1. Then 0.5 * 0.75 - 0.5 * 1 = -0.125 against 0.
    chosen = diversify(found, vectors, 0.5, 3)
    assert [hit.chunk.id for hit in chosen] == [0, 2, 1]
    assert [hit.rank for hit in chosen] == [1, 2, 3]
    assert [hit.score for hit in chosen] == [0.9, 0.5, 0.8]
    stages = [hit.trace[-1] for hit in chosen]
    assert [(s.name, s.rank) for s in stages] == [("mmr", 1), ("mmr", 2), ("mmr", 3)]
    assert [s.score for s in stages] == pytest.approx([0.5, 0.0, -0.125])


def by_the_formula(
    scores: Sequence[float], vectors: Vectors, diversity: float, k: int
) -> list[float]:
    """The value of each choice, from Carbonell & Goldstein's formula, choice by choice."""
    low, high = min(scores), max(scores)
    relevance = [(s - low) / (high - low) if high > low else 1.0 for s in scores]
    taken: list[int] = []
    values = []
    while len(taken) < min(k, len(scores)):
        value = {
            i: (1 - diversity) * relevance[i]
            - diversity * max((float(vectors[i] @ vectors[j]) for j in taken), default=0.0)
            for i in range(len(scores))
            if i not in taken
        }
        taken.append(max(value, key=lambda i: (value[i], -i)))
        values.append(value[taken[-1]])
    return values


@given(
    seed=st.integers(0, 2**32 - 1),
    scores=st.lists(st.integers(-5, 20), min_size=1, max_size=9),
    diversity=st.floats(0.01, 1),
    k=st.integers(1, 10),
)
def test_mmr_is_the_formula(seed: int, scores: list[int], diversity: float, k: int) -> None:
    scores = sorted(scores, reverse=True)
    vectors = np.random.default_rng(seed).normal(size=(len(scores), 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = [
        Hit(Chunk(i, "d", "t", 0, 1, i), score, i + 1, "d", "") for i, score in enumerate(scores)
    ]
    chosen = diversify(found, vectors, diversity, k)
    assert len({hit.chunk.id for hit in chosen}) == len(chosen) == min(k, len(scores))
    values = [hit.trace[-1].score for hit in chosen]
    assert values == pytest.approx(by_the_formula(scores, vectors, diversity, k), abs=1e-6)
    assert chosen[0].chunk.id == 0
    assert diversify(found, vectors, 0, k) == found[:k]
    assert all(hit.score == scores[hit.chunk.id] for hit in chosen)


def test_more_diversity_takes_in_more_documents(sample: RAG) -> None:
    found = sample.search("How does low-rank adaptation work?", 40)
    vectors = sample.embedder.embed_documents([hit.chunk.text for hit in found])

    def likeness(diversity: float) -> float:
        chosen = [hit.chunk.id for hit in diversify(found, vectors, diversity, 6)]
        rows = vectors[[i for i, hit in enumerate(found) if hit.chunk.id in chosen]]
        return float((rows @ rows.T).mean())

    assert likeness(0.9) < likeness(0.5) < likeness(0)


def test_nothing_gives_nothing() -> None:
    empty = np.zeros((0, 2), np.float32)
    assert collapse([], empty, 0.9) == []
    assert diversify([], empty, 0.5, 3) == []


@pytest.mark.parametrize("diversity", [-0.1, 1.5, math.nan])
def test_a_diversity_out_of_range_is_an_error(diversity: float) -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        diversify(make_hits(["a"]), apart(1), diversity, 1)


def test_a_vector_for_each_hit() -> None:
    with pytest.raises(ValueError, match="1 hits, but 2 vectors"):
        collapse(make_hits(["a"]), apart(2), 0.95)
    with pytest.raises(ValueError, match="1 hits, but 2 vectors"):
        diversify(make_hits(["a"]), apart(2), 0.5, 1)
