"""question, passages, a reader's span -> signs that the span does not answer this question.

A reader finds what looks like an answer. Rules see what it overlooks: that the sentence is about
MySQL where PostgreSQL is asked of, about 15 and not 19, a salary and no phone number, the beginning
and not the end. Each sign is a number from 0 to 1 for a logistic regression to weigh.

How often they fire, over every third question of the eight articles of SQuAD 2.0 in BEIR's layout
(`python benchmarks/silence.py DATASET`), on the paragraph that the question was written about: the
mean of each sign for 475 answers at their gold span, for what the rules of extraction take of 471
answerable questions and of 533 near misses, and the AUROC that tells the last two apart. The signs
were thought of over near misses of these articles, so a figure of the whole is not one of new text.

| sign | gold | extracted | near miss | AUROC |
| --- | --- | --- | --- | --- |
| `names_missing_in_sentence` | 0.095 | 0.074 | 0.184 | 0.578 |
| `names_missing_in_passage` | 0.028 | 0.026 | 0.048 | 0.520 |
| `numbers_missing_in_sentence` | 0.019 | 0.017 | 0.051 | 0.518 |
| `numbers_missing_in_passage` | 0.013 | 0.013 | 0.027 | 0.509 |
| `words_missing_in_sentence` | 0.376 | 0.370 | 0.388 | 0.511 |
| `words_missing_in_passage` | 0.298 | 0.293 | 0.293 | 0.492 |
| `kind_differs` | 0.036 | 0.025 | 0.045 | 0.510 |
| `kind_absent` | 0.006 | 0.006 | 0.004 | 0.499 |
| `question_negated` | 0.032 | 0.032 | 0.144 | 0.556 |
| `negation_differs` | 0.105 | 0.091 | 0.193 | 0.551 |
| `negated_word_differs` | 0.027 | 0.028 | 0.139 | 0.556 |
| `word_swapped` | 0.038 | 0.034 | 0.107 | 0.536 |
| `role_opposed` | 0.015 | 0.013 | 0.019 | 0.503 |
| `superlative_missing` | 0.038 | 0.036 | 0.041 | 0.503 |
| `time_differs` | 0.000 | 0.000 | 0.000 | 0.500 |
| `span_repeats_question` | 0.073 | 0.114 | 0.105 | 0.494 |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from rag.answering.extraction.words import Token, kinds, tokens
from rag.answering.passages import Passage, Passages, Stretch
from rag.text.languages import english
from rag.text.words import WORD, content_words, stem

__all__ = ["SIGNS", "describe_gap", "find_signs"]

_THINGS = [(thing, re.compile(p, re.IGNORECASE)) for thing, p in english.THINGS_ASKED]
_MONEY = re.compile(english.MONEY, re.IGNORECASE)
_PHONE = re.compile(r"(?<![\w.])\+?\d[\d ()/-]{5,}\d(?!\w)")
_URL = re.compile(r"\bhttps?://\S+|\bwww\.\S+|\b[\w-]+\.(?:com|org|net|edu|gov|io|eu|de|uk)\b")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.\w+")
_PORT = re.compile(r"(?<![\w.,])\d{2,5}(?![\w,]|\.\d)")
_DATE = re.compile(
    r"\d{4}-\d\d|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\b1?\d{1,2}:\d\d\b|\b1?\d{3}s?\b|\b20\d\d"
)
_IDENTIFIER = re.compile(r"\b[A-Za-z]\w*(?:[_.:/]\w+)+\b|\b[a-z]+[A-Z]\w*\b")
_SUPERLATIVE = re.compile(english.SUPERLATIVES)
_LEANS = re.compile(english.LEANS_BACK, re.IGNORECASE)
_FUTURE = re.compile(r"\b(?:will|shall|going to|next|planned|upcoming)\b", re.IGNORECASE)
_PAST = re.compile(r"\b(?:was|were|did|had|used to|ago|formerly)\b", re.IGNORECASE)
_PROSE_NEGATIONS = frozenset(["not", "no", "never", "none", "neither", "nor", "cannot", "without"])
# "un" before a shorter word makes another one by chance ("it", "unit").
_LONG = 6
# Two words of one family share their beginning: "populate", "population".
_LEAST_SHARED = 5


class _Look:
    """A question and the surroundings of a span; each part is made when a sign first needs it."""

    def __init__(self, question: str, passage: Passage, span: Stretch) -> None:
        self.question = question
        self.passage = passage
        self._span = span
        self.quote = passage.text[span.start : span.end]
        self.with_unit = passage.text[max(0, span.start - 2) : span.end + 12]
        self._above = " ".join((passage.hit.title, *passage.hit.chunk.heading))

    @cached_property
    def sentence(self) -> str:
        return _sentence_around(self.passage, self._span)

    @cached_property
    def near(self) -> str:
        """The sentence, what it leans on, and the titles above it."""
        return f"{_what_it_leans_on(self.passage, self._span)} {self.sentence} {self._above}"

    @cached_property
    def far(self) -> str:
        """The whole passage, and the titles above it."""
        return f"{self.passage.text} {self._above}"

    @cached_property
    def names(self) -> frozenset[str]:
        return _names_of(self.question)

    @cached_property
    def numbers(self) -> frozenset[str]:
        return _numbers_of(self.question)

    @cached_property
    def words(self) -> frozenset[str]:
        empty = frozenset(map(stem, english.AUXILIARIES))
        return content_words(self.question) - empty - self.names - self.numbers

    @cached_property
    def asked(self) -> str:
        return asked_thing(self.question)

    @property
    def differs_in_kind(self) -> bool:
        return bool(self.asked) and not _is_thing(self.asked, self.quote, self.with_unit)

    @property
    def lacks_the_kind(self) -> bool:
        return bool(self.asked) and not _holds_thing(self.asked, self.passage.text)

    @property
    def differs_in_time(self) -> bool:
        return (
            bool(_FUTURE.search(self.question))
            and bool(_PAST.search(self.sentence))
            and not _FUTURE.search(self.sentence)
        )


_RULES: dict[str, Callable[[_Look], float]] = {
    "names_missing_in_sentence": lambda look: _missing(look.names, look.near),
    "names_missing_in_passage": lambda look: _missing(look.names, look.far),
    "numbers_missing_in_sentence": lambda look: _missing(look.numbers, look.near),
    "numbers_missing_in_passage": lambda look: _missing(look.numbers, look.far),
    "words_missing_in_sentence": lambda look: _missing(look.words, look.near),
    "words_missing_in_passage": lambda look: _missing(look.words, look.far),
    "kind_differs": lambda look: look.differs_in_kind,
    "kind_absent": lambda look: look.lacks_the_kind,
    "question_negated": lambda look: _is_negative(look.question),
    "negation_differs": lambda look: _is_negative(look.question) != _is_negative(look.sentence),
    "negated_word_differs": lambda look: _negates_otherwise(look.question, look.sentence),
    "word_swapped": lambda look: _swaps_a_word(look.question, look.sentence),
    "role_opposed": lambda look: _is_opposed(look.question, look.sentence),
    "superlative_missing": lambda look: _missing_superlative(look.question, look.sentence),
    "time_differs": lambda look: look.differs_in_time,
    "span_repeats_question": lambda look: _share_repeated(look.quote, look.question),
}

SIGNS = tuple(_RULES)


def find_signs(
    question: str, passages: Passages, span: Stretch, wanted: Sequence[str] = SIGNS
) -> dict[str, float]:
    """Return the signs that a span does not answer a question, each from 0 to 1.

    Shares are of what the question holds: its names, its numbers and versions, its content words.
    "In the passage" counts the passage's text, its headings and its document's title; "in the
    sentence" counts the sentence around the span, the one before it if it begins with a pronoun,
    and the headings and the title too, as they name what a manual's sentence leaves out. 0 says
    that there is nothing to miss.

    Args:
        question: what was asked.
        passages: those that the span was read in.
        span: what may answer.
        wanted: the names of the signs to look for.
    """
    look = _Look(question, passages[span.number - 1], span)
    return {name: float(_RULES[name](look)) for name in wanted}


def asked_thing(question: str) -> str:
    """Return what kind of thing a question asks for, in the plural; empty if none is known."""
    return next((thing for thing, pattern in _THINGS if pattern.search(question)), "")


def describe_gap(question: str, passages: Passages) -> str:
    """Return what the passages lack of an answer, in one sentence.

    "The documents speak of “default port”, not of MySQL."
    """
    if not len(passages):
        return "Nothing in the documents matches the question."
    everything = " ".join(
        f"{p.text} {p.hit.title} {' '.join(p.hit.chunk.heading)}" for p in passages
    )
    topic = _topic(question, everything)
    lacking = _lacking(question, everything)
    if topic and lacking:
        return f"The documents speak of “{topic}”, not of {lacking}."
    if lacking:
        return f"The documents say nothing of {lacking}."
    if topic:
        return f"The documents speak of “{topic}”, but no passage answers this."
    return "No passage answers this."


def _sentence_around(passage: Passage, span: Stretch) -> str:
    around = [s for s in passage.sentences if s[0] < span.end and span.start < s[1]]
    if not around:
        return passage.text[span.start : span.end]
    return passage.text[min(around[0][0], span.start) : max(around[-1][1], span.end)]


def _what_it_leans_on(passage: Passage, span: Stretch) -> str:
    """Return the sentence before one that begins with a pronoun, which names what it is about."""
    starts = [s for s in passage.sentences if s[1] <= span.start]
    around = [s for s in passage.sentences if s[0] < span.end and span.start < s[1]]
    if not starts or not around or not _LEANS.match(passage.text, around[0][0]):
        return ""
    return passage.text[slice(*starts[-1])]


def _names_of(question: str) -> frozenset[str]:
    """Return the stems of the names of a question: words with a capital, and identifiers."""
    found = tokens(question)
    names = {
        token.stem
        for at, token in enumerate(found)
        if not (token.is_mark or token.is_number or token.is_function)
        and token.is_name
        and _is_own(found, at)
    }
    return frozenset(names | {stem(match[0].lower()) for match in _IDENTIFIER.finditer(question)})


def _is_own(found: Sequence[Token], at: int) -> bool:
    """Return whether a capital is the word's own: not one that begins the sentence."""
    token = found[at]
    follows_end = at > 0 and found[at - 1].raw in ".?!"
    if at > 0 and not follows_end:
        return True
    return token.raw[1:] != token.raw[1:].lower()


