"""Training files -> pairs: statements made of questions, sentences changed, and templates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rag.text.sentences import split_sentences
from rag.text.words import content_words
from rag.training.entailment import changing, synthetic
from rag.training.entailment.pairs import LABELS, Label, Pair
from rag.training.entailment.statements import Statement, state
from rag.training.reader.examples import Row, is_held_out, join_sentences, read_judged, read_rows
from rag.training.reader.makers import HELD_OUT
from rag.training.reader.perturbing import Names, names_of

ENTAILED, NEUTRAL, CONTRADICTED = LABELS
Maker = Callable[[Path, Random, dict[str, Any]], list[Pair]]

# The share of premises before which the title of their document stands.
_TITLED = 0.3
_SHORTEST, _LONGEST = 5, 45
_YEAR = re.compile(r"\b(?:1\d|20)\d\d\b")
_NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?\b")
_NEGATION = re.compile(r"\b(?:not|never|no|without|except)\b|n't\b")


@dataclass(frozen=True, slots=True)
class Article:
    """A document of a training file: its title (empty if unknown) and its passages' sentences."""

    title: str
    passages: Sequence[Sequence[str]]

    @property
    def sentences(self) -> list[str]:
        """All sentences, in order."""
        return [sentence for passage in self.passages for sentence in passage]


def make_statements(data: Path, rng: Random, options: dict[str, Any]) -> list[Pair]:
    """Make pairs of questions with their answers, turned into statements.

    Options: `file` (of rows) or `folder` (of a corpus with queries), `count` of pairs, `held_out`
    (whether documents are those that are kept to calibrate by).
    """
    rows = _rows(data, options)
    articles = _articles(rows)
    names = Names([sentence for each in articles.values() for sentence in each.sentences])
    others: dict[str, list[str]] = {}
    stated: list[tuple[Row, Statement]] = []
    for row in rows:
        start, end = row.answers[0]
        statement = state(row.question, row.context[start:end])
        if statement is not None:
            stated.append((row, statement))
            others.setdefault(row.context, []).append(statement.value)
    pairs: list[Pair] = []
    while stated and len(pairs) < options["count"]:
        for row, statement in rng.sample(stated, len(stated)):
            pair = _of_statement(row, statement, articles[row.document], names, others, rng)
            if pair is not None:
                pairs.append(pair)
    return pairs[: options["count"]]


def make_near_misses(data: Path, rng: Random, options: dict[str, Any]) -> list[Pair]:
    """Make neutral pairs of questions that people wrote so that their paragraph only seems to tell.

    Options: `folder`, `count`, `held_out`.
    """
    folder = data / options["folder"]
    corpus = {row["_id"]: row for row in _lines(folder / "corpus.jsonl")}
    pairs = []
    queries = list(_lines(folder / "queries.jsonl"))
    for query in rng.sample(queries, len(queries)):
        paragraph = corpus[query["near"]]
        text = paragraph["text"]
        if query["answerable"] or _NEGATION.search(query["text"]):
            continue
        if is_held_out(paragraph["title"], HELD_OUT) != options.get("held_out", False):
            continue
        spans = [*names_of(text), *_YEAR.findall(text)]
        rng.shuffle(spans)
        made = [each for span in spans[:6] if (each := state(query["text"], span)) is not None]
        if made and len(pairs) < options["count"]:
            premise = _titled(paragraph["title"], _window(text, made[0].value, rng), rng)
            pairs.append(Pair(premise, made[0].text, NEUTRAL, "near miss"))
    return pairs


