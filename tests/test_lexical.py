from __future__ import annotations

import json
import threading
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import pytest
from conftest import XQUAD
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.query import LexicalQuery, Phrase, matching_spans, parse_question, words_at
from rag.text.normalization import searchable
from rag.text.terms import analyse

LANGUAGES = ("en", "de", "fr", "es", "ru", "ar", "hi", "zh", "ja", "th", "ko", "tr", "sr", "xx", "")


def holds(words: Sequence[str], phrase: Phrase) -> bool:
    """Whether `words` hold `phrase`, place by place: the reference for what the index does."""
    return any(
        all(words[at + offset] in stems for offset, stems in enumerate(phrase))
        for at in range(len(words) - len(phrase) + 1)
    )


def finds(question: str, text: str, language: str = "en") -> bool:
    """Whether every word of `question` is found in `text`, and every phrase, and no exclusion."""
    query = parse_question(question, (language,))
    words = analyse(text, language).words
    return (
        bool(query.words)
        and all(set(stems) & set(words) for stems in query.words)
        and all(holds(words, phrase) for phrase in query.phrases)
        and not any(holds(words, phrase) for phrase in query.excluded)
    )


def plain(phrases: tuple[Phrase, ...]) -> list[str]:
    """Phrases of one language as they read, each place by its first stem."""
    return [" ".join(stems[0] for stems in phrase) for phrase in phrases]


def words_of(query: LexicalQuery) -> list[str]:
    return [stems[0] for stems in query.words]


# -- analyse: one golden example a language -------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("en", "The running dogs were NOT amused.", "the run dog were not amus"),
        ("de", "Die Häuser in der Straße", "die haus in der strass"),
        ("fr", "L’eau des cafés français", "l eau de caf franc"),
        ("es", "Las canciones del corazón", "las cancion del corazon"),
        ("ru", "В книгах о Чёрном море", "в книг о черн мор"),
        ("ar", "هذا الكِتَابُ في المكتبة", "هذا كتاب في مكتب"),
        ("hi", "किताबों में लड़कियों की कहानी", "किताब म लड़क क कहान"),
        ("th", "แมว", "แม มว"),
        ("ja", "データは", "デー ータ タは"),
        ("zz", "Running Dogs", "running dogs"),
        # Codes of languages only, not Snowball's own names.
        ("porter", "Running Dogs", "running dogs"),
        ("zz", "Mother’s-Day isn’t", "mother day isn't"),
        # Without spaces: pairs of characters, then single ones that have no place.
        ("en", "深度学习", "深度 度学 学习 深 度 学 习"),
        ("en", "猫", "猫"),
        # A Thai character and the marks on it are one.
        ("en", "ที่นี่", "ที่นี่"),
        ("en", "ទឹកត្រី", "ទឹក កត្ ត្រី"),
        ("en", "東京タワー", "東京 京タ タワ ワー 東 京"),
        ("en", "한국어 물", "한국 국어 물 한 국 어"),
        # Scripts may stand side by side.
        ("en", "PyTorch 深度 2.0", "pytorch 深度 2 0 py torch 深 度"),
        ("en", "Python语言", "python 语言 语 言"),
    ],
)
def test_words_are_stemmed_or_paired_by_language(language: str, text: str, words: str) -> None:
    assert analyse(text, language).words == tuple(words.split())


@given(st.text(alphabet="中文字水かなアイ", min_size=2, max_size=40))
def test_pairs_are_all_pairs(text: str) -> None:
    expected = tuple(a + b for a, b in pairwise(text))
    assert analyse(text, "ja").words[: len(expected)] == expected