def _numbers_of(question: str) -> frozenset[str]:
    """Return the numbers of a question that its answer must speak of, words as digits.

    "One" and "first" are rather words than numbers.
    """
    low = (token.low for token in tokens(question) if token.is_number)
    found: Iterator[str] = (english.NUMERALS.get(word, word) for word in low)
    return frozenset(
        word.lstrip("£$€").replace(",", "") for word in found if word[-1:].isdigit()
    ) - {"1"}


def _missing(wanted: frozenset[str], text: str) -> float:
    """Return the share of words that a text does not hold, in any form of them."""
    if not wanted:
        return 0.0
    held = _stems_of(text)
    starts = {word[:_LEAST_SHARED] for word in held if len(word) >= _LEAST_SHARED}

    def holds(word: str) -> bool:
        if word in held or (2 <= len(word) <= _LONG and _is_spelled_out(word, text)):
            return True
        return word.isalpha() and len(word) > _LEAST_SHARED and word[:_LEAST_SHARED] in starts

    return sum(not holds(word) for word in wanted) / len(wanted)


def _is_spelled_out(letters: str, text: str) -> bool:
    """Return whether words with capitals spell an abbreviation: "eu", "European Union"."""
    if not letters.isalpha():
        return False
    small = r"(?:\s+(?:of|the|and|for|in)\b)*[\s-]+"
    return (
        re.search(r"\b" + small.join(rf"{each.upper()}[a-z]+" for each in letters), text)
        is not None
    )


