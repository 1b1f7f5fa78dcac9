"""The folders that a received index names are not read until the user names them here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from commanding import run

from rag import RAG, SourceError, StoreError
from rag.protocols import Embedder

SECRET = "The password of the vault is xylophone."


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of the user's own, which the sender of an index guessed."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "secret.md").write_text(SECRET)
    return folder


@pytest.fixture
def received(tmp_path: Path, mine: Path, embedder: Embedder) -> Iterator[RAG]:
    """An index that follows the user's folder, made elsewhere: it lies at another place."""
    made = RAG(tmp_path / "made", embedder=embedder)
    (mine / "old.md").write_text("The bridge is old.")
    made.index(mine)
    shutil.move(tmp_path / "made", tmp_path / "received")
    (mine / "new.md").write_text("Another secret: mandolin.")
    yield RAG(tmp_path / "received", embedder=embedder)


def test_it_reads_nothing_of_mine(received: RAG, mine: Path) -> None:
    before = received.info().documents
    with pytest.raises(SourceError, match=f"it followed {mine}.*name one, as in `rag index PATH`"):
        received.index()
    with pytest.raises(SourceError, match="name one"):
        received.index(rebuild=True)
    told = received.status()
    assert (told.new, told.gone, told.roots) == ((), (), ())
    assert "you did not name it" in told.failed[0].reason
    with pytest.raises(SourceError, match="name one"):
        next(received.watch())
    assert received.info().documents == before
    assert not received.search("mandolin", where="title:new")


def test_naming_it_once_is_enough(received: RAG, mine: Path) -> None:
    received.index(mine)
    assert received.search("mandolin")
    (mine / "more.md").write_text("The lute is in the attic.")
    assert received.index().added
    assert received.status().unchanged == 4


def test_a_folder_within_one_that_was_named_is_named(
    tmp_path: Path, mine: Path, embedder: Embedder
) -> None:
    rag = RAG(tmp_path / "index", embedder=embedder)
    rag.index(tmp_path / "mine")
    inner = mine / "inner"
    inner.mkdir()
    (inner / "a.md").write_text("The harp is here.")
    rag.add(inner)
    assert rag.index().unchanged == 2


def test_what_is_strange_is_named_beside_what_is_not(
    tmp_path: Path, received: RAG, mine: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "harp.md").write_text("The harp is in the hall.")
    received.index(own)
    report = received.index()
    assert [each.source for each in report.failed] == [str(mine)]
    assert "you did not name it" in report.failed[0].reason
    assert [each.source for each in received.status().failed] == [str(mine)]
    # What the index held of it stays, and is not thrown away by a rebuild.
    with pytest.raises(SourceError, match="you did not name it"):
        received.index(rebuild=True)
    assert received.search("password of the vault")


def test_a_page_of_mine_is_not_drawn(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    from fpdf import FPDF

    mine = tmp_path / "mine"
    mine.mkdir()
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=14)
    pdf.cell(text=SECRET)
    pdf.output(str(mine / "secret.pdf"))
    made = RAG(tmp_path / "made", embedder=embedder)
    made.index(mine)
    place = made.locate("secret.pdf:p1")
    assert made.draw(place).png
    shutil.move(tmp_path / "made", tmp_path / "received")
    received = RAG(tmp_path / "received", embedder=embedder)
    with pytest.raises(StoreError, match="did not name its folder"):
        received.draw(place)
    page = Path(received.view(place).removeprefix("file://").partition("#")[0]).read_text()
    assert "did not name its folder" in page
    assert "data:image" not in page


def test_a_command_says_so_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("The harp is in the hall.")
    run("index", "docs", cwd=tmp_path)
    shutil.move(tmp_path / "indexes", tmp_path / "moved")
    told = run("index", "--index", "moved/default", cwd=tmp_path)
    assert told.returncode == 1
    assert "name one, as in `rag index PATH`" in told.stderr
    assert run("index", "docs", "--index", "moved/default", cwd=tmp_path).returncode == 0
    assert run("index", "--index", "moved/default", cwd=tmp_path).returncode == 0
