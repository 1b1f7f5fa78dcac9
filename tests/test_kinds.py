from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic
from conftest import RunMain
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import working
from synthetic import SMALL, clustered, remove
from synthetic import WIDE as DIM
from synthetic import WIDE_MANIFEST as MANIFEST
from synthetic import put_clustered as put

from rag import RAG, LockedError, StoreError
from rag.config import known_settings
from rag.index import CacheSettings, Index, Writer
from rag.index.disk import database, steps
from rag.index.vectors import cache
from rag.index.vectors.kinds import KINDS, choose, needed_bytes

APPROXIMATE = [kind for kind in KINDS if kind != "flat"]


def writing(index: Index) -> AbstractContextManager[Writer]:
    return synthetic.writing(index, MANIFEST, refresh=True)


def put_all(index: Index, *given: tuple[str, np.ndarray]) -> None:
    with writing(index) as writer:
        for name, each in given:
            put(writer, name, each)


def live(index: Index) -> tuple[np.ndarray, np.ndarray]:
    """Ids of all chunks, and their vectors."""
    with database.open_to_read(index.directory) as connection:
        stored = connection.execute("SELECT id, vector FROM chunks ORDER BY id").fetchall()
    ids = np.array([each for each, _ in stored], dtype=np.int64)
    halves = np.frombuffer(b"".join(blob for _, blob in stored), dtype="<f2")
    return ids, halves.reshape(len(ids), DIM).astype(np.float32)


def exact(
    index: Index, query: np.ndarray, k: int, within: np.ndarray | None = None
) -> list[tuple[int, float]]:
    ids, stored = live(index)
    if within is not None:
        wanted = np.isin(ids, within)
        ids, stored = ids[wanted], stored[wanted]
    scored = zip(ids.tolist(), (stored @ query).tolist(), strict=True)
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


def nearest(
    index: Index, query: np.ndarray, k: int, within: np.ndarray | None = None
) -> list[tuple[int, float]]:
    with index.snapshot() as snapshot:
        return snapshot.nearest(query, k, within)


def assert_same(ours: list[tuple[int, float]], true: list[tuple[int, float]]) -> None:
    # Equal but for the last digit, vectors may change places.
    assert sorted(each for each, _ in ours) == sorted(each for each, _ in true)
    assert np.allclose([s for _, s in ours], [s for _, s in true], atol=1e-5)


def assert_exact_scores(index: Index, query: np.ndarray, found: list[tuple[int, float]]) -> None:
    ids, stored = live(index)
    scores = dict(zip(ids.tolist(), (stored @ query).tolist(), strict=True))
    assert np.allclose([s for _, s in found], [scores[each] for each, _ in found], atol=1e-5)
    assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))
    assert len({each for each, _ in found}) == len(found)


def recall(index: Index, queries: np.ndarray, k: int, within: np.ndarray | None = None) -> float:
    hits = 0
    for query in queries:
        true = {each for each, _ in exact(index, query, k, within)}
        hits += len(true & {each for each, _ in nearest(index, query, k, within)})
    return hits / (k * len(queries))


def cache_rows(index: Index) -> dict[str, tuple[str, int, int, dict]]:
    with database.open_to_read(index.directory) as connection:
        found = connection.execute("SELECT kind, name, max_id, count, details FROM caches")
        return {row[0]: (row[1], row[2], row[3], json.loads(row[4])) for row in found}


def assert_caches_are_exact(index: Index) -> None:
    """What caches hold, without tombstones, is what is stored up to the newest they cover."""
    named = cache_rows(index)
    with database.open_to_read(index.directory) as connection:
        buried = {each for (each,) in connection.execute("SELECT chunk_id FROM tombstones")}
    ids, _ = live(index)
    after = 0
    for kind in ("vectors", "recent"):
        if kind not in named:
            continue
        name, newest, count, _ = named[kind]
        import faiss

        held = cache.ids_of(faiss.read_index(str(index.directory / name)))
        assert len(held) == len(set(held.tolist())) == count
        own = ids[(ids > after) & (ids <= newest)].tolist()
        assert set(held.tolist()) - buried == set(own)
        after = newest
    known = {row[0] for row in named.values()}
    assert {path.name for path in index.directory.glob("*.faiss*")} <= known