def make_sentences(data: Path, rng: Random, options: dict[str, Any]) -> list[Pair]:
    """Make pairs of the sentences of documents, as they are and changed.

    Options: `file` or `folder`, `count`, `held_out`.
    """
    articles = list(_articles(_rows(data, options), data, options).values())
    names = Names([sentence for each in articles for sentence in each.sentences])
    places = [
        (article, passage, at)
        for article in articles
        for passage in article.passages
        for at, sentence in enumerate(passage)
        if _SHORTEST <= len(sentence.split()) <= _LONGEST
    ]
    pairs: list[Pair] = []
    while places and len(pairs) < options["count"]:
        for article, passage, at in rng.sample(places, len(places)):
            pair = _of_sentence(article, passage, at, names, rng)
            if pair is not None:
                pairs.append(pair)
    return pairs[: options["count"]]


def make_synthetic(data: Path, rng: Random, options: dict[str, Any]) -> list[Pair]:
    """Make pairs by template. Options: `count`."""
    del data
    return synthetic.make(rng, options["count"])


MAKERS: dict[str, Maker] = {
    "statements": make_statements,
    "near_misses": make_near_misses,
    "sentences": make_sentences,
    "synthetic": make_synthetic,
}


def _of_statement(
    row: Row,
    statement: Statement,
    article: Article,
    names: Names,
    others: dict[str, list[str]],
    rng: Random,
) -> Pair | None:
    """One pair of a statement; None where what was drawn does not fit."""
    start, end = row.answers[0]
    premise = _titled(article.title, _around(row, article, rng), rng)
    drawn = rng.random()
    if drawn < 0.36:
        claim = statement.text
        if rng.random() < 0.3:
            claim = changing.reword(claim, rng) or claim
        return Pair(premise, claim, ENTAILED, "statement")
    if drawn < 0.62 and statement.unique:
        value = _wrong_value(row, statement.value, others[row.context], names, rng)
        if value is not None and value.casefold() not in row.context[start:end].casefold():
            return Pair(premise, statement.with_value(value), CONTRADICTED, "wrong value")
        return None
    if drawn < 0.72:
        # The value that is asked for stays as it is: all else may turn.
        change = rng.choice([changing.negate, changing.negate, changing.oppose])
        made = change(statement.text, rng)
        if made is not None and statement.value in made and made != statement.text:
            return Pair(premise, made, CONTRADICTED, "statement changed")
        return None
    if drawn < 0.86:
        silent = _without(row, article, rng)
        if silent is None:
            return None
        claim = statement.text
        if statement.unique and rng.random() < 0.4:
            value = _wrong_value(row, statement.value, others[row.context], names, rng)
            claim = statement.with_value(value) if value else claim
        return Pair(_titled(article.title, silent, rng), claim, NEUTRAL, "sentence taken out")
    if drawn < 0.96:
        claim_of_another = _of_another(statement, row, names, rng)
        return claim_of_another and Pair(premise, claim_of_another, NEUTRAL, "another thing")
    longer = changing.lengthen(statement.text, rng)
    return longer and Pair(premise, longer, NEUTRAL, "more than told")


