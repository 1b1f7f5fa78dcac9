"""Signs that a span does not answer this question: each by a sentence made for it."""

from __future__ import annotations

import pytest

from rag.answering.passages import Passages, Stretch
from rag.answering.silence import SIGNS, describe_gap, find_signs
from rag.types import Chunk, Hit


def make_hit(text: str, title: str = "", heading: tuple[str, ...] = ()) -> Hit:
    return Hit(Chunk(1, "d", text, 0, len(text), 0, heading), 1.0, 1, "notes.md", title)


def signs(question: str, text: str, span: str, title: str = "") -> dict[str, float]:
    start = text.index(span)
    passages = Passages([make_hit(text, title)])
    return find_signs(question, passages, Stretch(1, start, start + len(span)))


RELEASE = "PostgreSQL 15 was released in 2022. Its port is 5432. It replaced version 9.6."


def test_every_sign_is_there_and_is_a_share() -> None:
    found = signs("When was PostgreSQL 15 released?", RELEASE, "2022")
    assert tuple(found) == SIGNS
    assert found == dict.fromkeys(SIGNS, 0.0)


@pytest.mark.parametrize(
    ("question", "text", "span", "title", "expected"),
    [
        ("What port has MySQL?", RELEASE, "5432", "", ("names", 1.0, 1.0)),
        # The sentence says "its", and the title or the sentence before names what it is of.
        ("What port has PostgreSQL?", RELEASE, "5432", "", ("names", 0.0, 0.0)),
        ("What version is PostgreSQL?", RELEASE, "9.6", "", ("names", 1.0, 0.0)),
        ("What port has PostgreSQL?", RELEASE, "5432", "PostgreSQL", ("names", 0.0, 0.0)),
        ("When was PostgreSQL 19 released?", RELEASE, "2022", "", ("numbers", 1.0, 1.0)),
        ("What is 9.6 replaced by?", RELEASE, "2022", "", ("numbers", 1.0, 0.0)),
        (
            "What does the EU govern?",
            "The European Union governs trade.",
            "trade",
            "",
            ("names", 0.0, 0.0),
        ),
        ("Who likes max_connections?", RELEASE, "2022", "", ("names", 1.0, 1.0)),
        ("Has it twelve doors?", "It has 12 doors.", "12", "", ("numbers", 0.0, 0.0)),
        ("Who paints the door?", "He is painting a gate.", "He", "", ("words", 0.5, 0.5)),
    ],
)
def test_what_the_question_names_is_looked_for(
    question: str, text: str, span: str, title: str, expected: tuple[str, float, float]
) -> None:
    found = signs(question, text, span, title)
    kind, in_sentence, in_passage = expected
    assert found[f"{kind}_missing_in_sentence"] == in_sentence
    assert found[f"{kind}_missing_in_passage"] == in_passage


@pytest.mark.parametrize(
    ("question", "text", "span", "differs", "absent"),
    [
        ("How many seats are there?", "There are forty seats.", "forty", 0, 0),
        ("How many seats are there?", "There are seats for all, and 3 doors.", "for all", 1, 0),
        ("When did it open?", "It opened in May 1904.", "May 1904", 0, 0),
        ("When did it open?", "It opened in Oslo.", "Oslo", 1, 1),
        ("What is the price of a ticket?", "A ticket is 5 euro.", "5", 0, 0),
        ("What is the price of a ticket?", "Tickets are sold in Oslo.", "Oslo", 1, 1),
        ("What port does it listen on?", "It listens on 5432.", "5432", 0, 0),
        ("What port does it listen on?", "It listens well.", "well", 1, 1),
        ("What is the phone number of Eva?", "Eva has +47 22 33 44 55.", "+47 22 33 44 55", 0, 0),
        ("What is the phone number of Eva?", "Eva earns 40,000 euro.", "40,000", 1, 1),
        ("Who paints it?", "Eva Moe paints it.", "Eva Moe", 0, 0),
        ("Who paints it?", "Eva Moe paints it by hand.", "by hand", 1, 0),
        ("Where is it?", "It is in Oslo.", "Oslo", 0, 0),
        ("How long does it last?", "It lasts eleven weeks.", "eleven", 0, 0),
        ("How long does it last?", "It lasts in Oslo.", "Oslo", 1, 1),
        ("What percentage is red?", "Of it 5 % is red.", "5", 0, 0),
        ("What percentage is red?", "Its 5 doors are red.", "5", 1, 1),
        ("What is the URL of the shop?", "It is www.shop.example.", "www.shop.example", 0, 0),
        ("What is the URL of the shop?", "It is in Oslo.", "Oslo", 1, 1),
        ("What colour is it?", "It is red.", "red", 0, 0),
    ],
)
def test_the_kind_that_is_asked_for(
    question: str, text: str, span: str, differs: int, absent: int
) -> None:
    found = signs(question, text, span)
    assert (found["kind_differs"], found["kind_absent"]) == (differs, absent)