@pytest.fixture(scope="module", params=KINDS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """3,000 vectors in a kind, some of which were removed and others added later."""
    directory = tmp_path_factory.mktemp(request.param) / "index"
    index = Index(directory, caches=CacheSettings(kind=request.param, scanned_rows=300))
    parts = {name: clustered(at, 375) for at, name in enumerate("abcdefgh")}
    put_all(index, *parts.items())
    with writing(index) as writer:
        remove(writer, "c")
        put(writer, "i", clustered(20, 40))
    return index


@pytest.mark.slow
def test_each_kind_finds_what_brute_force_finds(built: Index) -> None:
    queries = clustered(50, 30)
    assert recall(built, queries, 10) >= 0.93
    assert recall(built, queries, 100) >= 0.93
    for query in queries[:5]:
        for k in (1, 10, 100):
            found = nearest(built, query, k)
            assert len(found) == k
            assert_exact_scores(built, query, found)


def test_what_is_stored_finds_itself(built: Index) -> None:
    ids, stored = live(built)
    some = np.random.default_rng(0).choice(len(ids), 60, replace=False)
    found = [nearest(built, stored[at], 1)[0][0] for at in some]
    assert np.mean(np.array(found) == ids[some]) >= 0.97


@pytest.mark.parametrize("passing", [0, 1, 7, 300, 301, 700, 2600])
def test_a_filter_never_comes_back_short(built: Index, passing: int) -> None:
    ids, stored = live(built)
    query = clustered(51, 1)[0]
    random = np.random.default_rng(passing)
    some = np.sort(random.choice(ids, passing, replace=False))
    furthest = np.sort(ids[np.argsort(stored @ query)[:passing]])
    for within in (some, furthest, some[::-1].copy()):
        for k in (1, 10, 400):
            found = nearest(built, query, k, within)
            assert len(found) == min(k, passing)
            assert {each for each, _ in found} <= set(within.tolist())
            assert_exact_scores(built, query, found)
            if passing <= 300:
                assert_same(found, exact(built, query, k, within))


def test_filters_find_what_brute_force_finds(built: Index) -> None:
    ids, _ = live(built)
    for share in (0.5, 0.1):
        within = ids[np.random.default_rng(1).random(len(ids)) < share]
        assert recall(built, clustered(52, 20), 10, within) >= 0.93


def test_all_can_be_asked_for(built: Index) -> None:
    query = clustered(53, 1)[0]
    assert_same(nearest(built, query, 10_000), exact(built, query, 10_000))
    assert len(nearest(built, query, 2_000)) == 2_000


def test_mapped_and_read_caches_find_the_same(built: Index) -> None:
    queries = clustered(54, 10)
    kept = built._settings
    mapped = Index(built.directory, caches=replace(kept, mapped_bytes=0))
    read = Index(built.directory, caches=replace(kept, mapped_bytes=1 << 40))
    for query in queries:
        assert_same(nearest(mapped, query, 10), nearest(read, query, 10))


def test_auto_chooses_by_count_and_memory() -> None:
    auto = CacheSettings(memory_mb=4096)
    assert choose(auto, 50_000, 384) == "flat"
    assert choose(auto, 50_001, 384) == "ivf-sq8"
    assert choose(auto, 10_000_000, 384) == "ivf-sq8"
    assert choose(replace(auto, memory_mb=2000), 10_000_000, 384) == "ivf-pq"
    assert (
        needed_bytes("ivf-pq", 10_000_000, 384)
        < 2000 << 20
        < needed_bytes("ivf-sq8", 10_000_000, 384)
    )
    # It does not go to and fro around the bound.
    assert choose(auto, 49_999, 384, "ivf-sq8") == "ivf-sq8"
    assert choose(auto, 25_000, 384, "ivf-sq8") == "flat"
    for kind in KINDS:
        assert choose(replace(auto, kind=kind), 1_000, 384) == kind
        assert choose(replace(auto, kind=kind), 999, 384) == "flat"
    assert known_settings()["index.kind"].choices == ("auto", *KINDS)


@pytest.mark.slow
def test_building_twice_gives_the_same_file(tmp_path: Path) -> None:
    digests = set()
    for at in range(2):
        index = Index(tmp_path / str(at), caches=replace(SMALL, kind="ivf-sq8"))
        put_all(index, ("a", clustered(1, 800)))
        digests.add((index.directory / cache_rows(index)["vectors"][0]).read_bytes())
    assert len(digests) == 1


@settings(max_examples=8, deadline=None)
@given(
    kind=st.sampled_from(["auto", "flat", "hnsw", "ivf-sq8", "ivf-pq"]),
    steps=st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(1, 130), st.sampled_from("ppprox")),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 2**16),
)
@pytest.mark.slow
def test_search_is_right_after_any_changes(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    steps: list[tuple[str, int, str]],
    seed: int,
) -> None:
    """Putting, removing, optimizing and compacting, below and above every bound."""
    kept = replace(SMALL, kind=kind)
    index = Index(tmp_path_factory.mktemp("index"), caches=kept)
    put_all(index, ("first", clustered(seed, 90)))
    for at, (name, count, step) in enumerate(steps):
        if step == "p":
            put_all(index, (name, clustered(seed + at, count)))
        elif step == "r":
            with writing(index) as writer:
                remove(writer, name)
        elif step == "o":
            index.optimize()
        else:
            index.compact()
        assert_caches_are_exact(index)
        query = clustered(seed + at + 1, 1)[0]
        total = index.counts()["chunks"]
        for reader in (index, Index(index.directory, caches=kept)):
            assert_same(nearest(reader, query, total), exact(index, query, total))
            found = nearest(reader, query, 5)
            assert len(found) == 5
            assert_exact_scores(index, query, found)


