"""Question and answer -> a statement: "When did it begin?", "1973" -> "It began in 1973."

Rules for the forms of questions that come out as sentences (as Demszky, Guu & Liang 2018,
"Transforming question answering datasets into natural language inference datasets", have them
over parses). There is no parser here: a question that the rules are not sure of is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

_IRREGULAR = """
be was been|become became become|begin began begun|bear bore born|break broke broken|
bring brought brought|build built built|buy bought bought|catch caught caught|choose chose chosen|
come came come|cost cost cost|cut cut cut|deal dealt dealt|draw drew drawn|drink drank drunk|
drive drove driven|eat ate eaten|fall fell fallen|feed fed fed|feel felt felt|fight fought fought|
find found found|fly flew flown|forbid forbade forbidden|forget forgot forgotten|get got got|
give gave given|go went gone|grow grew grown|have had had|hear heard heard|hide hid hidden|
hit hit hit|hold held held|keep kept kept|know knew known|lay laid laid|lead led led|
leave left left|lend lent lent|let let let|lie lay lain|lose lost lost|make made made|
mean meant meant|meet met met|pay paid paid|put put put|quit quit quit|read read read|
ride rode ridden|ring rang rung|rise rose risen|run ran run|say said said|see saw seen|
seek sought sought|sell sold sold|send sent sent|set set set|shoot shot shot|show showed shown|
shut shut shut|sing sang sung|sink sank sunk|sit sat sat|sleep slept slept|speak spoke spoken|
spend spent spent|split split split|spread spread spread|stand stood stood|steal stole stolen|
stick stuck stuck|strike struck struck|swear swore sworn|swim swam swum|take took taken|
teach taught taught|tear tore torn|tell told told|think thought thought|throw threw thrown|
understand understood understood|undergo underwent undergone|wear wore worn|win won won|
withdraw withdrew withdrawn|write wrote written
"""
_PAST: dict[str, str] = {}
_PARTICIPLES: set[str] = set()
for _row in _IRREGULAR.replace("\n", "").split("|"):
    _base, _past, _participle = _row.split()
    _PAST[_base] = _past
    _PARTICIPLES.add(_participle)
# Participles that stand before a noun or as one more often than they end a clause.
_PARTICIPLES -= {"read", "set", "cut", "put", "hit", "let", "cost", "left", "run", "show", "come"}

_REGULAR = """
accept achieve add adopt affect agree aim allow announce appear apply approve argue arrest arrive
ask assist attack attempt attend ban base believe belong borrow call capture carry cause cease
celebrate change charge claim close collaborate collapse collect command commission compare compete
complete compose condemn conduct confirm connect conquer consider consist construct contain continue
contribute control convert convince cooperate cover create criticize cross crown dance debut decide
declare decline decrease defeat defend define defy deliver demand deny depart depend deploy derive
describe design destroy determine develop die differ discover dissolve divide dominate donate
earn elect emerge employ enable encourage end endorse enforce enter escape establish estimate
evolve examine exceed exist expand expect experience experiment explain explore export express
extend face fail favor favour film finish focus follow force form found function gain gather
govern graduate happen help host identify ignore impact implement import improve include increase
influence inform inhabit inherit inspire intend introduce invade invent invest invite involve issue
join judge kill lack land last launch learn like limit link list live locate look love maintain
manage mark marry measure migrate mine move name need negotiate note notice observe obtain occupy
occur offer open operate oppose order organize originate overthrow own participate pass pave perform
persuade place plan play point practice predict prefer present prevent produce prohibit promise
promote propose protect prove provide publish push question raise ratify reach realize receive
recognize recommend record recover recruit reduce refer reform refuse regard reject relate release
rely remain remove rename reopen repeal replace report represent request require resign resist
resolve respond restore result retain retire return reveal rule save score search seem select
separate serve settle share sign sound sponsor start state stay stop study succeed suffer suggest
supply support suppress surround survive switch target test threaten touch track trade train
transfer transform transport travel treat turn unify unite use utilize value vary view visit vote
want warn watch weigh win work worry wound
""".split()  # noqa: SIM905
_DOUBLED = {"ban", "plan", "stop", "refer", "transfer", "occur", "permit", "admit", "commit"}
_NOT_VERBS_AFTER = frozenset(
    """the a an this that these those his her its their our your my first second last new old of
    in on at by for with from to and or no any some each every 's s main total public military
    same other""".split()  # noqa: SIM905
)
_BE = "is|are|was|were"
_PREPOSITION = frozenset(
    """in on at by for with from to of about into over under between during after before since
    until as through within near against among around""".split()  # noqa: SIM905
)
_WITH_PREPOSITION = re.compile(
    r"^(?:in|on|at|by|for|with|from|to|of|since|until|during|after|before|between|around|about|"
    r"near|over|under|within|through|along|inside|outside|throughout|across)\b",
    re.I,
)
_YEAR = re.compile(
    r"^(?:the )?(?:early |late |mid-?)?(?:1[0-9]|20)\d\d(?:s|-\d+)?$|^\d\dth century"
)
_DAY = re.compile(
    r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b|\b\d{1,2}(?:st|nd|rd|th)?,? ?(?:of )?"
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
    r"|\b(?:January|February|March|April|May|June|July|August|September|October|November|December)"
    r" \d{1,2}\b",
    re.I,
)
_MONTH = re.compile(
    r"^(?:January|February|March|April|May|June|July|August|September|October|November|December)"
    r"|^(?:spring|summer|autumn|winter)",
    re.I,
)
_NUMBER = re.compile(
    r"\d|^(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|"
    r"fifty|sixty|hundred|half|dozen|several|a few)\b",
    re.I,
)
_EMPTY = frozenset(
    """he she it they we you i him her them us his its their this that these those who which a an
    the there here something someone people one ones yes no""".split()  # noqa: SIM905
)
_UNKNOWN = re.compile(
    r"\b(?:something|someone|somebody|it|they|he|she|his|her|their|them|him|this|that|these|those|"
    r"you|your|i|my|we|our)\b",
    re.I,
)
# Answers that are no thing: "has been released", "not there".
_NO_THING = re.compile(
    r"^(?:has|have|had|may|can|could|will|would|should|must|not|is|are|was|were|be|been|to|and|or|"
    r"because|when|if|that|we|share|collect|using)\b",
    re.I,
)
_MOST_WORDS = 9


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement made of a question and its answer, `text[start:end]` being the answer.

    `unique` says that another value in the answer's place cannot be true as well.
    """

    text: str
    start: int
    end: int
    unique: bool

    def with_value(self, value: str) -> str:
        """Return the statement with another value in the answer's place."""
        if not self.start:
            value = value[:1].upper() + value[1:]
        return self.text[: self.start] + value + self.text[self.end :]

    @property
    def value(self) -> str:
        """The answer, as it stands in the text."""
        return self.text[self.start : self.end]


