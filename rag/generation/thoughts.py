"""Keep a model's thoughts out of its answer, in a stream whose pieces may cut a tag anywhere.

Models that think write their thoughts first, between tags. Many templates (DeepSeek-R1's, those of
Qwen3's thinking models) write the opening tag themselves, at the end of the prompt: what the model
writes then begins in the middle of its thoughts, and only a closing tag tells where they ended.
"""

from __future__ import annotations

import re

from rag.errors import RetractedError

_NAMES = ("think", "thinking", "thought", "reasoning")
_TAGS = (*(f"<{name}>" for name in _NAMES), *(f"</{name}>" for name in _NAMES))
_ALL_TAGS = (*_TAGS, "[THINK]", "[/THINK]")
_OPENING = re.compile(rf"<(?:{'|'.join(_NAMES)})>|\[THINK\]")
_CLOSING = re.compile(rf"</(?:{'|'.join(_NAMES)})>|\[/THINK\]")
_TAG = re.compile(f"{_OPENING.pattern}|{_CLOSING.pattern}")
_BLOCK = re.compile(rf"(?s:(?:{_OPENING.pattern}).*?(?:{_CLOSING.pattern}|\Z))")
_LONGEST_TAG = max(map(len, _ALL_TAGS))
_QUOTES = "`\"'“‘«"

# Models whose templates leave the opening tag to the prompt. Qwen3 without "thinking" in its name
# writes the tag itself, if at all.
_THINKER = re.compile(
    r"(?<![a-z0-9])(?<!non-)(?<!no-)(?:r1|qwq|thinking|reasoner)(?![a-z])|deepseek-?r1",
    re.IGNORECASE,
)

# How thoughts begin, and answers out of documents hardly ever do. An answer that does is not lost:
# it only waits for its end. Openings of DeepSeek-R1, its distillations, QwQ and Qwen3.
_OPENINGS = tuple(
    f"{start}{rest}"
    for start, rests in {
        "okay, ": ("so ", "i ", "let", "the user", "the question"),
        "ok, ": ("so ", "i ", "let", "the user", "the question"),
        "alright, ": ("so ", "i ", "let", "the user", "the question"),
        "hmm": (",", ".", "…"),
        "so ": ("i need to", "the user"),
        "so, ": ("i need to", "the user"),
        "first, ": ("i need to", "i should", "i'll", "let me", "the user"),
        "i need to ": ("answer", "figure", "find", "determine", "look"),
        "let me ": ("think", "see", "start by", "figure", "look", "check", "recall"),
        "the user ": ("is asking", "asks", "asked", "wants"),
        "we ": ("need to answer", "are asked", "are given", "have to answer"),
    }.items()
    for rest in rests
)


def thinks_by_name(model: str) -> bool:
    """Return whether a model's name says that it begins its answers in the middle of thoughts."""
    return bool(_THINKER.search(model))


def ends_in_thoughts(prompt: str) -> bool:
    """Return whether a prompt ends with an opening tag, so that the answer begins inside it."""
    opened = list(_OPENING.finditer(prompt))
    return bool(opened) and not prompt[opened[-1].end() :].strip()


