"""Find text that gives instructions to a language model instead of stating facts.

Documents may come from anybody; Greshake et al. (AISec 2023) call it indirect prompt injection
when one of them speaks to the model that reads it. Patterns recognise such sentences by their
wording: no model reads them, so none can be persuaded. A lie that is stated as a fact is not found.
"""

from __future__ import annotations

import base64
import contextlib
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rag.text.sentences import split_sentences

_AI = r"(?:ai|llms?|(?:language|ai) models?|chatbots?|assistants?|bots?|gpt|chatgpt)"
_EARLIER = (
    r"(?:previous|previously|above|prior|preceding|earlier|foregoing|existing|original|initial"
    r"|system|other|your|all|any|these|those|you (?:have|were|got|received))"
)
_TOLD = (
    r"(?:instructions?|prompts?|directions?|directives?|guidelines?|guidance|commands?|orders?"
    r"|rules?|programming|context|training|passages?|restrictions?|messages?|conversation)"
)


_TELL = (
    r"(?:reply|respond|answer|say|write|output|print|repeat|finish|conclude|append|tell"
    r"|summari[sz]e|translate)"
)


def _some(most: int) -> str:
    """Match up to so many words in between, as few as possible."""
    return rf"(?:\w+ ){{0,{most}}}?"


# Patterns see a sentence as `_join_words` writes it: lower case, no accents, one space between
# words. Each of these alone makes it an instruction.
_STRONG = (
    # Drop earlier instructions: English, German, French, Spanish, Italian, Portuguese, Dutch,
    # Polish, Swedish, Russian, Chinese.
    r"(?:ignore|disregard|forget|(?:do not|don t|stop) (?:follow|obey)(?:ing)?"
    rf"|pay no attention to) {_some(4)}{_EARLIER} {_some(4)}{_TOLD}",
    rf"(?:override|bypass|discard|overwrite|drop|cancel|abandon|delete|(?:set|put|leave) aside) "
    rf"{_some(3)}(?:previous|prior|above|system|original|initial|your) {_some(1)}(?:instructions?"
    r"|prompts?|guidelines?|directives?|programming)",
    r"(?:set|put|leave) aside the (?:guidance|guidelines|instructions|rules) you",
    r"(?:ignore|disregard|forget) (?:everything|anything|all|whatever) "
    rf"{_some(1)}(?:above|before|so far|said|told|you)",
    rf"(?:ignore|disregard|forget|delete|erase|skip) (?:all of |all )?the (?:above|context"
    rf"|passages?|documents?|question) {_some(2)}(?:and|then|instead) {_some(2)}(?:say|write|reply"
    r"|answer|respond|print|output)",
    rf"(?:ignorier|vergiss|vergesst|vergessen sie|missacht|befolg)\w* {_some(4)}"
    r"(?:anweisung|instruktion|befehl|vorgabe|aufforderung|prompt)\w*",
    rf"(?:vergiss|vergesst|ignorier\w*) (?:bitte )?(?:alle|deine|ihre|die) {_some(1)}regeln",
    rf"(?:vergiss|vergesst|vergessen sie|ignorier\w*) (?:bitte )?(?:alles|das|den|die|was) "
    rf"{_some(3)}(?:vorher|bisher|obig|oben|davor|zuvor|gesagt)\w*",
    r"(?:ignore[zr]?|oublie[zr]?|neglige[zr]?|abstraction de|(?:pas|aucun) compte de) "
    rf"{_some(4)}(?:instructions?|consignes?|directives?|ordres) {_some(2)}"
    r"(?:preced|anterieur|ci dessus|initial|recu|donne|qui)\w*",
    rf"ne (?:suis|suivez) (?:pas|plus) {_some(2)}(?:instructions|consignes|directives)",
    rf"(?:oublie[zr]?|ignore[zr]?|compte de) (?:tout )?ce qui {_some(2)}(?:precede|dessus|avant"
    r"|dit)\w*",
    rf"(?:ignor[ae]n?|olvid[ae]n?|descart[ae]n?|omiso de|caso a|no sigas) {_some(4)}"
    r"(?:instrucciones|indicaciones|ordenes|reglas)",
    rf"(?:olvid[ae]n?|ignor[ae]n?|omiso (?:de|a)|caso a) (?:todo |de )*lo {_some(2)}(?:anterior"
    r"|arriba|dicho)",
    rf"(?:ignora(?:te)?|ignori|dimentica(?:te)?|non seguire|trascura(?:te)?) {_some(4)}"
    r"(?:istruzioni|indicazioni|direttive)",
    rf"(?:ignora(?:te)?|dimentica(?:te)?) (?:tutto )?(?:quanto|quello che|cio che) {_some(3)}"
    r"(?:sopra|precede|detto)",
    rf"(?:ignor[ae]m?|esqueca[ms]?|desconsider[ae]m?) {_some(4)}(?:instrucoes|ordens|orientacoes)",
    rf"(?:ignor[ae]m?|esqueca[ms]?|desconsider[ae]m?) tudo {_some(4)}(?:acima|anterior|antes)",
    rf"(?:negeer|vergeet) {_some(4)}(?:instructies?|opdrachten|aanwijzingen|prompts?)",
    rf"(?:negeer|vergeet) alles {_some(4)}(?:hierboven|voorgaande|hiervoor|eerder)",
    rf"(?:zignoruj|ignoruj|zapomnij|pomin)\w* {_some(4)}(?:instrukcj|polecen|wytyczn)\w*",
    rf"(?:ignorera|glom) {_some(4)}(?:instruktion|anvisning)\w*",
    rf"(?:про)?(?:игнорируи|забудь)\w* {_some(4)}(?:инструкци|указани|команд)\w*",
    # Be somebody else.
    rf"you are (?:now|no longer|henceforth) {_some(4)}(?:{_AI}|dan|jailbroken|unrestricted"
    r"|(?:developer|debug|admin|god|dan|maintenance|unrestricted|jailbreak) mode)",
    r"(?:enter|enable|activate|switch (?:in)?to) (?:the )?(?:developer|god|dan|jailbreak"
    r"|unrestricted) mode",
    r"do anything now",
    rf"as (?:an? )?{_some(1)}{_AI} you (?:should|must|will|shall|need to|have to)",
    r"(?:from (?:now|this point|this moment|here) on(?:wards?)?|you (?:will|must|shall) now) "
    rf"(?:you )?(?:(?:must|will|shall|should|only|always|are to) )*(?:{_TELL}|speak|act|behave)",
    # Show the prompt.
    r"(?:print|reveal|repeat|show|output|display|disclose|leak|quote|recite|share|give|tell) "
    rf"(?:me |us |the user )?{_some(3)}(?:your|system|hidden|initial|secret) {_some(2)}"
    r"(?:prompts?|instructions?)",
    # Follow what comes next, or what is written in a code.
    r"(?:new|updated|revised|real|actual|true|additional|hidden) (?:system )?(?:instructions?"
    rf"|directives?|prompts?|orders) (?:for|to) (?:the |all |any )?{_some(1)}{_AI}",
    rf"(?:decode|decipher|base ?64|rot ?13) {_some(10)}(?:follow|obey|execute|carry out|do what"
    r"|comply)",
    # Give one answer to any question.
    rf"(?:answer|reply|response|solution) to (?:every|any|all|each|whatever) {_some(3)}"
    r"(?:questions?|quer(?:y|ies)|prompts?) (?:is|are|must|should|will|shall)",
    r"you (?:should|must|will|shall|may) (?:only|always) (?:ever )?(?:say|reply|respond|write"
    r"|output)",
    rf"(?:reply|respond|answer) {_some(2)}(?:only|exclusively|solely|exactly|always|just) with "
    r"(?:the |this )?(?:single )?(?:word|phrase|string|sentence|token|letter|following)s?",
    # Change which source is shown.
    r"(?:cite|attribute|credit) (?:this|that|it|all|everything|your|the answer|every|me) "
    rf"{_some(4)}(?:as|to|with) {_some(2)}(?:passage |source |document |citation )?[0-9]{{1,2}}",
    r"(?:do not|don t|never|stop) (?:cite|citing|quote|quoting|reference|name|naming) "
    r"(?:(?:any|the|your|these|this) )*(?:sources?|passages?|documents?|citations?)",
)