def state(question: str, answer: str) -> Statement | None:
    """Turn a question and its answer into a statement; None where no rule is sure."""
    question = " ".join(question.strip().rstrip("?!. ").split())
    answer = answer.strip().strip(".,;:\"'“”()").strip()
    words = [word.casefold() for word in re.findall(r"[\w'-]+", answer)]
    if not words or len(words) > _MOST_WORDS or all(word in _EMPTY for word in words):
        return None
    if _UNKNOWN.search(question) or len(question.split()) < 4 or "," in question:
        return None
    if answer.casefold() in question.casefold() or "\n" in answer or _NO_THING.match(answer):
        return None
    if answer.count("(") != answer.count(")"):
        return None
    if question[:1].isupper() and not question.split()[0].isupper():
        question = question[0].lower() + question[1:]
    if _WITH_PREPOSITION.match(answer):
        answer = answer[0].lower() + answer[1:]
    for rule in (_when, _where, _how_many, _how_much, _what_did, _copula, _subject):
        parts = rule(question, answer)
        if parts is not None:
            return _join(*parts)
    return None


def past_of(verb: str) -> str:
    """Return the past tense of a base form."""
    if verb in _PAST:
        return _PAST[verb]
    if verb in _DOUBLED:
        return verb + verb[-1] + "ed"
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + "ed"


_BASES = frozenset(_REGULAR) | frozenset(_PAST)
_PASTS = frozenset(past_of(base) for base in _BASES)


