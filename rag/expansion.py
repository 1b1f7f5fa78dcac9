"""question -> other questions; feedback -> weighted terms, or a moved vector."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rag.sentences import content_words, split_sentences
from rag.types import NO_ANSWER, Generator, Message, Prompt

if TYPE_CHECKING:
    from rag.types import Vectors

# A small model does what it is shown, and little of what it is told.
_REWORDED = (
    (
        "When was the old lighthouse built?",
        "What year was the old lighthouse constructed?",
        "What is the age of the old lighthouse?",
        "In which year did they build the old lighthouse?",
    ),
    (
        "How do I change the oil of the engine?",
        "What are the steps of an oil change?",
        "How is engine oil replaced?",
        "How can I renew the oil in a motor?",
    ),
    (
        "Who may cancel the contract?",
        "Which party has the right to end the contract?",
        "Who is allowed to terminate the agreement?",
        "By whom can the contract be cancelled?",
    ),
)
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
_PASSAGE_CHARACTERS = 800
_MOST_ADDED_WORDS = 12

_LIST_MARK = re.compile(
    r"^(?:\(?\d{1,2}[.):]\s+|[a-z]\)\s+|[-*+•–]\s+"
    r"|(?:\w+ )?(?:question|query|wording|version|rewrit\w+|paraphrase) ?\d*:\s+)+",
    re.IGNORECASE,
)
_QUOTES = "\"'“”‘’«»*`"
_PUNCTUATION = ".,;:!?()[]{}" + _QUOTES

_POINTS_BACK = re.compile(
    r"^\W*(?:and|or|but|also|then|what about|how about)\b"
    r"|\b(?:its?|they|them|theirs?|he|him|his|she|hers?|this|these|those|ones?|former|latter|same)\b"
    r"|\b(?:is|was|does|do|did|of|about|in|to|for|with|by|from|than|like|after|before) that\b"
    r"|\b(?:that|there|others?)\W*$",
    re.IGNORECASE,
)
_ASKS_WHAT_IS = re.compile(r"\W*(?:what|who|where)(?:['’]s| is| are| was| were)\b", re.IGNORECASE)
_NEGATIONS = frozenset({"no", "not"})


def multi_query(question: str, generator: Generator, n: int = 3) -> list[str]:
    """At most `n` other wordings of the question, written by the generator; perhaps none.

    A line counts as a wording if it asks something as the question does, holds the same numbers
    and a word of the question besides, is not much longer, and was not written before.

    Raises:
        GenerationError: if the generator cannot be reached or fails.
    """
    messages = [Message("system", f"Write the question in {n} other ways. Do not answer it.")]
    for asked, *wordings in _REWORDED:
        shown = "\n".join(f"{i}. {wording}" for i, wording in enumerate(wordings, start=1))
        messages += [Message("user", f"Rewrite: {asked}"), Message("assistant", shown)]
    messages.append(Message("user", f"Rewrite: {_folded(question)}"))
    found: dict[str, str] = {_alike(question): ""}
    for line in _write(question, messages, generator, lines=3 * n).splitlines():
        wording = _unmarked(line)
        if _asks_the_same(wording, question):
            found.setdefault(_alike(wording), wording)
    return list(found.values())[1 : n + 1]


def hyde(question: str, generator: Generator) -> str:
    """A passage as it might stand in a document that answers the question; empty if none came.

    It is to be embedded as a passage, never shown: what it says is made up. Gao, Ma, Lin & Callan,
    ACL 2023. Repeated sentences and a last one without an end are left out.

    Raises:
        GenerationError: if the generator cannot be reached or fails.
    """
    request = f"Write a short paragraph that answers the question.\n\nQuestion: {_folded(question)}"
    written = _folded(_write(question, [Message("user", request)], generator))
    if NO_ANSWER in written:
        return ""
    sentences = dict.fromkeys(written[start:end] for start, end in split_sentences(written))
    finished = [sentence for sentence in sentences if sentence.endswith((".", "!", "?"))]
    passage = ""
    for sentence in finished or sentences:
        longer = f"{passage} {sentence}".strip()
        if passage and len(longer) > _PASSAGE_CHARACTERS:
            break
        passage = longer
    return passage[:_PASSAGE_CHARACTERS]


def standalone(question: str, history: Sequence[Message], generator: Generator | None) -> str:
    """A follow-up question so that it can be searched for without the conversation before it.

    A question that does not lean on what was said before stays as it is. One that does (a pronoun,
    "and in 2020?", a single word) is rewritten by the generator, as long as the outcome holds
    every word of the question that carries meaning, and no word that was not in the conversation.
    Otherwise, and without a generator, the words of the user's question before it are added;
    a number among them gives way to one of the same shape, as a year to a year.

    Pronouns are told in English only.

    Raises:
        GenerationError: if the generator cannot be reached or fails.
    """
    earlier = [message.content for message in history if message.role == "user"]
    if not earlier or not _leans(question):
        return question
    if generator is not None:
        rewritten = _completed(question, history, generator)
        if rewritten:
            return rewritten
    whole = ""
    for turn in [*earlier, question]:
        whole = _with_words_of(turn, whole) if _leans(turn) else turn
    return whole


def rm3(
    question_terms: Mapping[str, float],
    feedback: Sequence[tuple[Mapping[str, float], float]],
    *,
    terms: int = 20,
    weight: float = 0.5,
) -> dict[str, float]:
    """The question's terms and those of the best passages, with weights that sum to 1.

    Relevance model 3: p(t) = (1 - weight) p(t|question) + weight p(t|R), where p(t|R) is the sum
    over passages of p(t|passage) times the passage's share of the scores, for the `terms` of the
    highest p(t|R), scaled to sum to 1. Lavrenko & Croft, SIGIR 2001; Abdul-Jaleel et al., TREC
    2004. Strongest first; equal ones by the alphabet.

    Args:
        question_terms: how often the question has each term.
        feedback: for each passage how often it has each term, and its score; one without terms
            or with a score of 0 or below does not count.
        terms: how many terms of the passages are taken.
        weight: of the passages, 0 to 1.

    Raises:
        ValueError: if `weight` is not within 0 and 1.
    """
    _check_share("weight", weight)
    usable = [(counts, score) for counts, score in feedback if counts]
    shares = _shares([score for _, score in usable])
    likelihood: defaultdict[str, float] = defaultdict(float)
    for (counts, _), share in zip(usable, shares, strict=True):
        for term, probability in _distribution(counts).items():
            likelihood[term] += share * probability
    relevance = _distribution(dict(_strongest(likelihood)[:terms]))
    asked = _distribution(question_terms)
    if not relevance or not asked:
        return dict(_strongest(relevance or asked))
    mixed = {
        term: (1 - weight) * asked.get(term, 0.0) + weight * relevance.get(term, 0.0)
        for term in asked | relevance
    }
    return dict(_strongest(mixed))


def rocchio(
    question: Vectors, passages: Vectors, scores: Sequence[float], *, weight: float = 0.5
) -> Vectors:
    """The question's vector moved towards the best passages, of length 1 again.

    (1 - weight) question + weight centroid, where a passage counts in the centroid by its share
    of the scores; one with a score of 0 or below does not count. Rocchio, 1971, without what is
    not relevant; for dense vectors Li et al., TOIS 2023.

    Args:
        question: float32 `[dim]`.
        passages: float32 `[n, dim]`; without any the question stays where it is.
        scores: one for each passage.
        weight: of the passages, 0 to 1.

    Raises:
        ValueError: if `weight` is not within 0 and 1, or there is not one score for each passage.
    """
    import numpy as np

    _check_share("weight", weight)
    if len(scores) != len(passages):
        raise ValueError(f"{len(passages)} passages, but {len(scores)} scores: give one for each")
    shares = np.asarray(_shares(scores), dtype=np.float32)
    if not weight or not shares.any():
        return question
    moved = (1 - weight) * question + weight * (shares @ passages)
    length = float(np.linalg.norm(moved))
    # Vectors that cancel each other out leave no direction.
    return (moved / length).astype(np.float32) if length > 1e-6 else question


def _write(question: str, messages: Sequence[Message], generator: Generator, lines: int = 0) -> str:
    """What the generator writes, or its first `lines`: a small model may not find an end."""
    prompt = Prompt(question, tuple(messages), (), generator.count_tokens(messages))
    text = ""
    for piece in generator.stream(prompt):
        text = (text + piece).lstrip()
        if lines and text.count("\n") >= lines:
            break
    return text


def _completed(question: str, history: Sequence[Message], generator: Generator) -> str:
    """The follow-up as the generator rewrites it; empty if that cannot be relied on."""
    turns = [m.content for m in history if m.role in {"user", "assistant"}][-_TURNS_SHOWN:]
    messages = [Message("system", "Rewrite the last question so that it can be understood alone.")]
    for first, reply, last, whole in _COMPLETED:
        messages += [Message("user", _conversation([first, reply], last))]
        messages += [Message("assistant", whole)]
    messages.append(Message("user", _conversation(turns, _folded(question))))
    written = _write(question, messages, generator, lines=1).splitlines()
    rewritten = _unmarked(written[0]) if written else ""
    return rewritten if _is_faithful(rewritten, question, history) else ""


def _conversation(turns: Sequence[str], question: str) -> str:
    shown = [_folded(turn)[:_TURN_CHARACTERS] for turn in turns]
    return "\n".join(["Conversation:", *shown, f"Last question: {question}"])


def _is_faithful(rewritten: str, question: str, history: Sequence[Message]) -> bool:
    said = content_words(" ".join([question, *(message.content for message in history)]))
    return (
        _meant(question) <= _meant(rewritten)
        and all(_was_said(word, said) for word in content_words(rewritten))
        and (rewritten.endswith("?") or not question.rstrip().endswith("?"))
        and not _leans(rewritten)
    )


def _was_said(word: str, said: frozenset[str]) -> bool:
    """Whether the conversation has the word in some form, or the number as it is."""
    if word in said or _has_digit(word):
        return word in said
    # An ending may have been taken off too short or too long: liv(ed), live.
    return any(
        word.startswith(other) or other.startswith(word)
        for other in said
        if min(len(word), len(other)) >= 3
    )


def _meant(text: str) -> frozenset[str]:
    """What a rewriting may not lose: words with meaning, and names and numbers as written."""
    tokens = [token.rstrip(".,;:!?") for token in text.casefold().split()]
    exact = {token for token in tokens if not token.isalpha() and content_words(token)}
    return content_words(text) | exact | _NEGATIONS.intersection(tokens)


def _leans(question: str) -> bool:
    """Whether the question needs what was said before it."""
    if _POINTS_BACK.search(question):
        return True
    words = content_words(question)
    # Scripts without spaces make one long word of many.
    few = len(words) < 2 and sum(map(len, words)) < 12
    return few and not (words and _ASKS_WHAT_IS.match(question))


def _with_words_of(question: str, earlier: str) -> str:
    held = content_words(question)
    shapes = {_shape(word) for word in held if _has_digit(word)}
    added = []
    for token in earlier.split():
        word = token.strip(_PUNCTUATION)
        meaning = content_words(word)
        if not meaning <= held and _shape(word.casefold()) not in shapes:
            held |= meaning
            added.append(word)
    return " ".join([question, *added[:_MOST_ADDED_WORDS]])


def _asks_the_same(wording: str, question: str) -> bool:
    ours, theirs = content_words(question), content_words(wording)
    numbers = set(filter(_has_digit, ours))
    return (
        wording not in {"", NO_ANSWER}
        and (wording.endswith("?") or not question.rstrip().endswith("?"))
        and numbers == set(filter(_has_digit, theirs))
        and (ours <= numbers or bool((ours & theirs) - numbers))
        and len(wording) <= 2 * len(question) + 60
    )


def _unmarked(line: str) -> str:
    """A line without its number or bullet, and without the quotation marks around it."""
    bare = _LIST_MARK.sub("", line.strip()).strip(" ,")
    while len(bare) > 1 and bare[0] in _QUOTES and bare[-1] in _QUOTES:
        bare = bare[1:-1].strip()
    return bare


def _alike(question: str) -> str:
    return _folded(question).casefold().rstrip(" .?!")


def _folded(text: str) -> str:
    return " ".join(text.split())


def _shape(word: str) -> str:
    return re.sub(r"\d", "0", word)


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)


def _strongest(weights: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(weights.items(), key=lambda item: (-item[1], item[0]))


def _distribution(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {term: weight / total for term, weight in weights.items()} if total else {}


def _shares(scores: Sequence[float]) -> list[float]:
    counted = [max(score, 0.0) for score in scores]
    total = sum(counted)
    return [score / total for score in counted] if total else counted


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be within 0 and 1, not {value}")
