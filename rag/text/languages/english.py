"""What is known of English: lists of words in small letters, and patterns as text.

Whoever uses a pattern compiles it, so that importing the lists costs nothing.
"""

from __future__ import annotations

from typing import Literal


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _tuple(text: str) -> tuple[str, ...]:
    return tuple(text.split())


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
# What makes another word of one: lend, lends; stated, restated.
DERIVING_BEGINNINGS = _tuple("anti dis in mis non over pre re sub un")
DERIVING_ENDINGS = _tuple("""
    s es d ed ing ly er ers r rs or ors ize ized ise ised ist ists ism ity ness less able ful ish
    ally""")

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

# What a question wants to read, beyond its question word.
POLITE_START = (
    r"^\W*(?:(?:please|hi|hello|hey)\b[\s,]*|(?:can|could|would|will) you (?:please )?"
    r"(?=tell|explain|list|name|show|say|give|describe)|(?:tell|show) me\s+|do you know\s+"
    r"|i(?: would|'d)? (?:want|like|need) to know\s+)+"
)
ASKS_STEPS = (
    r"\bhow (?:do|can|could|should|would|must|may|might|to)\b(?: (?:i|we|you|one|people|someone|"
    r"users?|admins?|customers?|employees?|staff|tenants?|visitors?)\b| (?=[a-z]))"
    r"|\bhow (?:is|are|can|could|should|must) (?:[\w'-]+ ){1,6}?\w+(?:ed|en|un|ut|uilt|ade) ?\??$"
    r"|\bwhat (?:are the|is the)? ?(?:steps|procedure|command)\b|\bsteps (?:to|for)\b"
    r"|\bwhich command\b|\bwhat (?:do|should|must) (?:i|we|you|one) do (?:to|for|if|when)\b"
)
EXPLAINS_HOW = r"\bhow (?:do|can|could|would|might|may|should|must) (?!(?:i|we|you|one)\b)"
ASKS_COMPARISON = (
    r"\bdifferences? (?:is there )?between\b|\bdiffer(?:s|ent)? from\b|\bdiffer\b|\bcompare[ds]?\b"
    r"|\b(?:versus|vs\.?)\b|\bin contrast to\b|\bhow (?:is|are|does|do) .+ (?:different|differ)\b"
)
COMPARED_SIDES = (
    r"\bbetween (?:the )?(.+?) (?:and|or|vs\.?|versus) (?:the )?(.+?) ?[?.!]*$",
    r"\bcompare (?:the )?(.+?) (?:and|or|to|with|vs\.?|versus) (?:the )?(.+?) ?[?.!]*$",
    r"\bhow (?:is|are|do|does) (?:the )?(.+?) (?:differ(?:ent)?|compare) (?:from|to|with) "
    r"(?:the )?(.+?) ?[?.!]*$",
    r"^(?:.*\bis )?(?:the )?(.+?) (?:versus|vs\.?) (?:the )?(.+?) ?[?.!]*$",
    r"\b(?:larger|better|faster|cheaper|older|bigger|smaller|higher|longer|more|less|first)[^,:]*"
    r"[,:] (?:the )?(.+?) or (?:the )?(.+?) ?[?.!]*$",
)
ASKS_REASON = (
    r"\bwhy\b|\bhow come\b|\bwhat (?:is|was|are|were) the (?:reasons?|causes?|purpose)\b"
    r"|\bwhat (?:causes?|caused|makes|made)\b|\bfor what reason\b"
)
ASKS_TWO_FACTS = (
    r"\b(?:what|when|where|who|whom|which|how|why)\b.*\band\b,? (?:at |in |by |on |for )?"
    r"(?:what|when|where|who|whom|which|how|why)\b"
)
ASKS_LIST = (
    r"^\W*(?:list|name|enumerate)\b|\bwhat kinds?\b.*\bare\b|\bwho (?:are|were) (?:the|our|all)\b"
    r"|\bwhat (?:are|were) (?:the|our|its|his|her|their|these|those|all|some|two|three|four|five|"
    r"six|seven|eight|nine|ten|\d+)\b|\b(?:what|which) (?:all|ones) (?:are|were)\b"
)
IRREGULAR_PLURALS = _words(
    "people children men women criteria media data feet teeth mice phenomena"
)
SINGULAR_ENDINGS = ("ss", "us", "is", "ics", "'s", "’s", "ous")
SINGULAR_WITH_S = _words("was does has this its means news series species lens always")
LONG_DEFINITION_QUESTIONS = (
    r"what (?:does|do|did) (?:the (?:word|term|abbreviation|acronym|name) )?(.+?) "
    r"(?:stand for|mean|refer to|denote)",
    r"what is meant by (.+)",
    r"(?:please )?(?:define|explain what) (?:the (?:word|term) )?(.+?)(?: (?:is|are|means))?",
    r"what is (?:the )?(?:meaning|definition) of (?:the (?:word|term) )?(.+)",
    r"what(?: is|'s| are| was| were) (?:an? )?(.+?) and what .+",
    r"what(?: is|'s| are| was| were) (?:an? )?(.+?),? or what .+",
)
# The words that make a sentence one that says what its subject is.
DEFINING_VERBS = (
    r"(?:is|are|was|were|means?|meant|denotes?|refers? to|stands? for|describes?|represents?|"
    r"(?:is|are|was) (?:called|named|defined as|known as|understood as|short for|a name for))"
)
SEQUENCE_WORDS = _words(
    "first firstly second secondly third thirdly then next afterwards finally last"
)
# A sentence that limits the one before it, and means nothing without it.
CONDITION_START = (
    r"(?:unless|except|however|but|provided|only if|only when|otherwise|exceptions?|"
    r"this (?:does not|doesn't|applies|holds|is only)|(?:it|they) (?:does|do|is|are) not|"
    r"in (?:that|this) case|not)\b"
)
# What kind of value a question asks for: the sentence that says so is the one that answers.
QUALIFIERS = _words("default maximum minimum average total usual recommended initial")
# A sentence that begins so speaks of what the one before it names.
LEANS_BACK = (
    r"(?:(?:it|its|they|their|them|he|his|she|her|this|these|those|that|such|both|the (?:former|"
    r"latter|same))\b(?! (?:is|was) (?:\w+ )?(?:that|to)\b)"
    r"|(?:therefore|thus|hence|consequently|so|also|moreover|furthermore|instead|by contrast|"
    r"in contrast|for this reason|as a result|because of (?:this|that))\b)"
)
LEANING_REASON = (
    r"(?:therefore|thus|hence|consequently|so|for (?:this|that) reason|as a (?:result|consequence)|"
    r"because of (?:this|that)|that(?: i|'|’)s why|this is why)\b"
)
GIVES_REASON = (
    r"\b(?:because|since|due to|owing to|reason|so that|in order to|caused? by|thanks to)\b"
)
ONLY = r"\b(?:only|exclusively|solely|just for|nobody but|no one but|limited to|restricted to)\b"
EXCEPTING = r"\b(?:except(?: for)?|excepting|with the exception of|apart from|other than|unless)\b"
FORBIDDING = _words("""
    forbidden forbids forbid prohibited prohibits prohibit banned ban disallowed disallows refused
    refuse refuses denied excluded excludes exclude rejected impossible unavailable unsupported
    prevented prevents prevent blocked blocks avoid""")
