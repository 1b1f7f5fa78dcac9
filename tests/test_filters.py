"""Filters: how they are written, what they mean, and that SQL finds the same chunks."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag.errors import FilterError, QuestionError
from rag.index import FileRecord, Index, Manifest
from rag.index.disk import database
from rag.index.filtering import chunk_ids
from rag.query.filters import And, Filter, Not, Or, algebra, matches, parse_filter
from rag.types import Chunk, Document, Page

DIM = 4
PDF, HTML, MARKDOWN = "application/pdf", "text/html", "text/markdown"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
NOON_17_MAY_2024 = 1715947200.0


def document(
    source: str,
    media_type: str = "text/plain",
    *,
    title: str = "",
    file_time: float | None = None,
    **metadata: Any,
) -> Document:
    return Document(source, source, "0123456789", title, media_type, "", file_time, metadata)


def chunk(
    owner: Document,
    page: int | None = None,
    heading: tuple[str, ...] = (),
    start: int = 0,
    end: int | None = None,
) -> Chunk:
    end = len(owner.text) if end is None else end
    return Chunk(0, owner.id, owner.text[start:end], start, end, 0, heading, page)


def build(directory: Path, documents: list[tuple[Document, list[Chunk]]]) -> Index:
    index, generator = Index(directory), np.random.default_rng(0)
    with index.write() as writer:
        writer.set_manifest(Manifest("embedder", "weights", DIM, 100, 10))
        for found, chunks in documents:
            file = FileRecord(f"/{found.id}", found.source, 1, 1, "hash")
            file_id = writer.begin_file(file)
            vectors = generator.normal(size=(len(chunks), DIM)).astype(np.float32)
            writer.put_document(file_id, found, chunks, [c.text for c in chunks], vectors)
            writer.end_file(file_id, file, [])
        writer.commit()
    return index


def by_sql(index: Index, *filters: Filter) -> list[list[int]]:
    with database.open_to_read(index.directory) as connection:
        found = [chunk_ids(connection, each) for each in filters]
    assert all(ids.dtype == np.int64 for ids in found)
    return [ids.tolist() for ids in found]


def by_hand(index: Index, *filters: Filter) -> list[list[int]]:
    """Every chunk of every document as it is stored, one by one."""
    stored = [(doc, each) for doc in index.documents() for each in index.chunks(doc.id)]
    return [
        sorted(each.id for doc, each in stored if matches(wanted, doc, chunk=each))
        for wanted in filters
    ]


# What filters mean, by hand.

LIBRARY = {
    "lease": document(
        "docs/legal/Lease 2024.pdf",
        PDF,
        title="Lease of the Café",
        author="Zoë Müller",
        language="en",
        created="2024-05-17T00:30:00+02:00",
        doi="10.1000/xyz",
    ),
    "guide": document("docs/guide.md", MARKDOWN, title="Guide", file_time=NOON_17_MAY_2024),
    "mail": document(
        "/home/ada/inbox.mbox#<1@x>",
        "message/rfc822",
        title="Re: lease",
        author="Ada <ada@example.org>",
        created="2023-12-31T23:59:59",
        modified="2024-02-29",
    ),
    "page": document("archive.zip/docs/old/index.html", HTML, title="Home", year=2020),
    "report": document(
        "reports/q1.docx", WORD, title="Q1", created="2024", year="2021", tags=["law", "Rent"]
    ),
    "record": document(
        "data.jsonl#7", "application/jsonl", title="7", nested={"kind": "case"}, draft=True
    ),
}

MEANINGS = {
    # Paths.
    "path:docs": {"lease", "guide", "page"},
    "path:docs/": {"lease", "guide", "page"},
    "path:docs/**": {"lease", "guide", "page"},
    "path:/docs": {"lease", "guide"},
    "path:./docs/*": {"lease", "guide"},
    "path:docs/*.md": {"guide"},
    "path:docs/*.pdf": set(),
    "path:docs/**/*.pdf": {"lease"},
    "path:docs/**/guide.md": {"guide"},
    "path:*.md": {"guide"},
    "path:**/*.html": {"page"},
    "path:guide.md/": set(),
    "path:guide": set(),
    "path:DOCS/Guide.MD": {"guide"},
    "path:gu?de.md": {"guide"},
    "path:docs?guide.md": set(),
    "path:/home/ada": {"mail"},
    "path:ada/*": {"mail"},
    "path:*.mbox": {"mail"},
    "path:*.zip/docs": {"page"},
    "path:*.zip,*.jsonl": {"page", "record"},
    "path:**": set(LIBRARY),
    'path:"legal/lease 2024.pdf"': {"lease"},
    "path~ease": {"lease"},
    # Types.
    "type:pdf": {"lease"},
    "type:PDF,.md": {"lease", "guide"},
    "type:application/pdf": {"lease"},
    "type:text/*": {"guide", "page"},
    "type:markdown": {"guide"},
    "type:html": {"page"},
    "type:docx": {"report"},
    "type:word": {"report"},
    "type:mbox": {"mail"},
    "type:email": {"mail"},
    "type:jsonl": {"record"},
    "type!=pdf,html": {"guide", "mail", "report", "record"},
    # Texts.
    "title:guide": {"guide"},
    'title:"lease of the cafe"': {"lease"},
    "title:lease": set(),
    "title:lease*": {"lease"},
    "title~lease": {"lease", "mail"},
    "title~CAFÉ": {"lease"},
    "author~muller": {"lease"},
    "author~ada,zoe": {"lease", "mail"},
    "-author~a": set(LIBRARY) - {"mail"},
    "language:EN": {"lease"},
    "id:docs/guide.md": {"guide"},
    "id:docs/guide.md,data.jsonl#7": {"guide", "record"},
    "id:DOCS/guide.md": set(),
    # Dates: of a document created, else modified, else of its file. As the clock showed.
    "on:2024-05-17": {"lease", "guide"},
    "on:2024-05-16": set(),
    "date:2024": {"lease", "guide", "report"},
    "after:2024": {"lease", "guide", "report"},
    "date>2024": set(),
    "before:2024": {"mail"},
    "before:2024-05-17": {"mail", "report"},
    "after:2024-05-17": {"lease", "guide"},
    "after:2023-12-31T23:59:59 before:2024": {"mail"},
    "date:2023..2024-01": {"mail", "report"},
    "date<=2024-05-17": {"mail", "report", "lease", "guide"},
    "date!=2024": {"mail", "page", "record"},
    # Half past midnight two hours east of Greenwich was the day before there.
    "date<2024-05-17T00:00Z": {"lease", "mail", "report"},
    "created:2024": {"lease", "report"},
    "modified:2024": {"guide", "mail"},
    "modified:2024-02": {"mail"},
    # Metadata.
    "meta.doi:10.1000/XYZ": {"lease"},
    "meta.doi:10.1000/*": {"lease"},
    "meta.DOI:10.1000/xyz": set(),
    "meta.year>=2020": {"page", "report"},
    "meta.year:2021": {"report"},
    "meta.year>2020": {"report"},
    "meta.year:2019..2020": {"page"},
    "meta.year!=2020": set(LIBRARY) - {"page"},
    "meta.created>=2024-02": {"lease"},
    "meta.tags:rent": {"report"},
    "meta.tags~en": {"report"},
    "meta.nested.kind:case": {"record"},
    "meta.nested:case": set(),
    "meta.draft:true": {"record"},
    "meta.draft:1": set(),
    # All together.
    "path:docs type:pdf OR type:docx": {"lease", "report"},
    "path:docs (type:pdf OR type:docx)": {"lease"},
    "path:docs and not type:pdf": {"guide", "page"},
    "-(path:docs OR title:q1)": {"mail", "record"},
    "NOT NOT type = pdf": {"lease"},
    'path:docs/** after:2024-01-01 type:pdf title~"lease"': {"lease"},
}


@pytest.mark.parametrize("expression", MEANINGS)
def test_an_expression_means(expression: str) -> None:
    wanted = parse_filter(expression)
    assert wanted is not None
    found = {name for name, each in LIBRARY.items() if matches(wanted, each)}
    assert found == MEANINGS[expression]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("page:2", [1]),
        ("page:2..3", [1, 2]),
        ("page:1,3", [0, 2]),
        ("page>=2", [1, 2]),
        ("page>2", [2]),
        ("page<2", [0]),
        ("page<=2", [0, 1]),
        ("page!=2", [0, 2, 3]),
        ("-page>=2", [0, 3]),
        ("heading:terms", [1, 2]),
        ("heading~termin", [2]),
        ("heading:terms page:3", [2]),
        ("heading~rent OR page:1", [0, 3]),
    ],
)
def test_pages_and_headings_are_those_of_the_chunk(expression: str, expected: list[int]) -> None:
    owner, wanted = LIBRARY["lease"], parse_filter(expression)
    assert wanted is not None
    chunks = [
        chunk(owner, 1),
        chunk(owner, 2, ("Terms",)),
        chunk(owner, 3, ("Terms", "Termination")),
        chunk(owner, None, ("Rent",)),
    ]
    assert [n for n, each in enumerate(chunks) if matches(wanted, owner, chunk=each)] == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("page:1", [0, 1]),
        ("page:2", [1]),
        ("page:3", [1, 2]),
        ("page:2..3", [1, 2]),
        ("page>=4", []),
        ("page!=3", [0]),
        ("page:" + ",".join(map(str, range(3, 120))), [1, 2]),
    ],
)
def test_a_chunk_is_of_every_page_that_it_has_characters_on(
    tmp_path: Path, expression: str, expected: list[int]
) -> None:
    pages = (Page(0, 3, 1), Page(4, 6, 2), Page(7, 10, 3))
    owner = replace(LIBRARY["lease"], pages=pages)
    chunks = [chunk(owner, 1, end=3), chunk(owner, 1, start=2, end=8), chunk(owner, 3, start=7)]
    wanted = parse_filter(expression)
    assert wanted is not None
    assert [n for n, each in enumerate(chunks) if matches(wanted, owner, chunk=each)] == expected
    index = build(tmp_path, [(owner, chunks)])
    (found,) = by_sql(index, wanted)
    assert found == [each + 1 for each in expected]


def test_without_a_chunk_there_are_no_pages() -> None:
    for expression, expected in (("page>=1", False), ("-page>=1", True), ("heading~a", False)):
        wanted = parse_filter(expression)
        assert wanted is not None
        assert matches(wanted, LIBRARY["lease"]) is expected


@pytest.mark.parametrize("value", [None, "", [], {}, [None, [{}]], {"a": 1}, float("nan"), [[]]])
def test_odd_metadata_passes_no_test_and_every_negated_one(value: Any) -> None:
    odd = document("a", author=value, created=value, year=value)
    for test in ("author:x", "author~x", "created:2024", "date>=1970", "meta.year>=1"):
        wanted = parse_filter(test)
        assert wanted is not None
        assert not matches(wanted, odd)
        assert matches(Not(wanted), odd)


def test_accents_go_and_other_letters_stay() -> None:
    # A voiced kana is another letter, and so is a Devanagari one with a virama.
    for title, written, expected in (
        ("Straße", "STRASSE", True),
        ("Ångström", "angstrom", True),
        ("が", "か", False),
        ("ﬁle", "file", True),
        ("е\u0308ж", "еж", True),
        ("क्ष", "कष", False),
    ):
        wanted = algebra.Test("title", ":", (written,))
        assert matches(wanted, document("a", title=title)) is expected


# How they are written.

TYPE = algebra.Test("type", ":", ("pdf",))
PAGE = algebra.Test("page", ">=", ("10",))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", None),
        (" \n", None),
        ({}, None),
        ("type:pdf", TYPE),
        (" TYPE = pdf ", TYPE),
        ("((type:'pdf'))", TYPE),
        ({"type": "pdf"}, TYPE),
        ("type!=pdf", Not(TYPE)),
        ({"type!=": "pdf"}, Not(TYPE)),
        ("type:pdf page >= 10", And((TYPE, PAGE))),
        ("type:pdf and page>=10", And((TYPE, PAGE))),
        ({"type": "pdf", "page>=": 10}, And((TYPE, PAGE))),
        ("type:pdf OR page>=10 -type:pdf", Or((TYPE, And((PAGE, Not(TYPE)))))),
        ("(type:pdf OR page>=10) -type:pdf", And((Or((TYPE, PAGE)), Not(TYPE)))),
        ("type:pdf , docx", algebra.Test("type", ":", ("pdf", "docx"))),
        ({"type": ["pdf", "docx"]}, algebra.Test("type", ":", ("pdf", "docx"))),
        ("author:O'Brien", algebra.Test("author", ":", ("O'Brien",))),
        ("author:'O''Brien, J.'", algebra.Test("author", ":", ("O'Brien, J.",))),
        ('title:"say ""hi"""', algebra.Test("title", ":", ('say "hi"',))),
        ("meta.url:https://x.y/z?a=b", algebra.Test("meta.url", ":", ("https://x.y/z?a=b",))),
        ('meta."Print Year">2000', algebra.Test("meta.Print Year", ">", ("2000",))),
        ("meta.or:and", algebra.Test("meta.or", ":", ("and",))),
        ({"meta.draft": True}, algebra.Test("meta.draft", ":", ("true",))),
        ({"after": date(2024, 5, 17)}, algebra.Test("date", ">=", ("2024-05-17",))),
        ({"on": datetime(2024, 5, 17, 9)}, algebra.Test("date", ":", ("2024-05-17T09:00:00",))),
        ("before:2024", algebra.Test("date", "<", ("2024",))),
    ],
)
def test_an_expression_is_read_as(expression: str | dict[str, Any], expected: Filter) -> None:
    assert parse_filter(expression) == expected
    assert expected is None or parse_filter(str(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("tpye:pdf", "column 1: unknown field `tpye`: did you mean `type`?"),
        ("type:pdf doi:x", "column 10: unknown field `doi`: known are path, .*`meta.doi`"),
        ("type:pdf lease", "column 10: expected a test such as `type:pdf`, not `lease`"),
        ("title", "column 1: expected `:` and a value after `title`"),
        ("type:", "column 6: expected a value for `type`"),
        ("type:pdf, )", "column 11: expected a value for `type`"),
        ('title:""', "column 7: expected a value for `title`"),
        ('title:"a b', "column 7: this quote is not closed"),
        ("(type:pdf OR page:3", r"column 20: expected `\)` for the `\(` in column 1"),
        ("type:pdf) page:3", r"column 9: `\)` closes nothing"),
        ("type:pdf OR", "column 12: expected a test such as `type:pdf`, not the end"),
        ("type:pdf OR OR", "column 13: expected a test such as `type:pdf`, not `OR`"),
        ("-", "column 2: expected a test"),
        ("page:2,x", "column 8: `x` is no page: expected a number such as 3, or 3..7"),
        ("page:3..", r"column 6: `3\.\.` is no page"),
        ("after:2024-13", "column 7: `2024-13` is no date: expected one such as 2024, "),
        ("on:2023-02-29", "column 4: `2023-02-29` is no date"),
        ("after>2024", "column 1: `after` takes only `:`; comparisons are written `date>=2024`"),
        ("type~pdf", "column 1: `type` cannot be compared by `~`, only by `:`"),
        ("title<b", "column 1: `title` cannot be compared by `<`, only by `:` `~`"),
        ("meta.year>old", "column 11: `old` is no number or date, which `>` compares"),
        ("meta.a..b:1", r"column 1: `meta.a\.\.b` names no key of the metadata"),
        ("(" * 17, "column 17: nested more than 16 deep"),
        ("page:1 " * 251, "column 1751: more than 250 tests"),
        ("page:" + ",".join("1" * 10_001), "column 20006: more than 10,000 values"),
        ({"pge": 3}, "filter, `pge`: unknown field `pge`: did you mean `page`?"),
        ({"page": None}, "filter, `page`: expected text, a number or a date, not None"),
        ({"page": []}, "filter, `page`: expected a value for `page`"),
        ({f"meta.k{n}": n for n in range(251)}, "filter: more than 250 fields"),
    ],
)
def test_an_error_names_the_place_and_what_was_expected(
    expression: str | dict[str, Any], message: str
) -> None:
    with pytest.raises(FilterError, match=message) as raised:
        parse_filter(expression)
    assert isinstance(raised.value, QuestionError)
    assert "\n" not in str(raised.value)


