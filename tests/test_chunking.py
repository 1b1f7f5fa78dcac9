from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag import ConfigError
from rag.chunking import chunk_document, chunk_size, embedded_texts, embedding_limit
from rag.config import ChunkingConfig
from rag.protocols import Embedder
from rag.sources.formats.markdown import find_headings
from rag.text.normalization import searchable
from rag.types import Chunk, Document, Heading, Page

# What the headings above a passage may add to it.
PREFIX = 110


def document(text: str, **fields: object) -> Document:
    return Document("d", "d.md", text, "D", "text/markdown", "hash", **fields)


def markdown(text: str, title: str = "D") -> Document:
    found = document(text, markup="markdown", headings=find_headings(text))
    return replace(found, title=title)


def passages(embedder: Embedder, found: Document, size: int, overlap: int = 0) -> list[Chunk]:
    return list(
        chunk_document(
            found, embedder.token_offsets, size=size, overlap=overlap, limit=size + PREFIX
        )
    )


def cut(embedder: Embedder, text: str, size: int, overlap: int, **fields: object) -> list[Chunk]:
    return passages(embedder, document(text, **fields), size, overlap)


def tokens(embedder: Embedder, text: str) -> int:
    return len(embedder.token_offsets(text))


WORDS = st.sampled_from(
    [
        "the",
        "model",
        "retrieval.",
        "Überraschung",
        "naïve",
        "日本語",
        "😀",
        "x" * 40,
        "a.b",
        "\n",
        "\n\n",
        "- item",
        "antidisestablishmentarianism",
        "3.14",
        "don't",
        "е́",
        "| a | b |",
    ]
)


MARKUP = st.sampled_from(["plain", "markdown", "rst", "python", "shell"])
PIECES = st.sampled_from(
    [
        "The model works. ",
        "retrieval ",
        "日本語のテスト。漢字",
        "\u200b",
        "\ufeff\u200d",
        "ﬁne ＡＢＣ ﷺ ½ é e\u0301 ",
        "x" * 130,
        "\n",
        "\n\n",
        "\r",
        "\t\x0c\x85\u2028",
        "\n- item ",
        "\n  - item within ",
        "\n1. one ",
        "\n| a | b |\n| --- | --- |\n| c. d | e f |\n",
        "| row. one | two |\n",
        "\n\n```python\ndef f(x):\n    return x\n\n\nclass A:\n    pass\n```\n\n",
        "```\n",
        "    code\n",
        "> quote\n",
        "\n# Head\n",
        "\n\n## Below the head\n\n",
        "<div>\n",
        "[a]: http://example.org\n",
        "Example::\n\n   literal\n\n   block\n",
        "+---+---+\n| a | b |\n+---+---+\n",
        "== ==\na  b\n== ==\n",
        "\0",
    ]
)


def assert_laws(embedder: Embedder, found: Document, size: int, overlap: int) -> None:
    chunks = passages(embedder, found, size, overlap)
    text = found.text
    covered: set[int] = set()
    for ordinal, chunk in enumerate(chunks):
        assert text[chunk.start : chunk.end] == chunk.text == chunk.text.strip() != ""
        assert chunk.ordinal == ordinal
        assert chunk.heading == found.heading_at(chunk.start)
        assert tokens(embedder, chunk.text) <= size
        covered |= set(range(chunk.start, chunk.end))
    starts = [c.start for c in chunks]
    assert starts == sorted(set(starts))
    assert all(character.isspace() for at, character in enumerate(text) if at not in covered)
    for chunk, embedded in zip(chunks, embedded_texts(found, chunks), strict=True):
        # A character that stands for many words is cut no further.
        assert tokens(embedder, embedded) <= size + PREFIX or len(chunk.text) == 1