@pytest.mark.parametrize(
    ("text", "found"),
    {
        "max_connections": ("max connect", "max_connections"),
        "max_connections=100": ("max connect 100", "max_connections=100 max_connections"),
        "CVE-2024-1234,": ("cve 2024 1234", "cve-2024-1234"),
        "foo.bar()": ("foo bar", "foo.bar"),
        "parseHTMLFile": ("parsehtmlfil pars html file", "parsehtmlfile"),
        "node.js.": ("node js", "node.js"),
        "C++, C# (F#)": ("c c f", "c++ c# f#"),
        "user@example.com": ("user exampl com", "user@example.com example.com"),
        "/etc/hosts": ("etc host", "etc/hosts"),
        "--max-old-space-size": ("max old space size", "max-old-space-size"),
        "v2.1.3": ("v2 1 3", "v2.1.3"),
        "1,234.5": ("1234 5", "1234.5"),
        "10,000": ("10000", ""),
        "1,5": ("1 5", "1,5"),
        "state-of-the-art": ("state of the art", "state-of-the-art"),
        "O'Reilly’s": ("o reilli", "o'reilly"),
        "x86_64": ("x86 64", "x86_64"),
        "std::vector": ("std vector", "std::vector"),
        "AT&T": ("at t", "at&t"),
        ".NET": ("net", ".net"),
        "#123": ("123", "#123"),
        "U.S.": ("us", "u.s"),
        "HTML5": ("html 5", "html5"),
        "5GB": ("5 gb", "5gb"),
        "x86 mp3 2nd log4j": ("x86 mp3 2nd log4j", ""),
        "IPv6": ("ipv 6", "ipv6"),
        "iPhone": ("iphon phone", "iphone"),
        "(don't!)": ("don't", ""),
        "😀 — … ¿?": ("", ""),
    }.items(),
)
def test_identifiers_are_found_whole_and_in_parts(text: str, found: tuple[str, str]) -> None:
    terms = analyse(text)
    assert (terms.words, terms.compounds) == tuple(tuple(each.split()) for each in found)


def test_parts_of_camel_case_follow_the_text_each_once() -> None:
    words = analyse("Use GitHub, then GitHub and a hub").words
    assert words == ("use", "github", "then", "github", "and", "a", "hub", "git")


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("connections", "set max_connections"),
        ("github", "on GitHub"),
        ("GitHub", "on github"),
        ("hub", "on GitHub"),
        ("array list", "an ArrayList"),
        ("GPU", "two GPUs"),
        ("GPUs", "the GPU or the GPUs"),
        ("html 5", "HTML5"),
        ("utf8", "in UTF-8"),
        ("sha-256", "SHA256"),
        ("1234", "costs 1,234"),
        ("US", "the U.S. army"),
        ("Einstein", "Einstein's theory"),
        ("einstein's", "by Einstein"),
        ("don’t-care", "don't care"),
        ("2024", "سنة ٢٠٢٤"),
        ("كتاب", "كِتَابٌ"),
        ("cafe", "the café"),
        ("café", "the cafe"),
        ("Zurich", "nach Zürich"),
        ("ＦＵＬＬ", "full"),
        ("İstanbul", "istanbul"),
        ("Lodz Tromso", "Łódź, Tromsø"),
        ("猫", "黒猫が"),
        ("물", "물을"),
        ("елка", "ёлка"),
        ("नदी", "नदी"),
    ],
)
def test_what_is_written_differently_is_found(question: str, text: str) -> None:
    assert finds(question, text)


@pytest.mark.parametrize(
    ("language", "accented"),
    [
        ("fr", "mangées généralement étudiées célébrité"),
        ("es", "habló canción rápidamente estábamos"),
        ("pt", "nações situação difícil falávamos"),
        ("it", "città libertà perché andrò"),
        ("pl", "książkę żółty pięćdziesiąt"),
        ("el", "ελληνικός άνθρωπος"),
        ("hu", "házakból könyvekért"),
        ("de", "Häuser größer schöne"),
    ],
)
def test_accents_may_be_left_out_on_either_side(language: str, accented: str) -> None:
    marks = unicodedata.normalize("NFD", accented)
    bare = "".join(c for c in marks if not unicodedata.combining(c)).replace("ł", "l")
    assert bare != accented
    for word, without in zip(accented.split(), bare.split(), strict=True):
        assert finds(without, word, language), word
        assert finds(word, without, language), word