FRAGMENTS = [
    *("type", "page", "date", "title", "meta.", 'meta."a b"', "after", "doi", "OR", "AND", "NOT"),
    *(":", "~", "=", "!=", "<", ">=", "(", ")", "-", ",", '"', "'", " ", "\n", "\0", "\\"),
    *("pdf", "3", "3..7", "2024-05", "2024-02-30", "*", "**/", "?", "é", "\ud800", "'; DROP TABLE"),
]


@pytest.mark.slow
@settings(max_examples=400)
@given(
    st.text(st.characters(exclude_categories=()))
    | st.lists(st.sampled_from(FRAGMENTS)).map("".join)
)
@example("(" * 5000)
@example("-" * 5000 + "type:pdf")
@example('title:"' + '""' * 5000)
@example("date:0001-01-01T00:00+14:00")
@example("date:9999-12..9999")
@example("page:99999999999999999999")
@example("meta.n:" + "9" * 400)
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        found = parse_filter(text)
    except FilterError as error:
        assert str(error).splitlines() == [str(error)]
    else:
        assert found is None or parse_filter(str(found)) == found


# Random filters over random documents.

PIECES = ["docs", "Old", "a b", "résumé", "x.md", "y.PDF", "c#.md", "in.mbox#k", "*", "'; DROP"]
WORDS = ["lease", "Lease of Café", "a", "", "true", "7", "7.0", "2024", "2024-05", "2024-05-17"]
MOMENTS = ["2024-05-17T10:30:00", "2024-05-17T23:30-05:00", "2023-12-31", "soon", "0001-01-01"]
texts = st.sampled_from(WORDS + MOMENTS) | st.text(max_size=3)
sources = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("/".join)
scalars = texts | st.none() | st.booleans() | st.integers(-10, 3000) | st.floats(-1e6, 1e6)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
KEYS = ["author", "created", "modified", "year", "a", "Print Year", "back\\slash"]


