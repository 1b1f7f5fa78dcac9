"""The reader that comes with this package, and how what it finds is weighed and quoted."""

from __future__ import annotations

import math
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from checkpoints import make_hits
from hypothesis import given
from hypothesis import strategies as st

from rag.answering.citations import quote_stretches
from rag.answering.evidence import weigh_spans
from rag.answering.passages import Passages, Stretch
from rag.answering.reader import SHIPPED, load_reader
from rag.answering.reader.onnx import OnnxReader, open_reader
from rag.answering.reader.reading import NEVER, Reading, Span, log_sum, weigh
from rag.config import AnsweringConfig
from rag.errors import ModelError

SHIPPED_FOLDER = Path(str(files("rag.answering.reader"))) / "mpnet"
DEPOT = (
    "The depot in Oslo opens at half past seven on weekdays. On Sundays it is closed. "
    "The crane lifts 52 tonnes. The manager of the depot is Ilse Brandt."
)
OTHER = "Bees keep their hive at 35 degrees. A colony has one queen and several thousand workers."


@pytest.fixture(scope="module")
def reader() -> OnnxReader:
    """The shipped reader."""
    loaded = load_reader(AnsweringConfig(reader=SHIPPED))
    assert isinstance(loaded, OnnxReader)
    return loaded


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who is the manager of the depot?", "Ilse Brandt"),
        ("How many tonnes does the crane lift?", "52"),
        ("How warm is a hive?", "35 degrees"),
        ("When does the depot open on weekdays?", "half past seven"),
    ],
)
def test_it_finds_the_span_in_the_right_passage(
    reader: OnnxReader, question: str, answer: str
) -> None:
    passages = [OTHER, DEPOT]
    reading = reader.read(question, passages)
    best = reading.spans[0]
    assert answer in passages[best.number - 1][best.start - 12 : best.end + 12]
    assert 0 < best.probability <= reading.probability <= 1
    alone = reader.read(question, [passages[best.number - 1]]).spans[0]
    # Beside another passage the same span is the best, with the same odds in its own passage.
    assert (alone.start, alone.end) == (best.start, best.end)
    assert alone.log_odds == pytest.approx(best.log_odds, abs=1e-3)


def test_a_question_about_something_else_is_less_probable(reader: OnnxReader) -> None:
    near = reader.read("How many tonnes does the crane lift?", [DEPOT, OTHER])
    far = reader.read("Which country exports the most bananas?", [DEPOT, OTHER])
    assert near.log_odds > far.log_odds + 2
    assert near.probability > far.probability


def test_an_answer_at_the_end_of_a_long_passage_is_found(reader: OnnxReader) -> None:
    long = "The committee met again and decided nothing of note. " * 120 + DEPOT
    best = reader.read("Who is the manager of the depot?", [long]).spans[0]
    assert "Ilse Brandt" in long[best.start - 5 : best.end + 5]


def test_spans_are_words_of_their_passages_and_never_overlap(reader: OnnxReader) -> None:
    passages = [DEPOT, "", " \n ", OTHER, "Größe: 12 µm, naïve 東京 🙂 text"]
    reading = reader.read("How large is it?", passages, most=10)
    assert 1 <= len(reading.spans) <= 10
    odds = [span.log_odds for span in reading.spans]
    assert odds == sorted(odds, reverse=True)
    for at, span in enumerate(reading.spans):
        quote = passages[span.number - 1][span.start : span.end]
        assert quote == quote.strip() != ""
        for other in reading.spans[:at]:
            apart = span.end <= other.start or other.end <= span.start
            assert apart or span.number != other.number


@pytest.mark.parametrize("passages", [[], [""], [" \n"]])
def test_without_text_there_is_nothing_to_find(reader: OnnxReader, passages: list[str]) -> None:
    reading = reader.read("Who is it?", passages)
    assert reading.spans == ()
    assert reading.probability < 0.01


def test_many_threads_read_what_one_reads(reader: OnnxReader) -> None:
    questions = [f"How many tonnes does crane {number} lift?" for number in range(12)]
    alone = [reader.read(question, [DEPOT, OTHER]) for question in questions]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda q: reader.read(q, [DEPOT, OTHER]), questions)) == alone


def test_a_question_without_end_is_cut(reader: OnnxReader) -> None:
    reading = reader.read("Who is the manager " + "of the depot " * 5000, [DEPOT])
    assert reading.spans


@pytest.mark.model
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("reader.int8.onnx", b"no graph", "ONNX Runtime cannot load it .*install the package"),
        ("reader.int8.onnx", None, "ONNX Runtime cannot load it .*install the package"),
        ("reader.json", b"{}", "holds no reader .*export it again"),
        ("reader.json", b'{"temperature": "warm", "bias": 0}', "holds no reader .*export it again"),
        ("words.safetensors", b"\x05" + bytes(30), "its word embeddings cannot be read"),
        ("words.safetensors", None, "its word embeddings cannot be read"),
        ("tokenizer.json", b"{}", "is no tokenizer"),
        ("tokenizer.json", None, "is no tokenizer"),
        ("reader.json", None, "holds no reader .*export it again"),
    ],
)
def test_a_damaged_reader_is_named_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(SHIPPED_FOLDER, folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"(?s){reason}") as caught:
        open_reader(folder).load()
    assert "\n" not in str(caught.value)


scores = st.lists(
    st.tuples(
        st.builds(
            lambda number, start, length: Stretch(number, start, start + length),
            st.integers(1, 3),
            st.integers(0, 30),
            st.integers(1, 8),
        ),
        st.floats(-20, 20),
    ),
    max_size=25,
    unique_by=lambda each: each[0],
)