def test_marks_that_carry_meaning_stay() -> None:
    assert not finds("कमल", "कोमल", "xx")
    assert not finds("ป่า", "ป้า", "th")
    assert not finds("край", "краи", "xx")


def test_words_that_differ_are_not_found() -> None:
    assert not finds("java", "javelin")
    assert not finds("JavaScript", "Java")
    assert not finds("學", "字")


# -- parse_question -------------------------------------------------------------------------------


def test_a_question_has_words_without_stop_words() -> None:
    query = parse_question("What is the height of the tallest trees, and of trees?")
    assert query == LexicalQuery(
        words=(("height",), ("tallest",), ("tree",)),
        compounds=(),
        phrases=(),
        excluded=(),
        text="What is the height of the tallest trees, and of trees?",
    )


@pytest.mark.parametrize(
    ("language", "question", "words"),
    [
        ("de", "Welche Häuser gibt es in der Stadt?", "haus gibt stadt"),
        ("fr", "Quelle est la capitale de l'Italie ?", "capital ital"),
        ("es", "¿Cuál es la capital de Perú?", "capital peru"),
        ("it", "Dove si trova la città dell'arte?", "trov citt arte"),
        ("pt", "Qual é a capital do Brasil?", "capital brasil"),
        ("nl", "Wat is de hoofdstad van Frankrijk?", "hoofdstad frankrijk"),
        ("ru", "Какая столица у Франции?", "столиц франц"),
        ("sv", "Vad är huvudstaden i Frankrike?", "huvudstad frankrik"),
        ("da", "Hvad er hovedstaden i Frankrig?", "hovedstad frankr"),
        ("nb", "Hva er hovedstaden?", "hva er hovedstad"),
        ("no", "Hva er hovedstaden?", "hovedstad"),
        ("pl", "Jaka jest stolica?", "stolic"),
        ("ar", "ما هي عاصمة مصر", "عاصم مصر"),
        ("hi", "फ्रांस की राजधानी क्या है", "फ्रांस राजधान"),
        ("ko", "수도는", "수도 도는"),
        ("xx", "What is the capital", "what is the capital"),
    ],
)
def test_questions_in_other_languages(language: str, question: str, words: str) -> None:
    assert words_of(parse_question(question, (language,))) == words.split()


def test_stop_words_stay_where_nothing_else_is() -> None:
    assert words_of(parse_question("To be or not to be?")) == ["to", "be", "or", "not"]
    assert words_of(parse_question('"to be or not" is Hamlet')) == ["hamlet"]


def test_an_acronym_is_no_stop_word() -> None:
    assert words_of(parse_question("Who leads WHO in the US?")) == ["lead", "who", "us"]
    assert words_of(parse_question("WHO IS THE KING?")) == ["king"]


def test_stop_words_are_those_of_the_language_of_the_question() -> None:
    languages = ("en", "de")
    assert words_of(parse_question("Why did they die at war?", languages)) == ["die", "war"]
    assert words_of(parse_question("Wer ist der König von Bayern?", languages)) == [
        "konig",
        "bayern",
    ]


def test_a_word_has_its_stems_in_each_language() -> None:
    # -ing is an ending to Porter2 and none to the German stemmer.
    assert parse_question("going", ("en", "de", "en")).words == (("go", "going"),)
    assert parse_question("dogs", ()).words == (("dogs",),)


def test_an_identifier_is_asked_for_whole_and_in_words() -> None:
    query = parse_question("raise max_connections in parseFile of JavaScript")
    assert query.compounds == ("max_connections", "parsefile", "javascript")
    assert words_of(query) == [
        *("rais", "max", "connect", "parsefil", "pars", "file", "javascript")
    ]
    assert parse_question("foo.bar()").compounds == parse_question("foo.bar").compounds


