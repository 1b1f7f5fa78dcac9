"""Questions over tables, settings, definitions, lists, rules and steps, made by template.

The words are our own lists; each passage is written anew from them, with a question that it
answers or, in about two of five, one that it only seems to answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from rag.training.reader.examples import Example, Span

_THINGS = """pump valve compressor boiler gateway sensor controller filter conveyor turbine printer
scanner router heater chiller generator actuator battery charger crane furnace mixer dryer lift
tank pipeline relay transformer cabinet camera""".split()  # noqa: SIM905
_PROPERTIES = """pressure temperature voltage capacity weight speed power flow length width price
range noise lifetime torque height depth diameter current frequency""".split()  # noqa: SIM905
_UNITS = {
    "pressure": ["bar", "kPa", "psi"], "temperature": ["°C", "K", "degrees"],
    "voltage": ["V", "kV", "volts"], "capacity": ["litres", "GB", "tonnes", "kg"],
    "weight": ["kg", "tonnes", "g"], "speed": ["km/h", "rpm", "m/s"], "power": ["kW", "W", "MW"],
    "flow": ["l/min", "m³/h"], "length": ["m", "mm", "cm"], "width": ["mm", "cm", "m"],
    "price": ["euros", "dollars", "EUR"], "range": ["km", "m"], "noise": ["dB"],
    "lifetime": ["years", "hours", "cycles"], "torque": ["Nm"], "height": ["m", "mm"],
    "depth": ["m", "mm"], "diameter": ["mm", "cm"], "current": ["A", "mA"],
    "frequency": ["Hz", "kHz", "MHz"],
}  # fmt: skip
_CITIES = """Ghent Porto Aarhus Lyon Turin Bergen Malmo Graz Bilbao Tartu Cork Leeds Nantes Brno
Kaunas Split Gdansk Utrecht Zurich Seville Riga Oulu Basel Trieste""".split()  # noqa: SIM905
_PEOPLE = """Amara Okoye|Lena Vogt|Tomas Rehak|Ines Moreau|Jonas Lindqvist|Priya Nair|Marco Bellini|
Sofia Andrade|Yusuf Demir|Hanna Kowalska|Peter Janssen|Aiko Tanaka|Ravi Menon|Clara Dubois|
Oskar Nilsen|Maria Iglesias|David Osei|Elif Kaya|Nora Byrne|Viktor Horvath""".replace(
    "\n", ""
).split("|")
_TEAMS = """payroll logistics purchasing security facilities training support legal marketing
accounting maintenance quality archive reception planning recruitment""".split()  # noqa: SIM905
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()  # noqa: SIM905
_MONTHS = """January February March April May June July August September October November
December""".split()  # noqa: SIM905
_SUBJECTS = """cache queue session buffer worker connection log index archive snapshot thread lock
socket cookie token backup retry batch stream packet page upload download job""".split()  # noqa: SIM905
_ASPECTS = """size limit timeout interval level depth count mode format path delay threshold
lifetime ratio age quota priority""".split()  # noqa: SIM905
_VERBS = ["Sets", "Specifies", "Controls", "Determines", "Configures", "Limits"]
_EFFECTS = """before the server gives up|that are kept in memory|for each client|
of the main process|
used when nothing else is told|after a failed attempt|written to disk at once|
while the system is under load|for messages of the daemon|of a single request""".replace(
    "\n", ""
).split("|")
_TERMS = """carry-over|grace period|near miss|shadow copy|cold spare|dead band|hot standby|
working day|protected hour|lead time|duty manager|clean room|safety stock|retention period|
probation|quiet hours|force majeure|subcontractor|deductible|core hours|stand-by pay|batch record|
transit loss|rolling forecast|soft launch|write-ahead journal|idle window|sticky bit|
split horizon|tail latency""".replace("\n", "").split("|")
_MEANINGS = """the time between an order and its delivery|the part of a loss that the insured bears|
a copy that is made while the original stays in use|the hours in which everybody has to be present|
a machine that takes over without a pause|the span in which a late payment costs nothing|
an event that could have caused harm but did not|stock that is held against delays of suppliers|
the person who decides when no manager is on site|a day on which the office is open|
an amount of leave that moves into the next year|the range in which a controller does nothing|
the slowest part of all requests|the time for which records must be kept|
a company that does a part of the contractor's work|a trial in front of a small group of users|
the log to which changes are written first|
an area in which the number of particles is limited""".replace("\n", "").split("|")
_ACTIONS = """restart the gateway|reset a password|replace the filter|export a report|
rotate the keys|register a visitor|cancel a booking|restore a backup|drain the tank|
calibrate the sensor|close an account|request leave|rebuild the index|update the firmware|
return a laptop|unlock the door|report an accident|order spare parts|revoke a certificate|
archive a project""".replace("\n", "").split("|")
_COMMANDS = """ctl restart NAME|NAMEctl --reset|svc-NAME rebuild --online|NAME-admin rotate|
NAME export --format csv|NAME restore --latest|NAME check --repair|NAME drain --wait""".replace(
    "\n", ""
).split("|")
_STEPS = """Log in to the portal|Open the side panel|Press the green button for five seconds|
Choose Settings and then Advanced|Enter the number on the label|Wait until the lamp stops blinking|
Ask the duty manager to confirm|Send the signed form to the office|Switch the main breaker off|
Check that the display shows zero|Close the cover and lock it|
Write the time into the log book""".replace("\n", "").split("|")
_RULES = [
    # A subject with the verb "can", an allowed thing, a forbidden one.
    ("visitors", "park in the yard", "enter the laboratory alone"),
    ("employees", "work from home", "carry over more than five days"),
    ("tenants", "keep a bicycle in the cellar", "sublet the flat"),
    ("students", "borrow three books", "eat in the reading room"),
    ("guests", "use the sauna", "bring pets"),
    ("drivers", "refuel at any station", "take passengers"),
    ("members", "transfer their ticket", "get a refund after the start"),
    ("administrators", "read the log", "delete audit records"),
    ("users", "change their own name", "share a licence"),
    ("contractors", "use the canteen", "connect their own devices"),
    ("apprentices", "operate the small press", "work at night"),
    ("customers", "return goods within 14 days", "return opened software"),
]
_LISTS = {
    "formats": ["CSV", "JSON", "XML", "PDF", "Parquet", "HTML", "YAML", "SVG"],
    "levels": ["debug", "info", "notice", "warning", "error", "critical", "emergency"],
    "colours": ["red", "amber", "green", "blue", "white", "grey", "black", "yellow"],
    "languages": ["Danish", "Czech", "Polish", "Greek", "Finnish", "Irish", "Maltese", "Slovene"],
    "payment methods": ["credit card", "bank transfer", "direct debit", "cash", "voucher"],
    "materials": ["steel", "copper", "brass", "aluminium", "titanium", "nylon", "glass", "rubber"],
    "documents": ["passport", "residence permit", "driving licence", "birth certificate"],
    "locking modes": ["shared", "exclusive", "deferred", "immediate", "pending"],
    "roles": ["owner", "editor", "reviewer", "auditor", "guest", "operator", "planner"],
}
_FILLERS = """This page was last changed by the documentation team.|
See the chapter on safety before you start.|The table is updated once a year.|
Older versions behaved in another way.|For questions, write to the help desk.|
All values apply to the standard configuration.|Further details are given in the appendix.|
This rule has been in force since the merger.|The manual is also available in print.""".replace(
    "\n", ""
).split("|")


class _Text:
    """A passage that grows, and remembers where the answer was put."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0
        self.spans: list[Span] = []

    def add(self, text: str, *, answer: bool = False) -> _Text:
        if answer:
            self.spans.append(Span(0, self.size, self.size + len(text)))
        self.parts.append(text)
        self.size += len(text)
        return self

    def example(self, question: str, *, silent: bool) -> Example:
        return Example(question, ("".join(self.parts),), () if silent else tuple(self.spans))