def _stems_of(text: str) -> frozenset[str]:
    found = WORD.findall(text.lower())
    parts = [part for word in found for part in re.split(r"[-/_.'’]", word) if part]
    plain = [word.replace(",", "") for word in found]
    digits = [english.NUMERALS[word] for word in found if word in english.NUMERALS]
    return frozenset(map(stem, (*found, *parts, *plain, *digits)))


def _is_thing(asked: str, quote: str, with_unit: str) -> bool:
    """Return whether a span is of the kind that is asked for; its unit may stand right after it."""
    run = [token for token in tokens(quote) if not token.is_mark]
    kind = kinds(run)
    if asked in ("people", "places"):
        return "cap" in kind or not run
    if asked == "dates":
        return "date" in kind or bool(_DATE.search(quote))
    if asked == "numbers":
        return "num" in kind
    if asked == "durations":
        units = set(WORD.findall(with_unit.lower())) & english.TIME_UNITS
        return "num" in kind or bool(units) or "date" in kind
    return _holds_thing(asked, with_unit if asked in ("prices", "percentages") else quote)


def _holds_thing(asked: str, text: str) -> bool:
    """Return whether a text holds anything of the kind that is asked for."""
    patterns = {
        "phone numbers": _PHONE,
        "ports": _PORT,
        "e-mail addresses": _EMAIL,
        "web addresses": _URL,
        "prices": _MONEY,
    }
    if pattern := patterns.get(asked):
        return bool(pattern.search(text))
    if asked == "percentages":
        low = text.lower()
        words = set(WORD.findall(low))
        return "%" in low or "percent" in low or bool(words & english.FRACTIONS)
    found = tokens(text)
    if asked == "dates":
        return "date" in kinds(found) or bool(_DATE.search(text))
    if asked in ("numbers", "durations"):
        return any(token.is_number for token in found)
    return any(token.is_name for token in found)