# Pairs of which a question may hold one side and its answer the other.
ANTONYMS = (
    (_words("open opens opened"), _words("closed closes shut")),
    (_words("enabled on active activated"), _words("disabled off inactive deactivated")),
    (_words("included includes include covered covers"), _words("excluded excludes exclude")),
    (_words("required mandatory compulsory obligatory"), _words("optional voluntary")),
    (_words("free"), _words("paid charged charges")),
    (_words("public"), _words("private confidential")),
    (_words("same identical equal"), _words("different differs differ")),
    (_words("safe"), _words("unsafe dangerous")),
    (_words("supported"), _words("unsupported")),
    (_words("full whole entire complete"), _words("half partial part incomplete")),
    (_words("freeze freezes froze frozen solid"), _words("liquid melt melts melted")),
    (_words("before"), _words("after")),
    (_words("inside indoors"), _words("outside outdoors")),
    (_words("maximum most"), _words("minimum least")),
    (_words("alive"), _words("dead")),
    (_words("true correct"), _words("false incorrect wrong")),
    (_words("buyer"), _words("seller")),
    (_words("tenant"), _words("landlord")),
)
# Two things at once, and what lets only one of them happen.
AT_ONCE = r"\b(?:while|at the same time|simultaneously|concurrently|in parallel|at once)\b"
ONE_AT_A_TIME = (
    r"\b(?:exclusive(?: \w+)? locks?|exclusively|is locked|one at a time|one after (?:the )?other|"
    r"blocks (?:all )?(?:other|reads|writes))\b"
)
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WEEKEND = r"\bweek-?ends?\b"
WORKDAYS = r"\b(?:week-?days?|working days?|work-?days?|business days?)\b"
AT_LEAST = (
    r"(?:above|over|more than|greater than|at least|from|exceeding|minimum(?: of)?|heavier than|"
    r"older than|longer than)"
)
AT_MOST = (
    r"(?:below|under|less than|fewer than|at most|up to|no more than|not more than|"
    r"maximum(?: of)?|within|lighter than|younger than)"
)
# What a question calls a column of a table that has another name.
COLUMN_NAMES: tuple[tuple[str, frozenset[str]], ...] = (
    (
        r"\bcosts?\b|\bprices?\b|\bhow much\b|\bcharged?\b|\bfares?\b|\bfees?\b",
        _words("price cost costs fee fare rate amount eur euro usd gbp charge total"),
    ),
    (r"\bwhen\b|\bdate\b", _words("date day year time when bought released due start end since")),
    (r"\bwho(?:m|se)?\b", _words("name person owner contact author manager employee who")),
    (
        r"\bwhere\b",
        _words("place location city town room hall building region site address country where"),
    ),
    (r"\bhow many\b|\bin stock\b", _words("stock quantity qty count number amount units pieces")),
    (r"\bhow long\b", _words("duration length period time term days weeks")),
    (r"\bhow (?:heavy|tall|big|large|wide|high)\b", _words("weight height size width kg cm mm m")),
    (r"\b(?:maximum|max|limit|at most)\b", _words("limit maximum max")),
)
# Words that end an item of a list in a sentence, and those after which one begins.
LIST_STARTERS = (
    r"(?:\b(?:are|were|is|include[sd]?|including|provides?|supports?|offers?|has|have|contains?|"
    r"such as|namely|like|between|either|both|of|by|with|for|from|the following|to|e\.g\.|i\.e\.|"
    r"via|using|uses?|called|knows?|accepts?|allows?|only|the|my|our)\b|\(\w{1,2}\)\s|[:(–—])"
)

