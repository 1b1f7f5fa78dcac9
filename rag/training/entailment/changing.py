"""A sentence -> one that says the same, one that says otherwise, one that says more.

Every change that contradicts can be made on either side: the premise may hold the changed sentence
and the claim the original, or both the changed one, which then agree. Words that a change puts in
thus say nothing by themselves (Gururangan et al., NAACL 2018, on what hypotheses give away).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from rag.text.languages.english import MONTHS, NUMERALS, WEEKDAYS
from rag.training.entailment.statements import past_of, verbs
from rag.training.reader.perturbing import OPPOSITE_WORDS, names_of

Change = Callable[[str, Random], str | None]

_MONTHS = [each.capitalize() for each in sorted(MONTHS) if len(each) > 3 or each == "may"]
_DAYS = [each.capitalize() for each in sorted(WEEKDAYS)]
_DATE_NAME = re.compile(rf"\b(?:{'|'.join([*_MONTHS, *_DAYS])})\b")
_NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w]*\w-)\b")
_NUMBER_WORDS = [
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "twenty", "thirty", "forty", "fifty", "sixty", "a hundred", "a thousand",
]  # fmt: skip
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_NUMBER_WORDS)})\b(?!-)")
_UNITS = [
    ["seconds", "minutes", "hours", "days", "weeks", "months", "years", "decades", "centuries"],
    ["second", "minute", "hour", "day", "week", "month", "year", "decade", "century"],
    ["millimetres", "centimetres", "metres", "kilometres", "miles", "feet", "inches", "yards"],
    ["mm", "cm", "km"], ["kg", "mg"], ["grams", "kilograms", "tonnes", "pounds", "ounces"],
    ["thousand", "million", "billion", "trillion"], ["dollars", "euros", "pounds", "yen"],
    ["kB", "MB", "GB", "TB"], ["litres", "gallons"], ["watts", "kilowatts", "megawatts"],
    ["bar", "psi"], ["bits", "bytes"], ["US$", "€", "£"],
]  # fmt: skip
_UNIT_OF = {unit: group for group in _UNITS for unit in group}
_UNIT = re.compile(
    r"(?<=\d )(?:"
    + "|".join(sorted(map(re.escape, _UNIT_OF), key=len, reverse=True))
    + r")\b|(?<=(?:two|ten|six) )(?:years|months|weeks|days|hours|minutes|million)\b|"
    r"(?<=(?:three|seven|eight) )(?:years|months|weeks|days|hours|minutes|million)\b|"
    r"(?<=(?:four|five|nine) )(?:years|months|weeks|days|hours|minutes|million)\b"
)
_MORE_OPPOSITES = """
increases decreases|increasing decreasing|increase reduce|grew shrank|growing shrinking|
rising falling|rose fell|risen fallen|higher lower|larger smaller|greater smaller|bigger smaller|
longer shorter|older younger|faster slower|stronger weaker|warmer colder|warm cool|
warming cooling|hottest coldest|heavier lighter|cheaper dearer|deeper shallower|more less|
many few|most least|often rarely|usually seldom|always never|everyone nobody|all none|
everything nothing|before after|opened closed|opens closes|begins ends|starts stops|
possible impossible|likely unlikely|able unable|legal illegal|safe dangerous|success failure|
accepts rejects|allows forbids|allowed forbidden|permitted prohibited|approved rejected|
supports opposes|enables disables|sends receives|sent received|buys sells|lends borrows|
wins loses|won lost|arrives leaves|alive dead|true false|top bottom|upstream downstream|
indoors outdoors|arrival departure|profit loss|import export|imported exported|majority minority|
expanded shrank|strengthened weakened|improved worsened|gained lost|present absent|
friend enemy|victory defeat|correct wrong|guilty innocent|free occupied|full empty|
clockwise counterclockwise|odd even|domestic foreign|temporary permanent|voluntary compulsory
"""
_OPPOSITE = dict(OPPOSITE_WORDS)
for _pair in _MORE_OPPOSITES.replace("\n", "").split("|"):
    _one, _other = _pair.split()
    _OPPOSITE.setdefault(_one, _other)
    _OPPOSITE.setdefault(_other, _one)

# What may stand in place of each other nearly anywhere.
_SAME = """
began=started|ended=finished|approximately>about|roughly>about|more than>over|less than>under|
purchased=bought|established=founded|obtained=got|requires=needs|required=needed|children>kids|
movie=film|automobile=car|located in=situated in|in order to>to|large=big|so as to>to|
assists=helps|nearly=almost|commonly=often|frequently=often|rarely=seldom|currently=now|
sufficient=enough|numerous=many|entire=whole|final>last|main=chief|primary>main|
well-known=famous|renowned=famous|constructed=built|created=made|demonstrated=showed|
attempted=tried|remained=stayed|received=got|discovered>found|selected=chose|
for example=for instance|throughout>all through|because of=owing to|
such as>like|is known as=is called|named=called|consists of=is made up of|contains>holds|
took place=happened|occurred=happened|passed away=died|was killed>lost his life|
resides in=lives in|prohibited=forbidden|permitted=allowed|mandatory=compulsory|
annually=every year|yearly>every year|monthly>every month|daily>every day|weekly>every week|
rise=increase|drop>fall|declined>fell|rose=increased|dropped=fell|reduces=lowers|
prior to>before|subsequently=later|simultaneously=at the same time|
employees=staff|physician=doctor|lawyer=attorney|permits=allows|forbids=prohibits|
must not=is not allowed to|does not=doesn't|is not=isn't|was not=wasn't|are not=aren't|
were not=weren't|did not=didn't|do not=don't|can not=cannot|will not=won't|percent=per cent|
percent>%|kilometres=km|kilograms=kg
"""
_SYNONYMS = [
    pair
    for each in _SAME.replace("\n", "").split("|")
    for pair in ([tuple(each.split(">"))] if ">" in each else
                 [tuple(each.split("=")), tuple(each.split("=")[::-1])])
]  # fmt: skip
_AUXILIARY = re.compile(
    r"\b(is|are|was|were|has|have|had|can|could|will|would|should|must|may|might|does|do|did)\b"
    r"(?! not|n't| never| no\b)(?<!(?:had|has)(?= (?:a|an|the|his|her|its|their|to|\d)\b))"
    r"(?<!have(?= (?:a|an|the|his|her|its|their|to|\d)\b))"
)
_NEGATED = re.compile(
    r"\b(is|are|was|were|has|have|had|can|could|will|would|should|must|may)"
    r"( not| never| no longer)\b(?! only)"
)
_ADDED = [
    "for the third time", "mainly because of the weather", "at a cost of {} million dollars",
    "in front of {} people", "on a {}", "together with {} others", "against the advice of experts",
    "for about {} weeks", "without any payment", "as the only one in the country", "in {}",
    "with the help of a foreign bank", "by a majority of {} percent", "for religious reasons",
    "in spite of a court order", "until {}", "more often than before", "to save money",
    "which surprised everyone", "at the request of the government", "under a false name",
]  # fmt: skip
_SYMMETRIC = frozenset({"married", "met", "merged", "joined", "played", "was", "were", "had"})


def change_number(text: str, rng: Random) -> str | None:
    """Another number in the place of one."""
    found = [*_NUMBER.finditer(text), *_NUMBER_WORD.finditer(text)]
    if not found:
        return None
    match = rng.choice(found)
    old = match[0]
    if old[0].isdigit():
        new = _other_number(old, rng)
    else:
        new = rng.choice([each for each in _NUMBER_WORDS if each != old])
    return text[: match.start()] + new + text[match.end() :]


def _other_number(old: str, rng: Random) -> str:
    digits = old.replace(",", "")
    if "." in digits:
        value = float(digits) * rng.choice([0.3, 0.5, 0.8, 1.2, 1.5, 2, 3])
        made = f"{value:.{len(digits.partition('.')[2])}f}"
        return made if made != digits else f"{float(digits) + 1:.1f}"
    number = int(digits)
    if len(digits) == 4 and 1000 <= number <= 2100:
        other = number + rng.choice([-1, 1]) * rng.choice([1, 2, 3, 5, 8, 10, 17, 23, 50, 100])
    elif number > 20 and rng.random() < 0.4:
        other = int(number * rng.choice([0.1, 0.5, 0.75, 1.25, 1.5, 2, 10]))
    else:
        other = number + rng.choice([-1, 1]) * rng.choice([1, 2, 3, 4, 5, 7, 10, 20])
    if other in {number, 0} or other < 0:
        other = number + rng.choice([1, 2, 5])
    return f"{other:,}" if "," in old else str(other)


def change_date_name(text: str, rng: Random) -> str | None:
    """Another month or day of the week."""
    found = [match for match in _DATE_NAME.finditer(text) if match.start()]
    if not found:
        return None
    match = rng.choice(found)
    group = _DAYS if match[0] in _DAYS else _MONTHS
    other = rng.choice([each for each in group if each != match[0]])
    return text[: match.start()] + other + text[match.end() :]


def change_unit(text: str, rng: Random) -> str | None:
    """Another unit behind the same number."""
    found = list(_UNIT.finditer(text))
    if not found:
        return None
    match = rng.choice(found)
    group = _UNIT_OF.get(match[0], _UNITS[0])
    other = rng.choice([each for each in group if each != match[0]])
    return text[: match.start()] + other + text[match.end() :]


def oppose(text: str, rng: Random) -> str | None:
    """Return a word turned into its opposite."""
    found = [match for match in re.finditer(r"[\w-]+", text) if match[0] in _OPPOSITE]
    if not found:
        return None
    match = rng.choice(found)
    return text[: match.start()] + _OPPOSITE[match[0]] + text[match.end() :]


def negate(text: str, rng: Random) -> str | None:
    """Return the sentence with a negation put in, or taken out."""
    negated = _NEGATED.search(text)
    if negated is not None:
        return text[: negated.end(1)] + text[negated.end() :]
    match = _AUXILIARY.search(text)
    if match is not None:
        word, after = match[1], text[match.end() :]
        put = rng.choice([" not", " not", " not", " never", " no longer"])
        if put == " not" and word == "can":
            return text[: match.start()] + "cannot" + after
        if rng.random() < 0.2 and word not in {"may", "might", "can", "will"}:
            return text[: match.end()] + "n't" + after
        return text[: match.end()] + put + after
    for verb in re.finditer(r"(?<=\w )[a-z]+", text):
        base = verbs().get(verb[0])
        before = text[: verb.start()].rsplit(maxsplit=1)[-1].casefold()
        if base and before not in {"the", "a", "an", "of", "in", "by", "to", "and", "its", "his"}:
            does = "did" if past_of(base) == verb[0] else "does"
            put = rng.choice([f"{does} not {base}", f"{does}n't {base}", f"never {verb[0]}"])
            return text[: verb.start()] + put + text[verb.end() :]
    return None


def swap_roles(text: str, rng: Random) -> str | None:
    """Who did it and to whom it was done, swapped."""
    parts = _roles(text)
    if parts is None:
        return None
    one, verb, other, rest = parts
    by = f"was {verb} by" if rng.random() < 0.4 else None
    if by and verb in verbs() and verb.endswith("ed"):
        return f"{one} {by} {other}{rest}"
    return f"{other} {verb} {one}{rest}"


def turn_passive(text: str, rng: Random) -> str | None:
    """Return the same in the passive voice."""
    del rng
    parts = _roles(text)
    if parts is None or not parts[1].endswith("ed"):
        return None
    one, verb, other, rest = parts
    return f"{other} was {verb} by {one}{rest}"


def _roles(text: str) -> tuple[str, str, str, str] | None:
    """Split "Name did Name the rest"."""
    names = names_of("It: " + text)
    first = next((name for name in names if text.startswith(name)), None)
    if first is None:
        return None
    match = re.match(r" ([a-z]+) ", text[len(first) :])
    if match is None or match[1] not in verbs() or match[1] in _SYMMETRIC:
        return None
    tail = text[len(first) + match.end() :]
    second = next((name for name in names if tail.startswith(name)), None)
    if second is None or second == first:
        return None
    return first, match[1], second, tail[len(second) :]


def reword(text: str, rng: Random) -> str | None:
    """Return the same with one or two words replaced by others that mean it."""
    made = text
    count = 0
    for old, new in rng.sample(_SYNONYMS, len(_SYNONYMS)):
        found = re.search(rf"(?<![\w']){re.escape(old)}(?![\w'])", made)
        # What was put in is not taken out again.
        if found is not None and count < 2 and new not in made:
            made = made[: found.start()] + new + made[found.end() :]
            count += 1
    if count < 2:
        made = _respell_number(made, rng)
    return made if made != text else None


def _respell_number(text: str, rng: Random) -> str:
    """ "12" for "twelve", "1,000" for "1000", and back."""
    del rng
    match = re.search(r"(?<![\w.,-])(\d{4,}|\d{1,3}(?:,\d{3})+)(?![\w.,-])", text)
    if match is not None and not 1000 <= int(match[0].replace(",", "")) <= 2100:
        old = match[0]
        new = old.replace(",", "") if "," in old else f"{int(old):,}"
        return text[: match.start()] + new + text[match.end() :]
    for word, digits in NUMERALS.items():
        if word == "one":
            continue
        made = re.sub(rf"(?<![\w-]){word}(?![\w-])", digits, text, count=1)
        if made == text:
            made = re.sub(rf"(?<![\w.,:/-]){digits}(?![\w.,:/%-])", word, text, count=1)
        if made != text:
            return made
    return text


def shorten(text: str, rng: Random) -> str | None:
    """Return a sentence without an aside, a clause at its end, or a date before it."""
    ways: list[str] = []
    aside = re.sub(r"\s*\([^()]*\)", "", text)
    if aside != text:
        ways.append(aside)
    clause = re.sub(
        r", (?:which|who|where|whose|with|including|although|while)\b[^,]*\.$", ".", text
    )
    if clause != text:
        ways.append(clause)
    lead = re.match(
        r"(?:In|On|During|After|Since|By|At|Although|While|From)\b[^,]{3,60}, (.+)$", text
    )
    if lead is not None and not re.match(r"(?:and|or|\d|[A-Z][a-z]+,)", lead[1]):
        ways.append(lead[1][:1].upper() + lead[1][1:])
    half = re.match(r"(.{25,}?)(?:, (?:and|but|so)|;) [a-z].{15,}$", text)
    if half is not None:
        ways.append(half[1] + ".")
    middle = re.match(
        r"([A-Z][^,]{2,40}), [^,]{4,80}, (?=(?:is|was|are|were|has|had|said)\b)", text
    )
    if middle is not None:
        ways.append(f"{middle[1]} {text[middle.end() :]}")
    ways = [each for each in ways if len(each.split()) >= 4]
    return rng.choice(ways) if ways else None


def lengthen(text: str, rng: Random) -> str | None:
    """Return the sentence with something that it does not say."""
    if not text.endswith(".") or len(text.split()) > 40:
        return None
    added = rng.choice(_ADDED)
    if added in {"in {}", "until {}"}:
        if re.search(r"\b(?:1\d|20)\d\d\b", text):
            return None
        value = str(rng.randint(1880, 2024))
    elif added == "on a {}":
        value = rng.choice(_DAYS)
    else:
        value = str(rng.choice([2, 3, 7, 12, 25, 40, 65, 80, 300]))
    return f"{text[:-1]} {added.format(value)}."


def swap_subject(text: str, rng: Random, others: Sequence[str]) -> str | None:
    """Another name in the place of the one that a sentence begins with."""
    name = next((each for each in names_of("It: " + text) if text.startswith(each)), None)
    choice = [each for each in others if each not in text]
    if name is None or not choice:
        return None
    return rng.choice(choice) + text[len(name) :]


def swap_last_name(text: str, rng: Random, others: Sequence[str]) -> str | None:
    """Another name behind the last preposition of place or time."""
    found = [
        (match, name)
        for name in names_of(text)
        for match in re.finditer(rf"\b(?:in|at|from|to|by|near) {re.escape(name)}(?![\w'])", text)
        if not _DATE_NAME.search(name)
    ]
    choice = [each for each in others if each not in text]
    if not found or not choice:
        return None
    match, name = max(found, key=lambda each: each[0].start())
    return text[: match.end() - len(name)] + rng.choice(choice) + text[match.end() :]


CONTRADICTING: Sequence[tuple[Change, float]] = (
    (change_number, 3.0),
    (change_date_name, 2.0),
    (change_unit, 2.0),
    (oppose, 3.0),
    (negate, 3.5),
    (swap_roles, 3.0),
)
"""The changes after which a sentence contradicts itself as it was, with their weights."""


def contradict(text: str, rng: Random) -> str | None:
    """Return one of the changes that fit, so that the sentence contradicts what it was."""
    changes = [each for each, _ in CONTRADICTING]
    weights = [each for _, each in CONTRADICTING]
    for change in rng.choices(changes, weights, k=5):
        made = change(text, rng)
        if made is not None and made != text:
            return made
    return None