@pytest.mark.parametrize(
    ("question", "phrases", "text"),
    [
        ('"black dogs" bark', ["black dog"], "black dogs bark"),
        ("who said “to be or not”?", ["to be or not"], "who said to be or not?"),
        ("„schwarze Hunde“ bellen", ["schwarz hund"], "schwarze Hunde bellen"),
        ("qui dit « je suis » ?", ["je suis"], "qui dit je suis ?"),
        ('»eins« ("zwei drei")', ["ein", "zwei drei"], "eins (zwei drei)"),
        ('"one" "one" “two”', ["one", "two"], "one one two"),
        ('"state of the art"', ["state of the art"], "state of the art"),
        ('"学习"', ["学习"], "学习"),
        ('a "b c" and "d', ["b c"], 'a b c and "d'),
        ('5" by 7" "black frame"', ["black frame"], '5" by 7" black frame'),
        ('"tar -overwrite file" fails', ["tar overwrit file"], "tar -overwrite file fails"),
    ],
)
def test_balanced_quotation_marks_make_phrases(
    question: str, phrases: list[str], text: str
) -> None:
    language = "de" if "„" in question or "»" in question else "fr" if "«" in question else "en"
    query = parse_question(question, (language,))
    assert plain(query.phrases) == phrases
    assert query.text == text
    assert query.excluded == ()


@pytest.mark.parametrize(
    "question",
    [
        '"',
        '""',
        '" "',
        '"…"',
        'a "lone mark',
        '""doubled""',
        '5" pipe and 7" pipe',
        '{"error": "connection refused"}',
        'level=info msg="connection refused" "x y"',
        r'say \"no\" "x y"',
        'a AND (b OR "c',
        'print("hello world")',
        '"one"/"two" "C"++ "a".b',
        "“open",
        "« open",
        "it's 'single'",
        "foo:* NEAR/3 ^2 ~ [a TO b] +x",
    ],
)
def test_other_quotation_marks_are_text(question: str) -> None:
    query = parse_question(question)
    assert query.phrases == query.excluded == ()
    assert query.text == searchable(question).strip()


@pytest.mark.parametrize(
    ("question", "excluded", "text"),
    [
        ("jaguar -car", ["car"], "jaguar"),
        ("-car jaguar", ["car"], "jaguar"),
        ("jaguar -cars, -trucks speed", ["car", "truck"], "jaguar, speed"),
        ("jaguar -BMW", ["bmw"], "jaguar"),
        ('jaguar -"car park" speed', ["car park"], "jaguar speed"),
        ('jaguar -"x" -“C++”', ["x", "c"], "jaguar"),
        ('"big cat" -"big dog"', ["big dog"], "big cat"),
        ("cat -猫", ["猫"], "cat"),
        ("кошка -собака", ["собака"], "кошка"),
        ("Zürich -Äpfel", ["apfel"], "Zürich"),
    ],
)
def test_a_minus_excludes(question: str, excluded: list[str], text: str) -> None:
    query = parse_question(question)
    assert plain(query.excluded) == excluded
    assert query.text == text
    assert not {stem for word in query.words for stem in word} & {"car", "park", "truck", "bmw"}


@pytest.mark.parametrize(
    "question",
    [
        "-",
        "-5 degrees",
        "- item",
        "a - b",
        "well-known",
        "foo -5",
        "foo -x",
        "foo -ai",
        "foo -bar_baz",
        "foo -bar2",
        "he came -finally- home",
        "-foo",
        "-foo -bar",
        '-"foo bar"',
        "tar -xzf file",
        "ls -la",
        "grep --color foo -bar",
        "java -jar app.jar",
        "find . -name foo",
        "find /etc -name foo",
        "cat ~/notes | grep -invert foo",
        "$ rm -recursive foo",
        "gcc -o main main.c -Wall",
        "buy\n-apples\n-pears",
        '{"a": 1} -foo',
        "foo — bar",
        "foo -bar:baz",
    ],
)
def test_a_minus_that_is_text(question: str) -> None:
    query = parse_question(question)
    assert query.excluded == ()
    assert query.text == question.strip()
    asked = {stem for word in query.words for stem in word}
    assert asked >= {word for word in ("foo", "bar", "jar", "name", "xzf", "wall") if word in
                     question.casefold().replace("-", " ").split()}  # fmt: skip


