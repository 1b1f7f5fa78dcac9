"""follow-up, turns before -> a question that can be searched for alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag.protocols import LanguageModel, generate_text
from rag.text.languages.english import (
    ASKS_WHAT_IS,
    DETERMINERS,
    FUNCTION_WORDS,
    POINTS_BACK,
    PREPOSITIONS,
)
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
# "And in 2020?", "What about the pet insurance?": a phrase, and nothing that is asked about it.
_SIGNED = r"[\w+#.'’-]+"
_JUST_A_PHRASE = re.compile(
    rf"(?i:and|or|but|what about|how about)\s+(?P<phrase>{_SIGNED}(?: {_SIGNED}){{0,3}})\?"
)
# "What is LoRA?", "Who published LoRA?": what the next question may call "it".
_ASKS_ABOUT = re.compile(
    r"(?i:what|who) (?i:is|are|was|were|\w+ed) "
    r"(?P<topic>(?:(?i:an?|the) )?\w[\w-]*(?: \w[\w-]*){0,3})\?"
)
_ASKS_WHO_DID = re.compile(r"(?i:who) (?P<done>\w+ed) (?P<topic>[\w-]+(?: [\w-]+){0,5})\?")
_JUST_A_QUESTION_WORD = re.compile(r"(?i:and )?(?P<asked>(?i:when|where|why))\?")
_PRONOUN = re.compile(r"\b(?:(?P<whose>its|their)|it|they|them)\b", re.IGNORECASE)
_NEGATIONS = frozenset({"no", "not"})


def complete_question(
    question: str, history: Sequence[Message], generator: LanguageModel | None
) -> str:
    """Return a follow-up question so that it can be searched for without the turns before it.

    A question that leans on nothing before stays as it is. The generator rewrites one that does (a
    pronoun, "and in 2020?", a single word), as long as the outcome keeps every word of the
    question that carries meaning and adds no word from outside the conversation. Otherwise, and
    without a generator, a phrase takes the place of its like in the user's question before it ("And
    in 2020?"), what that asks about takes that of a pronoun, and a lone "When?" asks the same of
    it. Where nothing fits, the words of that question are added; a number among them gives way to
    one of the same shape, as a year to a year.

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
        whole = _complete(turn, whole) if _leans(turn) else turn
    return whole


def _complete(question: str, earlier: str) -> str:
    """Complete a follow-up by the question before it: as one question, or else by its words."""
    said = [Message("user", earlier)]
    # What was completed by words alone is no sentence to put another word into.
    if earlier.count("?") == 1 and earlier.rstrip().endswith("?"):
        for put in (_replace_phrase, _replace_pronoun, _ask_of_the_same):
            whole = put(question, earlier)
            if whole and _is_faithful(whole, question, said):
                return whole
    return _with_words_of(question, earlier)


def _replace_phrase(question: str, earlier: str) -> str:
    """Put the phrase of "And the pet insurance?" in the place of its like in the earlier question.

    That is a number of the same shape, a phrase with the same preposition, one that ends in the
    same word, a name for a name, or what the earlier question asks about at its end; "" if there is
    none, or more than one.
    """
    match = _JUST_A_PHRASE.fullmatch(question.strip())
    if match is None or not FUNCTION_WORDS.isdisjoint(match["phrase"].casefold().split()[1:]):
        return ""
    phrase = match["phrase"]
    preposition, _, inner = phrase.partition(" ")
    if preposition.casefold() not in PREPOSITIONS:
        preposition, inner = "", phrase
    for pattern in _places(preposition, inner):
        found = list(re.finditer(pattern, earlier))
        if len(found) == 1:
            start, end = found[0].span("old")
            return earlier[:start] + inner + earlier[end:]
    if preposition and preposition not in earlier.casefold().split():
        return f"{earlier.rstrip()[:-1]} {phrase}?"
    return ""


def _places(preposition: str, inner: str) -> Iterator[str]:
    """Yield patterns, the surest first, whose group `old` is what a phrase may stand for."""
    words = inner.split()
    before = rf"\b{re.escape(preposition)} " if preposition else r"\b"
    if inner[0].isdigit():
        same_shape = re.sub(r"\d", r"\\d", re.escape(inner))
        yield rf"{before}(?P<old>{same_shape})\b"
        yield rf"\b(?P<old>{same_shape})\b"
        return
    if "_" in inner:
        yield r"\b(?P<old>\w+_\w+)\b"
        return
    determiner = r"(?:the|an?|my|our|your) "
    if preposition:
        yield rf"(?i:{before})(?P<old>(?:{determiner})?[^\W\d]\w*(?: [A-Z]\w*)*)(?=\?|[ ,])"
        return
    if len(words) > 1:
        own = determiner if words[0].casefold() in DETERMINERS else ""
        yield rf"\b(?P<old>(?i:{own})(?:\w+ )?{re.escape(words[-1])})\b"
    if inner[0].isupper():
        yield r"(?<=\w )(?P<old>[A-Z][\w-]*(?: [A-Z0-9][\w-]*)*)"
    # "backups kept" would be more than what the phrase stands for.
    topic = r"(?i:the|an?) \w+(?: \w+)?|\w+|[A-Z]\w*(?: [A-Z]\w*)+"
    yield rf"\b(?i:is|are|was|were) (?P<old>{topic})\?$"


def _replace_pronoun(question: str, earlier: str) -> str:
    """Put what the earlier question asks about in the place of the one pronoun of a follow-up."""
    about = _ASKS_ABOUT.fullmatch(earlier.strip())
    pronouns = list(_PRONOUN.finditer(question))
    if about is None or len(pronouns) != 1:
        return ""
    topic, (start, end) = about["topic"], pronouns[0].span()
    whose = "" if not pronouns[0]["whose"] else "'" if topic.endswith("s") else "'s"
    return question[:start] + topic + whose + question[end:]


def _ask_of_the_same(question: str, earlier: str) -> str:
    """Return "When was LoRA published?" for "When?" after "Who published LoRA?"."""
    word = _JUST_A_QUESTION_WORD.fullmatch(question.strip())
    about = _ASKS_WHO_DID.fullmatch(earlier.strip())
    if word is None or about is None:
        return ""
    topic = about["topic"]
    many = topic.endswith("s") and topic.islower() and not topic.startswith(("a ", "an "))
    return f"{word['asked'].capitalize()} {'were' if many else 'was'} {topic} {about['done']}?"


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