# What kind of thing a question asks for: the first that fits. Each has a name in the plural.
ThingAsked = Literal[
    "phone numbers", "ports", "e-mail addresses", "web addresses", "percentages", "prices",
    "durations", "dates", "people", "places", "numbers",
]  # fmt: skip
THINGS_ASKED: tuple[tuple[ThingAsked, str], ...] = (
    (
        "phone numbers",
        r"\b(?:(?:tele)?phone|fax|mobile|hotline)(?: number)?\b.*\?|\bcall (?:whom|who)\b",
    ),
    ("e-mail addresses", r"\be-?mail address"),
    ("web addresses", r"\b(?:what|which|the) (?:is the )?(?:url|web ?site|web address|homepage)\b"),
    ("ports", r"\b(?:what|which)\b.*\bports?\b(?! (?:city|town|authority))"),
    ("percentages", r"\bper ?cent(?:age)?\b|%|\bwhat (?:share|fraction|proportion)\b"),
    (
        "prices",
        r"\bhow (?:much|expensive)\b.*"
        r"\b(?:costs?|pay|paid|price|charged?|worth|earn|euro|dollars?)\b|\b(?:what|which)\b.*\b(?:price|costs?|fee|fare|rent|salary|wage)\b",
    ),
    (
        "durations",
        r"\bhow long (?!is the (?:river|road|wall|bridge))|\bhow many (?:days|weeks|months|"
        r"years|hours|minutes|seconds)\b|\bwhat (?:period|duration)\b",
    ),
    (
        "dates",
        r"^when\b|\bwhen (?:did|was|were|is|are|does|do|will|has|had)\b|\b(?:what|which) "
        r"(?:year|date|day|month|decade|century)\b",
    ),
    ("people", r"\b(?:who|whom|whose)\b"),
    (
        "places",
        r"\bwhere\b|\b(?:what|which) (?:city|country|state|place|location|town|region|area|"
        r"continent|county|river|street|nation)\b",
    ),
    (
        "numbers",
        r"\bhow (?:many|much|old|far|tall|large|big|high|deep|fast|often|wide|heavy|hot|cold)\b"
        r"|\bwhat (?:number|amount|age|size|population)\b",
    ),
)
MONEY = (
    r"[£$€¥]|\b(?:euros?|eur|dollars?|usd|pounds?|gbp|francs?|chf|kroner|kronor|yen|cents?|free)\b"
)
TIME_UNITS = _words("""
    second seconds minute minutes hour hours day days week weeks month months year years decade
    decades century centuries min sec h ms s""")