@pytest.mark.parametrize(
    ("sign", "question", "text", "fires"),
    [
        ("question_negated", "Who may not enter?", "Guests may enter.", True),
        ("question_negated", "Who may enter?", "Guests may not enter.", False),
        ("negation_differs", "Who may not enter?", "Guests may enter.", True),
        ("negation_differs", "Who may not enter?", "Guests may not enter.", False),
        (
            "negated_word_differs",
            "What does it not lay down?",
            "It may not aid; it lays bricks.",
            True,
        ),
        (
            "negated_word_differs",
            "What does it lay down?",
            "It may not aid; it lays bricks.",
            False,
        ),
        ("negated_word_differs", "Who aids it?", "It may not aid Eva.", True),
        (
            "word_swapped",
            "Who built the Palace on the Bank?",
            "The Palace on the Water is old.",
            True,
        ),
        (
            "word_swapped",
            "Who built the Palace on the Bank?",
            "The Palace on the Bank is old.",
            False,
        ),
        ("role_opposed", "When does the lease end?", "The lease begins in May.", True),
        ("role_opposed", "When does the lease begin?", "The lease begins in May.", False),
        ("role_opposed", "How long is it?", "It begins in May and ends in June.", False),
        ("role_opposed", "What is due before delivery?", "Payment is due after delivery.", True),
        ("role_opposed", "What is the maximum?", "The minimum is 4.", True),
        ("role_opposed", "What does Norway import?", "Norway exports fish.", True),
        ("role_opposed", "What does the buyer pay?", "The seller pays the freight.", True),
        ("role_opposed", "What makes it possible?", "Rain makes it impossible.", True),
        ("role_opposed", "Who was formed by it?", "Eva was informed by it.", False),
        ("superlative_missing", "What is the largest city?", "Oslo is a city.", True),
        ("superlative_missing", "What is the largest city?", "Oslo is the largest city.", False),
        ("superlative_missing", "What is in the forest?", "Oslo is a city.", False),
        ("time_differs", "When will it open?", "It was opened in May.", True),
        ("time_differs", "When will it open?", "It will open in May.", False),
        ("span_repeats_question", "What does Oslo make?", "Oslo", True),
        ("span_repeats_question", "What does Oslo make?", "Ships", False),
    ],
)
def test_a_sign_fires_where_it_should(sign: str, question: str, text: str, fires: bool) -> None:
    span = text if sign == "span_repeats_question" else text.rsplit(maxsplit=1)[-1]
    assert signs(question, text, span)[sign] == float(fires)


SALARIES = [make_hit("The sales team earns 40,000 euro.", "Handbook", ("Pay", "Salaries"))]


@pytest.mark.parametrize(
    ("question", "hits", "gap"),
    [
        (
            "What is the phone number of the sales team?",
            SALARIES,
            "The documents speak of “sales team”, not of phone numbers.",
        ),
        (
            "What is the default port of MySQL?",
            [make_hit("The default port is 5432.", "Connections")],
            "The documents speak of “default port”, not of MySQL.",
        ),
        (
            "When was PostgreSQL 19 released?",
            [make_hit(RELEASE, "Release")],
            "The documents speak of “PostgreSQL”, not of PostgreSQL 19.",
        ),
        (
            "Who invented Esperanto?",
            [make_hit("Bread is baked.")],
            "The documents say nothing of Esperanto.",
        ),
        (
            "Which sales team earns most euro?",
            SALARIES,
            "The documents speak of “sales team earns most euro”, but no passage answers this.",
        ),
        ("Who?", [], "Nothing in the documents matches the question."),
    ],
)
def test_the_gap_is_described(question: str, hits: list[Hit], gap: str) -> None:
    assert describe_gap(question, Passages(hits)) == gap
