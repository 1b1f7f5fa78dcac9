"""follow-up, turns before -> a question that can be searched for alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.protocols import LanguageModel, generate_text
from rag.text.languages.english import ASKS_WHAT_IS, POINTS_BACK
from rag.text.wording import PUNCTUATION, has_digit, join_lines, shape, strip_marks
from rag.text.words import content_words
from rag.types import Message

_COMPLETED = (
    ("How tall is Mount Everest?", "It is 8,849 m tall.", "And K2?", "How tall is K2?"),
    (
        "Who wrote Hamlet?",
        "William Shakespeare wrote Hamlet.",
        "When did he die?",
        "When did William Shakespeare die?",
    ),
    (
        "What is a heat pump?",
        "A heat pump moves heat.",
        "How much power does it need?",
        "How much power does a heat pump need?",
    ),
)
_TURNS_SHOWN = 4
_TURN_CHARACTERS = 300
_MOST_ADDED_WORDS = 12
_POINTS_BACK = re.compile(POINTS_BACK, re.IGNORECASE)
_ASKS_WHAT_IS = re.compile(ASKS_WHAT_IS, re.IGNORECASE)
_NEGATIONS = frozenset({"no", "not"})


def complete_question(
    question: str, history: Sequence[Message], generator: LanguageModel | None
) -> str:
    """Return a follow-up question so that it can be searched for without the turns before it.

    A question that leans on nothing before stays as it is. The generator rewrites one that does (a
    pronoun, "and in 2020?", a single word), as long as the outcome keeps every word of the
    question that carries meaning and adds no word from outside the conversation. Otherwise, and
    without a generator, the words of the user's question before it are added; a number among them
    gives way to one of the same shape, as a year to a year.

    Only English pronouns are recognised.

    Raises:
        GenerationError: if the generator cannot be reached or fails.
    """
    earlier = [message.content for message in history if message.role == "user"]
    if not earlier or not _leans(question):
        return question
    if generator is not None:
        rewritten = _rewrite(question, history, generator)
        if rewritten:
            return rewritten
    whole = ""
    for turn in [*earlier, question]:
        whole = _with_words_of(turn, whole) if _leans(turn) else turn
    return whole


def _rewrite(question: str, history: Sequence[Message], generator: LanguageModel) -> str:
    """Let the generator rewrite a follow-up; return "" if the outcome cannot be relied on."""
    turns = [m.content for m in history if m.role in {"user", "assistant"}][-_TURNS_SHOWN:]
    messages = [Message("system", "Rewrite the last question so that it can be understood alone.")]
    for first, reply, last, whole in _COMPLETED:
        messages += [Message("user", _conversation([first, reply], last))]
        messages += [Message("assistant", whole)]
    messages.append(Message("user", _conversation(turns, join_lines(question))))
    written = generate_text(question, messages, generator, stop=_has_line).splitlines()
    rewritten = strip_marks(written[0]) if written else ""
    return rewritten if _is_faithful(rewritten, question, history) else ""


def _has_line(text: str) -> bool:
    return "\n" in text


def _conversation(turns: Sequence[str], question: str) -> str:
    shown = [join_lines(turn)[:_TURN_CHARACTERS] for turn in turns]
    return "\n".join(["Conversation:", *shown, f"Last question: {question}"])


def _is_faithful(rewritten: str, question: str, history: Sequence[Message]) -> bool:
    said = content_words(" ".join([question, *(message.content for message in history)]))
    return (
        _essence(question) <= _essence(rewritten)
        and all(_occurs(word, said) for word in content_words(rewritten))
        and (rewritten.endswith("?") or not question.rstrip().endswith("?"))
        and not _leans(rewritten)
    )


def _occurs(word: str, said: frozenset[str]) -> bool:
    """Return whether the conversation has the word in some form, or the number as it is."""
    if word in said or has_digit(word):
        return word in said
    # The stem may be too short or too long: liv(ed), live.
    return any(
        word.startswith(other) or other.startswith(word)
        for other in said
        if min(len(word), len(other)) >= 3
    )


def _essence(text: str) -> frozenset[str]:
    """Return what a rewriting may not lose: content words, and names and numbers as written."""
    tokens = [token.rstrip(".,;:!?") for token in text.casefold().split()]
    exact = {token for token in tokens if not token.isalpha() and content_words(token)}
    return content_words(text) | exact | _NEGATIONS.intersection(tokens)


def _leans(question: str) -> bool:
    """Return whether the question needs the turns before it."""
    if _POINTS_BACK.search(question):
        return True
    words = content_words(question)
    # Scripts without spaces make one long word of many.
    few = len(words) < 2 and sum(map(len, words)) < 12
    return few and not (words and _ASKS_WHAT_IS.match(question))


def _with_words_of(question: str, earlier: str) -> str:
    held = content_words(question)
    shapes = {shape(word) for word in held if has_digit(word)}
    added = []
    for token in earlier.split():
        word = token.strip(PUNCTUATION)
        meaning = content_words(word)
        if not meaning <= held and shape(word.casefold()) not in shapes:
            held |= meaning
            added.append(word)
    return " ".join([question, *added[:_MOST_ADDED_WORDS]])