@pytest.mark.slow
def test_a_large_index_keeps_what_is_newer_in_a_small_cache(tmp_path: Path) -> None:
    index = Index(tmp_path, caches=replace(SMALL, kind="ivf-sq8", stale_share=0.1))
    put_all(index, ("a", clustered(1, 1000)))
    first = cache_rows(index)["vectors"]
    put_all(index, ("b", clustered(2, 10)))
    assert set(cache_rows(index)) == {"vectors", "terms"}
    put_all(index, ("c", clustered(3, 20)))
    assert cache_rows(index)["vectors"] == first
    assert cache_rows(index)["recent"][2] == 30
    put_all(index, ("d", clustered(4, 10)))
    assert cache_rows(index)["recent"][2] == 30
    with writing(index) as writer:
        remove(writer, "c")
    # Of removed ones too a small cache holds few.
    assert cache_rows(index)["recent"][2] == 20
    assert_caches_are_exact(index)
    # Above the bound the lists stay, and take in what is newer.
    put_all(index, ("e", clustered(5, 60)))
    extended = cache_rows(index)
    assert "recent" not in extended
    assert extended["vectors"][2] == 1080
    assert extended["vectors"][3] == first[3]
    assert_caches_are_exact(index)
    # Twice as many are too many for them.
    put_all(index, ("f", clustered(6, 1000)))
    assert cache_rows(index)["vectors"][3]["trained"] == 2080
    assert recall(index, clustered(7, 20), 10) >= 0.93