_STRONG_CHINESE = (r"(?:忽略|无视|無視|忘记|忽視|忽视)\w{0,12}?(?:指令|指示|提示|命令)",)

# What an instruction wants done; a clause begins with it.
_DIRECTIVES = (
    rf"{_TELL} \w+|always (?:mention|recommend|claim|state|add)",
    rf"{_some(6)}(?:must|shall) (?:reply|respond|say|output) (?:only |always )?(?:with|that)"
    r"|the (?:correct |right |only |true )?answer is",
    r"(?:begin|start|end) (?:each|every|all|your) (?:reply|replies|responses?|answers?)",
    r"(?:act|behave|pose|speak|talk) (?:as|like)|pretend|imagine|role ?play",
    r"you are (?:now|henceforth|no longer)|from now on|henceforth"
    r"|your (?:new|real|true|only) (?:task|job|goal|role|name|purpose|instructions?)"
    rf"|{_some(6)}(?:that you|you (?:must|will|shall|have to|need to)) {_some(2)}(?:{_TELL}|act"
    r"|behave|pretend|obey|ignore|refuse|comply|cite)",
    r"cite|refuse|decline|obey|comply|follow (?:these|this|my) (?:instructions?|orders?)",
    r"(?:do not|don t|never) (?:answer|cite|mention|reveal|tell|say|use|reply|respond|follow"
    r"|disclose|quote|discuss|give)",
    r"antworte|antworten sie|schreib\w*|sage?|sagen sie|gib|geben sie|du bist|tu so|ab (?:jetzt"
    r"|sofort)|von nun an|beende\w*|nenne\w*",
    r"repon[dz]\w*|ecri[sv]\w*|dis|dites|tu es|vous etes|desormais|a partir de maintenant"
    r"|termine[zr]?|affiche[zr]?|cite[zr]?",
    r"respond[ea]n?|escrib[ea]n?|di|diga|eres|a partir de ahora|desde ahora|ahora eres|termin[ea]"
    r"|muestr[ea]|cit[ea]",
    r"rispond[ia]|scriv[ia]|d ora in poi|da ora in poi|sei ora|responda|escreva"
    r"|a partir de agora|agora|antwoord|schrijf|vanaf nu|odpowiedz|odpowiadaj|svara?"
    r"|отвечаи|ответь|напиши",
    r"(?:请|請|只|并|並)*(?:回答|回复|回覆|输出|说)\w*",
)