def test_an_excluded_word_is_not_found() -> None:
    assert finds("jaguar -car", "The jaguar sleeps.")
    assert not finds("jaguar -car", "The jaguar is one of many cars.")
    assert finds('jaguar -"fast car"', "A fast jaguar, a car.")
    assert not finds('jaguar -"fast car"', "The jaguar, a fast car.")


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    ["", " ", "\0", "\ud800", "\U00011f50", "a\0b", "😀", "\u0301", "ـ", "﷽", "\x1c", "a" * 100_000]
    + [
        sign * 50_000
        for sign in ("a-", ' "', '"a" ', "“a ", "-abc ", "a/", "1,22", "深", "a\u0301")
    ],
    ids=lambda question: ascii(question[:8]),
)
def test_any_text_is_a_question(question: str) -> None:
    query = parse_question(question, LANGUAGES)
    for term in (*query.compounds, *(stem for word in query.words for stem in word)):
        assert 0 < len(term) <= 600
        assert not any(character.isspace() for character in term)
    matching_words(question[:2_000], query)


# -- what matches ---------------------------------------------------------------------------------


def matching_words(text: str, query: LexicalQuery, language: str = "en") -> tuple[str, ...]:
    return words_at(text, matching_spans(text, query, language))


def test_spans_point_into_the_text_as_it_was_given() -> None:
    text = "Two\u00ad fold: the ﬁne\u00adtuning of ﬁles, re\u0301sume\u0301s… tuning"
    query = parse_question("finetuning files résumés")
    spans = matching_spans(text, query)
    assert [text[start:end] for start, end in spans] == [
        "ﬁne\u00adtuning",
        "ﬁles",
        "re\u0301sume\u0301s",
    ]


def test_matching_words_are_shown_as_they_are_written() -> None:
    text = (
        "Set MAX_CONNECTIONS for the GPUs.\nBlack\ndogs, a Café, "
        "pytorch 我爱深度学习很多, black gpus"
    )
    query = parse_question('gpu max_connections cafe PyTorch 深度学习 "black dog"')
    assert matching_words(text, query) == (
        *("MAX_CONNECTIONS", "GPUs", "Black dogs", "Café", "pytorch", "深度学习", "black"),
    )


def test_matching_words_are_shown_once_and_apart() -> None:
    query = parse_question("pytorch 深度")
    assert matching_words("PyTorch深度, PYTORCH, pytorch", query) == ("PyTorch", "深度")


def test_a_phrase_of_stop_words_is_shown_where_it_stands() -> None:
    query = parse_question('hamlet "not to be"')
    assert matching_words("To be, or not to be: to", query) == ("not to be",)


def test_nothing_matches_nothing() -> None:
    assert matching_words("some text", parse_question("")) == ()
    assert matching_words("", parse_question("some text")) == ()
    assert matching_words("other things", parse_question("some text")) == ()


# -- laws -----------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="aB1é_-.'’\" :/@+#=,深ก한א\u0301\u200dİßς", max_size=60),
    st.lists(
        st.sampled_from(
            [
                *(
                    "parseHTMLFile",
                    "GPUs",
                    "don't",
                    "O’Reilly's",
                    "1,234.5",
                    "café",
                    "mangées",
                    "the",
                ),
                *("深度学习", "한국어", "-car", '"black', 'dogs"', "C++", "ที่นี่", "/etc/hosts", "IT"),
                *("Straße", "ελληνικός", "किताबों", "المكتبةِ", "--x", "«", "»", "ﬁle", "２", "U.S."),
            ]
        ),
        max_size=12,
    ).map(" ".join),
)
CODES = st.sampled_from(LANGUAGES)


@given(TEXTS, CODES)
def test_terms_are_clean_and_normalisation_changes_nothing(text: str, language: str) -> None:
    terms = analyse(text, language)
    for term in (*terms.words, *terms.compounds):
        assert term
        assert not any(character.isspace() for character in term)
    assert analyse(searchable(text), language) == terms