class ThoughtFilter:
    """Take the thoughts out of one streamed answer.

    A block between tags is left out where it begins the answer or a line; a tag in the middle of a
    line, or in quotation marks, is text about tags. Of other text only what may become a tag waits.

    Args:
        name: the generator's, for messages.
        begun: whether the answer begins in the middle of thoughts: text waits for the closing tag.
            With None it does if it begins as thoughts do. With False nothing waits, and a closing
            tag alone is text.
        inside: whether the prompt is known to end with an opening tag.

    Attributes:
        wrote: whether any text of the answer has come.
        thought: whether any thoughts have come.
        unopened: whether thoughts have come without an opening tag.
    """

    def __init__(self, name: str, *, begun: bool | None = None, inside: bool = False) -> None:
        self.wrote = self.thought = self.unopened = False
        self._name = name
        self._begun = begun
        self._inside = inside
        self._waits = bool(begun)
        self._starts = True
        self._text = ""
        self._line = ""
        self._about_tags = False
        self._blocks = 0

    def feed(self, piece: str) -> str:
        """Take a piece of what the model writes, and return what is ready of the answer.

        Raises:
            RetractedError: if it shows that the text before, which was returned, were thoughts.
        """
        self._text += piece
        ready = ""
        while True:
            if self._inside:
                if not self._leave(_CLOSING.search(self._text)):
                    return ready
            elif self._starts:
                if not self._begin():
                    return ready
            else:
                text, goes_on = self._pass()
                ready += text
                if not goes_on:
                    return ready

    def finish(self, *, cut: bool = False) -> str:
        """Return what still waited; of an answer that was cut off, it may have been thoughts."""
        text, self._text = self._text, ""
        if self._inside or (self._waits and cut):
            self.thought = True
            return ""
        return self._show(text)

    def set_apart(self) -> None:
        """Note that the server sends the thoughts by themselves: nothing has to wait any more."""
        self.thought = True
        self._begun, self._waits = False, False

    def _leave(self, closing: re.Match[str] | None) -> bool:
        """Drop thoughts up to their closing tag, or all but what may be the beginning of one."""
        self.thought = True
        if closing is None:
            self._text = self._text[1 - _LONGEST_TAG :]
            return False
        self._text = self._text[closing.end() :]
        self._inside = self._waits = False
        self._begun = self._begun and None
        self._blocks += 1
        self._starts = not self.wrote
        return True

    def _begin(self) -> bool:
        """Look at the beginning of an answer, of which nothing was returned; False: wait."""
        begun = self._text.lstrip()
        if opening := _OPENING.match(begun):
            self._text = begun[opening.end() :]
            self._inside = True
            return True
        if not begun or any(tag.startswith(begun) for tag in _ALL_TAGS):
            return False
        if not self._waits and self._begun is None and not self._blocks:
            said = begun.lower()
            if any(opening.startswith(said) for opening in _OPENINGS):
                return False
            self._waits = said.startswith(_OPENINGS)
        closing = _CLOSING.search(begun)
        # Nobody begins an answer by writing about the end of a tag.
        if closing and (self._waits or closing.start() == 0):
            self.unopened = True
            return self._leave(_CLOSING.search(self._text))
        if self._waits:
            return False
        self._text = begun if self._blocks else self._text
        self._starts = False
        return True

    def _pass(self) -> tuple[str, bool]:
        """Return text up to the next tag that counts, and whether there is more to look at."""
        tag = _TAG.search(self._text)
        if tag is None:
            at = max(self._text.rfind("<"), self._text.rfind("["))
            half = at >= 0 and any(each.startswith(self._text[at:]) for each in _ALL_TAGS)
            ready, self._text = self._text[: at if half else None], self._text[at:] if half else ""
            return self._show(ready), False
        ready = self._show(self._text[: tag.start()])
        self._text = self._text[tag.end() :]
        if _OPENING.fullmatch(tag[0]):
            self._inside = not self._line.strip()
            self._about_tags |= not self._inside
            return ready + ("" if self._inside else self._show(tag[0])), True
        if self._begun is False or self._about_tags or self._line.endswith(tuple(_QUOTES)):
            return ready + self._show(tag[0]), True
        if not self._blocks:
            self.thought = self.unopened = True
            raise RetractedError(
                f"{self._name}: what it wrote before were thoughts, and no answer, as only "
                f"{tag[0]} showed: set `generation.thinks` to `yes`"
            )
        return ready, True

    def _show(self, text: str) -> str:
        self.wrote = self.wrote or bool(text.strip())
        self._line = (self._line + text).rpartition("\n")[2][-_LONGEST_TAG:]
        return text


def blank_thoughts(text: str) -> str:
    """Return a whole text with spaces in place of thoughts: what is left stands where it stood.

    The opening tag may be missing, since many templates write it themselves.
    """
    text = _BLOCK.sub(lambda block: " " * len(block[0]), text)
    at = max((closing.end() for closing in _CLOSING.finditer(text)), default=0)
    return " " * at + text[at:]