# To whom, or for which questions: a sentence that tells people to do something lacks this.
_CONTEXTS = (
    rf"(?:to|attention|dear|hey|hello|as|be|any|the|you are|all) (?:an? |the |all |any )?{_some(1)}"
    rf"{_AI}",
    rf"(?:to|for) (?:every|any|all|each|whatever) {_some(2)}questions?"
    rf"|(?:whatever|regardless of|no matter what|independent of) {_some(4)}"
    r"(?:asks?|asked|questions?|quer(?:y|ies)|documents?|passages?|sources?)",
    r"the (?:end )?user (?:asks?|that|to|s (?:question|query|request))",
    r"(?:system|secret|hidden|developer) (?:instructions?|prompts?|messages?|overrides?"
    r"|directives?)",
    rf"(?:only|exactly|nothing (?:else|but)|verbatim|always|solely|exclusively) {_some(4)}"
    r"(?:word|phrase|string|sentence|text|following|json|base ?64)",
    r"(?:nur|ausschliesslich|immer|stets) (?:noch )?(?:mit|das wort|den satz)"
    r"|auf (?:jede|alle) fragen?",
    r"(?:uniquement|seulement|toujours|exclusivement) (?:par|avec|le mot)"
    r"|a (?:toute|chaque|toutes les) questions?|le mot",
    r"(?:solo|solamente|unicamente|siempre|exclusivamente|apenas|somente|sempre|soltanto) "
    r"(?:con|com|la palabra|a palavra|la parola)|a (?:cualquier|toda|todas las) preguntas?",
    r"(?:alleen|uitsluitend|altijd) met|(?:tylko|zawsze) \w+|(?:только|всегда) \w+",
)

