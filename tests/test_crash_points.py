"""Wherever a writer of the index is ended, or its disk fails, nothing is lost or torn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import pytest
from crashing import FATES, ROOM, SCENES, Crashes, Operation, Scene, walk

# Points for each fate; `python tests/crashing.py` walks all of them.
MOST = 1
# Where all of our own steps are tried.
THOROUGH = {"create", "several"}


@pytest.fixture(scope="module")
def crashes() -> Iterator[Crashes]:
    started, threads = Crashes(), faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield started
    faiss.omp_set_num_threads(threads)
    started.close()


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_no_point_loses_or_tears_anything(crashes: Crashes, scene: Scene) -> None:
    with TemporaryDirectory(dir=ROOM) as folder:
        tried, problems = walk(crashes, scene, Path(folder), MOST, all_steps=scene.name in THOROUGH)
    assert not problems
    assert set(tried) == set(FATES)


def test_what_is_lost_is_noticed(crashes: Crashes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk finds a promise that was not kept: an operation that changes nothing."""
    scene = next(scene for scene in SCENES if scene.name == "add")
    broken = Scene(scene.name, Operation("look"), {**scene.before, "e": (50, 1)}, scene.prepare)
    with TemporaryDirectory(dir=ROOM) as folder:
        _, problems = walk(crashes, broken, Path(folder), 1)
    assert problems