# Pages of some characters each, with a character between two, numbered from any.
pages = st.tuples(
    st.integers(0, 3), st.lists(st.integers(0, 9), max_size=6, unique=True).map(sorted)
).map(
    lambda drawn: tuple(
        Page(start, end - 1, number)
        for number, (start, end) in enumerate(pairwise(drawn[1]), start=drawn[0])
    )
)


@st.composite
def documents(draw: st.DrawFn) -> list[tuple[Document, list[Chunk]]]:
    found = []
    for number in range(draw(st.integers(1, 6))):
        owner = Document(
            id=draw(st.sampled_from("abc")) + str(number),
            source=draw(sources),
            text="0123456789",
            title=draw(texts),
            media_type=draw(st.sampled_from([PDF, HTML, MARKDOWN, WORD, "", "text/x-rst"])),
            content_hash=str(number),
            modified=draw(st.none() | st.sampled_from([NOON_17_MAY_2024, 0.0, -1e9, 1e300])),
            metadata=draw(st.dictionaries(st.sampled_from(KEYS), values))
            | draw(st.sampled_from([{}, {"language": "en"}, {"language": "de"}])),
            pages=draw(pages),
        )
        begun = draw(st.lists(st.none() | st.integers(0, 5), max_size=5))
        headings = st.lists(st.sampled_from(WORDS), max_size=2).map(tuple)
        spans = st.tuples(st.integers(0, 3), st.integers(5, 10))
        found.append((owner, [chunk(owner, page, draw(headings), *draw(spans)) for page in begun]))
    return found