def _is_negative(text: str) -> bool:
    words = [word.replace("’", "'") for word in WORD.findall(text.lower())]
    count: int = sum(word in _PROSE_NEGATIONS or word.endswith("n't") for word in words)
    return count % 2 == 1


def _negated_words(text: str) -> frozenset[str]:
    """Return the stems of the words that negations of a text stand before."""
    found = tokens(text)
    negated = set()
    for at, token in enumerate(found):
        if token.low in _PROSE_NEGATIONS or token.low.endswith(("n't", "n’t")):
            after = (each for each in found[at + 1 : at + 4] if content_words(each.low))
            negated |= {each.stem for each in after if not each.is_function}
    return frozenset(negated)


def _negates_otherwise(question: str, sentence: str) -> bool:
    """Return whether one of the two negates a word that the other has without a negation."""
    asked, said = _negated_words(question), _negated_words(sentence)
    return bool((asked - said) & _stems_of(sentence)) or bool((said - asked) & _stems_of(question))


def _swaps_a_word(question: str, sentence: str) -> bool:
    """Return whether the sentence has another word where the question has one that it lacks.

    "The Palace on the Bank" against "the Palace on the Water": the two words before are the same,
    or those on both sides.
    """
    asked = [token for token in tokens(question) if not token.is_mark]
    said = [token for token in tokens(sentence) if not token.is_mark]
    after_two = {(a.low, b.low): c for a, b, c in zip(said, said[1:], said[2:], strict=False)}
    between = {(a.low, c.low): b for a, b, c in zip(said, said[1:], said[2:], strict=False)}
    for at, token in enumerate(asked):
        if not _says(token) or not _missing(frozenset([token.stem]), sentence):
            continue
        other = after_two.get((asked[at - 2].low, asked[at - 1].low)) if at > 1 else None
        if other is None and 0 < at < len(asked) - 1:
            other = between.get((asked[at - 1].low, asked[at + 1].low))
        # Of other words a paraphrase takes another as often.
        named = other is not None and (token.is_name or token.is_number or other.is_name)
        if named and other is not None and not other.is_function:
            return other.stem not in _stems_of(question)
    return False


