"""A page that is there as HTML and as text shows once, and two versions of a text show both."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag import RAG
from rag.protocols import Embedder

PARAGRAPHS = [
    "The pump of the cellar runs when the water in the shaft stands above the upper float. It "
    "stops as soon as the lower float hangs free, and does not start again for 90 seconds.",
    "Clean the strainer twice a year. Close the valve in front of it, open the lid with a key of "
    "17 mm, and rinse the basket under running water until nothing sticks to it.",
    "An alarm sounds when the shaft is full for more than 5 minutes. Press the red button on the "
    "cabinet to silence it, then call Mrs Lindqvist of the waterworks.",
]
QUESTION = "How do I clean the strainer of the pump?"


def html(paragraphs: list[str]) -> str:
    body = "".join(f"<p>{each}</p>" for each in paragraphs)
    return f"<html><title>The pump</title><h1>The pump</h1>{body}</html>"


def text(paragraphs: list[str]) -> str:
    marked = [each.replace("strainer", "*strainer*") for each in paragraphs]
    return "The pump\n========\n\n" + "\n\n".join(marked) + "\n"


def index(folder: Path, embedder: Embedder, files: dict[str, str], **settings: object) -> RAG:
    for name, content in files.items():
        path = folder / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    chosen = {"retrieval.expansion": (), "retrieval.top_k": 10, **settings}
    rag = RAG(folder / "index", embedder=embedder, settings=chosen)
    rag.index(folder / "docs")
    return rag


def shown(rag: RAG) -> dict[str, int]:
    """How many hits each file has."""
    names = [Path(hit.source).name for hit in rag.search(QUESTION)]
    return {name: names.count(name) for name in names}


FILES = {"pump.html": html(PARAGRAPHS), "_sources/pump.rst.txt": text(PARAGRAPHS)}


def test_one_rendition_is_shown_with_the_place_of_the_other(
    embedder: Embedder, tmp_path: Path
) -> None:
    rag = index(tmp_path, embedder, FILES)
    hits = rag.search(QUESTION)
    assert {Path(hit.source).name for hit in hits} == {"pump.html"}
    assert any("pump.rst.txt" in place for hit in hits for place in hit.duplicates)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


def test_the_preferred_kind_can_be_set_and_all_can_be_shown(
    embedder: Embedder, tmp_path: Path
) -> None:
    rag = index(tmp_path, embedder, FILES, **{"retrieval.prefer": ("txt", "html")})
    assert set(shown(rag)) == {"pump.rst.txt"}
    everything = RAG(rag.path, embedder=embedder, settings={"retrieval.collapse": 0})
    assert set(shown(everything)) == {"pump.html", "pump.rst.txt"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("17 mm", "19 mm"),
        ("does not start", "does start"),
        ("Mrs Lindqvist", "Mrs Okafor"),
        ("Close the valve", "Open the valve"),
        ("twice a year", "twice a year, in the spring and never in frost, lest the brass lid crack "
         "and its gasket swell, harden, tear, leak, or burst"),
    ],
)  # fmt: skip
def test_two_versions_that_differ_are_both_shown(
    embedder: Embedder, tmp_path: Path, before: str, after: str
) -> None:
    # Each holds what the other lacks.
    changed = [each.replace(before, after) for each in PARAGRAPHS]
    files = {"pump.html": html(PARAGRAPHS), "new/pump.txt": text(changed)}
    assert set(shown(index(tmp_path, embedder, files))) == {"pump.html", "pump.txt"}


def test_documents_of_other_names_are_no_renditions(embedder: Embedder, tmp_path: Path) -> None:
    files = {"pump.html": html(PARAGRAPHS), "pump-2019.txt": text(PARAGRAPHS)}
    assert set(shown(index(tmp_path, embedder, files))) == {"pump.html", "pump-2019.txt"}


def test_what_only_the_other_rendition_says_stays(embedder: Embedder, tmp_path: Path) -> None:
    files = {"pump.html": html(PARAGRAPHS[:1]), "pump.txt": text(PARAGRAPHS)}
    assert "pump.txt" in shown(index(tmp_path, embedder, files))