@given(TEXTS, TEXTS, CODES)
def test_a_text_is_read_stretch_by_stretch(first: str, second: str, language: str) -> None:
    both = analyse(f"{first}\n{second}", language)
    assert set(both.words) == {*analyse(first, language).words, *analyse(second, language).words}
    expected = (*analyse(first, language).compounds, *analyse(second, language).compounds)
    assert both.compounds == expected


@given(TEXTS, st.lists(CODES, max_size=3))
def test_questions_never_fail(text: str, languages: list[str]) -> None:
    query = parse_question(text, languages)
    assert len(set(query.words)) == len(query.words)
    assert all(query.words) and all(query.phrases) and all(query.excluded)
    assert query.text == searchable(query.text).strip()
    if not query.phrases and not query.excluded:
        assert query.text == searchable(text).strip()
    # What has words has words to look for, whatever its syntax.
    assert bool(query.words) == bool(analyse(text, "xx").words)


@given(TEXTS, CODES, st.data())
@settings(max_examples=300)
def test_a_word_of_a_passage_finds_it(text: str, language: str, data: st.DataObject) -> None:
    text = searchable(text)
    if not text.split():
        return
    terms = analyse(text, language)
    query = parse_question(data.draw(st.sampled_from(text.split())), (language,))
    assert {stems[0] for stems in query.words} <= set(terms.words)
    assert set(query.compounds) <= set(terms.compounds)
    assert all(holds(terms.words, phrase) for phrase in query.phrases)
    assert bool(matching_words(text, query, language)) == bool(query.words)


@given(TEXTS, CODES, st.data())
@settings(max_examples=300)
def test_a_quoted_part_of_a_passage_is_a_phrase_of_it(
    text: str, language: str, data: st.DataObject
) -> None:
    stretches = "".join(c for c in searchable(text) if c not in '"“”„«»={}[]\\:').split()
    start = data.draw(st.integers(0, len(stretches)))
    end = data.draw(st.integers(start, len(stretches)))
    part = " ".join(stretches[start:end])
    words = analyse(" ".join(stretches), language).words
    for quoted in (f'"{part}"', f"“{part}”", f"«{part}»"):
        query = parse_question(quoted, ("en", language))
        assert bool(query.phrases) == bool(analyse(part, "xx").words)
        assert all(holds(words, phrase) for phrase in query.phrases)
        excluding = parse_question(f"qqq -{quoted}", ("en", language))
        assert excluding.excluded in (query.phrases, ())


@given(TEXTS, TEXTS, CODES)
def test_matching_words_agree_with_the_terms(text: str, question: str, language: str) -> None:
    query = parse_question(question, (language,))
    shown = matching_words(text, query, language)
    terms = analyse(text, language)
    wanted = {stem for word in query.words for stem in word}
    found = (
        bool(wanted & set(terms.words))
        or bool(set(query.compounds) & set(terms.compounds))
        or any(holds(terms.words, phrase) for phrase in query.phrases)
    )
    assert bool(shown) == found
    assert len({word.casefold() for word in shown}) == len(shown)
    flat = " ".join(searchable(text).split())
    assert all(word in flat for word in shown)


@pytest.mark.slow
def test_threads_may_share_the_stemmers() -> None:
    texts = [f"running{i} houses{i} généralement{i} cats" for i in range(3_000)]
    alone = [analyse(text, "fr") for text in texts]
    from rag.text import terms

    terms._terms_of.cache_clear()
    terms.stems.cache_clear()
    results: dict[int, list[object]] = {}

    def work(number: int) -> None:
        results[number] = [analyse(text, "fr") for text in texts]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[number] == alone for number in range(4))


@pytest.mark.parametrize("language", ["en", "de", "es", "ru", "ar", "hi"])
def test_real_questions_lose_stop_words_and_nothing_is_syntax(language: str) -> None:
    path = XQUAD / ("queries.jsonl" if language == "en" else f"queries.{language}.jsonl")
    questions = [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]
    shorter = 0
    for question in questions:
        query = parse_question(question, (language,))
        assert query.words
        assert not query.excluded
        shorter += len(query.words) < len(set(analyse(question, language).words))
    assert shorter >= 0.95 * len(questions)
