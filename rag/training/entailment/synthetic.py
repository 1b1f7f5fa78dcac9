"""Short facts as they stand in handbooks and on notices, with claims about them, by template.

Each kind of fact knows the ways to say it, and which claims follow from it, contradict it, or are
left open by it: opening days, times, prices, limits, durations, duties, roles, dates, comparisons,
trends, amounts, orders of events, what is no longer so. The words are our own lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from rag.text.words import content_words
from rag.training.entailment.pairs import LABELS, Label, Pair

ENTAILED, NEUTRAL, CONTRADICTED = LABELS

_PLACES = """depot|library|canteen|swimming pool|museum|help desk|post office|archive|workshop|shop|
car park|reception|laboratory|clinic|bakery|registry|warehouse|gym|visitor centre|cash office|
reading room|recycling yard|market hall|ticket office|nursery""".replace("\n", "").split("|")
_NAMES = """Northgate|Harbour|Elm Street|Westfield|Riverside|Old Town|Hillview|Station|Kestrel|
Meadow|Castle|Lindholm|Aldermoor|Foxley|Saint Anne|Brookside""".replace("\n", "").split("|")
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()  # noqa: SIM905
_MONTHS = """January February March April May June July August September October November
December""".split()  # noqa: SIM905
_THINGS = """pump|boiler|printer|sensor|router|crane|battery|generator|lift|camera|filter|server|
dryer|compressor|scanner|heater|conveyor|drill|oven|bicycle|van|tractor|telescope|radio|
dishwasher|turbine|modem|kiln""".replace("\n", "").split("|")
_PRODUCTS = """day ticket|annual pass|parking permit|copy of a key|replacement card|locker|
room for a night|guided tour|printed report|express delivery|cup of soup|ferry crossing|
language course|basic licence|service visit|library card|set of filters|bicycle rental""".replace(
    "\n", ""
).split("|")
_PEOPLE = """Amara Okoye|Lena Vogt|Tomas Rehak|Ines Moreau|Jonas Lindqvist|Priya Nair|Marco Bellini|
Sofia Andrade|Yusuf Demir|Hanna Kowalska|Peter Janssen|Aiko Tanaka|Ravi Menon|Clara Dubois|
Oskar Nilsen|Maria Iglesias|David Osei|Elif Kaya|Nora Byrne|Viktor Horvath|Mr Adler|Ms Quist|
Dr Farrow|Mrs Petrov""".replace("\n", "").split("|")
_TEAMS = """payroll|logistics|purchasing|security|facilities|training|support|legal|marketing|
accounting|maintenance|quality|planning|recruitment|sales""".replace("\n", "").split("|")
_FIRMS = """Orbix|Halden Foods|Vertex Rail|Nordlys|Pinecrest|Calder & Sons|Talvik|Meridian Glass|
Brightwater|Copperfield|Lumen Works|Argos Shipping|Solaria|Quillon|Fenwick Mills""".replace(
    "\n", ""
).split("|")
_CITIES = """Ghent Porto Aarhus Lyon Turin Bergen Malmo Graz Bilbao Tartu Cork Leeds Nantes Brno
Kaunas Split Gdansk Utrecht Zurich Seville Riga Oulu Basel Trieste""".split()  # noqa: SIM905
_GROUPS = """visitors|employees|tenants|students|guests|drivers|members|administrators|contractors|
apprentices|customers|suppliers|volunteers|managers|passengers|residents""".replace("\n", "").split(
    "|"
)
_DUTIES = """wear a badge|sign the register|report every accident|lock the door|carry a passport|
attend the safety course|pay a deposit|book in advance|return the key|register with the office|
use two-factor login|keep receipts|wear safety shoes|submit a timesheet|encrypt their laptops|
show a valid ticket""".replace("\n", "").split("|")
_FREEDOMS = """park in the yard|work from home|bring pets|use the sauna|smoke in the garden|
enter the laboratory|borrow equipment|sublet the flat|take photographs|carry over unused days|
install software|share a password|use the lift|leave early on Fridays|use the canteen|
publish the results|eat at their desks|bring guests""".replace("\n", "").split("|")
_MEASURES = """capacity|weight|maximum pressure|default timeout|minimum order|operating voltage|
range|size limit|cache size|response time|monthly quota|retry limit|daily output|fuel consumption|
height|noise level""".replace("\n", "").split("|")
_UNITS = "kg litres bar seconds minutes hours days GB MB metres km volts tonnes pages".split()  # noqa: SIM905
_FEATURES = """single sign-on|CSV export|dark mode|offline use|IPv6|parallel writes|the old printer
driver|Windows 7|FTP|full-text search|paper forms|cash payments|cheques|the 2G network""".replace(
    "\n", " "
).split("|")
_AMOUNTS = """sales|costs|complaints|the number of visitors|the temperature|unemployment|rents|
energy use|the price of milk|absences|exports|the water level|traffic|emissions|the birth rate|
staff turnover|response times|profits|membership|rainfall""".replace("\n", "").split("|")
_EVENTS = """the audit|the training|the inspection|the move|the merger|the election|the harvest|
the exhibition|the strike|the renovation|the conference|the flood|the trial|the concert|
the opening of the bridge|the vote|the dinner|the software update""".replace("\n", "").split("|")
_TASKS = """backups are made|the filters are changed|the tank is drained|meters are read|
invoices are sent|the logs are rotated|the lift is inspected|passwords expire|the floor is cleaned|
the committee meets|samples are taken|reports are published|salaries are paid""".replace(
    "\n", ""
).split("|")
_OFTEN = [
    ("every day", "daily"), ("every week", "weekly"), ("every month", "monthly"),
    ("every year", "annually"), ("every night", "nightly"), ("every hour", "hourly"),
    ("every quarter", "four times a year"), ("every two years", "every second year"),
]  # fmt: skip
_SIZES = [
    ("larger", "smaller"), ("older", "younger"), ("heavier", "lighter"), ("faster", "slower"),
    ("more expensive", "cheaper"), ("taller", "shorter"), ("louder", "quieter"),
    ("stronger", "weaker"), ("warmer", "colder"), ("more reliable", "less reliable"),
]  # fmt: skip
_SWAPS = [
    # Who does it, in the past, and how the other one takes part in it.
    ("acquired", "was acquired by", "bought"), ("sued", "was sued by", "took to court"),
    ("overtook", "was overtaken by", "outpaced"), ("defeated", "was defeated by", "beat"),
    ("founded", "was founded by", "set up"), ("supplies", "is supplied by", "delivers to"),
    ("owns", "is owned by", "is the owner of"), ("hired", "was hired by", "engaged"),
    ("trained", "was trained by", "taught"), ("replaced", "was replaced by", "took over from"),
    ("financed", "was financed by", "paid for"), ("invited", "was invited by", "asked in"),
    ("rescued", "was rescued by", "saved"), ("inspects", "is inspected by", "checks"),
    ("employs", "is employed by", "gives work to"), ("criticised", "was criticised by", "blamed"),
]  # fmt: skip
_FILLERS = """This page was last changed by the documentation team.|
See the chapter on safety before you start.|The table is updated once a year.|
Older versions behaved in another way.|For questions, write to the help desk.|
All values apply to the standard configuration.|Further details are given in the appendix.|
This rule has been in force since the merger.|The manual is also available in print.|
Please note the following.|Everything else stays as it was.|The staff is glad to help.|
The building dates from the last century.""".replace("\n", "").split("|")


class Fact:
    """What a premise can say, and the claims about it by their label.

    Attributes:
        said: ways to say it.
        claims: for each label, claims; those that are left open by other facts too.
    """

    def __init__(
        self,
        said: Sequence[str],
        entailed: Sequence[str],
        contradicted: Sequence[str],
        neutral: Sequence[str],
    ) -> None:
        self.said = said
        self.claims: dict[Label, Sequence[str]] = {
            ENTAILED: entailed,
            CONTRADICTED: contradicted,
            NEUTRAL: neutral,
        }


def make(rng: Random, count: int) -> list[Pair]:
    """Make so many pairs, of all kinds alike; of the labels, neutral ones are somewhat fewer."""
    pairs: list[Pair] = []
    while len(pairs) < count:
        kind = rng.choice(_KINDS)
        fact = kind(rng)
        (label,) = rng.choices([ENTAILED, CONTRADICTED, NEUTRAL], [1.0, 1.1, 0.8])
        claims = fact.claims[label]
        if not claims:
            continue
        said, claim = rng.choice(fact.said), rng.choice(claims)
        if said == claim and rng.random() < 0.8:
            continue
        sentences = [said]
        # Other facts beside it, so that the one that matters has to be found.
        for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 3])):
            if rng.random() < 0.3:
                sentences.insert(rng.randint(0, len(sentences)), rng.choice(_FILLERS))
                continue
            other = (kind if rng.random() < 0.5 else rng.choice(_KINDS))(rng)
            if not (_meet(other, content_words(said)) or _meet(other, content_words(claim))):
                sentences.insert(rng.randint(0, len(sentences)), rng.choice(other.said))
        premise = " ".join(map(_capital, sentences))
        pairs.append(Pair(premise, _capital(claim), label, f"synthetic {kind.__name__[1:]}"))
    return pairs


def _meet(fact: Fact, words: frozenset[str]) -> bool:
    """Say whether a fact may speak of what the words do: half of what all its ways name."""
    named = frozenset.intersection(*(content_words(each) for each in fact.said))
    return 2 * len(named & words) >= max(1, len(named))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _place(rng: Random) -> str:
    name = rng.choice(_PLACES)
    return f"the {rng.choice(_NAMES)} {name}" if rng.random() < 0.4 else f"the {name}"


def _two(rng: Random, choices: Sequence[str]) -> tuple[str, str]:
    one, other = rng.sample(list(choices), 2)
    return one, other


def _other_place(rng: Random, place: str) -> str:
    while (other := _place(rng)) == place or other.split()[-1] == place.rsplit(maxsplit=1)[-1]:
        pass
    return other


def _days(rng: Random) -> Fact:
    """On which days something is open."""
    place = _place(rng)
    other = _other_place(rng, place)
    kind = rng.random()
    if kind < 0.35:
        first = rng.randrange(5)
        last = rng.randint(first + 1, 5)
        is_open = _DAYS[first : last + 1]
        said = [
            f"{place} is open from {is_open[0]} to {is_open[-1]}.",
            f"{place} is open {is_open[0]} to {is_open[-1]} only.",
            f"opening days of {place}: {is_open[0]} to {is_open[-1]}.",
            f"you can visit {place} from {is_open[0]} through {is_open[-1]}.",
        ]
    elif kind < 0.7:
        shut = rng.sample(_DAYS, rng.choice([1, 1, 2]))
        is_open = [day for day in _DAYS if day not in shut]
        days = " and ".join(f"{day}s" for day in shut)
        said = [
            f"{place} is closed on {days}.",
            f"{place} does not open on {days}.",
            f"{place} is open every day except {' and '.join(shut)}.",
            f"on {days} {place} remains closed.",
            f"{place} is not open on {days}, but on all other days.",
        ]
        if rng.random() < 0.6:
            # Only what is closed is told.
            said = [said[0], said[1], said[3]]
            is_open = []
    elif kind < 0.85:
        is_open = list(_DAYS)
        said = [
            f"{place} is open every day of the week.",
            f"{place} opens seven days a week.",
            f"{place} is open daily, also at weekends.",
        ]
    else:
        is_open = ["Saturday", "Sunday"]
        said = [
            f"{place} is open only at weekends.",
            f"{place} opens on Saturdays and Sundays only.",
            f"{place} is closed from Monday to Friday and open at weekends.",
        ]
    told_shut = [day for day in _DAYS if day not in is_open]
    if not is_open:
        told_shut = shut
    yes: list[str] = []
    no: list[str] = []
    for day, opened in [(day, True) for day in is_open] + [(day, False) for day in told_shut]:
        says_open = [
            f"{place} is open on {day}s.",
            f"you can visit {place} on a {day}.",
            f"{place} opens on {day}s.",
            f"on {day}s {place} is open.",
        ]
        says_shut = [
            f"{place} is closed on {day}s.",
            f"{place} is not open on {day}s.",
            f"{place} does not open on {day}s.",
            f"{place} never opens on a {day}.",
            f"on {day}s {place} is shut.",
        ]
        (yes if opened else no).extend(says_open)
        (no if opened else yes).extend(says_shut)
    if len(is_open) == 7:
        yes += [f"{place} is never closed.", f"{place} is open all week."]
        no.append(f"{place} is closed at weekends.")
    elif told_shut:
        no += [f"{place} is open every day.", f"{place} is open seven days a week."]
    if told_shut and "Saturday" not in told_shut and "Sunday" not in told_shut and is_open:
        yes.append(f"{place} is open at weekends.")
    neutral = [
        f"{other} is open on {rng.choice(_DAYS)}s.",
        f"{other} is closed on {rng.choice(_DAYS)}s.",
        f"{place} opens at {rng.randint(7, 11)} o'clock.",
        f"{place} is free of charge.",
        f"{other} is open every day.",
    ]
    return Fact(said, yes, no, neutral)


def _hours(rng: Random) -> Fact:
    """When something opens and closes."""
    place = _place(rng)
    other = _other_place(rng, place)
    begin, end = rng.randint(6, 10), rng.randint(15, 21)
    half = rng.choice([":00", ":30"])
    one, two = f"{begin}{half}", f"{end}{half}"
    said = [
        f"{place} is open from {one} to {two}.",
        f"{place} opens at {one} and closes at {two}.",
        f"opening hours of {place}: {one} to {two}.",
        f"{place} can be visited between {one} and {two}.",
    ]
    return Fact(
        said,
        [
            f"{place} opens at {one}.",
            f"{place} closes at {two}.",
            f"{place} is open until {two}.",
            f"{place} is open at noon.",
            f"{place} closes after {end - 2}:00.",
            f"{place} is closed at {end + 1}:30.",
            f"{place} opens before {begin + 2}:00.",
        ],
        [
            f"{place} opens at {two}.",
            f"{place} closes at {one}.",
            f"{place} opens at {begin + 1}{half}.",
            f"{place} closes at {end - 1}{half}.",
            f"{place} is open all night.",
            f"{place} is open until {end + 2}:00.",
            f"{place} is closed at noon.",
            f"{place} opens after {begin + 3}:00.",
            f"{place} is open around the clock.",
        ],
        [
            f"{other} opens at {one}.",
            f"{other} closes at {two}.",
            f"{place} has two entrances.",
            f"{place} was built in {rng.randint(1900, 2015)}.",
            f"{other} is open until {two}.",
        ],
    )


def _price(rng: Random) -> Fact:
    """Make pairs of what something costs."""
    thing, other = _two(rng, _PRODUCTS)
    price = rng.choice([2, 4, 5, 8, 12, 15, 20, 25, 30, 45, 60, 80, 120, 250])
    money = rng.choice(["euros", "dollars", "pounds"])
    coin = rng.choice([each for each in ("euros", "dollars", "pounds") if each != money])
    wrong = price + rng.choice([-1, 1, 3, 5, 10, 20])
    said = [
        f"a {thing} costs {price} {money}.",
        f"the price of a {thing} is {price} {money}.",
        f"you pay {price} {money} for a {thing}.",
        f"{price} {money} are charged for a {thing}.",
        f"{thing}: {price} {money}.",
    ]
    return Fact(
        said,
        [
            *said[:4],
            f"a {thing} costs less than {price * 2} {money}.",
            f"a {thing} is not free.",
            f"a {thing} costs more than {max(1, price // 2)} {money}.",
        ],
        [
            f"a {thing} costs {wrong} {money}.",
            f"the price of a {thing} is {wrong} {money}.",
            f"a {thing} is free of charge.",
            f"a {thing} costs {price} {coin}.",
            f"a {thing} costs more than {price * 2} {money}.",
            f"there is no charge for a {thing}.",
            f"a {thing} costs less than {max(1, price // 2)} {money}.",
            f"a {thing} does not cost {price} {money}.",
        ],
        [
            f"a {other} costs {price} {money}.",
            f"a {other} is free of charge.",
            f"the price of a {thing} went up last year.",
            f"a {thing} can be paid in cash.",
            f"a {other} costs {wrong} {money}.",
        ],
    )


def _limit(rng: Random) -> Fact:
    """At most or at least so much."""
    group = rng.choice(_GROUPS)
    other = rng.choice([each for each in _GROUPS if each != group])
    verb, noun = rng.choice(
        [
            ("borrow", "books"),
            ("carry over", "days of leave"),
            ("bring", "guests"),
            ("order", "samples"),
            ("store", "boxes"),
            ("book", "rooms"),
            ("upload", "files"),
            ("work from home on", "days a week"),
            ("claim", "hours of overtime"),
        ]
    )
    number = rng.randint(3, 20)
    if rng.random() < 0.65:
        said = [
            f"{group} may {verb} up to {number} {noun}.",
            f"{group} may {verb} at most {number} {noun}.",
            f"{group} can {verb} no more than {number} {noun}.",
            f"no {group} may {verb} more than {number} {noun}.",
            f"{group} must not {verb} more than {number} {noun}.",
        ]
        less, more = rng.randint(1, number - 1), number + rng.randint(1, 15)
        yes = [
            *said,
            f"{group} may {verb} {less} {noun}.",
            f"{group} must not {verb} {more} {noun}.",
        ]
        no = [
            f"{group} may {verb} {more} {noun}.",
            f"{group} may {verb} up to {more} {noun}.",
            f"{group} may {verb} as many {noun} as they like.",
            f"{group} have to {verb} at least {number} {noun}.",
            f"{group} may {verb} more than {number} {noun}.",
            f"{group} may {verb} at most {less} {noun}.",
        ]
    else:
        said = [
            f"{group} have to {verb} at least {number} {noun}.",
            f"{group} must {verb} {number} or more {noun}.",
            f"{group} must {verb} no fewer than {number} {noun}.",
        ]
        less, more = rng.randint(1, number - 1), number + rng.randint(1, 15)
        yes = [*said, f"it is not enough if {group} {verb} {less} {noun}."]
        no = [
            f"{group} may {verb} at most {number} {noun}.",
            f"it is enough if {group} {verb} {less} {noun}.",
            f"{group} need not {verb} any {noun}.",
            f"{group} must {verb} at least {more} {noun}.",
        ]
    neutral = [
        f"{other} may {verb} up to {number} {noun}.",
        f"{other} may {verb} {more} {noun}.",
        f"{group} have to pay for the {noun}.",
        f"{other} must not {verb} more than {less} {noun}.",
    ]
    return Fact(said, yes, no, neutral)


def _duration(rng: Random) -> Fact:
    """Make pairs of how long something lasts."""
    thing, other = _two(
        rng,
        [
            "warranty",
            "trial period",
            "licence",
            "contract",
            "notice period",
            "training",
            "permit",
            "subscription",
            "guarantee",
            "course",
        ],
    )
    number = rng.randint(2, 30)
    unit = rng.choice(["days", "weeks", "months", "years"])
    wrong_unit = rng.choice([each for each in ("days", "weeks", "months", "years") if each != unit])
    wrong = number + rng.choice([1, 2, 3, 5, 10])
    said = [
        f"the {thing} lasts {number} {unit}.",
        f"the {thing} ends after {number} {unit}.",
        f"the {thing} runs for {number} {unit}.",
        f"the length of the {thing} is {number} {unit}.",
    ]
    yes = [
        *said,
        f"the {thing} lasts more than {number - 1} {unit}.",
        f"the {thing} does not last {wrong} {unit}.",
    ]
    if unit == "months" and rng.random() < 0.5:
        number = rng.choice([12, 24, 36])
        years = {12: "one year", 24: "two years", 36: "three years"}[number]
        said = [f"the {thing} lasts {number} months.", f"the {thing} runs for {number} months."]
        yes = [*said, f"the {thing} lasts {years}.", f"the {thing} ends after {years}."]
        wrong = number + 3
    return Fact(
        said,
        yes,
        [
            f"the {thing} lasts {wrong} {unit}.",
            f"the {thing} ends after {wrong} {unit}.",
            f"the {thing} lasts {number} {wrong_unit}.",
            f"the {thing} runs for {number} {wrong_unit}.",
            f"the {thing} has no end.",
            f"the {thing} lasts less than {max(1, number - 1)} {unit}.",
            f"the {thing} does not last {number} {unit}.",
            f"the {thing} is unlimited.",
        ],
        [
            f"the {other} lasts {number} {unit}.",
            f"the {other} ends after {wrong} {unit}.",
            f"the {thing} can be renewed.",
            f"the {thing} covers repairs.",
            f"the {other} has no end.",
        ],
    )


def _duty(rng: Random) -> Fact:
    """Make pairs of what has to be done, and what need not."""
    group, other = _two(rng, _GROUPS)
    duty, another = _two(rng, _DUTIES)
    exempt = rng.choice([each for each in _GROUPS if each not in {group, other}])
    kind = rng.random()
    if kind < 0.45:
        said = [
            f"{group} must {duty}.",
            f"{group} have to {duty}.",
            f"{group} are required to {duty}.",
            f"it is mandatory for {group} to {duty}.",
            f"all {group} shall {duty}.",
        ]
        yes = list(said)
        no = [
            f"{group} need not {duty}.",
            f"{group} do not have to {duty}.",
            f"it is optional for {group} to {duty}.",
            f"{group} are not required to {duty}.",
            f"no {group} have to {duty}.",
            f"{group} must not {duty}.",
        ]
    elif kind < 0.75:
        said = [
            f"{group} need not {duty}.",
            f"{group} do not have to {duty}.",
            f"{group} are exempt from the duty to {duty}.",
            f"for {group} it is optional to {duty}.",
            f"{group} are not required to {duty}.",
        ]
        yes = list(said)
        no = [
            f"{group} must {duty}.",
            f"{group} have to {duty}.",
            f"{group} are required to {duty}.",
            f"it is mandatory for {group} to {duty}.",
        ]
    else:
        said = [
            f"everyone except {exempt} must {duty}.",
            f"all but {exempt} have to {duty}.",
            f"with the exception of {exempt}, everyone is required to {duty}.",
        ]
        yes = [
            f"{exempt} need not {duty}.",
            f"{exempt} do not have to {duty}.",
            f"{group} must {duty}.",
            f"{group} have to {duty}.",
        ]
        no = [
            f"{exempt} must {duty}.",
            f"everyone must {duty}, without exception.",
            f"nobody has to {duty}.",
            f"only {exempt} have to {duty}.",
            f"{group} need not {duty}.",
        ]
        other = rng.choice(_GROUPS)
        return Fact(
            said,
            yes,
            no,
            [
                f"{other} must {another}.",
                f"{exempt} must {another}.",
                f"{exempt} may {rng.choice(_FREEDOMS)}.",
            ],
        )
    neutral = [
        f"{other} must {duty}.",
        f"{other} need not {duty}.",
        f"{group} must {another}.",
        f"{group} need not {another}.",
        f"{group} may {rng.choice(_FREEDOMS)}.",
    ]
    return Fact(said, yes, no, neutral)


def _freedom(rng: Random) -> Fact:
    """Make pairs of what is allowed, what is forbidden, and for whom alone."""
    group, other = _two(rng, _GROUPS)
    thing, another = _two(rng, _FREEDOMS)
    allowed = [
        f"{group} may {thing}.",
        f"{group} are allowed to {thing}.",
        f"{group} can {thing}.",
        f"it is permitted for {group} to {thing}.",
        f"{group} are free to {thing}.",
    ]
    forbidden = [
        f"{group} must not {thing}.",
        f"{group} may not {thing}.",
        f"{group} cannot {thing}.",
        f"{group} are not allowed to {thing}.",
        f"it is forbidden for {group} to {thing}.",
        f"no {group} may {thing}.",
        f"{group} are prohibited from doing this: {thing}.",
    ]
    neutral = [
        f"{other} may {thing}.",
        f"{other} must not {thing}.",
        f"{group} may {another}.",
        f"{group} must not {another}.",
        f"{group} have to {rng.choice(_DUTIES)}.",
    ]
    kind = rng.random()
    if kind < 0.4:
        return Fact(allowed, allowed, [*forbidden, f"nobody may {thing}."], neutral)
    if kind < 0.8:
        return Fact(forbidden, forbidden, [*allowed, f"everyone may {thing}."], neutral)
    said = [
        f"only {group} may {thing}.",
        f"{group} alone are allowed to {thing}.",
        f"nobody but {group} may {thing}.",
        f"no one except {group} can {thing}.",
    ]
    yes = [*allowed, f"{other} may not {thing}.", f"{other} must not {thing}."]
    no = [*forbidden[:5], f"{other} may {thing}.", f"everyone may {thing}.", f"nobody may {thing}."]
    return Fact(
        said,
        yes,
        no,
        [
            f"{group} may {another}.",
            f"{other} must not {another}.",
            f"{group} have to {rng.choice(_DUTIES)}.",
        ],
    )


def _roles(rng: Random) -> Fact:
    """Who did it, and to whom."""
    active, passive, like = rng.choice(_SWAPS)
    names = _FIRMS if rng.random() < 0.6 else _PEOPLE
    one, two, three = rng.sample(names, 3)
    tail = rng.choice(["", "", f" in {rng.randint(1950, 2024)}", f" in {rng.choice(_CITIES)}"])
    said = [f"{one} {active} {two}{tail}.", f"{two} {passive} {one}{tail}."]
    yes = [*said, f"{one} {like} {two}{tail}.", f"{one} {active} {two}.", f"{two} {passive} {one}."]
    no = [
        f"{two} {active} {one}{tail}.",
        f"{one} {passive} {two}{tail}.",
        f"{two} {like} {one}.",
        f"{one} never {active} {two}.",
        f"{two} {active} {one}.",
    ]
    neutral = [
        f"{three} {active} {two}{tail}.",
        f"{one} {active} {three}{tail}.",
        f"{three} {passive} {one}.",
        f"{one} and {two} share a building.",
    ]
    return Fact(said, yes, no, neutral)


def _post(rng: Random) -> Fact:
    """Who leads what."""
    team, other = _two(rng, _TEAMS)
    one, two, three = rng.sample(_PEOPLE, 3)
    said = [
        f"{one} leads the {team} team, and {two} is the deputy.",
        f"the {team} team is led by {one}; the deputy is {two}.",
        f"head of {team}: {one}. Deputy: {two}.",
    ]
    return Fact(
        said,
        [
            f"{one} leads the {team} team.",
            f"the head of {team} is {one}.",
            f"{two} is the deputy head of {team}.",
            f"the {team} team is led by {one}.",
        ],
        [
            f"{two} leads the {team} team.",
            f"the head of {team} is {two}.",
            f"{one} is the deputy head of {team}.",
            f"the {team} team is led by {three}.",
            f"the head of {team} is {three}.",
            f"{one} does not lead the {team} team.",
        ],
        [
            f"{one} leads the {other} team.",
            f"the head of {other} is {two}.",
            f"{one} lives in {rng.choice(_CITIES)}.",
            f"{three} works in the {team} team.",
            f"{three} leads the {other} team.",
        ],
    )


def _dates(rng: Random) -> Fact:
    """When something begins and when it ends."""
    event, other = _two(rng, _EVENTS)
    year = rng.randint(1990, 2030)
    first = rng.randrange(11)
    last = rng.randint(first + 1, 11)
    begin = f"{rng.randint(1, 28)} {_MONTHS[first]} {year}"
    end = f"{rng.randint(1, 28)} {_MONTHS[last]} {year}"
    others = [month for month in _MONTHS if month not in (_MONTHS[first], _MONTHS[last])]
    wrong = f"{rng.randint(1, 28)} {rng.choice(others)} {year}"
    said = [
        f"{event} begins on {begin} and ends on {end}.",
        f"{event} runs from {begin} to {end}.",
        f"{event} starts on {begin}. It ends on {end}.",
        f"{event} takes place from {begin} until {end}.",
    ]
    return Fact(
        said,
        [
            f"{event} begins on {begin}.",
            f"{event} ends on {end}.",
            f"{event} starts in {_MONTHS[first]} {year}.",
            f"{event} ends in {_MONTHS[last]}.",
            f"{event} begins in {year}.",
        ],
        [
            f"{event} begins on {end}.",
            f"{event} ends on {begin}.",
            f"{event} begins on {wrong}.",
            f"{event} ends on {wrong}.",
            f"{event} starts in {_MONTHS[last]}.",
            f"{event} begins in {year + 1}.",
            f"{event} ends in {_MONTHS[first]}.",
            f"{event} does not begin on {begin}.",
        ],
        [
            f"{other} begins on {begin}.",
            f"{other} ends on {end}.",
            f"{event} was announced on {wrong}.",
            f"{event} costs more than planned.",
            f"{other} starts in {_MONTHS[first]}.",
        ],
    )


def _value(rng: Random) -> Fact:
    """Make pairs of the value of a property."""
    thing, other = _two(rng, _THINGS)
    name = rng.choice(["", "", f" {rng.choice('ABCX')}{rng.randint(1, 99)}"])
    thing += name
    measure, another = _two(rng, _MEASURES)
    number = rng.choice([2, 4, 8, 12, 16, 30, 45, 60, 90, 100, 150, 250, 512, 1200])
    unit = rng.choice(_UNITS)
    wrong = rng.choice([number * 2, number + 1, number + 5, max(1, number // 2), number * 10])
    wrong_unit = rng.choice([each for each in _UNITS if each != unit])
    said = [
        f"the {measure} of the {thing} is {number} {unit}.",
        f"the {thing} has a {measure} of {number} {unit}.",
        f"{thing}, {measure}: {number} {unit}.",
        f"for the {thing} the {measure} is {number} {unit}.",
        f"the {measure} of the {thing} amounts to {number} {unit}.",
    ]
    return Fact(
        said,
        [
            *said[:2],
            *said[3:],
            f"the {measure} of the {thing} is less than {number * 3} {unit}.",
            f"the {measure} of the {thing} is more than {max(1, number // 3)} {unit}.",
        ],
        [
            f"the {measure} of the {thing} is {wrong} {unit}.",
            f"the {thing} has a {measure} of {wrong} {unit}.",
            f"the {measure} of the {thing} is {number} {wrong_unit}.",
            f"the {measure} of the {thing} is more than {number * 3} {unit}.",
            f"the {measure} of the {thing} is not {number} {unit}.",
            f"the {thing} has a {measure} of {number} {wrong_unit}.",
        ],
        [
            f"the {another} of the {thing} is {number} {unit}.",
            f"the {measure} of the {other} is {number} {unit}.",
            f"the {measure} of the {other} is {wrong} {unit}.",
            f"the {thing} has a {another} of {wrong} {unit}.",
        ],
    )


def _comparison(rng: Random) -> Fact:
    """Make pairs of which of two is more."""
    one, two, three = (f"the {each}" for each in rng.sample(_THINGS, 3))
    more, less = rng.choice(_SIZES)
    another = rng.choice([each for each, _ in _SIZES if each not in (more, less)])
    if rng.random() < 0.5:
        more, less = less, more
    said = [
        f"{one} is {more} than {two}.",
        f"compared with {two}, {one} is {more}.",
        f"{two} is {less} than {one}.",
    ]
    return Fact(
        said,
        said,
        [
            f"{one} is {less} than {two}.",
            f"{two} is {more} than {one}.",
            f"{one} is not {more} than {two}.",
            f"compared with {one}, {two} is {more}.",
        ],
        [
            f"{one} is {more} than {three}.",
            f"{three} is {less} than {two}.",
            f"{one} is {another} than {two}.",
        ],
    )


def _trend(rng: Random) -> Fact:
    """Make pairs of what went up and what went down."""
    amount, other = _two(rng, _AMOUNTS)
    low = rng.randint(5, 60)
    high = low + rng.randint(3, 60)
    up = rng.random() < 0.5
    old, new = (low, high) if up else (high, low)
    were = "have" if amount.endswith("s") and not amount.startswith("the ") else "has"
    be = "are" if were == "have" else "is"
    since = rng.choice(
        [f" since {rng.randint(1980, 2020)}", "", " over the last years", " this year"]
    )
    rose = [
        f"{amount} rose from {low} to {high}.",
        f"{amount} went up{since}.",
        f"{amount} increased{since}.",
        f"{amount} {were} grown{since}.",
        f"there was a rise in {amount}{since}.",
        f"{amount} {be} higher than before.",
    ]
    fell = [
        f"{amount} fell from {high} to {low}.",
        f"{amount} went down{since}.",
        f"{amount} decreased{since}.",
        f"{amount} {were} declined{since}.",
        f"there was a drop in {amount}{since}.",
        f"{amount} {be} lower than before.",
    ]
    same, against = (rose, fell) if up else (fell, rose)
    said = [same[0], same[0], *same[1:5]]
    plain = [each.replace(since, "") if since else each for each in same[1:5]]
    return Fact(
        said,
        [*plain, same[5]],
        [
            *(each.replace(since, "") if since else each for each in against[1:]),
            f"{amount} did not change.",
            f"{amount} stayed the same.",
            f"{amount} did not {'rise' if up else 'fall'}.",
            f"{amount} {were} not changed{since}.",
        ],
        [
            f"{other} {'rose' if up else 'fell'}.",
            f"{other} {'fell' if up else 'rose'}.",
            f"{amount} {be} measured by the office.",
            f"{amount} will be {new} next year.",
            f"{amount} {'rose' if up else 'fell'} because of {other}.",
            f"{other} did not change from {old}.",
        ],
    )


def _order(rng: Random) -> Fact:
    """Make pairs of what comes before what."""
    one, two, three = rng.sample(_EVENTS, 3)
    said = [
        f"{one} took place before {two}.",
        f"{two} took place after {one}.",
        f"{one} preceded {two}.",
        f"{two} followed {one}.",
        f"first came {one}, then {two}.",
    ]
    return Fact(
        said,
        said,
        [
            f"{one} took place after {two}.",
            f"{two} took place before {one}.",
            f"{two} preceded {one}.",
            f"{one} followed {two}.",
            f"{one} and {two} took place at the same time.",
            f"first came {two}, then {one}.",
        ],
        [
            f"{one} took place before {three}.",
            f"{three} preceded {two}.",
            f"{one} was the cause of {two}.",
            f"{three} took place after {one}.",
            f"{two} took longer than {one}.",
        ],
    )


def _status(rng: Random) -> Fact:
    """Make pairs of what is so, is no longer so, or is not so yet."""
    thing, other = _two(rng, _THINGS)
    version = rng.choice(
        ["", "", f" since version {rng.randint(2, 15)}", f" as of {rng.choice(_MONTHS)}"]
    )
    feature, another = _two(rng, _FEATURES)
    yes = [
        f"the {thing} supports {feature}.",
        f"{feature} can be used with the {thing}.",
        f"the {thing} accepts {feature}.",
        f"the {thing} offers {feature}.",
    ]
    no = [
        f"the {thing} does not support {feature}.",
        f"{feature} cannot be used with the {thing}.",
        f"the {thing} doesn't accept {feature}.",
        f"there is no support for {feature} in the {thing}.",
    ]
    neutral = [
        f"the {other} supports {feature}.",
        f"the {thing} supports {another}.",
        f"the {other} does not support {feature}.",
        f"the {thing} no longer supports {another}.",
    ]
    kind = rng.random()
    if kind < 0.25:
        said = [
            f"the {thing} no longer supports {feature}.",
            f"the {thing} has stopped supporting {feature}{version}.",
            f"support for {feature} was removed from the {thing}{version}.",
            f"the {thing} dropped {feature}{version}.",
        ]
        return Fact(
            said,
            [*no, f"the {thing} used to support {feature}.", said[0]],
            [
                *yes,
                f"the {thing} still supports {feature}.",
                f"the {thing} has never supported {feature}.",
            ],
            neutral,
        )
    if kind < 0.45:
        said = [
            f"the {thing} does not yet support {feature}.",
            f"support for {feature} is planned for the {thing}, but missing today.",
            f"the {thing} lacks {feature}.",
        ]
        return Fact(said, no, [*yes, f"the {thing} already supports {feature}."], neutral)
    if kind < 0.75:
        said = [
            *yes,
            f"the {thing} has supported {feature}{version}.",
            f"support for {feature} was added to the {thing}{version}.",
        ]
        return Fact(
            said,
            yes,
            [*no, f"the {thing} no longer supports {feature}.", f"the {thing} lacks {feature}."],
            neutral,
        )
    return Fact(no, no, [*yes, f"the {thing} supports {feature} and more."], neutral)


def _amount_of(rng: Random) -> Fact:
    """All, some, none, most of them."""
    things, others = (
        f"{each}s"
        for each in rng.sample(
            [
                "room",
                "car",
                "pipe",
                "window",
                "contract",
                "valve",
                "school",
                "house",
                "report",
                "ship",
            ],
            2,
        )
    )
    state, another = _two(
        rng,
        [
            "insured",
            "empty",
            "locked",
            "repaired",
            "red",
            "new",
            "heated",
            "numbered",
            "inspected",
            "rented out",
        ],
    )
    every = [
        f"all {things} are {state}.",
        f"every one of the {things} is {state}.",
        f"the {things} are {state} without exception.",
    ]
    none = [
        f"none of the {things} is {state}.",
        f"no {things} are {state}.",
        f"not one of the {things} is {state}.",
    ]
    some = [f"some of the {things} are {state}.", f"a few {things} are {state}."]
    part = [f"not all {things} are {state}.", f"some of the {things} are not {state}."]
    neutral = [
        f"all {others} are {state}.",
        f"none of the {others} is {state}.",
        f"some of the {things} are {another}.",
        f"all {things} are {another}.",
    ]
    kind = rng.random()
    if kind < 0.3:
        return Fact(every, [*every, *some[:1]], [*none, *part], neutral)
    if kind < 0.6:
        return Fact(none, [*none, *part[:1]], [*every, *some], neutral)
    if kind < 0.8:
        return Fact(some, some, none, [*neutral, every[0]])
    return Fact(part, part, every, [*neutral, none[0]])


def _often(rng: Random) -> Fact:
    """Make pairs of how often something is done."""
    task, other = _two(rng, _TASKS)
    (one, same), (two, wrong) = rng.sample(_OFTEN, 2)
    said = [f"{task} {one}.", f"{task} {same}.", f"{one} {task}."]
    return Fact(
        said,
        said,
        [
            f"{task} {two}.",
            f"{task} {wrong}.",
            f"{task} never.".replace(" never.", " only on request."),
            f"{two} {task}.",
        ],
        [f"{other} {one}.", f"{other} {two}.", f"{task} by two people.", f"{task} without delay."],
    )


def _location(rng: Random) -> Fact:
    """Make pairs of where something is."""
    place = _place(rng)
    other = _other_place(rng, place)
    one, two = _two(
        rng,
        [f"in {city}" for city in _CITIES]
        if rng.random() < 0.6
        else [
            "on the ground floor",
            "on the second floor",
            "in the basement",
            "on the top floor",
            "behind the station",
            "next to the church",
            "in building C",
            "in the east wing",
        ],
    )
    said = [f"{place} is {one}.", f"you find {place} {one}.", f"{place} is located {one}."]
    return Fact(
        said,
        said,
        [
            f"{place} is {two}.",
            f"{place} is located {two}.",
            f"{place} is not {one}.",
            f"you find {place} {two}.",
        ],
        [
            f"{other} is {one}.",
            f"{other} is located {two}.",
            f"{place} is large.",
            f"{place} was moved {rng.randint(2, 9)} years ago.",
        ],
    )


_KINDS: Sequence[Callable[[Random], Fact]] = (
    _days,
    _days,
    _hours,
    _price,
    _limit,
    _duration,
    _duty,
    _freedom,
    _roles,
    _roles,
    _post,
    _dates,
    _value,
    _value,
    _comparison,
    _trend,
    _trend,
    _order,
    _status,
    _status,
    _amount_of,
    _often,
    _location,
)
