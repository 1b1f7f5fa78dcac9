from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag import Answer, GenerationError, StoreError
from rag.answering.citations import CitedText, is_refusal
from rag.types import NO_ANSWER, Chunk, Document, Heading, Hit, Page, Prompt

LORA = (
    "LoRA was proposed by Hu and colleagues in 2021. It freezes the weights and trains two small "
    "matrices. Rank 8 is a common choice."
)
ZOO = "The zoo in Basel keeps 12 flamingos. They are fed at noon."
TEXTS = {"lora": LORA, "zoo": ZOO}


def document(name: str) -> Document:
    text = TEXTS[name]
    pages = (Page(0, 48, 1), Page(48, len(text), 2)) if name == "lora" else ()
    headings = (Heading(48, 50, 1, "Second"),) if name == "lora" else ()
    return Document(name, f"{name}.md", text, name, "text/plain", "h", None, {}, pages, headings)


HITS = tuple(
    Hit(Chunk(i, name, TEXTS[name], 0, len(TEXTS[name]), 0), 0.9, i, f"{name}.md", name)
    for i, name in enumerate(TEXTS, start=1)
)
PROMPT = Prompt("q?", (), HITS, 10)


def answered(*pieces: str) -> tuple[str, Answer]:
    cited = CitedText(pieces, PROMPT)
    text = "".join(cited)
    return text, cited.draft("model").finish(PROMPT, document, {}, 1.0)


def test_a_supported_sentence_gets_the_span_it_rests_on() -> None:
    text, answer = answered("LoRA was proposed by Hu in 2021.")
    assert text == answer.text == "LoRA was proposed by Hu in 2021. [1]"
    (citation,) = answer.citations
    assert citation.quote == "LoRA was proposed by Hu and colleagues in 2021."
    assert LORA[citation.start : citation.end] == citation.quote
    assert (citation.number, citation.page, citation.source) == (1, 1, "lora.md")
    assert not answer.unsupported
    assert not answer.abstained


def test_page_and_heading_are_those_of_the_quote_not_of_the_passage() -> None:
    _, answer = answered("Rank 8 is a common choice.")
    assert answer.citations[0].page == 2
    assert answer.citations[0].heading == ("Second",)


def test_an_invented_number_never_shows() -> None:
    text, answer = answered("The zoo keeps 12 flamingos [7]. They live on Mars [9][2].")
    assert "[7]" not in text
    assert "[9]" not in text
    assert text == "The zoo keeps 12 flamingos. [2] They live on Mars."
    assert [c.number for c in answer.citations] == [2]
    assert [s.text for s in answer.unsupported] == ["They live on Mars."]


def test_a_wrong_number_is_put_right_by_the_evidence() -> None:
    text, _ = answered("The zoo in Basel keeps flamingos [1].")
    assert text == "The zoo in Basel keeps flamingos. [2]"


def test_a_number_that_no_passage_holds_leaves_a_sentence_unsupported() -> None:
    _, answer = answered("The zoo in Basel keeps 13 flamingos.")
    assert answer.unsupported
    assert not answer.citations
    assert answer.abstained


@pytest.mark.parametrize(
    "text",
    [
        NO_ANSWER,
        "The documents do not say.",
        "The passages don't mention the price.",
        "There is nothing: the context does not contain that information.",
    ],
)
def test_refusals_are_recognised(text: str) -> None:
    assert is_refusal(text)
    assert answered(text)[1].abstained


def test_a_refusal_beside_a_supported_sentence_is_a_caveat() -> None:
    text, answer = answered("The documents do not say. The zoo in Basel keeps 12 flamingos.")
    assert text.endswith("flamingos. [2]")
    assert [c.number for c in answer.citations] == [2]
    assert not answer.abstained
    assert not answer.unsupported


def test_an_answer_is_no_refusal() -> None:
    assert not is_refusal("LoRA freezes the weights.")


def test_an_interruption_keeps_the_part_that_came() -> None:
    def broken() -> Iterator[str]:
        yield "The zoo in Basel keeps 12 "
        yield "flamingos. They"
        raise GenerationError("the server is gone")

    cited = CitedText(broken(), PROMPT)
    text = "".join(cited)
    answer = cited.draft("model").finish(PROMPT, document, {}, 1.0)
    assert text == answer.text == "The zoo in Basel keeps 12 flamingos. [2] They"
    assert answer.interrupted == "the server is gone"
    assert not answer.abstained
    assert answer.citations[0].number == 2


def test_a_model_that_goes_round_in_circles_is_stopped() -> None:
    given: list[str] = []

    def circling() -> Iterator[str]:
        for piece in ["LoRA freezes the ", "weights. ", "Rank 8 is ", "a common choice. "] * 50:
            given.append(piece)
            yield piece

    cited = CitedText(circling(), PROMPT)
    text = "".join(cited)
    assert text == "LoRA freezes the weights. [1] Rank 8 is a common choice. [1]"
    assert cited.draft("model").finish(PROMPT, document, {}, 1.0).text == text
    assert len(given) < 10


def test_a_heading_is_no_evidence() -> None:
    passage = "# Flamingos in Basel\n\nNothing is known."
    hit = Hit(Chunk(1, "x", passage, 0, len(passage), 0), 0.9, 1, "x.md", "x")
    cited = CitedText(["There are flamingos in Basel."], Prompt("q?", (), (hit,), 1))
    assert "".join(cited) == "There are flamingos in Basel."


def test_a_passage_that_is_not_in_its_document_is_refused() -> None:
    cited = CitedText(["The zoo in Basel keeps 12 flamingos."], PROMPT)
    list(cited)
    draft = cited.draft("model")
    with pytest.raises(StoreError, match=r"zoo\.md"):
        draft.finish(PROMPT, lambda name: Document(name, "zoo.md", "other", "", "", ""), {}, 1.0)


PARTS = st.lists(
    st.sampled_from(
        [
            "The zoo in Basel keeps 12 flamingos",
            "LoRA freezes the weights",
            ". ",
            "? ",
            "\n\n",
            " ",
            "[1]",
            "[2]",
            " [3, 4]",
            "[99]",
            "[",
            "]",
            "[x]",
            "1. ",
            "e.g. ",
            "Mars is red",
        ]
    ),
    max_size=14,
    unique=True,
).map("".join)


@pytest.mark.slow
@given(text=PARTS, cuts=st.lists(st.integers(0, 200), max_size=12))
@example(text="e.g. [1]The zoo in Basel keeps 12 flamingos", cuts=[9])
def test_however_the_text_arrives(text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    shown, answer = answered(*pieces)
    assert shown == answer.text
    for sentence in answer.sentences:
        assert answer.text[sentence.start : sentence.end] == sentence.text
        assert set(sentence.citations) <= {1, 2}
    marks = {int(mark) for mark in re.findall(r"\[(\d+)\]", shown)}
    assert marks == {citation.number for citation in answer.citations}
    for invented in ("[3, 4]", "[99]"):
        assert invented not in shown
    for citation in answer.citations:
        assert TEXTS[citation.document_id][citation.start : citation.end] == citation.quote
    plain = "".join(text.split())
    for mark in ("[1]", "[2]", "[3,4]", "[99]"):
        plain = plain.replace(mark, "")
        shown = "".join(shown.split()).replace(mark, "")
    assert plain == shown
