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

# The share of claims that are a question and a reply of few words, as values of JSON are.
_REPLIES = 0.2
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
    made = [
        _Stated(row, statement, articles[row.document], names, others[row.context], rng)
        for row, statement in stated
    ]
    return _draw(made, options["count"], rng)


def make_near_misses(data: Path, rng: Random, options: dict[str, Any]) -> list[Pair]:
    """Make neutral pairs of questions that people wrote so that their paragraph only seems to tell.

    Options: `folder`, `count`, `held_out`.
    """
    folder = data / options["folder"]
    corpus = {row["_id"]: row for row in _lines(folder / "corpus.jsonl")}
    pairs: list[Pair] = []
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
            premise = _put_title(paragraph["title"], _window(text, made[0].value, rng), rng)
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
    made = [_Placed(article, passage, at, names, rng) for article, passage, at in places]
    return _draw(made, options["count"], rng)


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


@dataclass(frozen=True, slots=True)
class _Stated:
    """A question's statement in its article, and the ways to make a pair of it."""

    row: Row
    statement: Statement
    article: Article
    names: Names
    others: Sequence[str]
    rng: Random

    def pair(self) -> Pair | None:
        """Return one pair; None where what was drawn does not fit."""
        ways = [
            self._right, self._wrong, self._not_wrong, self._contradict, self._silent,
            self._another, self._longer,
        ]  # fmt: skip
        (way,) = self.rng.choices(ways, [0.3, 0.26, 0.06, 0.2, 0.14, 0.1, 0.04])
        return way()

    def _right(self) -> Pair | None:
        claim = self._said(self.statement.value)
        if self.rng.random() < 0.3:
            claim = changing.reword(claim, self.rng) or claim
        return Pair(self._premise(), claim, ENTAILED, "statement")

    def _wrong(self) -> Pair | None:
        value = self._wrong_value()
        if not self.statement.unique or value is None:
            return None
        return Pair(self._premise(), self._said(value), CONTRADICTED, "wrong value")

    def _not_wrong(self) -> Pair | None:
        """What has one value has no other."""
        value = self._wrong_value()
        if not self.statement.unique or value is None:
            return None
        claim = changing.negate(self.statement.with_value(value), self.rng)
        if claim is None or value.casefold() not in claim.casefold():
            return None
        return Pair(self._premise(), claim, ENTAILED, "not the wrong value")

    def _contradict(self) -> Pair | None:
        text = self.statement.text
        # The value that is asked for stays as it is: all else may turn.
        change = self.rng.choice([changing.negate, changing.negate, changing.oppose])
        made = change(text, self.rng)
        if made is None or made == text or self.statement.value not in made:
            return None
        return Pair(self._premise(), made, CONTRADICTED, "statement changed")

    def _silent(self) -> Pair | None:
        silent = _without(self.row, self.article, self.rng)
        if silent is None:
            return None
        value = self._wrong_value() if self.rng.random() < 0.4 else None
        if not self.statement.unique or value is None:
            value = self.statement.value
        claim = self._said(value)
        if self.rng.random() < 0.3:
            claim = changing.negate(claim, self.rng) or claim
        return Pair(_put_title(self.article.title, silent, self.rng), claim, NEUTRAL, "taken out")

    def _another(self) -> Pair | None:
        claim = _of_another(self.statement, self.row, self.names, self.rng)
        return Pair(self._premise(), claim, NEUTRAL, "another thing") if claim else None

    def _longer(self) -> Pair | None:
        claim = changing.lengthen(self.statement.text, self.rng)
        return Pair(self._premise(), claim, NEUTRAL, "more than told") if claim else None

    def _premise(self) -> str:
        return _put_title(self.article.title, _around(self.row, self.article, self.rng), self.rng)

    def _said(self, value: str) -> str:
        """Return the claim that the answer is this value."""
        if self.rng.random() < _REPLIES:
            return f"{self.row.question.rstrip('? ')}? {value}"
        return self.statement.with_value(value)

    def _wrong_value(self) -> str | None:
        start, end = self.row.answers[0]
        value = _wrong_value(self.row, self.statement.value, self.others, self.names, self.rng)
        answer = self.row.context[start:end].casefold()
        return value if value is not None and value.casefold() not in answer else None


