from __future__ import annotations

from pathlib import Path

import pytest
from reading import document, headings

from rag.chunking import chunk_document
from rag.protocols import Embedder

MODULE = '''"""Accounts and what they hold.

More of it.
"""

import functools

try:
    import fast
except ImportError:
    def fast():
        """Slowly."""


class Account:
    """Money in, money out."""

    rate = 0.5

    @property
    @functools.lru_cache(
        maxsize=None,
    )
    def balance(self):
        def inner():
            return 1
        return inner()

    async def fetch(self): return "ü"

    class Error(Exception):
        def show(self):
            pass

def main():
    print("\\d")
'''


def test_python_by_its_definitions(tmp_path: Path) -> None:
    path = tmp_path / "accounts.py"
    path.write_text(MODULE)
    found = document(path)
    assert (found.text, found.markup, found.media_type) == (MODULE, "python", "text/x-python")
    assert found.title == "accounts.py"
    assert found.verbatim
    assert found.metadata == {"description": "Accounts and what they hold."}
    assert [(level, title) for level, title, _ in headings(found)] == [
        (1, "def fast"),
        (1, "class Account"),
        (2, "def balance"),
        (2, "def fetch"),
        (2, "class Error"),
        (3, "def show"),
        (1, "def main"),
    ]
    lines = {title: line for _, title, line in headings(found)}
    assert lines["class Account"] == "class Account:"
    assert lines["def fetch"] == '    async def fetch(self): return "ü"'
    assert lines["def balance"].startswith("    @property\n")
    assert lines["def balance"].endswith("    def balance(self):")
    assert found.heading_at(found.text.index("pass")) == (
        "class Account",
        "class Error",
        "def show",
    )


def test_a_passage_begins_with_its_decorators(tmp_path: Path, embedder: Embedder) -> None:
    path = tmp_path / "accounts.py"
    path.write_text(MODULE)
    chunks = list(
        chunk_document(document(path), embedder.token_offsets, size=80, overlap=0, limit=254)
    )
    (balance,) = [c for c in chunks if "def balance" in c.text]
    assert balance.text.startswith("@property")
    assert balance.text.endswith("return inner()")
    assert balance.heading == ("class Account", "def balance")
    assert balance.line == MODULE[: balance.start].count("\n") + 1


@pytest.mark.parametrize("broken", ["def f(:\n    pass\n", "print 'two'\n", "(" * 5000 + "\n"])
def test_what_python_cannot_parse_is_read_still(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "old.py"
    path.write_text(broken)
    found = document(path)
    assert (found.text, found.markup, found.headings) == (broken, "python", ())


@pytest.mark.slow
def test_a_long_chain_of_elif(tmp_path: Path) -> None:
    chain = "if x == 0:\n    pass\n" + "".join(
        f"elif x == {n}:\n    pass\n" for n in range(1, 2000)
    )
    path = tmp_path / "chain.py"
    path.write_text(chain + "def after():\n    pass\n")
    # Whether so deep a tree can be built at all is up to the version of Python.
    assert headings(document(path)) in ([], [(1, "def after", "def after():")])


CODE = {
    "main.go": "package main\n\nfunc main() {\n}\n",
    "app.tsx": "export const App = () => null;\n",
    "create.sql": "CREATE TABLE t (a int);\n",
    "run": "#!/usr/bin/env bash\nset -e\necho done\n",
    "tool": "#!/usr/bin/python3\nprint(1)\n",
}
LANGUAGES = ["go", "ts", "sql", "shell", "python"]


@pytest.mark.parametrize(("name", "markup"), zip(CODE, LANGUAGES, strict=True))
def test_languages(tmp_path: Path, name: str, markup: str) -> None:
    text = CODE[name]
    path = tmp_path / name
    path.write_text(text)
    found = document(path)
    assert (found.markup, found.media_type) == (markup, f"text/x-{markup}")
    assert (found.text, found.title, found.headings) == (text, name, ())
    assert "language" not in found.metadata
