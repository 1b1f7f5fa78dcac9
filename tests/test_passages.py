"""Each passage is read once for an answer: counted in calls, not in seconds."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import rag.answering.claims
import rag.answering.prompt
import rag.answering.stream  # noqa: F401
from rag import RAG, Embedder
from rag.answering.injection import find_instructions
from rag.answering.passages import Passage, Passages
from rag.generation import from_callable
from rag.text.sentences import split_sentences
from rag.types import Chunk, Hit


class Counted:
    """An embedder that counts how often it is given each text."""

    def __init__(self, embedder: Embedder) -> None:
        self.texts: Counter[str] = Counter()
        self._embedder = embedder

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        self.texts.update(texts)
        return self._embedder.embed_documents(texts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)


def count_calls(function: Any, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count for each text how often any module of answering calls a function with it."""
    counts: Counter[str] = Counter()

    def counted(text: str, *arguments: Any) -> Any:
        counts[text] += 1
        return function(text, *arguments)

    for name, module in list(sys.modules.items()):
        if name.startswith("rag.answering") and vars(module).get(function.__name__) is function:
            monkeypatch.setattr(module, function.__name__, counted)
    return counts


WRITTEN = (
    "Rafailov proposed direct preference optimization in 2023. It needs no reward model. "
    "It trains on pairs of answers. The policy is trained on preferences directly."
)


def test_an_answer_splits_searches_and_embeds_each_passage_once(
    sample: RAG, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(embedder)
    rag = RAG(
        sample.path,
        embedder=counted,
        generator=from_callable("function", lambda _: [WRITTEN]),
        settings={"answering.way": "generate", "answering.threshold": 0},
    )
    splits, searches = (
        count_calls(split_sentences, monkeypatch),
        count_calls(find_instructions, monkeypatch),
    )
    answer = rag.ask("Who proposed direct preference optimization?")
    assert len(answer.sentences) == 4
    assert any(sentence.citations for sentence in answer.sentences)
    passages = [hit.text for hit in answer.prompt.hits]
    assert len(passages) > 2
    assert [splits[text] for text in passages] == [1] * len(passages)
    # A passage is searched together with what stands around it in its document.
    searched = [each for each in searches.elements() if any(text in each for text in passages)]
    assert len(searched) == len(set(searched)) == len(passages)
    windows = {
        window.text for hit in answer.prompt.hits for window in Passage(hit).windows
    } & counted.texts.keys()
    assert len(windows) > 10
    assert set(counted.texts.values()) == {1}


def test_a_claim_of_several_sentences_reads_each_passage_once(
    sample: RAG, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(embedder)
    rag = RAG(sample.path, embedder=counted)
    splits, searches = (
        count_calls(split_sentences, monkeypatch),
        count_calls(find_instructions, monkeypatch),
    )
    rag.check("LoRA freezes the weights. It was proposed in 2021. It trains two small matrices.")
    # Each of its passages is searched once for what is withheld, which splits it together with
    # what stands around it; and it is split as it is. The claim is split too.
    assert set(splits.values()) == set(searches.values()) == {1}
    assert len(searches) == 10
    assert len(splits) == 2 * 10 + 1
    assert set(counted.texts.values()) == {1}


def test_a_vector_is_the_same_whenever_it_was_embedded(embedder: Embedder) -> None:
    text = "LoRA was proposed in 2021. It freezes the weights. Rank 8 is a common choice."
    hit = Hit(Chunk(1, "lora", text, 0, len(text), 0), 0.9, 1, "lora.md", "LoRA")
    passages = Passages([hit, hit], embedder)
    texts = [window.text for window in passages[0].windows]
    at_once = embedder.embed_documents(texts)
    first = passages.vectors(texts[1:3])
    assert np.array_equal(passages.vectors(texts), at_once)
    assert np.array_equal(first, at_once[1:3])


def test_passages_are_numbered_anew_where_some_are_left_out() -> None:
    hits = [
        Hit(Chunk(number, name, name, 0, 1, 0), 0.5, number, name, name)
        for number, name in enumerate("abc", start=1)
    ]
    passages = Passages(hits)
    chosen = passages.among([hits[0], hits[2]])
    assert [(number, passage.text) for number, passage in chosen.with_numbers()] == [
        (1, "a"),
        (2, "c"),
    ]
    assert chosen[1] is passages[2]