# The label of a turn in a conversation, which a document imitates; prose does not hold it. A
# sentence after such a label is an instruction if it wants something done.
_TURN = re.compile(
    r"<\|(?:im_start|start_header_id|start|header_start)\|>\s*(?:system|user|assistant|developer)"
    r"|<start_of_turn>|\[/?inst\]|<<sys>>|<\|(?:system|user|assistant)\|>"
    r"|^[\s>*#\[(<_/!-]*(?:new|system|admin(?:istrator)?|assistant|developer|ai|llm) (?:message"
    r"|prompt|instructions?|orders?|override)[\])>*_]*\s*[:>=]"
    r"|^[\s>*-]*#{2,} *(?:instruction|response):",
    re.IGNORECASE,
)
# The same, in words.
_CALLS = (
    rf"^(?:attention|note|notice|message|memo|instructions?|information|hint|warning) (?:for |to )?"
    rf"(?:the |any |all |an? )?{_some(1)}{_AI}",
    rf"^if you are (?:an? )?{_some(2)}{_AI}",
    r"^your (?:new|real|true|only) (?:task|job|goal|role|purpose|instructions?)",
    rf"^{_some(4)}your (?:system|initial|hidden|secret|original) (?:prompts?|instructions?)",
    r"your (?:previous |earlier |prior )?(?:instructions|guidelines|orders|prompt|programming) "
    r"(?:is|are|was|were|has|have) (?:now )?(?:been )?(?:changed|superseded|replaced|cancelled"
    r"|revoked|void|over|overridden|updated|obsolete|suspended)",
    rf"(?:everything|all|anything) (?:above|before this|so far) (?:is|was) {_some(2)}(?:a test|void"
    r"|false|wrong|outdated|a joke|not real)",
)
_SPEAKER = re.compile(
    r"^[\s>*#\[(<_/!-]*(?:system|assistant|developer|admin(?:istrator)?|user|human|ai)"
    r"[\])>*_]*\s*[:>=]|^(?:(?:dear|hey|hello|hi) )?(?:ai|llm|assistant|chatbot|gpt)\s*[,!]",
    re.IGNORECASE,
)
_LEAD_IN = (
    r"(?:(?:and|then|please|always|just|instead|now|kindly|simply|only|immediately|also|but|so"
    r"|und|dann|bitte|stattdessen|nur|et|puis|y|e|en|och|i|и) )*"
)
_ENCODED = re.compile(r"[A-Za-z0-9+/]{24,4096}={0,2}")
_SPACED = re.compile(r"(?<!\w)(?:\w[^\w\n]{1,3}){11,}\w(?!\w)")
_RUN_TOGETHER = re.compile(
    r"(?:ignore|disregard|forget)\w{0,20}?(?:previous|above|prior|earlier|your|all)\w{0,20}?"
    r"(?:instruction|prompt|rule|context|text)"
)
_NEAR = 2
# A line that begins with a small letter continues the sentence before; any other begins a new one.
_LINE_END = re.compile(r"\n(?=[^\S\n]*[^\sa-z])")
_CLAUSE_END = re.compile(r"[.:](?=\s|$)|[,;!?()\[\]{}<>\"“”„«»*#|—–]+|(?<=\s)-(?=\s)")
_NO_WORD = re.compile(r"\W+")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
# Cyrillic and Greek letters that look like Latin ones. The patterns are translated as well, so that
# the Russian ones still match.
_LOOKALIKES = str.maketrans("аеорсухіјѕԁкмтгαορνικτ", "aeopcyxijsdkmtraopvikt")


def _any(patterns: Sequence[str]) -> str:
    return f"(?:{'|'.join(patterns)})".translate(_LOOKALIKES)


# Chinese has no spaces, and so no ends of words.
_is_strong = re.compile(rf"(?:\b{_any(_STRONG)}\b)|{_any(_STRONG_CHINESE)}").search
_directs = re.compile(rf"{_any([_LEAD_IN])}(?:{_any(_DIRECTIVES)}\b)").match
_calls = re.compile(rf"{_any(_CALLS)}\b").search
_has_context = re.compile(rf"\b{_any(_CONTEXTS)}\b").search


