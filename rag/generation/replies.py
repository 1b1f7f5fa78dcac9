"""Read what a chat completion says, whole or in pieces, and how it ended."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from rag.characters import replace_surrogates
from rag.errors import GenerationError, IncompleteError
from rag.generation.thoughts import ThoughtFilter

# As servers call it: OpenAI's, and those of vLLM, TGI, Mistral, Gemini, Anthropic, DeepSeek.
_CUT = frozenset({"length", "max_tokens", "model_length", "max_output_tokens"})
_FILTERED = frozenset(
    {"content_filter", "content-filter", "safety", "recitation", "blocklist", "spii"}
    | {"prohibited_content", "guardrail_intervened", "sensitive", "refusal"}
)
_BROKEN = frozenset(
    {"error", "abort", "aborted", "cancelled", "canceled", "insufficient_system_resource"}
)
_CALLED = frozenset({"tool_calls", "tool_call", "tool_use", "function_call"})
_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
_LONGEST_REFUSAL = 200


@dataclass(slots=True)
class Ending:
    """What is known of a completion besides its text: how it ended, and what else it held."""

    reason: str = ""
    thought: bool = False
    refusal: str = ""
    called: bool = False

    @property
    def known(self) -> bool:
        """Whether the server said why the text ends."""
        return bool(self.reason)

    @property
    def cut(self) -> bool:
        """Whether the text was broken off, rather than ended by the model."""
        return self.reason in _CUT | _FILTERED | _BROKEN

    def check(self, name: str, max_tokens: int, *, wrote: bool) -> None:
        """Raise an error unless the text is a whole answer.

        Raises:
            GenerationError: if there is no text; it says what there is instead.
            IncompleteError: if the text was cut.
        """
        if not wrote:
            raise GenerationError(
                f"{name}: the model gave no answer: {self._describe_silence(max_tokens)}"
            )
        if why := self._describe_cut(max_tokens):
            raise IncompleteError(f"{name}: {why}")

    def _describe_cut(self, max_tokens: int) -> str:
        if self.reason in _CUT:
            return f"stopped at {max_tokens:,} tokens: raise `generation.max_tokens`"
        if self.reason in _FILTERED:
            return "a content filter broke the answer off"
        if self.reason in _BROKEN:
            return f"the server broke the answer off ({self.reason})"
        if self.refusal:
            return f"the model refused to go on: {self.refusal}"
        if self.called or self.reason in _CALLED:
            return "the model called a tool in the middle of the answer, and was offered none"
        return ""

    def _describe_silence(self, max_tokens: int) -> str:
        if self.refusal:
            return f"it refused: {self.refusal}"
        if self.reason in _FILTERED:
            return "a content filter held it back"
        if self.reason in _BROKEN:
            return f"the server broke it off ({self.reason})"
        if self.called or self.reason in _CALLED:
            return "it called a tool, and was offered none"
        if self.reason in _CUT:
            took = "its thoughts took" if self.thought else "there was no text within"
            return f"{took} all of its {max_tokens:,} tokens: raise `generation.max_tokens`"
        return "it wrote nothing but thoughts" if self.thought else "its text is empty"


def read_local(
    pieces: Generator[str], thoughts: ThoughtFilter, ending: Ending, name: str, max_tokens: int
) -> Iterator[str]:
    """Yield the answer in what a model of this process writes, without its thoughts.

    `ending` is complete when `pieces` are. That a model writes nothing at all is no error here.

    Raises:
        GenerationError, IncompleteError: as `Ending.check`.
    """
    with closing(pieces):
        for piece in pieces:
            if text := thoughts.feed(piece):
                yield text
    if rest := thoughts.finish(cut=ending.cut):
        yield rest
    ending.thought = ending.thought or thoughts.thought
    if thoughts.wrote or ending.thought or ending.cut:
        ending.check(name, max_tokens, wrote=thoughts.wrote)


def read_chunk(chunk: Any, ending: Ending) -> str:
    """Return the text in a completion, or in a piece of one; note the rest in `ending`.

    Raises:
        ValueError, AttributeError, LookupError, TypeError: if it is not the chat protocol.
    """
    choices = chunk.get("choices") or []
    if not choices:
        return ""
    choice = choices[0]
    said = choice.get("delta")
    if said is None:
        said = choice.get("message") or {}
    text = _read_content(said.get("content"), ending)
    ending.thought = ending.thought or any(said.get(name) for name in _THOUGHTS)
    ending.called = ending.called or bool(said.get("tool_calls") or said.get("function_call"))
    if isinstance(refusal := said.get("refusal"), str):
        _note_refusal(ending, refusal)
    if (reason := choice.get("finish_reason")) is not None:
        ending.reason = str(reason).lower() or "stop"
    return replace_surrogates(text)


def _read_content(content: Any, ending: Ending) -> str:
    """Return the text of a message's content, which may be a list of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for part in [content] if isinstance(content, dict) else content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type", "text")
        if kind in ("text", "output_text"):
            text = part.get("text") or ""
            # As OpenAI's assistants write it.
            texts.append(str(text.get("value") or "" if isinstance(text, dict) else text))
        elif kind == "refusal":
            _note_refusal(ending, str(part.get("refusal") or ""))
        elif kind in ("thinking", "reasoning"):
            ending.thought = True
    return "".join(texts)


def _note_refusal(ending: Ending, refusal: str) -> None:
    told = replace_surrogates(ending.refusal + refusal)
    ending.refusal = told[:_LONGEST_REFUSAL].replace("\r", " ").replace("\n", " ")