def make(rng: Random, count: int) -> list[Example]:
    """Make `count` examples, of all kinds in turn."""
    return [_KINDS[number % len(_KINDS)](rng) for number in range(count)]


def _code(rng: Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHKLMNPRSTVX") for _ in range(rng.randint(1, 3)))
    return f"{letters}{rng.choice(['-', '', ' '])}{rng.randint(1, 990)}"


def _value(name: str, rng: Random) -> str:
    number = rng.choice(
        [str(rng.randint(1, 99)), str(rng.randint(100, 5000)), f"{rng.uniform(0.1, 90):.1f}"]
    )
    return f"{number} {rng.choice(_UNITS[name])}"


def _table(rng: Random) -> Example:
    """Make an example of a cell by row and column; silent for one that is not there."""
    thing = rng.choice(_THINGS)
    rows = list(dict.fromkeys(_code(rng) for _ in range(rng.randint(3, 6))))
    columns = rng.sample(_PROPERTIES, rng.randint(2, 4))
    silent = rng.random() < 0.4
    row, column = rng.choice(rows), rng.choice(columns)
    asked_row, asked_column = row, column
    if silent and rng.random() < 0.5:
        asked_row = _code(rng)
    elif silent:
        asked_column = rng.choice([each for each in _PROPERTIES if each not in columns])
    style = rng.choice(["markdown", "tabs", "spoken"])
    text = _Text()
    if rng.random() < 0.5:
        text.add(f"{thing.capitalize()}s in use\n\n")
    if style == "markdown":
        text.add(f"| {thing} | " + " | ".join(columns) + " |\n")
        text.add("| --- " * (len(columns) + 1) + "|\n")
    elif style == "tabs":
        text.add("\t".join([thing, *columns]) + "\n")
    for each in rows:
        text.add({"markdown": f"| {each}", "tabs": each, "spoken": f"{thing} {each}: "}[style])
        for number, name in enumerate(columns):
            if style == "spoken":
                text.add(f"{'; ' if number else ''}{name} ")
            else:
                text.add(" | " if style == "markdown" else "\t")
            text.add(_value(name, rng), answer=(each, name) == (row, column))
        text.add({"markdown": " |\n", "tabs": "\n", "spoken": ".\n"}[style])
    question = rng.choice(
        [
            f"What is the {asked_column} of {asked_row}?",
            f"What {asked_column} does the {thing} {asked_row} have?",
            f"{asked_column} of {asked_row}",
            f"Which {asked_column} is given for {thing} {asked_row}?",
        ]
    )
    return text.example(question, silent=silent)


def _contacts(rng: Random) -> Example:
    """Make an example of a team's telephone, address, head or city; silent where it is not told."""
    teams = rng.sample(_TEAMS, rng.randint(2, 5))
    asked = rng.choice(teams)
    facts = rng.sample(["phone", "email", "head", "city", "room", "hours"], rng.randint(2, 4))
    silent = rng.random() < 0.4
    fact = rng.choice(facts)
    wanted = fact
    if silent and rng.random() < 0.6:
        wanted = rng.choice(
            [
                each
                for each in ("phone", "email", "head", "city", "room", "hours")
                if each not in facts
            ]
        )
        asked_team = asked
    else:
        asked_team = rng.choice([each for each in _TEAMS if each not in teams]) if silent else asked
    text = _Text()
    table = rng.random() < 0.4
    if table:
        text.add("| team | " + " | ".join(facts) + " |\n")
    for team in teams:
        text.add(f"| {team}" if table else f"The {team} team")
        for number, each in enumerate(facts):
            value = {
                "phone": f"{rng.choice(['+44 20', '0', '+32 9'])} {rng.randint(100, 999)} "
                f"{rng.randint(1000, 9999)}",
                "email": f"{team}@{rng.choice(['example.org', 'plant.example', 'firm.example'])}",
                "head": rng.choice(_PEOPLE),
                "city": rng.choice(_CITIES),
                "room": f"{rng.choice('ABCD')}{rng.randint(1, 9)}.{rng.randint(10, 99)}",
                "hours": f"{rng.randint(6, 9)}:00 to {rng.randint(15, 20)}:30",
            }[each]
            link = {
                "phone": "can be called at ", "email": "reads ", "head": "is led by ",
                "city": "sits in ", "room": "works in room ", "hours": "is open from ",
            }[each]  # fmt: skip
            comma = " and " if number == len(facts) - 1 else ", "
            text.add(" | " if table else (" " if not number else comma))
            text.add("" if table else link)
            text.add(value, answer=(team, each) == (asked, fact))
        text.add(" |\n" if table else ". ")
    questions = {
        "phone": ["What is the phone number of the {}?", "How do I call {}?"],
        "email": ["What is the email address of {}?", "Where can I write to {}?"],
        "head": ["Who leads the {} team?", "Who is the head of {}?"],
        "city": ["In which city is {}?", "Where does the {} team sit?"],
        "room": ["Which room is {} in?", "What is the room of the {} team?"],
        "hours": ["When is {} open?", "What are the opening hours of {}?"],
    }
    return text.example(rng.choice(questions[wanted]).format(asked_team), silent=silent)


def _settings(rng: Random) -> Example:
    """Make an example of the default, unit, type or effect of one of several settings."""
    names = list(
        dict.fromkeys(
            f"{rng.choice(_SUBJECTS)}_{rng.choice(_ASPECTS)}" for _ in range(rng.randint(2, 4))
        )
    )
    dash = rng.choice(["_", "_", "-", "."])
    names = [name.replace("_", dash) for name in names]
    asked = rng.choice(names)
    without = rng.random() < 0.25
    missing = rng.random() < 0.25
    text = _Text()
    for name in names:
        kind = rng.choice(["integer", "boolean", "string", "enum", "floating point"])
        default = {
            "integer": str(rng.choice([0, 1, 3, 8, 10, 64, 100, 250, 1024, 5000])),
            "boolean": rng.choice(["on", "off", "yes", "no", "true", "false"]),
            "string": rng.choice(["/var/lib/data", "'main'", "the empty string", "/etc/conf.d"]),
            "enum": rng.choice(["auto", "strict", "relaxed", "warn", "none"]),
            "floating point": f"{rng.uniform(0, 4):.1f}",
        }[kind]
        if kind == "integer" and rng.random() < 0.6:
            default += rng.choice(
                [" seconds", " MB", "ms", "kB", " minutes", " connections", " days"]
            )
        head = rng.choice(
            [f"{name} ({kind})\n", f"{name} = VALUE\n", f"{name}: ", f"\n{name}\n    "]
        )
        text.add(head)
        verb = rng.choice(_VERBS)
        effect = rng.choice(_EFFECTS)
        aspect = name.replace("_", " ").replace("-", " ").replace(".", " ")
        sentence = f"{verb} the {aspect} {effect}."
        text.add(sentence + " ")
        if rng.random() < 0.5:
            text.add(
                rng.choice(
                    [
                        "This value can only be set at server start. ",
                        f"Values below {rng.randint(1, 9)} are rejected. ",
                        f"The maximum is {rng.randint(6000, 90000)}. ",
                        "A value without a unit is taken as seconds. ",
                        f"It must be at least as large as {rng.choice(names)}. ",
                    ]
                )
            )
        if not (name == asked and without):
            before, after = rng.choice(
                [
                    ("The default is ", "."), ("The default value is ", "."), ("Defaults to ", "."),
                    ("(default: ", ")"), ("Default: ", ""), ("By default this is ", "."),
                    ("If it is not given, ", " is used."), ("The default is typically ", "."),
                ]
            )  # fmt: skip
            text.add(before).add(default, answer=name == asked and not missing).add(after)
        text.add("\n" if rng.random() < 0.7 else " ")
    silent = without or missing
    if missing:
        other = f"{rng.choice(_SUBJECTS)}{dash}{rng.choice(_ASPECTS)}"
        silent = other not in names
        if not silent:
            return _settings(rng)
        asked = other
    question = rng.choice(
        [
            f"What is the default value of {asked}?",
            f"What is the default of {asked}?",
            f"default {asked}",
            f"What does {asked} default to?",
            f"Which value does {asked} have if it is not set?",
        ]
    )
    return text.example(question, silent=silent)


def _definition(rng: Random) -> Example:
    """Make an example of what a term means; silent for a term that is only used."""
    terms = rng.sample(_TERMS, rng.randint(2, 4))
    meanings = rng.sample(_MEANINGS, len(terms))
    asked = rng.choice(terms)
    silent = rng.random() < 0.35
    text = _Text()
    if rng.random() < 0.3:
        text.add("Definitions\n\n")
    for term, meaning in zip(terms, meanings, strict=True):
        if silent and term == asked:
            text.add(
                rng.choice(
                    [
                        f"The {term} is agreed with the works council every spring. ",
                        f"Nobody may change the {term} without a written order. ",
                        f"{term.capitalize()} ....... {rng.randint(2, 90)}\n",
                        f"See also the chapter on the {term}. ",
                    ]
                )
            )
            continue
        before, after = rng.choice(
            [
                (f"{term.capitalize()} means ", ". "), (f"“{term}” is ", ". "),
                (f"{term}\n    ", ".\n"), (f"A {term} is ", ". "), (f"**{term}**: ", "\n"),
                (f"By {term} we understand ", ". "), (f"The {term} ({term[:3].upper()}) is ", ". "),
            ]
        )  # fmt: skip
        text.add(before).add(meaning, answer=term == asked).add(after)
        if rng.random() < 0.3:
            text.add(rng.choice(_FILLERS) + " ")
    question = rng.choice(
        [f"What is a {asked}?", f"What does {asked} mean?", f"define {asked}",
         f"What is the meaning of {asked}?", f"What is meant by {asked}?"]
    )  # fmt: skip
    return text.example(question, silent=silent)


def _yes_no(rng: Random) -> Example:
    """Make an example of the sentence that allows or forbids; silent for another subject."""
    rules = rng.sample(_RULES, rng.randint(2, 4))
    asked = rng.choice(rules)
    allowed = rng.random() < 0.5
    kind = rng.random()
    silent = kind < 0.35
    text = _Text()
    for subject, may, may_not in rules:
        is_asked = subject == asked[0]
        yes = rng.choice(
            [
                f"{subject.capitalize()} may {may}.",
                f"{subject.capitalize()} are allowed to {may}.",
                f"It is permitted for {subject} to {may}.",
            ]
        )
        no = rng.choice(
            [
                f"{subject.capitalize()} must not {may_not}.",
                f"{subject.capitalize()} cannot {may_not}.",
                f"No {subject} may {may_not}.",
                f"{subject.capitalize()} are not allowed to {may_not}.",
            ]
        )
        sentences = [(yes, True), (no, False)]
        rng.shuffle(sentences)
        for sentence, is_yes in sentences:
            if silent and is_asked and is_yes == allowed:
                continue
            text.add(sentence, answer=is_asked and is_yes == allowed).add(" ")
        if rng.random() < 0.3:
            text.add(rng.choice(_FILLERS) + " ")
    thing = asked[1] if allowed else asked[2]
    question = rng.choice(
        [f"Can {asked[0]} {thing}?", f"Are {asked[0]} allowed to {thing}?",
         f"May {asked[0]} {thing}?", f"Is it allowed for {asked[0]} to {thing}?"]
    )  # fmt: skip
    return text.example(question, silent=silent)


def _list(rng: Random) -> Example:
    """All members of a list, from a sentence or from items; silent for another list."""
    name = rng.choice(sorted(_LISTS))
    thing = rng.choice(_THINGS + _TEAMS)
    items = rng.sample(_LISTS[name], min(len(_LISTS[name]), rng.randint(3, 6)))
    silent = rng.random() < 0.35
    text = _Text()
    if rng.random() < 0.5:
        text.add(rng.choice(_FILLERS) + " ")
    head = rng.choice([f"The {thing} supports these {name}",
                       f"There are {len(items)} {name} of the {thing}",
                       f"{name.capitalize()} of the {thing}"])  # fmt: skip
    style = rng.choice(["sentence", "bullets", "numbers"])
    if style == "sentence":
        body = ", ".join(items[:-1]) + f" and {items[-1]}"
        text.add(head + ": ").add(body, answer=True).add(". ")
    else:
        marks = [f"{at}. " if style == "numbers" else "- " for at in range(1, len(items) + 1)]
        body = "\n".join(mark + item for mark, item in zip(marks, items, strict=True))
        text.add(head + ":\n\n").add(body, answer=True).add("\n\n")
    text.add(rng.choice(_FILLERS))
    asked_name, asked_thing = name, thing
    if silent and rng.random() < 0.5:
        asked_name = rng.choice([each for each in sorted(_LISTS) if each != name])
    elif silent:
        asked_thing = rng.choice([each for each in _THINGS if each != thing])
    question = rng.choice(
        [f"Which {asked_name} does the {asked_thing} support?",
         f"What are the {asked_name} of the {asked_thing}?",
         f"Which {asked_name} are there for the {asked_thing}?",
         f"list the {asked_name} of the {asked_thing}"]
    )  # fmt: skip
    return text.example(question, silent=silent)


def _how_to(rng: Random) -> Example:
    """Make an example of the command or the steps of a task; silent for a task that is not told."""
    actions = rng.sample(_ACTIONS, rng.randint(2, 3))
    asked = rng.choice(actions)
    silent = rng.random() < 0.35
    text = _Text()
    for action in actions:
        if silent and action == asked:
            text.add(f"Only the duty manager may {action}. ")
            continue
        if rng.random() < 0.5:
            name = action.rsplit(" ", 1)[1]
            command = rng.choice(_COMMANDS).replace("NAME", name)
            before, after = rng.choice(
                [
                    (f"To {action}, run ", ". "), (f"To {action}:\n\n    ", "\n\n"),
                    (f"You can {action} with the command ", ". "),
                    (f"{action.capitalize()}\n    ", "\n"),
                ]
            )  # fmt: skip
            text.add(before).add(command, answer=action == asked).add(after)
        else:
            steps = rng.sample(_STEPS, rng.randint(2, 3))
            body = "\n".join(f"{at}. {step}." for at, step in enumerate(steps, start=1))
            if rng.random() < 0.5:
                body = ". ".join(steps) + "."
            head = rng.choice(
                [f"How to {action}\n\n", f"To {action}: ", f"{action.capitalize()}: "]
            )
            text.add(head).add(body, answer=action == asked).add("\n\n")
    question = rng.choice(
        [
            f"How do I {asked}?",
            f"How can I {asked}?",
            f"What do I have to do to {asked}?",
            f"how to {asked}",
        ]
    )
    return text.example(question, silent=silent)


def _dates(rng: Random) -> Example:
    """When something begins, ends or was released; the other end of it is a near miss."""
    thing = rng.choice([f"version {rng.randint(2, 19)}", "the contract", "the course", "the trial",
                        "the project", "the exhibition", "the warranty", "the sale"])  # fmt: skip
    facts = {
        "begin": ["begins on ", "starts on "], "end": ["ends on ", "expires on "],
        "sign": ["was signed on ", "was approved on "],
        "review": ["is reviewed on ", "is checked on "],
    }  # fmt: skip
    chosen = rng.sample(sorted(facts), rng.randint(1, 3))
    silent = rng.random() < 0.45 and len(chosen) < 4
    fact = chosen[0]
    asked = rng.choice([each for each in sorted(facts) if each not in chosen]) if silent else fact
    rng.shuffle(chosen)
    text = _Text()
    for number, each in enumerate(chosen):
        date = f"{rng.randint(1, 28)} {rng.choice(_MONTHS)} {rng.randint(1995, 2031)}"
        if rng.random() < 0.2:
            date = rng.choice(_DAYS) + f", {date}"
        subject = thing if number == 0 else "it"
        text.add(f"{subject.capitalize()} {rng.choice(facts[each])}")
        text.add(date, answer=each == fact).add(". ")
    text.add(rng.choice(_FILLERS))
    questions = {
        "begin": "When does {} begin?|When does {} start?",
        "end": "When does {} end?|When does {} expire?",
        "sign": "When was {} signed?|When was {} approved?",
        "review": "When is {} reviewed?|On which date is {} checked?",
    }
    return text.example(rng.choice(questions[asked].split("|")).format(thing), silent=silent)


_KINDS: Sequence[Callable[[Random], Example]] = (
    _table,
    _contacts,
    _settings,
    _settings,
    _definition,
    _yes_no,
    _list,
    _how_to,
    _dates,
)