@dataclass(slots=True)
class _Unit:
    """A sentence, a line or a comment, `text[start:end]`, with what its wording shows."""

    start: int
    end: int
    paragraph: int
    labels: bool
    directs: bool
    half: bool
    instructs: bool

    @classmethod
    def of(cls, text: str, start: int, end: int, paragraph: int) -> _Unit:
        seen = _fold(text[start:end])
        words = _join_words(seen)
        labels = bool(_TURN.search(seen) or _calls(words))
        directs = any(_directs(_join_words(clause)) for clause in _CLAUSE_END.split(seen))
        context = bool(_has_context(words))
        instructs = (
            bool(_is_strong(words))
            or (directs and (context or labels or bool(_SPEAKER.search(seen))))
            or any(_RUN_TOGETHER.search(_join_words(run[0], "")) for run in _SPACED.finditer(seen))
            or any(_is_strong(_join_words(_fold(hint))) for hint in _decode(text[start:end]))
        )
        return cls(start, end, paragraph, labels, directs, directs or context, instructs)


def find_instructions(
    text: str, sentences: Sequence[tuple[int, int]] | None = None
) -> list[tuple[int, int]]:
    """Find the spans of `text` that give instructions to a model: sentences, lines or comments.

    A sentence does so if it wants earlier instructions dropped, one answer given in any case, the
    prompt shown and the like; or if it wants something done and also speaks of a model, its user,
    or any question. A sentence near one that does half of this does so too. `sentences` are the
    spans of all sentences of `text`, if they are known.
    """
    if sentences is None:
        sentences = split_sentences(text)
    units = [
        _Unit.of(text, start, end, number)
        for number, paragraph in enumerate(_split_paragraphs(text))
        for start, end in _split_units(text, *paragraph, sentences)
    ]
    for at, unit in enumerate(units):
        unit.instructs |= unit.directs and any(
            each.labels for each in units[max(at - _NEAR, 0) : at]
        )
    for ordered in (units, units[::-1]):
        for at, unit in enumerate(ordered):
            before = [each for each in ordered[max(at - _NEAR, 0) : at] if each.instructs]
            beside = any(each.paragraph == unit.paragraph for each in before)
            unit.instructs |= unit.half if beside else bool(before) and unit.labels
    for left, unit, right in zip(units, units[1:], units[2:], strict=False):
        unit.instructs |= left.instructs and right.instructs and left.paragraph == right.paragraph
    return [(unit.start, unit.end) for unit in units if unit.instructs]


def _split_paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans between blank lines; a comment is a paragraph of its own."""
    at = 0
    while at < len(text):
        start = text.find("<!--", at)
        end = text.find("-->", start) + 3 if start >= 0 else 2
        # Text without an end mark is no comment.
        start, end = (start, end) if end > 2 else (len(text), len(text))
        for gap in _BLANK_LINE.finditer(text, at, start):
            yield at, gap.start()
            at = gap.end()
        yield at, start
        if start < end:
            yield start, end
        at = end


def _split_units(
    text: str, start: int, end: int, sentences: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    if text.startswith("<!--", start) and text.endswith("-->", start, end):
        yield start, end
        return
    for first, last in _sentences_within(text, start, end, sentences):
        at = first
        for line in _LINE_END.finditer(text, at, last):
            yield at, line.start()
            at = line.end()
        yield at, last


def _sentences_within(
    text: str, start: int, end: int, sentences: Sequence[tuple[int, int]]
) -> Sequence[tuple[int, int]]:
    first = bisect_right(sentences, start, key=lambda span: span[1])
    found = sentences[first : bisect_left(sentences, end, key=lambda span: span[0])]
    if found and (found[0][0] < start or found[-1][1] > end):
        # A comment stands in the middle of a sentence.
        return [(start + a, start + b) for a, b in split_sentences(text[start:end])]
    return found


def _fold(text: str) -> str:
    """Remove what hides a word: invisible characters, accents, letters that look like others."""
    if text.isascii():
        return text.lower()
    return "".join(map(_fold_character, text)).translate(_LOOKALIKES)


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    # NFKC turns full-width and ornamental letters into plain ones, NFD separates accents.
    parts = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", character).casefold())
    return "".join(each for each in parts if unicodedata.category(each) not in ("Mn", "Cf"))


def _join_words(text: str, space: str = " ") -> str:
    return _NO_WORD.sub(space, text.replace("_", " ")).strip()


def _decode(text: str) -> Iterator[str]:
    for match in _ENCODED.finditer(text):
        with contextlib.suppress(ValueError):
            padded = match[0] + "=" * (-len(match[0]) % 4)
            yield base64.b64decode(padded, validate=True).decode()