def _is_opposed(question: str, sentence: str) -> bool:
    """Return whether the sentence has the opposite of a word of the question, and not the word.

    Opposites are those of `ROLES`, and words that a prefix turns ("possible", "impossible").
    """
    asked, said = (frozenset(WORD.findall(text.lower())) for text in (question, sentence))
    for one, other in ((asked, said), (said, asked)):
        turned = {prefix + word for word in one for prefix in english.TURNING_PREFIXES}
        turned = {word for word in turned if len(word) > _LONG}
        turned |= {f"in{word}" for word in one & english.TURNED_BY_IN}
        if (turned & other) - one:
            return True
    return any(
        asked & one and not asked & other and said & other and not said & one
        for pair in english.ROLES
        for one, other in (pair, pair[::-1])
    )


def _missing_superlative(question: str, sentence: str) -> float:
    """Return the share of the question's superlatives that a sentence does not hold."""
    asked = set(_SUPERLATIVE.findall(question.lower())) - english.NO_SUPERLATIVES
    if not asked:
        return 0.0
    return len(asked - set(WORD.findall(sentence.lower()))) / len(asked)


def _share_repeated(quote: str, question: str) -> float:
    """Return the share of a span's content words that the question holds already."""
    words = content_words(quote)
    return len(words & content_words(question)) / len(words) if words else 0.0


def _topic(question: str, text: str) -> str:
    """Return the longest run of words of a question that begins and ends with one that is there."""
    held = _stems_of(text)
    found = [token for token in tokens(question) if not token.is_mark]
    best: tuple[int, int, int] = (0, 0, 0)
    for first in range(len(found)):
        count = 0
        for last in range(first, len(found)):
            token = found[last]
            known = _says(token) and token.stem in held
            if not known and (_says(token) or last == first):
                break
            count += known
            if known and count > best[0]:
                best = count, first, last
    count, first, last = best
    return question[found[first].start : found[last].end] if count else ""


def _says(token: Token) -> bool:
    """Return whether a word of a question says what it is about."""
    asks = token.low in ("what", "which", "who", "whom", "whose", "when", "where", "why", "how")
    return not token.is_function and not asks and bool(content_words(token.low))


def _lacking(question: str, text: str) -> str:
    """Return what a question names and a text does not: names, numbers, the kind, other words."""
    held = _stems_of(text)
    found = [token for token in tokens(question) if not token.is_mark]
    names, numbers = _names_of(question), _numbers_of(question)
    absent: list[str] = []
    for at, token in enumerate(found):
        digits = token.low.replace(",", "")
        if digits in numbers and digits not in held:
            # "PostgreSQL 19": a number says little without the name before it.
            before = found[at - 1] if at else None
            named = before is not None and (before.stem in names or _says(before))
            start = before.start if before is not None and named else token.start
            absent.append(question[start : token.end])
        elif token.stem in names and token.stem not in held:
            absent.append(token.raw)
    if absent:
        return " or ".join(dict.fromkeys(absent))
    asked = asked_thing(question)
    if asked and not _holds_thing(asked, text):
        return asked
    rest = [
        token.raw for token in found if _says(token) and _missing(frozenset([token.stem]), text)
    ]
    return " or ".join(f"“{word}”" for word in dict.fromkeys(rest[:3]))
