"""Parts of a text that are shown, and the lines that they are shown on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.excerpts import excerpt, width, wrap

LONG = (
    "The depot has four gates. Gate one is for lorries, and gate two is for vans. "
    "Visitors sign the book at the porter's lodge before they come in. "
    "On Sundays the depot is closed, but the pump room is open to members of the crew. "
    "Nothing else is said about the hours."
)


def marks_of(text: str, *words: str) -> list[tuple[int, int]]:
    """The spans of every occurrence of the words, in order."""
    places = [
        (at, at + len(word))
        for word in words
        for at in range(len(text))
        if text.startswith(word, at)
    ]
    return sorted(places)


def test_the_part_that_matches_is_shown_from_the_beginning_of_its_sentence() -> None:
    found = excerpt(LONG, marks_of(LONG, "Sundays", "pump room"), columns=90)
    assert found.text == (
        "… On Sundays the depot is closed, but the pump room is open to members of the crew. …"
    )
    assert [found.text[start:end] for start, end in found.marks] == ["Sundays", "pump room"]


def test_more_different_words_win_over_one_that_is_repeated() -> None:
    text = "gate " * 30 + "and then, later, the gate of the north tower " + "stone " * 30
    found = excerpt(text, marks_of(text, "gate", "tower"), columns=60)
    assert {found.text[start:end] for start, end in found.marks} == {"gate", "tower"}


def test_what_fits_is_shown_whole_on_one_line() -> None:
    text = "One  line,\n\tand another.\n"
    found = excerpt(text, [(5, 9), (12, 15)], columns=80)
    assert found.text == "One line, and another."
    assert [found.text[start:end] for start, end in found.marks] == ["line", "and"]


def test_without_marks_it_is_the_beginning() -> None:
    found = excerpt(LONG, columns=40)
    assert found.text == "The depot has four gates. Gate one is …"
    assert found.marks == ()


def test_lines_are_broken_between_words() -> None:
    assert [LONG[start:end] for start, end in wrap(LONG[:76], 30)] == [
        "The depot has four gates. Gate",
        "one is for lorries, and gate",
        "two is for vans.",
    ]


def test_a_long_word_gets_its_own_line_and_chinese_is_broken_anywhere() -> None:
    text = "see https://example.org/a/very/long/address now"
    lines = [text[start:end] for start, end in wrap(text, 20)]
    assert lines == ["see", "https://example.org/a/very/long/address", "now"]
    chinese = "检索增强生成把检索和生成结合起来"
    assert [width(chinese[start:end]) for start, end in wrap(chinese, 11)] == [10, 10, 10, 2]


words = st.lists(st.text("abcäß汉字ﬁ.,!é́", min_size=1, max_size=12), min_size=1, max_size=60).map(
    " ".join
)


@given(text=words, columns=st.integers(20, 120), data=st.data())
def test_nothing_is_cut_inside_a_word(text: str, columns: int, data: st.DataObject) -> None:
    pieces = text.split()
    at, spans = 0, []
    for piece in pieces:
        spans.append((at, at + len(piece)))
        at += len(piece) + 1
    chosen = data.draw(st.sets(st.sampled_from(spans), max_size=5))
    text = " ".join(pieces)
    found = excerpt(text, sorted(chosen), columns=columns)
    kept = found.text.removeprefix("… ").removesuffix(" …")
    assert kept in text
    if not any("汉" in piece or "字" in piece for piece in pieces):
        assert all(word in pieces for word in kept.split())
        shown = [found.text[a:b] for a, b in wrap(found.text, columns)]
        assert " ".join(shown) == found.text
        assert all(width(line) <= columns or " " not in line for line in shown)
    longest = max(map(width, pieces))
    assert width(found.text) <= max(columns, longest + 4)
    marked = {text[start:end] for start, end in chosen}
    assert {found.text[start:end] for start, end in found.marks} <= marked


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_nothing_is_shown_of_nothing(text: str) -> None:
    assert excerpt(text).text == ""
