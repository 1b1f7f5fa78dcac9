from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import document, documents, headings

from rag import SourceError
from rag.errors import ConfigError
from rag.sources.formats.markdown import find_headings


def written(tmp_path: Path, name: str, text: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


MARKDOWN = (
    "---\ntitle: 'From the front'\n---\n# One `x`\ntext\n\n```\n# no heading\n```\n"
    "Two\n---\nmore\n\n### Three ###\n"
)
RST = (
    "====\nTop\n====\n\nSee :foo:`x`.\n\n.. automodule:: nothing\n\nSub\n---\n\na\n\n"
    "Deeper\n~~~~~~\n\nb\n\nSub\n---\n\nc\n\n.. include:: /etc/hostname\n"
)
VERBATIM = [
    (
        *("a.md", MARKDOWN, "From the front"),
        [(1, "One x", "# One `x`"), (2, "Two", "Two\n---"), (3, "Three", "### Three ###")],
    ),
    (
        *("a.rst", RST, "Top"),
        [
            *[(1, "Top", "====\nTop\n===="), (2, "Sub", "Sub\n---")],
            *[(3, "Deeper", "Deeper\n~~~~~~"), (2, "Sub", "Sub\n---")],
        ],
    ),
]


@pytest.mark.parametrize(("name", "text", "title", "expected"), VERBATIM)
def test_text_is_verbatim_with_its_headings_by_nesting(
    tmp_path: Path, name: str, text: str, title: str, expected: list[tuple[int, str, str]]
) -> None:
    found = document(written(tmp_path, name, text))
    assert (found.text, found.title, found.verbatim) == (text, title, True)
    assert headings(found) == expected
    starts = [heading.start for heading in found.headings]
    assert starts == sorted(set(starts))


def test_notebook_cells_and_outputs(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {
            "cell_type": "code",
            "source": "print(1)",
            "outputs": [
                {"output_type": "stream", "text": ["1\n"]},
                {"output_type": "execute_result", "data": {"text/plain": "\x1b[31mred\x1b[0m"}},
                {"output_type": "error", "ename": "ValueError", "evalue": "no"},
            ],
        },
        {"cell_type": "markdown", "source": "## After\nend"},
    ]
    found = document(written(tmp_path, "a.ipynb", json.dumps({"cells": cells, "nbformat": 4})))
    assert found.text == (
        "# Title\nwords\n\n```python\nprint(1)\n```\n\n```\n1\n```\n\n```\nred\n```\n\n"
        "```\nValueError: no\n```\n\n## After\nend"
    )
    assert headings(found) == [(1, "Title", "# Title"), (2, "After", "## After")]


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")],
)
def test_byte_order_marks_and_line_ends(tmp_path: Path, mark: bytes, encoding: str) -> None:
    path = written(tmp_path, "a.txt", mark + "né\r\nb\rc".encode(encoding))
    assert document(path).text == "né\nb\nc"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text",
    [
        "Artikel;Preis\nSchraube;0,12\n",
        "Крана грузоподъёмность\n52 т.\n",
        "倉庫の温度は、\n18 度。\n",
    ],
)
def test_wide_text_without_a_mark_is_known(tmp_path: Path, text: str, encoding: str) -> None:
    for name in ("a.txt", "a.csv"):
        assert (
            text.split("\n", maxsplit=1)[0][:7]
            in document(written(tmp_path, name, text.encode(encoding))).text
        )


def test_one_file_has_an_encoding_of_its_own(tmp_path: Path) -> None:
    settings = {"encodings": ("*.txt = koi8-r", "old/*.csv=cp1252"), "encoding": "cp1251"}
    (tmp_path / "old").mkdir()
    for name, encoding in (("a.txt", "koi8-r"), ("a.md", "cp1251")):
        path = written(tmp_path, name, "Грузоподъёмность".encode(encoding))
        assert document(path, **settings).text == "Грузоподъёмность"
    table = written(tmp_path, "old/a.csv", "a,b\nKöln,5 €\n".encode("cp1252"))
    assert "Köln | b: 5 €" in document(table, **settings).text
    with pytest.raises(ConfigError, match="there is no encoding 'nonsense'"):
        document(table, encodings=("*.csv = nonsense",))


PICTURE = "data:image/png;base64," + "iVBORw0KGgo+/=" * 9_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", f"The pump failed.\n\n![photo]({PICTURE})\n\nOn day 9."),
        ("a.txt", f"The pump failed. {PICTURE} On day 9."),
        ("a.html", f"<p>The pump failed.<img src='{PICTURE}' alt=photo></p><p>On day 9."),
        (
            "a.ipynb",
            json.dumps(
                {
                    "cells": [
                        {"cell_type": "markdown", "source": f"The pump failed.\n![a]({PICTURE})"},
                        {"cell_type": "code", "source": "On day 9.", "outputs": [
                            {"output_type": "display_data", "data": {"image/png": PICTURE[22:]}},
                            {"output_type": "stream", "text": PICTURE},
                        ]},
                    ]
                }
            ),
        ),
    ],
)  # fmt: skip
def test_a_picture_in_a_text_is_cut_out_and_the_text_taken(
    tmp_path: Path, name: str, content: str
) -> None:
    text = document(written(tmp_path, name, content)).text
    assert "The pump failed." in text
    assert "On day 9." in text
    assert "iVBOR" not in text
    assert text.count("\n") == content.count("\n") or name not in ("a.md", "a.txt")


def test_notebooks_of_the_third_format_are_read(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Rain"]},
        {"cell_type": "markdown", "source": ["It was 81 mm."]},
        {
            "cell_type": "code",
            "input": ["print(81)"],
            "outputs": [
                {"output_type": "stream", "text": ["81\n"]},
                {"output_type": "pyout", "text": ["Out"]},
                {"output_type": "pyerr", "ename": "NameError", "evalue": "no"},
            ],
        },
    ]
    found = document(written(tmp_path, "a.ipynb", json.dumps({"worksheets": [{"cells": cells}]})))
    assert found.text == (
        "## Rain\n\nIt was 81 mm.\n\n```python\nprint(81)\n```\n\n```\n81\n```\n\n```\nOut\n```"
        "\n\n```\nNameError: no\n```"
    )
    assert headings(found) == [(2, "Rain", "## Rain")]


BAD = {
    "latin.md": ("h\xe9".encode("latin1"), "byte 0xe9 at offset 1"),
    "nul.txt": (b"a\0b", "NUL"),
    "empty.txt": (b"", "is empty"),
    "blank.md": (b"\n \n", "holds no text"),
    "a.ipynb": (b"[]", "no list of cells"),
    "old.ipynb": (b'{"worksheets": [{"cells": 3}, 4]}', "no list of cells"),
    "odd.xyz": (b"\0\1\2", "is not a document: binary data (.xyz)"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    content, reason = BAD[name]
    path = written(tmp_path, name, content)
    with pytest.raises(SourceError) as caught:
        documents(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


LINES = st.lists(
    st.sampled_from(
        ["# A", "## B c", "text", "", "```", "---", "- x", "> # q", "    # code", "\u2028"]
    ),
    max_size=15,
)


@pytest.mark.slow
@given(lines=LINES)
def test_heading_spans_hold_their_titles(lines: list[str]) -> None:
    text = "\n".join(lines)
    last = 0
    for heading in find_headings(text):
        assert last <= heading.start < heading.end <= len(text)
        assert all(word in text[heading.start : heading.end] for word in heading.title.split())
        last = heading.end