def _of_sentence(
    article: Article, passage: Sequence[str], at: int, names: Names, rng: Random
) -> Pair | None:
    """One pair of a sentence; None where what was drawn does not fit."""
    sentence = passage[at]
    drawn = rng.random()

    def premise(changed: str = sentence) -> str:
        before, after = rng.choice([0, 0, 0, 1, 1, 2]), rng.choice([0, 0, 0, 1, 1, 2])
        around = [*passage[max(0, at - before) : at], changed, *passage[at + 1 : at + 1 + after]]
        return _titled(article.title, join_sentences(around), rng)

    def pair(claim: str | None, label: Label, kind: str, changed: str = sentence) -> Pair | None:
        return Pair(premise(changed), claim, label, kind) if claim else None

    if drawn < 0.12:
        return pair(sentence, ENTAILED, "verbatim")
    if drawn < 0.32:
        way = rng.choice([changing.shorten, changing.shorten, changing.reword, changing.turn_passive])
        made = way(sentence, rng)
        return pair(made, ENTAILED, "part" if way is changing.shorten else "reworded")
    if drawn < 0.66:
        base = sentence
        if rng.random() < 0.4:
            base = changing.shorten(sentence, rng) or sentence
        made = changing.contradict(base, rng)
        if made is None:
            return None
        turn = rng.random()
        if turn < 0.55:
            return pair(made, CONTRADICTED, "changed")
        if turn < 0.78:
            return pair(base, CONTRADICTED, "changed", made)
        return pair(changing.reword(made, rng) or made, ENTAILED, "both changed", made)
    if drawn < 0.69:
        made = changing.swap_last_name(sentence, rng, [names.other(sentence, rng)])
        return pair(made, CONTRADICTED, "another place")
    if drawn < 0.75:
        others = [each for each in names_of(" ".join(article.sentences)) if each not in sentence]
        made = changing.swap_subject(sentence, rng, others[:20] or [names.other(sentence, rng)])
        return pair(made, NEUTRAL, "another thing")
    if drawn < 0.81:
        return pair(changing.lengthen(sentence, rng), NEUTRAL, "more than told")
    mates = [each for each in article.sentences if each not in {*passage[max(0, at - 2) : at + 3]}]
    if not mates:
        return None
    if drawn < 0.86:
        # What a sentence says, or its contrary, is not told by others of its article.
        made = changing.contradict(sentence, rng) or sentence
        other = rng.choice(mates)
        return Pair(_titled(article.title, other, rng), made, NEUTRAL, "another sentence")
    words = content_words(sentence)
    near = max(
        rng.sample(mates, min(len(mates), 30)),
        key=lambda each: len(words & content_words(each)) / (4 + len(content_words(each))),
    )
    if len(words & content_words(near)) > 0.6 * len(content_words(near)):
        return None
    return pair(near, NEUTRAL, "near by words") if len(near.split()) >= _SHORTEST else None


def _rows(data: Path, options: dict[str, Any]) -> list[Row]:
    """The rows of the documents that are learnt from, or of those that are held out."""
    rows = read_judged(data / options["folder"]) if "folder" in options else read_rows(
        data / options["file"]
    )  # fmt: skip
    held_out = options.get("held_out", False)
    return [row for row in rows if row.answers and is_held_out(row.document, HELD_OUT) == held_out]


def _articles(
    rows: Sequence[Row], data: Path | None = None, options: dict[str, Any] | None = None
) -> dict[str, Article]:
    """The documents of rows; contexts that are one sentence become passages of an article."""
    contexts: dict[str, list[str]] = {}
    for row in rows:
        known = contexts.setdefault(row.document, [])
        if row.context not in known:
            known.append(row.context)
    if data is not None and options is not None and "folder" in options:
        for each in _lines(data / options["folder"] / "corpus.jsonl"):
            if each["title"] in contexts and each["text"] not in contexts[each["title"]]:
                contexts[each["title"]].append(each["text"])
    articles = {}
    for document, texts in contexts.items():
        cut = [_sentences(text) for text in texts]
        if all(len(sentences) == 1 for sentences in cut):
            # Sentences of one article, in its order.
            alone = [sentences[0] for sentences in cut]
            cut = [alone[at : at + 4] for at in range(0, len(alone), 4)]
            articles[document] = Article("", cut)
        else:
            articles[document] = Article(_title(document), cut)
    return articles


def _title(document: str) -> str:
    """The document's name, where it is one that a person would give."""
    return "" if re.search(r"[_/\\]|\.\w{2,4}$|^\d+$", document) else document


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)] or [text]


def _titled(title: str, text: str, rng: Random) -> str:
    return f"{title}: {text}" if title and rng.random() < _TITLED else text


def _window(text: str, held: str, rng: Random) -> str:
    """Up to five sentences of a text around the one that holds a value."""
    sentences = _sentences(text)
    at = next((at for at, each in enumerate(sentences) if held in each), 0)
    first = max(0, at - rng.randint(0, 2))
    return join_sentences(sentences[first : at + rng.randint(1, 3)])