def some(one: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(one.filter(bool), min_size=1, max_size=3).map(tuple)


def comparing(
    names: list[str], operators: list[str], one: st.SearchStrategy[str]
) -> st.SearchStrategy[Filter]:
    return st.builds(algebra.Test, st.sampled_from(names), st.sampled_from(operators), some(one))


COMPARISONS = [":", "<", "<=", ">", ">="]
globs = st.lists(st.sampled_from([*PIECES, "**", "*", "?o*", "", "."]), min_size=1).map("/".join)
wild = texts | st.sampled_from(["*a*", "l?ase", "**", "LEASE of cafe", "caf"])
dates = st.sampled_from(["2024", "2024-05", "2024-05-17", "2024-05-17T10:30", "2023..2024-05"])
zoned = st.sampled_from(["2024-05-18T04:30Z", "2024-05-17T12:00+02:00", "1970", "0001..9999"])
numbers = st.integers(-10, 3000).map(str) | st.sampled_from(["7", "2024", "-1..7", "0.5", "1e3"])
leaves = st.one_of(
    comparing(["path"], [":", "~"], globs),
    comparing(
        ["type"], [":"], st.sampled_from(["pdf", "html", "md", "markdown", "mbox", "text/*", "x"])
    ),
    comparing(["title", "author", "heading"], [":", "~"], wild),
    comparing(["language"], [":", "~"], st.sampled_from(["EN", "e", "?e", "fr"])),
    comparing(["date", "created", "modified"], COMPARISONS, dates | zoned),
    comparing(["page"], COMPARISONS, st.sampled_from(["0", "1", "3", "2..4", "4..2", "999999999"])),
    comparing(["id"], [":"], st.sampled_from(["a0", "b1", "c2", "a", "'; DROP TABLE chunks; --"])),
    comparing(
        ["meta.year", "meta.a.b", "meta.Print Year"], [":", "~", *COMPARISONS], dates | numbers
    ),
    comparing(["meta.author", "meta.back\\slash", "meta.none"], [":", "~"], wild),
)
filters = st.recursive(
    leaves,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=60)
@given(found=documents(), wanted=st.lists(filters, min_size=1, max_size=12))
def test_sql_finds_what_matches(
    tmp_path_factory: pytest.TempPathFactory,
    found: list[tuple[Document, list[Chunk]]],
    wanted: list[Filter],
) -> None:
    index = build(tmp_path_factory.mktemp("index"), found)
    assert by_sql(index, *wanted) == by_hand(index, *wanted)


@pytest.mark.slow
@settings(max_examples=300)
@given(filters)
def test_a_filter_is_written_as_it_is_read(wanted: Filter) -> None:
    assert parse_filter(str(wanted)) == wanted


def path_matches(pattern: list[str], path: list[str]) -> bool:
    """A glob by its definition, piece by piece, for patterns from the beginning of the path."""
    if not pattern:
        return True
    if pattern == ["**"]:
        return bool(path)
    if pattern[0] == "**":
        return path_matches(pattern[1:], path) or (bool(path) and path_matches(pattern, path[1:]))
    return bool(path) and name_matches(pattern[0], path[0]) and path_matches(pattern[1:], path[1:])


def name_matches(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return name_matches(pattern[1:], name) or (bool(name) and name_matches(pattern, name[1:]))
    return bool(name) and pattern[0] in ("?", name[0]) and name_matches(pattern[1:], name[1:])


@pytest.mark.slow
@settings(max_examples=500)
@given(
    pattern=st.lists(
        st.just("**") | st.text("ab*?", min_size=1, max_size=4), min_size=1, max_size=5
    ),
    path=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5),
)
def test_globs_match_by_their_definition(pattern: list[str], path: list[str]) -> None:
    pattern = ["**" if not piece.strip("*") and len(piece) > 1 else piece for piece in pattern]
    owner = document("/".join(path))
    anchored = algebra.Test("path", ":", ("/" + "/".join(pattern),))
    assert matches(anchored, owner) == path_matches(pattern, path)
    anywhere = algebra.Test("path", ":", ("/".join(pattern),))
    assert matches(anywhere, owner) == path_matches(["**", *pattern], path)


def test_a_hostile_glob_is_answered_at_once() -> None:
    owner = document("a/" * 200 + "a" * 2000, title="a" * 2000)
    for name, value in (
        ("path", "*a" * 30 + "b"),
        ("path", "**/a/" * 30 + "b"),
        ("title", "*a" * 30 + "b"),
    ):
        assert not matches(algebra.Test(name, ":", (value,)), owner)


# Over a larger index.


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """400 documents of 5 chunks; every 4th is a PDF, every 10th lies in docs."""
    found = []
    for n in range(400):
        source = f"{'docs' if n % 10 == 0 else 'src'}/{n}.{'pdf' if n % 4 == 0 else 'md'}"
        owner = document(
            source,
            PDF if n % 4 == 0 else MARKDOWN,
            title=f"Document {n}",
            created=f"{2000 + n % 20}-05-17",
            year=n,
        )
        found.append((owner, [chunk(owner, page, (f"Part {page}",)) for page in range(1, 6)]))
    return build(tmp_path_factory.mktemp("large"), found)


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("id:docs/0.pdf", 5),
        ("title:'document 17'", 5),
        ("meta.year:17 page:3", 1),
        ("path:docs/**", 200),
        ("path:docs type:pdf", 100),
        ("type:pdf", 500),
        ("after:2010", 1000),
        ("page:1..2", 800),
        ("heading:'part 5'", 400),
        ("path:docs OR page:1", 40 * 5 + 360),
        ("-(path:docs OR -page:1)", 360),
        ("id:docs/0.pdf,docs/20.pdf (page:1 OR id:docs/20.pdf)", 1 + 5),
        ("meta.year<100 (page:1..2 OR meta.year:7) -meta.year:0", 98 * 2 + 5),
        ("type:pdf,md", 2000),
        ("-type:html", 2000),
        ("type:html", 0),
        ("page:" + ",".join(map(str, range(3, 3000))), 1200),
        ("id:" + ",".join(f"docs/{n}.pdf" for n in range(400)), 20 * 5),
    ],
)
def test_from_one_document_to_all(large: Index, expression: str, count: int) -> None:
    wanted = parse_filter(expression)
    assert wanted is not None
    (found,) = by_sql(large, wanted)
    assert len(found) == count
    assert [found] == by_hand(large, wanted)


