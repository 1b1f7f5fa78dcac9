"""What is known of English: lists of words in small letters, and patterns as text.

Whoever uses a pattern compiles it, so that importing the lists costs nothing.
"""

from __future__ import annotations

from typing import Literal


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that do not count when sentences are compared.
PROSE_STOP_WORDS = _words("""
    a about after all also an and any are as at be because been but by can could did do does for
    from had has have he her him his how i if in into is it its many may me more most much my no
    not of on or other our over s she should so some such than that the their them then there
    these they this those to up was we were what when where which who whom whose why will with
    would you your""")
# Words with which an answer speaks of itself: no passage supports them.
FRAMING_WORDS = "answer answers question questions passage passages document documents"
ENDINGS = ("'s", "’s", "ing", "ed", "es", "s")

DETERMINERS = _words("""
    the a an this that these those its his her their our my your some any each no""")
PREPOSITIONS = _words("""
    of in on at by for with from to into onto over under between among through during before after
    since until about against within without across along around near toward towards upon via per
    than as like including""")
CONJUNCTIONS = _words("""
    and or but nor yet so because although while whereas if when where which who whom whose that how
    why what""")
PRONOUNS = _words("""
    i he she it they we you him her them us me himself herself itself themselves there one""")
AUXILIARIES = _words("""
    is are was were be been being am has have had having do does did will would can could may might
    shall should must not also only just even still often""")
FUNCTION_WORDS = DETERMINERS | PREPOSITIONS | CONJUNCTIONS | PRONOUNS | AUXILIARIES
MONTHS = _words("""
    january february march april may june july august september october november december jan feb
    mar apr jun jul aug sep sept oct nov dec""")
WEEKDAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
NUMBER_WORDS = _words("""
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred
    thousand million billion trillion dozen half third quarter twice once first second""")
UNITS = _words("""
    percent % million billion trillion thousand hundred dollars pounds euros miles kilometers km
    metres meters feet ft m inches years days hours minutes seconds months weeks people students
    acres hectares tons tonnes degrees points yards votes members times tokens parameters questions
    examples characters words layers documents""")
ORDINAL = r"\d+(?:st|nd|rd|th)"
_COUNT = "one two three four five six seven eight nine ten eleven twelve"
NUMERALS = {word: str(number) for number, word in enumerate(_COUNT.split(), start=1)}

NEGATIONS = _words("""
    not no never none nor neither cannot without nothing nobody nowhere hardly barely scarcely
    little fail fails failed failing unable lack lacks lacked lacking absence absent unlikely
    impossible""")
DENIALS = _words("""
    false falsely myth myths hoax scam fraud wrong wrongly untrue incorrect incorrectly mistaken
    mistake misleading exaggerate exaggerates exaggerated exaggeration overestimate overestimates
    overestimated debunked disproved disproven refute refutes refuted deny denies denied reject
    rejects rejected contradict contradicts contradicted flawed error errors fabricated bogus
    nonsense supposed supposedly alleged allegedly alarmist alarmists alarmism ceased ended stopped
    stabilized halted paused pause hiatus""")
HEDGES = _words("""
    may might could would possibly perhaps probably likely suggest suggests suggested appear appears
    appeared seem seems seemed potential potentially believe believes believed think thinks thought
    claim claims claimed expect expected estimate estimates estimated predict predicts predicted
    project projects projected""")
_MORE = _words("""
    increase increases increased increasing increasingly rise rises rising rose risen grow grows
    growing grew grown growth gain gains gained gaining expand expands expanded expanding expansion
    more most higher highest greater greatest larger largest bigger biggest longer longest faster
    fastest accelerate accelerates accelerated accelerating acceleration intensify intensifies
    intensified intensifying strengthen strengthens strengthened stronger strongest worsen worsens
    worsened worsening worse worst up above exceed exceeds exceeded surge surged soar soared doubled
    tripled many often""")