@cache
def verbs() -> dict[str, str]:
    """Return the known verbs in the past tense and the third person, with their base forms."""
    pasts = {past_of(base): base for base in sorted(_BASES) if past_of(base) != base}
    return pasts | {third_of(base): base for base in sorted(_BASES)}


def third_of(verb: str) -> str:
    """Return the third person of a base form."""
    if verb in {"have", "be"}:
        return {"have": "has", "be": "is"}[verb]
    if verb.endswith(("s", "sh", "ch", "x", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def _join(before: str, answer: str, after: str, unique: bool) -> Statement | None:
    if not before:
        answer = answer[:1].upper() + answer[1:]
    start = len(before) + 1 if before else 0
    text = " ".join(part for part in (before, answer, after) if part)
    if len(text.split()) < 4:
        return None
    return Statement(text[:1].upper() + text[1:] + ".", start, start + len(answer), unique)


_Parts = tuple[str, str, str, bool]


def _verb_at(words: list[str]) -> int | None:
    """Return where the base verb is in "the treaty end in Paris"; None unless one place fits."""
    places = [
        at
        for at in range(1, len(words))
        if words[at] in _BASES and words[at - 1].casefold() not in _NOT_VERBS_AFTER
    ]
    # After the verb there are nouns that look like verbs: the first place counts, if the
    # subject before it holds none.
    if not places or (len(places) > 1 and places[1] == places[0] + 1):
        return None
    return places[0]


def _participle_at(words: list[str]) -> int | None:
    for at in range(1, len(words)):
        word = words[at]
        known = word in _PARTICIPLES or (word in _PASTS and word.endswith("ed"))
        # Of other words in -ed those that end the clause.
        known = known or (
            re.fullmatch(r"[a-z]{3,}ed", word) is not None
            and (at + 1 == len(words) or words[at + 1] in _PREPOSITION)
        )
        if known and words[at - 1].casefold() not in _NOT_VERBS_AFTER:
            return at
    return None


def _did(rest: str, auxiliary: str) -> tuple[str, str] | None:
    """ "the treaty end in Paris" -> "the treaty ended", "in Paris"."""
    words = rest.split()
    at = _verb_at(words)
    if at is None:
        return None
    verb = words[at]
    if auxiliary == "did":
        verb = past_of(verb)
    elif auxiliary == "does":
        verb = third_of(verb)
    return " ".join([*words[:at], verb]), " ".join(words[at + 1 :])


def _passive(rest: str, auxiliary: str) -> tuple[str, str] | None:
    """ "the bridge built by the city" -> "the bridge was built", "by the city"."""
    words = rest.split()
    at = _participle_at(words)
    if at is None:
        return None
    return " ".join([*words[:at], auxiliary, words[at]]), " ".join(words[at + 1 :])


def _phrase_date(answer: str) -> str | None:
    """Return the answer to "when" with its preposition; None if it is no date."""
    if _WITH_PREPOSITION.match(answer):
        return answer if re.search(r"\d|day|month|year|centur|war\b", answer, re.I) else None
    if _DAY.search(answer):
        return f"on {answer}"
    if _YEAR.search(answer) or _MONTH.search(answer):
        return f"in {answer}"
    return None


def _when(question: str, answer: str) -> _Parts | None:
    match = re.match(
        r"(?:when|(?:in |during )?(?:what|which) (?:year|month|century|decade)|"
        r"(?:on )?(?:what|which) (?:day|date)) (did|was|were|is|are|does|do) (.+)$",
        question,
        re.I,
    )
    dated = _phrase_date(answer)
    if match is None or dated is None:
        return None
    auxiliary, rest = match[1].lower(), match[2]
    made = _passive(rest, auxiliary) if auxiliary in _BE.split("|") else _did(rest, auxiliary)
    if made is None or rest.split()[-1] in _PREPOSITION or "last time" in rest:
        return None
    head, tail = made
    at = dated.find(" ") + 1
    if _WITH_PREPOSITION.match(answer):
        return f"{head} {tail}".strip(), dated, "", True
    return f"{head} {tail} {dated[:at]}".strip().replace("  ", " "), dated[at:], "", True


def _where(question: str, answer: str) -> _Parts | None:
    match = re.match(
        r"(?:where|in (?:what|which) (?:city|country|state|town|place|region|county)) "
        r"(did|was|were|is|are|does|do) (.+)$",
        question,
        re.I,
    )
    if match is None or not re.search(r"[A-Z]", answer):
        return None
    auxiliary, rest = match[1].lower(), match[2]
    if rest.split()[-1] in _PREPOSITION:
        return None
    be = auxiliary in _BE.split("|")
    made = _passive(rest, auxiliary) if be else _did(rest, auxiliary)
    if made is None:
        if not be or len(rest.split()) > 6:
            return None
        made = f"{rest} {auxiliary}", ""
    head = " ".join(part for part in made if part)
    if _WITH_PREPOSITION.match(answer):
        return head, answer, "", True
    return f"{head} in", answer, "", True


def _how_many(question: str, answer: str) -> _Parts | None:
    match = re.match(r"how many (.+)$", question, re.I)
    if match is None or not _NUMBER.search(answer) or len(answer.split()) > 5:
        return None
    rest = match[1]
    there = re.match(rf"(.+?) ({_BE}) there\b ?(.*)$", rest)
    if there is not None:
        value = answer.split(maxsplit=1)[0] if there[1].casefold() in answer.casefold() else answer
        return f"there {there[2]}", value, f"{there[1]} {there[3]}".strip(), True
    bare = _without_noun(answer, rest)
    did = re.match(r"(.+?) (did|does|do) (.+)$", rest)
    if did is not None:
        made = _did(did[3], did[2])
        return made and (made[0], bare, f"{did[1]} {made[1]}".strip(), True)
    words = rest.split()
    if len(words) > 2 and any(
        words[at] in {"are", "were", "have", "had", "live", "lived", "speak", "use"}
        or words[at] in _PASTS
        for at in (1, 2)
    ):
        verb_first = re.match(rf"(\w+) ({_BE}|have|had) (?:the|a|an) ", rest)
        if verb_first is None:
            return "", bare, rest, True
    return None


def _without_noun(answer: str, rest: str) -> str:
    """ "12 ships" without the noun that the question names."""
    words, asked = answer.split(), set(rest.casefold().split()[:3])
    kept = [word for word in words if word.casefold() not in asked]
    return " ".join(kept) or answer


_MEASURES = {
    "long": "long", "tall": "tall", "high": "high", "deep": "deep", "wide": "wide", "old": "old",
    "far": "away", "large": "large", "big": "large", "heavy": "in weight",
}  # fmt: skip


def _how_much(question: str, answer: str) -> _Parts | None:
    match = re.match(
        rf"how (long|tall|high|deep|wide|old|far|large|big|heavy|much) ({_BE}|did|does|do) (.+)$",
        question,
        re.I,
    )
    if match is None or not _NUMBER.search(answer):
        return None
    kind, auxiliary, rest = match[1].lower(), match[2].lower(), match[3]
    if auxiliary in _BE.split("|"):
        if kind == "much" or _participle_at(rest.split()) is not None:
            return None
        measure = "" if _MEASURES[kind] in answer else _MEASURES[kind]
        return f"{rest} {auxiliary}", answer, measure, True
    made = _did(rest, auxiliary)
    if made is None or kind not in {"long", "much"}:
        return None
    if kind == "long":
        value = answer.removeprefix("for ")
        return f"{made[0]} {made[1]} for".replace("  ", " "), value, "", True
    return made[0], answer, made[1], True


def _what_did(question: str, answer: str) -> _Parts | None:  # noqa: PLR0911
    match = re.match(
        r"(?:what|which|who|whom)(?: (?!type|kind|sort|other|else)([a-z]+))? (did|does|do) (.+)$",
        question,
        re.I,
    )
    if match is None or (match[1] and match[1] in {"happened", "happens"}):
        return None
    rest = match[3]
    if re.search(r"\b(?:do|happen|mean|call|say|think|believe)\b", rest):
        return None
    made = _did(rest, match[2])
    if made is None:
        return None
    head, tail = made
    words = tail.split()
    # "What did they compare X to?": the answer belongs behind the preposition.
    if words and words[-1] in _PREPOSITION:
        return f"{head} {tail}", answer, "", False
    if words and words[0] not in (_PREPOSITION - {"to"}) | {"when", "while", "because", "if"}:
        return None
    if _WITH_PREPOSITION.match(answer):
        return None
    return head, answer, tail, False


_SUPERLATIVE = re.compile(
    r"\b(?:first|last|only|main|capital|original|most|largest|biggest|smallest|highest|lowest|"
    r"longest|shortest|oldest|youngest|greatest|deepest|tallest|name|title|president|director|"
    r"author|founder|inventor|leader|king|queen|head|population|number|amount|percentage|date|"
    r"year|cost|price|height|length|size|default|maximum|minimum|limit|speed|value)\b"
)
_ADJECTIVES = frozenset(
    """responsible able unable used known located based made born dead likely available common
    visible present important famous needed required involved""".split()  # noqa: SIM905
)


def _copula(question: str, answer: str) -> _Parts | None:  # noqa: PLR0911
    match = re.match(rf"(?:what|who|which) ({_BE}) (.+)$", question, re.I)
    if match is None:
        return None
    auxiliary, rest = match[1].lower(), match[2]
    words = rest.split()
    first = words[0].casefold()
    if first in _ADJECTIVES or first in _PARTICIPLES or first in _PASTS or first.endswith("ing"):
        if words[-1] in _PREPOSITION:
            return None
        return "", answer, f"{auxiliary} {rest}", _is_unique(rest)
    if words[-1] in _PREPOSITION:
        made = _passive(rest, auxiliary)
        return made and (" ".join(made).strip(), answer, "", False)
    if words[-1] in {"called", "named", "known", "titled", "nicknamed"}:
        return f"{' '.join(words[:-1])} {auxiliary} {words[-1]}", answer, "", True
    if {"called", "named", "known"} & set(words) or words[-1].endswith("ing"):
        return None
    at = _participle_at(words)
    if at is not None and (at + 1 == len(words) or words[at + 1] not in _PREPOSITION):
        return None
    if first not in {"the", "a", "an"} and not words[0][0].isupper() and "'s" not in words[0]:
        return None
    if _WITH_PREPOSITION.match(answer):
        return None
    if re.fullmatch(r"[a-z-]+", answer):
        return None
    unique = first == "the" and _SUPERLATIVE.search(rest) is not None
    return f"{rest} {auxiliary}", answer, "", unique


_MADE = re.compile(
    r"^(?:(?:was|is|were|are) )?(?:the first|the last|the only|invented|discovered|wrote|written|"
    r"founded|designed|built|composed|directed|created|established|won|killed|defeated|painted|"
    r"proposed|succeeded|introduced|led|commanded|married|proved|named|published|elected|"
    r"the \w+est|the most)\b"
)


def _is_unique(predicate: str) -> bool:
    """Say whether but one thing can be what the predicate says."""
    return _MADE.match(predicate) is not None


def _subject(question: str, answer: str) -> _Parts | None:
    match = re.match(
        r"(?:who|what|which|(?:what|which) (?!type|kind|sort|percent|year|year|two|three|other|"
        r"else)([a-z]+)) ([a-z]+) (.+)$",
        question,
        re.I,
    )
    if match is None or _WITH_PREPOSITION.match(answer):
        return None
    noun, verb, rest = match[1], match[2], match[3]
    if verb in _BE.split("|"):
        words = rest.split()
        if noun is None or not (words[0] in _PASTS or words[0] in _PARTICIPLES):
            return None
        if words[-1] in _PREPOSITION:
            return None
        return "", answer, f"{verb} {rest}", _is_unique(rest)
    known = verb in _PASTS or (verb.endswith("s") and verb.rstrip("s") in _BASES)
    next_word = rest.split()[0]
    if verb in {"has", "had"}:
        known = next_word in {"a", "an", "the"} or next_word in _PARTICIPLES | _PASTS
    if verb in {"can", "will", "should", "must", "may"}:
        known = next_word in _BASES or next_word == "be"
    if not known or rest.split()[-1] in _PREPOSITION:
        return None
    return "", answer, f"{verb} {rest}", _is_unique(f"{verb} {rest}")
