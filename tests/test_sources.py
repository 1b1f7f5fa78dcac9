from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import document, documents, headings

from rag import SourceError
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


BAD = {
    "latin.md": ("h\xe9".encode("latin1"), "byte 0xe9 at offset 1"),
    "nul.txt": (b"a\0b", "NUL"),
    "empty.txt": (b"", "is empty"),
    "blank.md": (b"\n \n", "holds no text"),
    "a.ipynb": (b"[]", "no list of cells"),
    "old.ipynb": (b'{"worksheets": []}', "nbconvert"),
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