_LESS = _words("""
    decrease decreases decreased decreasing decline declines declined declining fall falls falling
    fell fallen shrink shrinks shrinking shrank shrunk lose loses losing lost loss losses reduce
    reduces reduced reducing reduction reductions less least lower lowest smaller smallest shorter
    shortest fewer fewest slower slowest slow slows slowed slowing weaken weakens weakened weakening
    weaker weakest drop drops dropped dropping retreat retreats retreated retreating diminish
    diminishes diminished down below halved few rarely""")
_WARMER = _words("warm warms warmed warming warmer warmest hot hotter hottest heat heats heated")
_COOLER = _words("""
    cool cools cooled cooling cooler coolest cold colder coldest freeze freezes froze""")
OPPOSITES = ((_MORE, _LESS), (_WARMER, _COOLER))
"""Pairs of opposite directions: up and down, warm and cold."""

Asked = Literal["number", "date", "person", "place", "why", "how", "whether", "definition", "what"]

_WHAT = r"\b(?:what|which) (?:{})\b"
QUESTION_KINDS: tuple[tuple[Asked, str], ...] = (
    ("number", r"\bhow (?:many|much)\b"),
    (
        "number",
        _WHAT.format("percentage|percent|number|amount|age|share|fraction|proportion")
        + r"|\bhow (?:old|long|far|tall|large|big|high|deep|fast|often|wide|heavy|hot|cold)\b",
    ),
    (
        "date",
        _WHAT.format("year|date|day|month|decade|century|time")
        + r"|^when\b|\bwhen (?:did|was|were|is|are|does|do|would|could|will|has|had)\b",
    ),
    ("person", r"\b(?:who|whom|whose)\b"),
    (
        "place",
        r"\bwhere\b|"
        + _WHAT.format(
            "city|country|state|place|location|town|region|area|continent|county|river|street|"
            "nation"
        ),
    ),
    ("why", r"\bwhy\b"),
    ("how", r"\bhow\b"),
    ("whether", r"^(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|may|must)\b"),
)
# "What is reward hacking?": a name, and nothing that is asked of it.
DEFINITION_QUESTION = (
    r"what(?: is|'s| are| was| were) (?:an? |the )?([\w'’-]+(?: [\w'’-]+){0,3}) ?\?*"
)
# "which ancient city was", "what type of theatre did": the noun after the question word.
QUESTION_HEAD = (
    r"\b(?:what|which)\s+(?:(?:type|kind|sort|name|form)s?\s+of\s+)?"
    r"((?:[\w'-]+\s+){0,2}?[\w'-]+?)\s+(?:is|are|was|were|did|do|does|has|have|had|can|could|would"
    r"|will|may|of|that|in|to|for|on|[a-z]+ed|[a-z]+s)\b"
)
# A follow-up question that cannot be understood without what was said before it.
POINTS_BACK = (
    r"^\W*(?:and|or|but|also|then|what about|how about)\b"
    r"|\b(?:its?|they|them|theirs?|he|him|his|she|hers?|this|these|those|ones?|former|latter|same)\b"
    r"|\b(?:is|was|does|do|did|of|about|in|to|for|with|by|from|than|like|after|before) that\b"
    r"|\b(?:that|there|others?)\W*$"
)
ASKS_WHAT_IS = r"\W*(?:what|who|where)(?:['’]s| is| are| was| were)\b"
# A question that speaks of the passage it was written for, and means nothing without it.
POINTS_AT_TEXT = (
    r"\b(?:(?:the|this|that|these|given|above|following) "
    r"(?:text|passage|paragraph|excerpt|article|document|section|sentence|author|table|code)s?"
    r"|mentioned (?:above|in))\b"
)
# "The documents do not say": an answer that says that there is none.
REFUSAL = (
    r"\b(?:documents?|passages?|context|text|sources?)\b.{0,60}?"
    r"\b(?:do(?:es)?\s+not|don't|doesn't|no)\b.{0,40}?"
    r"\b(?:say|says|mention|state|contain|hold|provide|include|specify|answer|information)"
)