FRACTIONS = _words("half third quarter thirds quarters fifth tenth majority most all none")
SUPERLATIVES = r"\b(?:most|least|only|first|last|best|worst|latest|\w{3,}(?<!for)(?<!inter)est)\b"
NO_SUPERLATIVES = _words(
    "west forest interest request test guest rest harvest protest suggest east "
    "invest contest priest arrest modest honest latest"
)
# Roles and directions: "when does it end" is not when it begins.
ROLES = (
    (_words("begin begins began begun beginning start starts started"),
     _words("end ends ended ending expire expires expired finish finishes finished stop stopped")),
    (_words("before prior until"), _words("after since following")),
    (_words("maximum max most highest largest upper"), _words("minimum min least lowest smallest")),
    (_words("import imports imported"), _words("export exports exported")),
    (_words("buyer buy buys bought purchase purchased"), _words("seller sell sells sold")),
    (_words("tenant tenants lessee"), _words("landlord lessor owner")),
    (_words("employer employers"), _words("employee employees worker workers")),
    (_words("teacher teachers"), _words("student students pupil pupils")),
    (_words("win wins won victory"), _words("lose loses lost defeat defeated")),
    (_words("increase increased rise rose grew"), _words("decrease decreased fall fell declined")),
    (_words("north northern"), _words("south southern")),
    (_words("east eastern"), _words("west western")),
    (_words("male men man"), _words("female women woman")),
    (_words("born birth"), _words("died die death")),
    (_words("open opened opens"), _words("closed close closes")),
    (_words("allowed permitted may"), _words("forbidden prohibited banned")),
    (_words("first earliest"), _words("last final latest")),
    (_words("arrive arrived arrival"), _words("leave left departure departed")),
)  # fmt: skip
TURNING_PREFIXES = ("un", "im", "il", "ir", "dis", "non", "non-")
TURNED_BY_IN = _words("""
    active complete correct dependent direct visible sufficient adequate accurate formal equality
    capable finite valid secure""")

# Headings of sections that only name what else there is to read.
REFERRING_HEADINGS = frozenset(
    (
        "see also",
        "related",
        "related topics",
        "related pages",
        "related links",
        "external links",
        "further reading",
        "references",
        "bibliography",
        "table of contents",
        "contents",
    )
)
