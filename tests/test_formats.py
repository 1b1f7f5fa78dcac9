"""An index of every format there was, kept as the code of its time wrote it, is opened or named."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import SMALL, found, put, record, rows, unit

from rag import StoreError
from rag.index import Index, schema
from rag.index.caches import Digests
from rag.index.disk import database
from rag.index.rows import read_cache_row
from rag.index.upkeep import back_up, examine, export_index
from rag.index.vectors import cache
from rag.index.vectors.kinds import KINDS
from rag.query import parse_question

FOLDER = Path(__file__).parent / "formats"
OLD = ("3", "4", "4-flat")
# Each file with the number of its chunks; the vectors of the n-th follow from n.
FILES = {"first.md": (0, 6), "second.md": (1, 7), "third.md": (3, 4)}


def unpacked(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(FOLDER / f"{name}.zip") as archive:
        archive.extractall(folder / "index")
    return folder / "index"


def test_each_format_and_each_kind_is_there() -> None:
    names = {path.stem for path in FOLDER.glob("*.zip")}
    assert names == {*map(str, range(1, schema.FORMAT + 1)), *(f"4-{kind}" for kind in KINDS)}


@pytest.mark.parametrize("name", ["1", "2"])
def test_what_is_too_old_is_named(tmp_path: Path, name: str) -> None:
    folder = unpacked(name, tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    said = f"has index format {name}, this version reads format 3 to 4: delete the folder"
    for use in (Index(folder).counts, lambda: Index(folder).write().__enter__()):
        with pytest.raises(StoreError, match=said):
            use()
    assert not examine(folder).well
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("name", OLD)
def test_all_is_there_and_found(tmp_path: Path, name: str) -> None:
    index = Index(unpacked(name, tmp_path))
    assert index.counts() == {"files": 3, "documents": 3, "chunks": 17}
    assert [(root.path, root.include) for root in index.roots()] == [("/docs", ("*.md",))]
    states = {state.record.path: state for state in index.files()}
    assert [each.reason for each in states["/docs/bad.pdf"].problems] == ["is damaged"]
    for file, (seed, count) in FILES.items():
        vectors = unit(np.random.default_rng(seed), count)
        for number, vector in enumerate(vectors):
            ((text, score),) = found(index, vector, 1)
            assert text == f"{file} passage {number} of an index of long ago"
            assert abs(score - 1) < 1e-3
    with index.snapshot() as snapshot:
        matched = snapshot.matching(parse_question("third.md passage 2"), 3)
        best = snapshot.passages([matched[0][0]])[matched[0][0]]
    assert best.chunk.text.startswith("third.md passage 2")
    assert examine(index.directory).well
    back_up(index, tmp_path / "copy")
    export_index(index, tmp_path / "file")
    with index.write() as writer:
        put(writer, record("new"), rows("new", unit(np.random.default_rng(0), 3)))
        writer.commit()
        writer.refresh_cache()
    assert Index(index.directory).counts()["chunks"] == 20
    assert Index(tmp_path / "copy").counts()["chunks"] == 17
    assert examine(index.directory).well


@pytest.mark.parametrize(
    "name", ["4", "4-flat", *(f"4-{kind}" for kind in KINDS if kind != "flat")]
)
def test_caches_are_used_as_they_are(tmp_path: Path, name: str) -> None:
    """They are small here, and would be built anew unnoticed; a large one takes minutes."""
    folder = unpacked(name, tmp_path)
    index = Index(folder, caches=replace(SMALL, rebuilt_rows=0))
    manifest = index.manifest()
    assert manifest is not None
    with database.open_to_read(folder) as connection:
        row = read_cache_row(connection, "vectors")
    assert row is not None
    assert cache.load(folder, row, Digests(), dim=manifest.dim, mapped_bytes=1 << 30)
    with index.snapshot() as snapshot:
        assert snapshot.is_timely()
        snapshot.open_vectors()
        query = unit(np.random.default_rng(0), 1, manifest.dim)[0]
        scored = snapshot.nearest(query, 5)
        vectors = snapshot.vectors([each for each, _ in scored])
    assert np.allclose(vectors @ query, [score for _, score in scored], atol=1e-3)
    assert [finding for finding in examine(folder).findings if finding.status == "problem"] == []