@given(scores, st.integers(1, 30))
def test_probabilities_are_those_of_all_spans_and_silence(
    scored: list[tuple[Stretch, float]], most: int
) -> None:
    total = log_sum([score for _, score in scored])
    reading = weigh(scored, total, most)
    # Brute force: each span's share of the odds of all spans and one silence, which has odds of 1.
    everything = 1 + sum(math.exp(score) for _, score in scored)
    assert reading.probability == pytest.approx(1 - 1 / everything, abs=1e-9)
    for span in reading.spans:
        assert span.probability == pytest.approx(math.exp(span.log_odds) / everything, rel=1e-6)
    assert len(reading.spans) <= most
    if scored:
        assert reading.spans[0].log_odds == max(score for _, score in scored)
    # Whatever was left out is either beyond the count or overlaps a better one.
    chosen = {(span.number, span.start, span.end) for span in reading.spans}
    for span, score in scored:
        if (span.number, span.start, span.end) not in chosen and len(reading.spans) < most:
            assert any(
                span.number == other.number
                and span.start < other.end
                and other.start < span.end
                and other.log_odds >= score
                for other in reading.spans
            )


def test_a_calibration_moves_the_probability_and_not_the_order() -> None:
    scored = [(Stretch(1, 0, 3), 4.0), (Stretch(1, 5, 8), 2.0)]
    raw = weigh(scored, 4.2, 5)
    calm = weigh(scored, 4.2, 5, temperature=2.0, bias=3.0)
    assert [span.start for span in raw.spans] == [span.start for span in calm.spans]
    assert calm.probability == pytest.approx(1 / (1 + math.exp(-(4.2 - 3.0) / 2.0)))
    assert log_sum([]) == NEVER
    assert weigh([], NEVER, 5).probability == 0.0


words = st.sampled_from(
    ["- item", "1. first", "alpha", "beta.", "\n", "\n\n", "  ", "é", "| a | b |"]
)


@given(st.lists(words, min_size=1, max_size=30), st.data())
def test_a_quotation_holds_the_words_and_marks_of_its_passage(
    parts: list[str], data: st.DataObject
) -> None:
    text = " ".join(parts)
    marked = [match.span() for match in re.finditer(r"\S+", text)]
    if not marked:
        return
    start, end = data.draw(st.sampled_from(marked))
    passages = Passages(make_hits([text]))
    draft = quote_stretches(
        passages, [Stretch(1, 0, len(text))], [Stretch(1, start, end)], "a model"
    )
    assert draft.text.endswith(" [1]")
    body = draft.text.removesuffix(" [1]")
    assert body.split() == text.split()
    ((first, last),) = draft.spans
    assert draft.text[first:last] == text[start:end]
    (sentence,) = draft.sentences
    assert draft.text[sentence.start : sentence.end] == sentence.text == body


def test_lists_keep_their_lines_and_running_text_does_not() -> None:
    text = "Vehicles that may\nenter:\n- vans\n- cargo bikes\n\nNobody else."
    passages = Passages(make_hits([text]))
    draft = quote_stretches(passages, [Stretch(1, 0, len(text))], [], "a model")
    assert draft.text == "Vehicles that may enter:\n- vans\n- cargo bikes\nNobody else. [1]"


def test_there_is_a_vector_for_each_word_of_the_tokenizer(reader: OnnxReader) -> None:
    tokenizer, vectors = reader._graph._tokenizer, reader._graph._vectors
    assert len(vectors.codes) == tokenizer.get_vocab_size()
    number = [tokenizer.token_to_id(word) for word in ("king", "queen", "valve")]
    king, queen, valve = vectors[np.array(number)]
    assert king @ queen > king @ valve


def test_a_span_about_another_year_gives_way(reader: OnnxReader) -> None:
    text = (
        "Version 14 of the gateway was released on 3 May 2021. "
        "Version 15 of the gateway was released on 9 June 2022."
    )
    passages = Passages(make_hits([text]))
    question = "When was version 15 of the gateway released?"
    wrong, right = text.index("3 May 2021"), text.index("9 June 2022")
    spans = (Span(1, wrong, wrong + 10, 2.0, 0.4), Span(1, right, right + 11, 1.9, 0.35))
    best, probability = weigh_spans(question, passages, Reading(spans, 0.8, 2.6))
    assert text[best.spans[0].start : best.spans[0].end] == "9 June 2022"
    assert set(best.spans) == set(spans)
    alone = weigh_spans(question, passages, Reading(spans[:1], 0.8, 2.6))[1]
    assert probability > alone


def test_in_a_manual_the_entry_that_is_asked_for_excludes_the_others() -> None:
    text = (
        "idle_timeout (integer)\n: Ends a session after so long. The default is 30 seconds.\n\n"
        "lock_timeout (integer)\n: Ends a statement that waits. The default is zero."
    )
    passages = Passages(make_hits([text]))
    other, right = text.index("30 seconds"), text.index("zero")
    spans = (Span(1, other, other + 10, 3.0, 0.5), Span(1, right, right + 4, 0.5, 0.05))
    reading = Reading(spans, 0.9, 3.2)
    best, _ = weigh_spans("What is the default of lock_timeout?", passages, reading)
    assert best.spans == spans[1:]
    # Where no entry has that name, the reader's order decides.
    best, _ = weigh_spans("What is the default of wal_timeout?", passages, reading)
    assert set(best.spans) == set(spans)