def test_a_damaged_recent_cache_is_not_believed_and_mended(tmp_path: Path) -> None:
    kept = replace(SMALL, kind="ivf-sq8", stale_share=0.5)
    put_all(Index(tmp_path, caches=kept), ("a", clustered(1, 500)))
    put_all(Index(tmp_path, caches=kept), ("b", clustered(2, 40)))
    (path,) = tmp_path.glob("recent-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    query, index = clustered(3, 1)[0], Index(tmp_path, caches=kept)
    assert_same(nearest(index, query, 540), exact(index, query, 540))
    with index.write() as writer:
        writer.refresh_cache()
    (path,) = tmp_path.glob("recent-*")
    assert path.read_bytes() != data
    assert_caches_are_exact(index)


@pytest.mark.slow
def test_another_kind_is_taken_on_with_the_next_change(tmp_path: Path) -> None:
    put_all(Index(tmp_path, caches=SMALL), ("a", clustered(1, 50)))
    for kind in (*APPROXIMATE, "flat"):
        index = Index(tmp_path, caches=replace(SMALL, kind=kind))
        put_all(index, (kind, clustered(2, 200)))
        assert cache_rows(index)["vectors"][3]["kind"] == kind
        assert_caches_are_exact(index)


def test_a_large_damaged_cache_is_named_a_small_one_is_built(tmp_path: Path) -> None:
    kept = replace(SMALL, kind="ivf-sq8")
    index = Index(tmp_path, caches=kept)
    put_all(index, ("a", clustered(1, 300)))
    (path,) = tmp_path.glob("vectors-*.faiss")
    path.write_bytes(path.read_bytes()[:-1])
    query = clustered(2, 1)[0]
    small = Index(tmp_path, caches=replace(kept, rebuilt_rows=300))
    assert_same(nearest(small, query, 10), exact(index, query, 10))
    with pytest.raises(StoreError, match="rag doctor --repair"):
        nearest(Index(tmp_path, caches=replace(kept, rebuilt_rows=299)), query, 10)
    with index.write() as writer:
        writer.refresh_cache()
    assert recall(Index(tmp_path, caches=replace(kept, rebuilt_rows=299)), query[None], 10) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_goes_on_with_the_cache_it_mapped(tmp_path: Path, kind: str) -> None:
    kept = replace(SMALL, kind=kind, mapped_bytes=0)
    reader = Index(tmp_path, caches=kept)
    put_all(reader, ("a", clustered(1, 600)))
    query = clustered(2, 1)[0]
    with reader.snapshot() as snapshot:
        before = snapshot.nearest(query, 10)
        opened = reader._caches._opened["vectors"][1]
        assert opened.mapped is (kind != "ivf-pq")
        other = Index(tmp_path, caches=replace(kept, kind="ivf-sq8"))
        with writing(other) as writer:
            remove(writer, "a")
            put(writer, "b", clustered(3, 600))
        other.optimize()
        assert len(list(tmp_path.glob("vectors-*"))) == 1
        assert snapshot.nearest(query, 10) == before
    assert_same(nearest(reader, query, 600), exact(other, query, 600))


@pytest.mark.slow
def test_optimizing_beside_writers_and_readers_loses_nothing(tmp_path: Path) -> None:
    index = Index(tmp_path, caches=replace(SMALL, kind="ivf-sq8"))
    put_all(index, ("a", clustered(1000, 3000)))
    with working("write-clustered", tmp_path) as writer:
        writer.wait_for(1)
        query, done = clustered(2000, 1)[0], 0
        while writer.is_at_work() and (len(writer.lines) <= 6 or done < 3):
            index.optimize()
            done += 1
            with index.snapshot() as snapshot:
                found = snapshot.nearest(query, 1 << 20)
                # Every third file is taken out again: all others are found, whole.
                assert len(found) >= 3000
                assert len(found) % 25 == 0
        (tmp_path / "stop").touch()
        assert writer.end() == 0, writer.errors
    rounds = int(writer.lines[-1])
    assert rounds > 3
    kept = [at for at in range(rounds) if not (at % 3 == 1 and at + 1 < rounds)]
    assert index.counts()["chunks"] == 3000 + 25 * len(kept)
    assert_caches_are_exact(index)
    assert_same(nearest(index, query, 1 << 20), exact(index, query, 1 << 20))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-sq8", "ivf-pq"])
def test_whatever_a_writer_does_meanwhile_is_there(tmp_path: Path, kind: str) -> None:
    index = Index(tmp_path, caches=replace(SMALL, kind=kind, stale_rows=30))
    put_all(index, ("a", clustered(1, 300)), ("b", clustered(2, 300)), ("c", clustered(3, 50)))

    def meanwhile(stage: str, done: int, _: int) -> None:
        if stage == "write":
            with writing(index) as writer:
                put(writer, "d", clustered(4, 80))
                if kind != "hnsw":
                    remove(writer, "b")
            with writing(index) as writer:
                put(writer, "e", clustered(5, 20))
                remove(writer, "e")
                put(writer, "f", clustered(6, 10))
            if kind != "hnsw":
                index.compact()

    index.optimize(progress=meanwhile)
    assert_caches_are_exact(index)
    query = clustered(7, 1)[0]
    assert_same(nearest(index, query, 9999), exact(index, query, 9999))
    if kind != "hnsw":
        # What was compacted away must not come back with what was built before.
        import faiss

        name = cache_rows(index)["vectors"][0]
        held = cache.ids_of(faiss.read_index(str(tmp_path / name)))
        assert set(held.tolist()) <= set(live(index)[0].tolist())


def test_optimizing_gives_up_on_what_was_built_anew(tmp_path: Path) -> None:
    index = Index(tmp_path, caches=SMALL)
    put_all(index, ("a", clustered(1, 300)))

    def meanwhile(stage: str, done: int, _: int) -> None:
        if stage == "write":
            with index.write() as writer:
                writer.clear()
                writer.set_manifest(replace(MANIFEST, chunk_size=chunk_size))
                put(writer, "a", clustered(2, 150))
                writer.commit()
                writer.refresh_cache()

    for chunk_size in (MANIFEST.chunk_size, 77):  # noqa: B007
        with pytest.raises(StoreError, match="built anew meanwhile"):
            index.optimize(progress=meanwhile)
        assert_caches_are_exact(index)
        query = clustered(3, 1)[0]
        assert_same(nearest(index, query, 999), exact(index, query, 999))


def test_one_at_a_time_optimizes_and_a_writer_is_waited_for(tmp_path: Path) -> None:
    index = Index(tmp_path, caches=SMALL)
    put_all(index, ("a", clustered(1, 300)))

    def meanwhile(stage: str, done: int, _: int) -> None:
        if stage == "write":
            with pytest.raises(LockedError, match="being optimized already"):
                Index(tmp_path).optimize()

    index.optimize(progress=meanwhile)
    before = cache_rows(index)
    with index.write(), pytest.raises(LockedError):
        Index(tmp_path, caches=SMALL).optimize(wait=0.1)
    assert cache_rows(index) == before
    assert_caches_are_exact(index)


class Killed(BaseException):
    """What ends a process, as far as files are concerned."""


@pytest.mark.slow
def test_optimizing_may_end_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = replace(SMALL, kind="ivf-sq8")
    index = Index(tmp_path, caches=kept)
    put_all(index, ("a", clustered(1, 200)), ("b", clustered(2, 200)))
    with writing(index) as writer:
        remove(writer, "b")
        put(writer, "c", clustered(3, 15))
    query = clustered(4, 1)[0]
    true, step = exact(index, query, 999), 0
    while True:
        left = step

        def fail(when: str, name: str, path: Path) -> None:
            nonlocal left
            left -= when == "before"
            if left < 0:
                raise Killed

        monkeypatch.setattr(steps, "fault", fail)
        try:
            index.optimize()
            ended = False
        except Killed:
            ended = True
        monkeypatch.setattr(steps, "fault", None)
        for reader in (index, Index(tmp_path, caches=kept)):
            assert_same(nearest(reader, query, 999), true)
        if not ended:
            break
        step += 1
    assert step > 5
    with index.write() as writer:
        writer.refresh_cache()
    assert_caches_are_exact(index)
    assert not list(tmp_path.glob("optimized*"))


def test_nothing_is_optimized_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no index"):
        RAG(tmp_path / "none").optimize()
    with Index(tmp_path / "empty").write() as writer:
        writer.set_manifest(MANIFEST)
        writer.commit()
    with pytest.raises(StoreError, match="holds no passages"):
        RAG(tmp_path / "empty").optimize()


def test_the_command_says_how_well_is_searched(tmp_path: Path, run_main: RunMain) -> None:
    put_all(Index(tmp_path), ("a", clustered(1, 1500)))
    given = ["--index", str(tmp_path)]
    done = run_main("info", *given)
    assert "search     flat, 1,500 vectors; exact" in done.out
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAG_INDEX_KIND", "ivf-sq8")
        done = run_main("index", "--optimize", *given)
    assert done.code == 0, done.err
    assert done.out.startswith("search: ivf-sq8, 1,500 vectors, 38 lists, ")
    said = done.out.removeprefix("search: ").splitlines()[0]
    assert f"search     {said}" in run_main("info", *given).out
    done = run_main("index", "--optimize", "--json", *given)
    facts = json.loads(done.out.splitlines()[-1])
    assert (facts["event"], facts["kind"]) == ("optimized", "flat")
    found = RAG(tmp_path, settings={"index.kind": "hnsw"}).optimize()
    assert found.kind == "hnsw"
    assert found.recall_at_10 >= 0.95
