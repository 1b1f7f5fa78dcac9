from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.stopwatch import Stopwatch
from rag.text.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Mr. Smith came.  He left.\n", ["Mr. Smith came.", "He left."]),
        ("# A title\nMore. Text\n\n- one\n- two", ["# A title", "More.", "Text", "- one", "- two"]),
        ("Über 𝔸. 日本語。次。", ["Über 𝔸.", "日本語。", "次。"]),
        ("| a | b |\n| c | d |", ["| a | b |", "| c | d |"]),
        (" \n ", []),
    ],
)
def test_sentences_have_their_places_in_code_points(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in split_sentences(text)] == sentences


@given(st.text(alphabet="aAB\u00c9. \n\u00a0\u3000\u2009!?1-#\u65e5\U0001d538"))
def test_sentences_leave_out_white_space_alone(text: str) -> None:
    spans = split_sentences(text)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    at = 0
    for start, end in [*spans, (len(text), len(text))]:
        assert not text[at:start].strip()
        at = end


@pytest.mark.parametrize("text", ["It was plan B\u00a0. Then C.", "A\u3000.", "A \u2009."])
def test_wide_space_before_a_full_stop_stops_nothing(text: str) -> None:
    assert split_sentences(text)[-1][1] == len(text)


def test_a_stopwatch_adds_up_stages_in_the_order_they_are_named() -> None:
    clock = Stopwatch("first", "second")
    clock.add("second", 0.5)
    with pytest.raises(ValueError, match="wrong"), clock("third"):
        raise ValueError("wrong")
    clock.add("second", 1.0)
    assert list(clock.times) == ["first", "second", "third"]
    assert clock.times["first"] == 0.0
    assert clock.times["second"] == 1500.0