def _around(row: Row, article: Article, rng: Random) -> str:
    """The sentence that answers, alone or among its neighbours."""
    start, end = row.answers[0]
    spans = split_sentences(row.context)
    if len(spans) <= 1:
        for passage in article.passages:
            if row.context in passage:
                at = passage.index(row.context)
                return join_sentences(
                    passage[max(0, at - rng.choice([0, 0, 1, 2])) : at + rng.choice([1, 1, 2, 3])]
                )
        return row.context
    touched = [at for at, (low, high) in enumerate(spans) if low < end and start < high] or [0]
    # Pronouns of the sentence stand for what the one before names.
    first = max(0, touched[0] - rng.choice([0, 1, 1, 2]))
    last = min(len(spans) - 1, touched[-1] + rng.choice([0, 0, 1]))
    return row.context[spans[first][0] : spans[last][1]]


def _without(row: Row, article: Article, rng: Random) -> str | None:
    """Sentences of the same article, near by words, that do not hold the answer."""
    start, end = row.answers[0]
    answer = row.context[start:end].casefold()
    asked = content_words(row.question)
    passages = [
        passage
        for passage in article.passages
        if row.context not in passage and answer not in " ".join(passage).casefold()
    ]
    left = [
        row.context[low:high]
        for low, high in split_sentences(row.context)
        if not any(low < last and first < high for first, last in row.answers)
    ]
    left = [each for each in left if answer not in each.casefold()]
    if left and len(asked & content_words(" ".join(left))) < len(asked):
        passages.append(left)
    if not passages:
        return None
    chosen = max(
        rng.sample(passages, min(6, len(passages))),
        key=lambda each: len(asked & content_words(" ".join(each))),
    )
    first = rng.randrange(len(chosen))
    return join_sentences(chosen[first : first + rng.randint(1, 3)])


def _wrong_value(
    row: Row, value: str, others: Sequence[str], names: Names, rng: Random
) -> str | None:
    """Another value of the same kind, from the same passage where there is one."""
    numbers = _NUMBER.findall(value)
    if numbers:
        kind = _YEAR if _YEAR.fullmatch(numbers[-1]) else _NUMBER
        near = [
            each
            for each in kind.findall(row.context)
            if each not in numbers and (kind is _YEAR or not _YEAR.fullmatch(each))
        ]
        if near and rng.random() < 0.5:
            return value.replace(numbers[-1], rng.choice(near))
        changes = [changing.change_number, changing.change_date_name, changing.change_unit]
        for change in rng.sample(changes, 3):
            made = change(value, rng)
            if made is not None:
                return made
        return None
    made = changing.change_number(value, rng) or changing.change_date_name(f" {value}", rng)
    if made is not None:
        return made.strip()
    words = content_words(value)
    if names_of(f"in {value}"):
        near = [each for each in names_of(row.context) if not content_words(each) & words]
        return rng.choice(near) if near and rng.random() < 0.6 else names.other(value, rng)
    size = len(value.split())
    near = [
        each
        for each in others
        if not content_words(each) & words and abs(len(each.split()) - size) <= 1
        and not re.search(r"[A-Z\d]", each)
    ]  # fmt: skip
    return rng.choice(near) if near else None


def _of_another(statement: Statement, row: Row, names: Names, rng: Random) -> str | None:
    """The statement about another name than the one that the question holds."""
    held = [
        name
        for name in names_of(f"It: {row.question}")
        if name in statement.text and name not in statement.value and name in row.context
    ]
    if not held:
        return None
    name = rng.choice(held)
    at = statement.text.index(name)
    # "Edison invented the telephone" would contradict; "in Paris" may be another time or place.
    subject = at < 5 and statement.start > 0
    if not subject and not statement.text[:at].rstrip().endswith((" of", "'s")):
        return None
    near = [
        each
        for each in names_of(row.context)
        if each not in statement.text and not content_words(each) & content_words(name)
    ]
    other = rng.choice(near) if near and rng.random() < 0.5 else names.other(name, rng)
    return statement.text.replace(name, other)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