@pytest.mark.slow
def test_the_largest_expressions_fit_into_sqlite(large: Index) -> None:
    long = parse_filter(" OR ".join(["page:1,7,9"] * 249) + " OR type:pdf")
    wide = parse_filter("page:" + ",".join("1" * 99) + " OR id:" + ",".join(["x"] * 99))
    deep = "page:1"
    for level in range(15):
        deep = f"page:1 type:pdf OR ({deep})" if level % 2 else f"page:1 OR type:md ({deep})"
    nested = parse_filter(deep)
    negated = parse_filter("-" * 15 + "page:1")
    wanted = [each for each in (long, wide, nested, negated) if each]
    assert len(wanted) == 4
    assert by_sql(large, *wanted) == by_hand(large, *wanted)


@pytest.mark.parametrize("field", ["path", "title", "id", "meta.doi", 'meta."\'; DROP TABLE a"'])
def test_values_are_never_sql(large: Index, field: str) -> None:
    before = large.counts()
    for value in ("'; DROP TABLE chunks; --", "' OR '1'='1", '") OR 1 --', "%", "\0", "?1"):
        quoted = '"' + value.replace('"', '""') + '"'
        wanted = parse_filter(f"{field}:{quoted}")
        assert wanted is not None
        assert by_sql(large, wanted) == [[]]
    assert large.counts() == before


