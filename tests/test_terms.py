"""The index of terms: always what the chunks are, and BM25 as it is written down."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import cut, remove

from rag.index import FileRecord, Index, Manifest, Writer, rows
from rag.index import terms as terms_room
from rag.index.caches import Digests
from rag.index.disk import database
from rag.query import parse_question
from rag.text.terms import analyse
from rag.types import Chunk, Document

MANIFEST = Manifest("embedder", "weights", 4, 100, 10)
WORDS = ("alpha", "beta", "gamma", "delta", "max_connections", "CVE-2024-1234")


def put(writer: Writer, name: str, passages: Sequence[str]) -> None:
    text, chunks = cut(name, passages)
    document = Document(name, name, text, "", "text/plain", text, metadata={"language": "en"})
    vectors = np.ones((len(chunks), 4), np.float32)
    synthetic.put(writer, synthetic.record(name), [(document, chunks, vectors)])


def writing(index: Index) -> AbstractContextManager[Writer]:
    return synthetic.writing(index, MANIFEST, refresh=False)


def matching(index: Index, question: str, k: int = 1000) -> list[tuple[str, float]]:
    with index.snapshot() as snapshot:
        scored = snapshot.matching(parse_question(question), k)
        passages = snapshot.passages([each for each, _ in scored])
    return [(passages[each].chunk.text, score) for each, score in scored]


def texts(index: Index, question: str) -> list[str]:
    return sorted(text for text, _ in matching(index, question))


@settings(max_examples=20)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.lists(st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join), max_size=4),
        ),
        min_size=1,
        max_size=6,
    )
)
@pytest.mark.slow
def test_what_is_found_is_what_is_there_after_any_changes(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[str]]]
) -> None:
    """Adding, replacing and removing, over open readers and new ones."""
    index = Index(tmp_path_factory.mktemp("index"))
    expected: dict[str, list[str]] = {}
    for name, passages in steps:
        with writing(index) as writer:
            if passages:
                put(writer, name, passages)
                expected[name] = passages
            else:
                remove(writer, name)
                expected.pop(name, None)
        for word in ("alpha", "delta", "max_connections"):
            holding = sorted(
                text
                for passages in expected.values()
                for text in passages
                if set(analyse(word).words) & set(analyse(text).words)
            )
            assert texts(index, word) == holding
            assert texts(Index(index.directory), word) == holding


def test_scores_are_bm25(tmp_path: Path) -> None:
    index = Index(tmp_path)
    passages = ["alpha beta", "alpha alpha gamma delta", "beta gamma delta", "delta"]
    with writing(index) as writer:
        put(writer, "a", passages)
    # Each passage has one place more: the border between headings and text.
    lengths = [len(passage.split()) + 1 for passage in passages]
    idf = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))
    by_hand = {
        passage: idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length * 4 / sum(lengths)))
        for passage, length in zip(passages, lengths, strict=True)
        if (tf := passage.split().count("alpha"))
    }
    found = matching(index, "alpha")
    assert [text for text, _ in found] == sorted(by_hand, key=lambda text: -by_hand[text])
    assert dict(found) == pytest.approx(by_hand, rel=1e-5)


def test_words_that_follow_one_another_count_more(tmp_path: Path) -> None:
    index = Index(tmp_path)
    with writing(index) as writer:
        put(writer, "a", ["alpha gamma gamma gamma beta", "alpha beta gamma gamma gamma"])
    (first, high), (_, low) = matching(index, "the alpha of beta")
    assert first == "alpha beta gamma gamma gamma"
    assert high > low
    # Apart, the words weigh the same in both.
    assert len({round(score, 5) for _, score in matching(index, "gamma")}) == 1


def test_phrases_exclusions_and_identifiers(tmp_path: Path) -> None:
    index = Index(tmp_path)
    passages = [
        "The speed of sound is set by max_connections",
        "Sound has a speed, see foo.bar() and CVE-2024-1234",
        "Connections of foo to a bar in 2024",
    ]
    with writing(index) as writer:
        put(writer, "a", passages)
    assert texts(index, '"speed of sound"') == [passages[0]]
    assert texts(index, "sound -connections") == [passages[1]]
    assert texts(index, 'sound -"speed of sound"') == [passages[1]]
    assert texts(index, '"sound speed"') == []
    assert matching(index, "max_connections")[0][0] == passages[0]
    assert matching(index, "foo.bar")[0][0] == passages[1]
    assert matching(index, "CVE-2024-1234")[0][0] == passages[1]
    assert set(texts(index, "connections")) == {passages[0], passages[2]}
    assert matching(index, '( * ^ : "') == []


def test_headings_are_found_and_no_phrase_goes_across_their_end(tmp_path: Path) -> None:
    index = Index(tmp_path)
    record = FileRecord("/a", "a", 1, 1, "hash")
    chunk = Chunk(0, "a", "beta gamma", 0, 10, 0, heading=("alpha",))
    document = Document("a", "a", "beta gamma", "The Title", "text/plain", "h")
    with writing(index) as writer:
        file_id = writer.begin_file(record)
        writer.put_document(file_id, document, [chunk], ["p"], np.ones((1, 4), np.float32))
    assert texts(index, "alpha") == texts(index, "title") == ["beta gamma"]
    assert texts(index, '"beta gamma"') == ["beta gamma"]
    assert texts(index, '"alpha beta"') == []


@pytest.mark.parametrize("looked_up", [0, 1000])
def test_a_filter_leaves_the_best_of_those_that_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_up: int
) -> None:
    """By a set of ids, and by going down the ranking."""
    monkeypatch.setattr(terms_room, "_LOOKED_UP", looked_up)
    index, generator = Index(tmp_path), np.random.default_rng(1)
    with writing(index) as writer:
        put(writer, "a", [" ".join(generator.choice(WORDS, 8)) for _ in range(200)])
    query = parse_question("alpha beta")
    with index.snapshot() as snapshot:
        everything = snapshot.matching(query, 1000)
        for size in (0, 1, 3, 50, 200):
            within = np.sort(generator.choice(np.arange(1, 201), size, replace=False))
            allowed = set(within.tolist())
            expected = [pair for pair in everything if pair[0] in allowed][:5]
            found = snapshot.matching(query, 5, within)
            assert [score for _, score in found] == pytest.approx([s for _, s in expected])
            assert {each for each, _ in found} <= allowed


def folder(index: Index) -> Path:
    return max(index.directory.glob("terms-*"), key=lambda path: int(path.name[6:]))


@pytest.mark.parametrize("damage", ["gone", "emptied", "flipped", "cut"])
def test_a_damaged_cache_is_noticed_and_mended(tmp_path: Path, damage: str) -> None:
    index = Index(tmp_path)
    with writing(index) as writer:
        put(writer, "a", ["alpha beta", "gamma"])
    for path in [*folder(index).glob("*")]:
        content = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "emptied":
            path.write_bytes(b"")
        elif damage == "cut":
            path.write_bytes(content[:-1])
        elif content:
            middle = len(content) // 2
            path.write_bytes(
                content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
    assert texts(Index(tmp_path), "alpha") == ["alpha beta"]
    with index.write() as writer:
        writer.refresh_cache()
    row = _row(tmp_path)
    assert Digests().agree(tmp_path, row)
    assert texts(Index(tmp_path), "gamma") == ["gamma"]


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_change_does_not_build_upon_a_damaged_cache(tmp_path: Path, damage: str) -> None:
    """What is linked into the next generation would be believed from then on."""
    index = Index(tmp_path)
    with writing(index) as writer:
        put(writer, "a", ["alpha beta", "gamma"])
    damaged = b"no part of an index"
    if damage == "gone":
        shutil.rmtree(folder(index))
    else:
        for path in folder(index).glob("*.idx"):
            path.write_bytes(damaged)
    with writing(index) as writer:
        put(writer, "b", ["alpha delta"])
        writer.commit()
        put(writer, "c", ["gamma delta"])
    assert texts(Index(tmp_path), "alpha") == ["alpha beta", "alpha delta"]
    assert texts(Index(tmp_path), "gamma") == ["gamma", "gamma delta"]
    row = _row(tmp_path)
    opened = terms_room.load(tmp_path, row, Digests())
    assert opened is not None
    assert opened.count == row.count == 4
    assert not any(path.read_bytes() == damaged for path in folder(index).iterdir())


def _row(directory: Path) -> terms_room.CacheRow:
    with database.open_to_read(directory) as connection:
        row = rows.cache_row(connection, "terms")
    assert row is not None
    return row


def test_a_generation_that_was_never_named_is_replaced(tmp_path: Path) -> None:
    """What a process leaves that dies between writing the folder and the commit."""
    index = Index(tmp_path)
    with writing(index) as writer:
        put(writer, "a", ["alpha"])
    last = folder(index)
    shutil.copytree(last, tmp_path / f"terms-{int(last.name[6:]) + 1}")
    with writing(index) as writer:
        put(writer, "b", ["beta"])
    assert texts(Index(tmp_path), "alpha beta") == ["alpha", "beta"]


def test_a_reader_keeps_its_state_while_others_are_written(tmp_path: Path) -> None:
    index = Index(tmp_path)
    with writing(index) as writer:
        put(writer, "a", ["alpha"])
    with Index(tmp_path).snapshot() as snapshot:
        assert len(snapshot.matching(parse_question("alpha"), 9)) == 1
        for round_ in range(4):
            with writing(index) as writer:
                put(writer, f"b{round_}", ["alpha"])
        assert len(snapshot.matching(parse_question("alpha"), 9)) == 1
    assert len(matching(index, "alpha")) == 5
    # Old generations go: the present one and the one before stay.
    assert len(list(tmp_path.glob("terms-*"))) == 2


def test_a_rebuild_starts_from_nothing(tmp_path: Path) -> None:
    index = Index(tmp_path)
    with writing(index) as writer:
        put(writer, "a", ["alpha"])
    with index.write() as writer:
        writer.clear()
        writer.set_manifest(MANIFEST)
        put(writer, "b", ["alpha gamma"])
        assert texts(index, "alpha") == ["alpha"]
        writer.commit()
    assert texts(index, "alpha") == ["alpha gamma"]


def test_what_is_undone_is_not_found(tmp_path: Path) -> None:
    index = Index(tmp_path)
    with writing(index) as writer:
        put(writer, "a", ["alpha"])
    with pytest.raises(KeyboardInterrupt), index.write() as writer:
        put(writer, "b", ["alpha beta"])
        raise KeyboardInterrupt
    assert texts(index, "alpha") == ["alpha"]
    with writing(index) as writer:
        put(writer, "c", ["alpha delta"])
    assert texts(index, "alpha") == ["alpha", "alpha delta"]