@settings(max_examples=250, deadline=None)
@given(
    text=st.one_of(
        st.lists(WORDS, max_size=120).map(" ".join),
        st.text(max_size=300),
        st.lists(PIECES, max_size=60).map("".join),
    ),
    size=st.integers(8, 80),
    share=st.integers(0, 7),
    markup=MARKUP,
)
def test_span_law_size_and_cover_for_all_kinds_of_blocks(
    embedder: Embedder, text: str, size: int, share: int, markup: str
) -> None:
    headings = find_headings(text.replace("\r", " ")) if markup == "markdown" else ()
    found = document(text, markup=markup, headings=headings)
    assert_laws(embedder, found, size, size * share // 8)


WORD = st.sampled_from(["the", "model", "reads", "tables", "Dr.", "Smith", "3.14", "seconds."])
KIND = st.sampled_from(["prose", "table", "fence", "list"])
PHRASE = st.lists(WORD, min_size=1, max_size=12).map(" ".join)


@settings(max_examples=80, deadline=None)
@given(
    drawn=st.lists(st.tuples(KIND, st.lists(PHRASE, min_size=1)), max_size=12),
    size=st.integers(20, 80),
    share=st.integers(0, 4),
)
def test_what_fits_is_never_cut(
    embedder: Embedder, drawn: Sequence[tuple[str, list[str]]], size: int, share: int
) -> None:
    blocks, units = [], []
    for number, (kind, phrases) in enumerate(drawn):
        # Numbered, so that each row and item is to be found once.
        named = [f"{number} {at} {phrase}" for at, phrase in enumerate(phrases)]
        if kind == "table":
            rows = [f"| {phrase} | y. Z |" for phrase in named]
            blocks.append("| a | b |\n| --- | --- |\n" + "\n".join(rows))
            units += rows
        elif kind == "fence":
            blocks.append("```sql\n" + "\n\n".join(named) + "\n```")
            units.append(blocks[-1])
        elif kind == "list":
            items = [f"- {phrase}" for phrase in named]
            blocks.append("\n".join(items))
            units += items
        else:
            blocks.append(" ".join(named))
    text = "\n\n".join(blocks)
    chunks = cut(embedder, text, size, size * share // 8, markup="markdown")
    for unit in units:
        if tokens(embedder, unit) <= size and len(unit) <= size * 16:
            assert any(unit in chunk.text for chunk in chunks)


def test_no_chunk_is_longer_than_the_model_reads(embedder: Embedder) -> None:
    text = "\n\n".join(f"Paragraph {i} says a thing about tokenization. " * 30 for i in range(5))
    size = chunk_size(ChunkingConfig(0, 32), embedder)
    for chunk in cut(embedder, text, size, 32):
        length = tokens(embedder, chunk.text) + embedder.special_tokens
        assert length <= embedder.max_tokens == 256


def test_chunks_overlap_at_a_sentence_within_a_section(embedder: Embedder) -> None:
    sentences = [f"Sentence number {i} speaks of retrieval and ranking." for i in range(40)]
    first, second, *_ = cut(embedder, " ".join(sentences), 60, 15)
    assert first.start < second.start < first.end
    assert second.text.startswith("Sentence number")


def test_headings_pages_and_lines(embedder: Embedder) -> None:
    text = "# One\nalpha\n## Two\nbeta\n## Three\ngamma\n# Four\n"
    at = text.index
    headings = (
        Heading(0, 5, 1, "One"),
        Heading(at("## Two"), at("## Two") + 6, 2, "Two"),
        Heading(at("## Three"), at("## Three") + 8, 2, "Three"),
        Heading(at("# Four"), at("# Four") + 6, 1, "Four"),
    )
    pages = (Page(0, at("## Three"), 1), Page(at("## Three"), len(text), 2))
    chunks = cut(embedder, text, 100, 0, headings=headings, pages=pages, verbatim=True)
    assert [c.heading for c in chunks] == [("One",), ("One", "Two"), ("One", "Three"), ("Four",)]
    assert [c.page for c in chunks] == [1, 1, 2, 2]
    assert [c.line for c in chunks] == [1, 3, 5, 7]


def test_a_heading_without_text_joins_its_first_subsection(embedder: Embedder) -> None:
    text = "# Top\n\n## Sub\nbody"
    headings = (Heading(0, 5, 1, "Top"), Heading(7, 13, 2, "Sub"))
    assert [c.text for c in cut(embedder, text, 50, 0, headings=headings)] == [text]


def test_sizes_that_cannot_be(embedder: Embedder) -> None:
    with pytest.raises(ConfigError, match="reads at most 254"):
        chunk_size(ChunkingConfig(300, 10), embedder)
    assert embedding_limit(embedder) == 254
    with pytest.raises(ConfigError, match="must be smaller"):
        chunk_size(ChunkingConfig(0, 254), embedder)


SENTENCE = "Number {} speaks of retrieval, of ranking and of Mr. Smith."


def sentences(count: int, first: int = 0) -> str:
    return " ".join(SENTENCE.format(n) for n in range(first, first + count))


def test_a_long_paragraph_is_cut_between_sentences(embedder: Embedder) -> None:
    chunks = cut(embedder, sentences(40), 60, 0, markup="markdown")
    assert len(chunks) > 5
    assert all(c.text.startswith("Number") and c.text.endswith("Smith.") for c in chunks)


def test_sentences_by_the_language_of_the_document(embedder: Embedder) -> None:
    text = "Das Verfahren nutzt bspw. Vektoren und ggf. Tabellen. " * 30
    german = cut(embedder, text, 30, 0, metadata={"language": "de"})
    assert all(c.text.endswith("Tabellen.") for c in german)
    text = "検索は文を探す。表は行で切る。" * 30
    japanese = cut(embedder, text, 30, 0, metadata={"language": "ja"})
    assert all(c.text.endswith("。") for c in japanese)


def test_a_table_is_cut_between_rows_and_overlaps_by_rows(embedder: Embedder) -> None:
    rows = [f"| {n} | Value. Of row {n} | more |" for n in range(60)]
    head = "| n | value | rest |\n| --- | --- | --- |"
    text = "\n".join(["Before it. A paragraph.", head, *rows])
    chunks = cut(embedder, text, 60, 20, markup="markdown")
    assert chunks[0].text.startswith("Before it.")
    assert head in chunks[0].text
    lines = set(text.split("\n"))
    assert all(line in lines for c in chunks for line in c.text.split("\n"))
    assert any(second.start < first.end for first, second in pairwise(chunks))


@pytest.mark.parametrize("named", [True, False])
def test_rows_of_a_table_that_is_plain_text_stay_whole(embedder: Embedder, named: bool) -> None:
    """As CSV, workbooks and PDF are read: `Part: P-1 | Torque: 11`, or without the names."""
    names = ("Part: ", "Torque Nm: ", "Supplier: ") if named else ("", "", "")
    rows = [
        " | ".join(f"{name}{value}" for name, value in zip(names, row, strict=True))
        for row in ((f"P-{1000 + at}", str(at), "Hansen Steel") for at in range(60))
    ]
    text = "\n".join(["Part | Torque Nm | Supplier", *rows])
    found = cut(embedder, text, 60, 10, markup="plain")
    assert len(found) > 5
    lines = set(text.split("\n"))
    assert all(line in lines for chunk in found for line in chunk.text.split("\n"))


def test_a_fence_stays_whole_where_it_fits(embedder: Embedder) -> None:
    fence = "```python\n" + "\n\n".join(f"value_{n} = {n}" for n in range(8)) + "\n```"
    size = tokens(embedder, fence)
    text = f"{sentences(4)}\n\n{fence}\n\n{sentences(4)}"
    chunks = cut(embedder, text, size, size // 4, markup="markdown")
    assert [c.text for c in chunks if "```" in c.text] == [fence]


def test_a_fence_in_an_item_stays_whole(embedder: Embedder) -> None:
    fence = "  ```\n  one two\n\n  three four\n  ```"
    text = f"- {sentences(6)}\n\n{fence}\n\n  {sentences(6, 10)}\n- next"
    chunks = cut(embedder, text, 40, 0, markup="markdown")
    assert any(fence.strip() in c.text for c in chunks)


def test_items_stay_whole(embedder: Embedder) -> None:
    items = [f"- {SENTENCE.format(n)}\n  {SENTENCE.format(-n)}" for n in range(20)]
    chunks = cut(embedder, "\n".join(items), 100, 0, markup="markdown")
    assert len(chunks) > 3
    assert all(c.text.startswith("- Number") for c in chunks)


def test_no_heading_is_left_alone(embedder: Embedder) -> None:
    found = markdown(f"# A\n\n## A section of the text\n\n{sentences(3)}\n\n{sentences(3, 5)}")
    size = tokens(embedder, sentences(3))
    first, *_ = passages(embedder, found, size)
    assert first.text.startswith("# A")
    assert first.text.endswith("Smith.")


def test_restructured_text(embedder: Embedder) -> None:
    literal = "   first = 1. Two\n\n   second = 2. Three"
    grid = "+---+------+\n| a | b. C |\n+===+======+\n| d | e    |\n|   | f    |\n+---+------+"
    note = ".. note::\n\n   " + sentences(2)
    text = f"{sentences(2)} So::\n\n{literal}\n\n{grid}\n\n{note}\n\n{sentences(9)}"
    size = max(tokens(embedder, literal), tokens(embedder, grid)) + 1
    chunks = cut(embedder, text, size, 0, markup="rst")
    assert sum(literal.strip() in c.text for c in chunks) == 1
    assert sum(grid in c.text for c in chunks) == 1


def test_source_code_is_cut_along_definitions(embedder: Embedder) -> None:
    functions = [f"function f{n}(x) {{\n  let y = x + {n};\n\n  return y;\n}}" for n in range(9)]
    chunks = cut(embedder, "\n\n".join(functions), 60, 0, markup="js")
    assert len(chunks) == 3
    assert all(c.text.startswith("function") and c.text.endswith("}") for c in chunks)
    # A language that the splitter does not know is cut at blank lines.
    blocks = [f"step {n}\n  with {n}" for n in range(30)]
    chunks = cut(embedder, "\n\n".join(blocks), 30, 0, markup="shell")
    assert all(c.text.startswith("step") for c in chunks)


def test_each_character_is_tokenized_a_few_times(embedder: Embedder) -> None:
    read = 0

    def counted(text: str) -> Sequence[tuple[int, int]]:
        nonlocal read
        read += len(text)
        return embedder.token_offsets(text)

    shares = []
    for text in (sentences(300), sentences(3000), "no end of words " * 20_000):
        read = 0
        assert list(chunk_document(document(text), counted, size=200, overlap=32, limit=254))
        shares.append(read / len(text))
    assert max(shares) < 4


def test_the_headings_above_are_embedded_with_a_passage(embedder: Embedder) -> None:
    found = markdown(f"# Manual\n\n## Servers\n\n### Logs\n\n{sentences(9)}\n\n## End\n\nx", "M")
    chunks = passages(embedder, found, 60)
    embedded = embedded_texts(found, chunks)
    # The first holds its headings, and the title of the document is left out.
    assert embedded[0] == chunks[0].text == found.text[: chunks[0].end]
    assert chunks[1].heading == ("Manual", "Servers", "Logs")
    assert embedded[1] == f"Servers\nLogs\n\n{chunks[1].text}"
    assert embedded[-1] == "## End\n\nx"


def test_boilerplate_is_the_same_text_in_every_file(embedder: Embedder) -> None:
    texts = set()
    for n in range(50):
        found = markdown(f"# Project {n}\n\n## License\n\n{sentences(9)}\n", f"Project {n}")
        chunks = passages(embedder, found, 60)
        texts |= {
            text
            for chunk, text in zip(chunks, embedded_texts(found, chunks), strict=True)
            if chunk.heading[-1] == "License" and chunk.ordinal
        }
        count = len(chunks) - 1
    assert len(texts) == count > 1


def test_headings_are_cut_to_their_budget(embedder: Embedder) -> None:
    path = ["A heading of some length " * 2, "資料" * 100, "Short"]
    text = "# T\n\n" + "\n\n".join(f"{'#' * (n + 2)} {title}" for n, title in enumerate(path))
    found = markdown(f"{text}\n\n{sentences(40)}")
    limit = embedding_limit(embedder)
    chunks = list(chunk_document(found, embedder.token_offsets, size=limit, overlap=0, limit=limit))
    embedded = embedded_texts(found, chunks)
    assert embedded[-1].startswith("Short\n\nNumber")
    assert all(tokens(embedder, text) <= limit for text in embedded)
    # The innermost one is there, however long.
    deep = markdown(f"# T\n\n## {'資料' * 100}\n\n{sentences(40)}")
    chunks = list(chunk_document(deep, embedder.token_offsets, size=limit, overlap=0, limit=limit))
    embedded = embedded_texts(deep, chunks)
    assert embedded[-1].startswith("資料資料")
    assert all(tokens(embedder, text) <= limit for text in embedded)


def test_the_one_class_of_a_module_is_no_title(embedder: Embedder) -> None:
    text = f"class A:\n    def f(self):\n        '{sentences(9)}'\n"
    at = text.index("    def")
    headings = (Heading(0, 8, 1, "class A"), Heading(at, at + 15, 2, "def f"))
    found = document(text, headings=headings, markup="python")
    chunks = passages(embedder, found, 60)
    assert embedded_texts(found, chunks)[1].startswith("class A\ndef f\n\n")


def test_the_section_around_an_offset() -> None:
    text = "intro\n# One\nalpha\n## Two\nbeta\n## Three\ngamma\n# Four\ndelta"
    found = document(text, headings=find_headings(text))

    def section(word: str) -> str:
        start, end = found.section_at(text.index(word))
        return text[start:end]

    assert section("intro") == "intro\n"
    assert section("alpha") == text[text.index("# One") : text.index("# Four")]
    assert section("Two") == section("beta") == "## Two\nbeta\n"
    assert section("gamma") == "## Three\ngamma\n"
    assert section("delta") == "# Four\ndelta"
    assert document("abc").section_at(1) == (0, 3)


SEARCHABLE = {
    "ﬁnd the eﬀect": "find the effect",
    "ＡＢＣ　１２３": "ABC 123",
    "data\u00adbase zero\u200bwidth \ufeffmark": "database zerowidth mark",
    "\u202eleft\u202c \u2066right\u2069": "left right",
    "می\u200cخواهم": "میخواهم",
    "e\u0301": "é",
    "10² m, 6½, H₂O": "10² m, 6½, H₂O",
    "a\0b\ud800": "a\ufffdb\ufffd",
    "plain\n\ttext  here": "plain\n\ttext  here",
}


@pytest.mark.parametrize("text", SEARCHABLE)
def test_text_as_search_sees_it(text: str) -> None:
    assert searchable(text) == SEARCHABLE[text]


@given(st.text(st.characters(), max_size=60))
@example("\u1fef\u0301²\u0301\u200b\u0301")
def test_searchable_twice_is_searchable(text: str) -> None:
    once = searchable(text)
    assert searchable(once) == once
    assert not any(unicodedata.category(character) == "Cs" for character in once)