def test_what_was_removed_is_not_found(tmp_path: Path) -> None:
    first, second = document("docs/a.pdf", PDF), document("docs/b.pdf", PDF)
    index = build(tmp_path, [(each, [chunk(each, 1)] * 3) for each in (first, second)])
    with index.write() as writer:
        for file_id, _ in list(writer.files_below(f"/{first.id}")):
            writer.remove_file(file_id)
        writer.commit()
    wanted = parse_filter("path:docs page:1")
    assert wanted is not None
    assert by_sql(index, wanted) == [[each.id for each in index.chunks(second.id)]]


def test_a_statement_may_be_at_work_on_the_connection(large: Index) -> None:
    wanted = parse_filter("path:docs/**")
    assert wanted is not None
    with database.open_to_read(large.directory) as connection:
        running = connection.execute("SELECT id FROM chunks")
        for row, _ in zip(running, range(3), strict=False):
            assert len(chunk_ids(connection, wanted)) == 200, row


def test_metadata_that_is_no_strict_json_is_read(tmp_path: Path) -> None:
    index = build(tmp_path, [(each, [chunk(each)]) for each in [document("a")]])
    with closing(database.open_to_write(tmp_path)) as connection:
        odd = '{"n": NaN, "big": 1000000000000000000000000, "limit": -Infinity, "year": 2020}'
        connection.execute("UPDATE documents SET metadata = ?", (odd,))
    passing = ["meta.year:2020", "meta.big>=1e23", "meta.limit<0", "meta.n!=1", "-after:1000"]
    wanted = [parse_filter(each) for each in [*passing, "meta.n>0", "meta.n<=0"]]
    found = by_sql(index, *filter(None, wanted))
    assert found == [[1]] * len(passing) + [[], []]
    assert found == by_hand(index, *filter(None, wanted))