@dataclass(frozen=True, slots=True)
class _Placed:
    """A sentence in its passage, and the ways to make a pair of it."""

    article: Article
    passage: Sequence[str]
    at: int
    names: Names
    rng: Random

    def pair(self) -> Pair | None:
        """Return one pair; None where what was drawn does not fit."""
        ways = [
            self._verbatim, self._part, self._reword, self._contradict, self._place,
            self._subject, self._longer, self._another, self._near,
        ]  # fmt: skip
        (way,) = self.rng.choices(ways, [0.08, 0.14, 0.14, 0.34, 0.03, 0.06, 0.05, 0.06, 0.13])
        return way()

    @property
    def _sentence(self) -> str:
        return self.passage[self.at]

    def _verbatim(self) -> Pair | None:
        return self._pair(self._sentence, ENTAILED, "verbatim")

    def _part(self) -> Pair | None:
        return self._pair(changing.shorten(self._sentence, self.rng), ENTAILED, "part")

    def _reword(self) -> Pair | None:
        way = self.rng.choice([changing.reword, changing.reword, changing.turn_passive])
        return self._pair(way(self._sentence, self.rng), ENTAILED, "reworded")

    def _contradict(self) -> Pair | None:
        base = self._sentence
        if self.rng.random() < 0.4:
            base = changing.shorten(base, self.rng) or base
        made = changing.contradict(base, self.rng)
        if made is None:
            return None
        turn = self.rng.random()
        if turn < 0.55:
            return self._pair(made, CONTRADICTED, "changed")
        if turn < 0.78:
            return self._pair(base, CONTRADICTED, "changed", made)
        claim = changing.reword(made, self.rng) or changing.shorten(made, self.rng) or made
        return self._pair(claim, ENTAILED, "both changed", made)

    def _place(self) -> Pair | None:
        other = self.names.other(self._sentence, self.rng)
        made = changing.swap_last_name(self._sentence, self.rng, [other])
        return self._pair(made, CONTRADICTED, "another place")

    def _subject(self) -> Pair | None:
        near = names_of(" ".join(self.article.sentences))
        others = [each for each in near if each not in self._sentence][:20]
        made = changing.swap_subject(
            self._sentence, self.rng, others or [self.names.other(self._sentence, self.rng)]
        )
        return self._pair(made, NEUTRAL, "another thing")

    def _longer(self) -> Pair | None:
        return self._pair(changing.lengthen(self._sentence, self.rng), NEUTRAL, "more than told")

    def _another(self) -> Pair | None:
        """What a sentence says, or its contrary, is not told by others of its article."""
        if not self._mates:
            return None
        claim = changing.contradict(self._sentence, self.rng) or self._sentence
        premise = _put_title(self.article.title, self.rng.choice(self._mates), self.rng)
        return Pair(premise, claim, NEUTRAL, "another sentence")

    def _near(self) -> Pair | None:
        mates, words = self._mates, content_words(self._sentence)
        if not mates:
            return None
        near = max(
            self.rng.sample(mates, min(len(mates), 30)),
            key=lambda each: len(words & content_words(each)) / (4 + len(content_words(each))),
        )
        known = content_words(near)
        if len(words & known) > 0.6 * len(known) or len(near.split()) < _SHORTEST:
            return None
        return self._pair(near, NEUTRAL, "near by words")

    @property
    def _mates(self) -> list[str]:
        """The sentences of the article but for those around."""
        around = {*self.passage[max(0, self.at - 2) : self.at + 3]}
        return [each for each in self.article.sentences if each not in around]

    def _pair(
        self, claim: str | None, label: Label, kind: str, changed: str | None = None
    ) -> Pair | None:
        """Return a claim beside the sentence, or what it was changed into, among its neighbours."""
        before, after = (self.rng.choice([0, 0, 0, 1, 1, 2]) for _ in range(2))
        at, passage = self.at, self.passage
        around = [
            *passage[max(0, at - before) : at],
            changed or self._sentence,
            *passage[at + 1 : at + 1 + after],
        ]
        premise = _put_title(self.article.title, join_sentences(around), self.rng)
        return Pair(premise, claim, label, kind) if claim else None


def _draw(made: Sequence[_Stated | _Placed], count: int, rng: Random) -> list[Pair]:
    """Draw one pair of each, again and again, until there are enough or no more come."""
    pairs: list[Pair] = []
    before = -1
    while before < len(pairs) < count:
        before = len(pairs)
        for each in rng.sample(made, len(made)):
            pair = each.pair()
            if pair is not None:
                pairs.append(pair)
    return pairs[:count]


def _rows(data: Path, options: dict[str, Any]) -> list[Row]:
    """Return the rows of the documents that are learnt from, or of those that are held out."""
    rows = read_judged(data / options["folder"]) if "folder" in options else read_rows(
        data / options["file"]
    )  # fmt: skip
    held_out = options.get("held_out", False)
    return [row for row in rows if row.answers and is_held_out(row.document, HELD_OUT) == held_out]


def _articles(
    rows: Sequence[Row], data: Path | None = None, options: dict[str, Any] | None = None
) -> dict[str, Article]:
    """Return the documents of rows; contexts of one sentence become passages of an article."""
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
    """Return the document's name, where it is one that a person would give."""
    return "" if re.search(r"[_/\\]|\.\w{2,4}$|^\d+$", document) else document


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)] or [text]


def _put_title(title: str, text: str, rng: Random) -> str:
    return f"{title}: {text}" if title and rng.random() < _TITLED else text


def _window(text: str, held: str, rng: Random) -> str:
    """Up to five sentences of a text around the one that holds a value."""
    sentences = _sentences(text)
    at = next((at for at, each in enumerate(sentences) if held in each), 0)
    first = max(0, at - rng.randint(0, 2))
    return join_sentences(sentences[first : at + rng.randint(1, 3)])


def _around(row: Row, article: Article, rng: Random) -> str:
    """Return the sentence that answers, alone or among its neighbours."""
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
    """Return the statement about another name than the one that the question holds."""
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
