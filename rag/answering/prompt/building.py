"""Build a prompt of the question and as many passages as the generator has room for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from rag.answering.passages import Passage, Passages
from rag.answering.prompt.examples import Example
from rag.answering.prompt.fencing import neutralize, quote, quote_line
from rag.answering.prompt.rendering import NO_ORIGIN, Templates, load_templates
from rag.errors import QuestionError
from rag.protocols import LanguageModel
from rag.types import NO_ANSWER, Hit, Message, Prompt

# A citation mark in an earlier answer, which numbers a passage of an earlier prompt.
_MARK = re.compile(r"[ \t]*\[\d+\]")


def build_prompt(
    question: str,
    hits: Sequence[Hit] | Passages,
    generator: LanguageModel,
    *,
    templates: Templates | None = None,
    history: Sequence[Message] = (),
    examples: Sequence[Example] = (),
    schema: Mapping[str, Any] | None = None,
) -> Prompt:
    """Build a prompt: number the passages, and put in as much as the generator has room for.

    When room is short, the examples go first, then the oldest turns of `history`, then passages:
    they go in whole, best first; one that does not fit is listed in `left_out`, and the next ones
    are tried. Question and instructions, which system messages of `history` join, are never cut. A
    turn of `history` is a user message with the reply to it; the last of `examples` is the nearest
    to the question. `hits` may be passages that were read already.

    Raises:
        QuestionError: if question and instructions alone, or with any one of the passages, are
            longer than the generator reads.
        ConfigError: if a template cannot be rendered.
    """
    told = [message.content for message in history if message.role == "system"]
    parts = _Parts(templates or load_templates(), question, schema, told)
    turns = _pair_turns(history)
    shown = [parts.example(example) for example in examples]
    numbered = hits if isinstance(hits, Passages) else Passages(hits)
    passages = [_Passage.of(passage) for passage in numbered]
    budget = generator.context_tokens - generator.max_tokens

    messages = parts.messages(passages, turns, shown)
    tokens = generator.count_tokens(messages)
    if tokens <= budget:
        return Prompt(question, messages, numbered.hits, tokens, schema=schema)

    messages = parts.messages([])
    tokens = generator.count_tokens(messages)
    if tokens > budget:
        raise QuestionError(
            f"the question and the instructions have {tokens} tokens, {generator.name} has room "
            f"for {budget}: shorten the question, or raise `generation.context_tokens`"
        )

    def fits(*longer: Sequence[Any]) -> bool:
        nonlocal messages, tokens
        candidate = parts.messages(*longer)
        count = generator.count_tokens(candidate)
        if count <= budget:
            messages, tokens = candidate, count
        return count <= budget

    taken: list[_Passage] = []
    left_out: list[Hit] = []
    for passage in passages:
        if fits([*taken, passage]):
            taken.append(passage)
        else:
            left_out.append(passage.hit)
    if passages and not taken:
        raise QuestionError(
            f"none of the {len(hits)} passages fits beside the question into the {budget} tokens "
            f"that {generator.name} has room for: raise `generation.context_tokens`"
        )
    count = 0
    while count < len(turns) and fits(taken, turns[-count - 1 :]):
        count += 1
    turns = turns[len(turns) - count :]
    count = 0
    while count < len(shown) and fits(taken, turns, shown[-count - 1 :]):
        count += 1
    fitting = tuple(passage.hit for passage in taken)
    return Prompt(question, messages, fitting, tokens, tuple(left_out), schema)


Turn = tuple[Message, Message]


@dataclass(frozen=True, slots=True)
class _Passage:
    hit: Hit
    values: Mapping[str, Any]

    @classmethod
    def of(cls, passage: Passage) -> _Passage:
        hit = passage.hit
        values = {
            "text": quote(passage.text, passage.withheld),
            "title": quote_line(hit.title),
            "source": quote_line(hit.source),
            "location": quote_line(hit.location),
            "heading": quote_line(" › ".join(hit.chunk.heading)),
            "page": hit.chunk.page,
        }
        return cls(hit, values)


class _Parts:
    """The messages of a prompt, rendered from the templates."""

    def __init__(
        self,
        templates: Templates,
        question: str,
        schema: Mapping[str, Any] | None,
        told: Sequence[str] = (),
    ) -> None:
        self._templates = templates
        self._question = neutralize(question)
        self._common = {
            "no_answer": NO_ANSWER,
            "schema": None if schema is None else json.dumps(schema, ensure_ascii=False),
        }
        # One message: the chat templates of many models accept no second one.
        instructions = [templates.system.render(self._common), *map(neutralize, told)]
        self._system = Message("system", "\n\n".join(filter(None, instructions)))

    def messages(
        self,
        passages: Sequence[_Passage],
        turns: Sequence[Turn] = (),
        examples: Sequence[Turn] = (),
    ) -> tuple[Message, ...]:
        last = self._user(self._question, [passage.values for passage in passages])
        return (self._system, *chain(*examples, *turns), last)

    def example(self, example: Example) -> Turn:
        passages = [{**NO_ORIGIN, "text": neutralize(text)} for text in example.passages]
        reply = Message("assistant", neutralize(example.answer))
        return self._user(neutralize(example.question), passages), reply

    def _user(self, question: str, passages: Sequence[Mapping[str, Any]]) -> Message:
        rendered = "\n\n".join(
            self._templates.passage.render({**values, "number": number})
            for number, values in enumerate(passages, start=1)
        )
        values = {**self._common, "question": question, "passages": rendered}
        return Message("user", self._templates.question.render(values))


def _pair_turns(history: Sequence[Message]) -> list[Turn]:
    """Pair each question with its reply: chat templates accept no other order."""
    talk = [message for message in history if message.role in ("user", "assistant")]
    return [
        (
            Message("user", neutralize(first.content)),
            Message("assistant", neutralize(_MARK.sub("", second.content))),
        )
        for first, second in pairwise(talk)
        if (first.role, second.role) == ("user", "assistant")
    ]
