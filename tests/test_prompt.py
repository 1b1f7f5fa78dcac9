from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import QuestionError
from rag.prompt import INSTRUCTIONS, build_prompt
from rag.types import NO_ANSWER, Chunk, Generator, Hit, Message, Prompt


class Counter:
    """A generator of known size whose tokens are words."""

    name = "counter"

    def __init__(self, context_tokens: int, max_tokens: int = 0) -> None:
        self.context_tokens, self.max_tokens = context_tokens, max_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def stream(self, prompt: Prompt) -> Iterator[str]:
        yield from ()


def hits(lengths: Sequence[int]) -> list[Hit]:
    return [
        Hit(Chunk(i, "d", f"p{i} " * n, 0, 1, i, ("Heading",)), 1.0 - i / 10, i + 1, "d.md", "D")
        for i, n in enumerate(lengths)
    ]


BARE = Counter(10_000).count_tokens(build_prompt("why?", [], Counter(10_000)).messages)


def test_passages_are_numbered_as_in_hits() -> None:
    prompt = build_prompt("why?", hits([2, 3]), Counter(10_000))
    text = prompt.messages[-1].content
    assert "[1] p0 p0" in text
    assert "[2] p1 p1 p1" in text
    assert text.rstrip().endswith("why?")
    assert prompt.messages[0].content == INSTRUCTIONS
    assert NO_ANSWER in INSTRUCTIONS


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    room=st.integers(1, 120),
    answer=st.integers(0, 50),
)
def test_the_budget_holds_and_nothing_is_cut(lengths: list[int], room: int, answer: int) -> None:
    given_hits = hits(lengths)
    generator: Generator = Counter(BARE + room + answer, answer)
    try:
        prompt = build_prompt("why?", given_hits, generator)
    except QuestionError:
        # The number and the text of the shortest.
        assert min(lengths) + 1 > room
        return
    assert prompt.tokens == generator.count_tokens(prompt.messages) <= BARE + room
    text = prompt.messages[-1].content
    for hit in prompt.hits:
        assert hit.chunk.text in text
    assert sorted((*prompt.hits, *prompt.left_out), key=lambda hit: hit.rank) == given_hits
    for hit in prompt.left_out:
        assert hit.chunk.text not in text


def test_a_question_too_long_is_an_error_not_cut() -> None:
    with pytest.raises(QuestionError, match="has room for"):
        build_prompt("why " * 500, hits([3]), Counter(BARE + 100))
