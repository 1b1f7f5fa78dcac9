"""question, hits, token budget -> Prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from rag.answering.passages import Passage, Passages
from rag.answering.prompt.examples import Example
from rag.answering.prompt.fencing import inert, quoted, quoted_line
from rag.answering.prompt.rendering import Templates, load_templates
from rag.errors import QuestionError
from rag.protocols import LanguageModel
from rag.types import NO_ANSWER, Hit, Message, Prompt

# Marks in an earlier answer number the passages of its own prompt, not those of this one.
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
    """Number the passages and put as much into the prompt as the generator has room for.

    When room is short, the examples go first, then the oldest turns of `history`, then passages:
    they are taken whole, best first; one that does not fit is passed over and named in `left_out`,
    and the next ones are tried. Question and instructions are never cut. Of `history` each user
    message with the reply to it counts; of `examples` the last one is the nearest. `hits` may be
    passages that were read already.

    Raises:
        QuestionError: if question and instructions alone, or with any one of the passages, are
            longer than the generator reads.
        ConfigError: if a template cannot be rendered.
    """
    parts = _Parts(templates or load_templates(), question, schema)
    turns = _turns(history)
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
    kept = 0
    while kept < len(turns) and fits(taken, turns[-kept - 1 :]):
        kept += 1
    turns = turns[len(turns) - kept :]
    kept = 0
    while kept < len(shown) and fits(taken, turns, shown[-kept - 1 :]):
        kept += 1
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
        return cls(
            hit,
            {
                "text": quoted(passage.text, passage.instructions),
                "title": quoted_line(hit.title),
                "source": quoted_line(hit.source),
                "location": quoted_line(hit.location),
                "heading": quoted_line(" › ".join(hit.chunk.heading)),
                "page": hit.chunk.page,
            },
        )


class _Parts:
    """The messages of a prompt, rendered from the templates."""

    def __init__(
        self, templates: Templates, question: str, schema: Mapping[str, Any] | None
    ) -> None:
        self._templates = templates
        self._question = inert(question)
        self._common = {
            "no_answer": NO_ANSWER,
            "schema": None if schema is None else json.dumps(schema, ensure_ascii=False),
        }
        self._system = Message("system", templates.system.render(self._common))

    def messages(
        self,
        passages: Sequence[_Passage],
        turns: Sequence[Turn] = (),
        examples: Sequence[Turn] = (),
    ) -> tuple[Message, ...]:
        last = self._user(self._question, [passage.values for passage in passages])
        return (self._system, *chain(*examples, *turns), last)

    def example(self, example: Example) -> Turn:
        blank = {"title": "", "source": "", "location": "", "heading": "", "page": None}
        passages = [{**blank, "text": inert(text)} for text in example.passages]
        reply = Message("assistant", inert(example.answer))
        return self._user(inert(example.question), passages), reply

    def _user(self, question: str, passages: Sequence[Mapping[str, Any]]) -> Message:
        rendered = "\n\n".join(
            self._templates.passage.render({**values, "number": number})
            for number, values in enumerate(passages, start=1)
        )
        values = {**self._common, "question": question, "passages": rendered}
        return Message("user", self._templates.question.render(values))


def _turns(history: Sequence[Message]) -> list[Turn]:
    """Each question with its reply; chat templates know no other order than these in turn."""
    said = [message for message in history if message.role in ("user", "assistant")]
    return [
        (
            Message("user", inert(first.content)),
            Message("assistant", inert(_MARK.sub("", second.content))),
        )
        for first, second in pairwise(said)
        if (first.role, second.role) == ("user", "assistant")
    ]
