"""The entailment model that comes with the package: what it says, and what it says when broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from conftest import CORPUS

from rag import RAG, GenerationError, ModelError
from rag.answering.claims import LABELS
from rag.answering.entailment import SHIPPED, load_entailment
from rag.answering.entailment.onnx import FACTS, GRAPH, OnnxEntailment, open_entailment
from rag.answering.grounding import Grounding
from rag.answering.passages import Passages
from rag.protocols import Embedder, EntailmentModel, Loadable
from rag.text.sentences import split_sentences
from rag.text.words import content_words
from rag.types import Chunk, Hit

pytestmark = pytest.mark.model

FOLDER = Path(str(files("rag.answering.entailment"))) / "minilm"
WRITTEN = Path(__file__).parent.parent / "benchmarks" / "questions" / "claims.jsonl"
ENTAILED, NEUTRAL, CONTRADICTED = range(3)
PAIRS = [
    ("The depot is closed on Sundays.", "The depot is open on Sundays.", CONTRADICTED),
    ("The depot is closed on Sundays.", "The depot does not open on Sundays.", ENTAILED),
    ("The depot is closed on Sundays.", "The clinic is closed on Sundays.", NEUTRAL),
    ("A guided tour costs 12 euros.", "The price of a guided tour is 12 euros.", ENTAILED),
    ("A guided tour costs 12 euros.", "A guided tour costs 15 euros.", CONTRADICTED),
    ("A guided tour costs 12 euros.", "A guided tour is free of charge.", CONTRADICTED),
    ("A guided tour costs 12 euros.", "A day ticket costs 12 euros.", NEUTRAL),
    ("Orbix acquired Talvik in 2011.", "Talvik was acquired by Orbix in 2011.", ENTAILED),
    ("Visitors must not take photographs.", "Visitors may take photographs.", CONTRADICTED),
    ("Visitors must not take photographs.", "It is forbidden for visitors to take photographs.",
     ENTAILED),
    ("The tower was built in 1871 of red granite.", "The tower was built in 1902.", CONTRADICTED),
    ("The tower was built in 1871 of red granite.", "The tower was not built in 1871.",
     CONTRADICTED),
    ("The tower was built in 1871 of red granite.", "The tower was built in 1871.", ENTAILED),
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> EntailmentModel:
    return load_entailment(SHIPPED)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "minilm"))


@pytest.fixture(scope="module")
def corpus(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RAG]:
    path = tmp_path_factory.mktemp("claims") / "index"
    rag = RAG(path, embedder=embedder, settings={"answering.entailment": SHIPPED})
    rag.index(CORPUS)
    yield rag


@pytest.mark.parametrize(("premise", "claim", "expected"), PAIRS)
def test_what_follows_what_contradicts_and_what_is_left_open(
    model: EntailmentModel, premise: str, claim: str, expected: int
) -> None:
    (row,) = model.entail([(premise, claim)])
    assert int(row.argmax()) == expected, row


def test_it_is_an_entailment_model_that_can_be_loaded_ahead(model: EntailmentModel) -> None:
    assert isinstance(model, EntailmentModel)
    assert isinstance(model, Loadable)
    model.load()
    assert model.name == SHIPPED
    rows = model.entail([(premise, claim) for premise, claim, _ in PAIRS])
    assert rows.dtype == np.float32
    assert rows.shape == (len(PAIRS), 3)
    assert rows.sum(axis=1) == pytest.approx(np.ones(len(PAIRS)), abs=1e-5)
    assert model.entail([]).shape == (0, 3)
    alone = np.concatenate([model.entail([(premise, claim)]) for premise, claim, _ in PAIRS])
    assert np.array_equal(rows, alone)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(model.entail, [(one, two) for one, two, _ in PAIRS]) for _ in range(8)]
        assert all(np.array_equal(job.result(), rows) for job in jobs)


def test_a_long_premise_is_read_to_its_end(model: EntailmentModel) -> None:
    filler = "The boats of the harbour are painted every spring by their owners. " * 30
    premise = f"{filler}The depot is closed on Sundays. {filler}"
    rows = model.entail([
        (premise, "The depot is closed on Sundays."), (filler, "The depot is closed on Sundays."),
    ])  # fmt: skip
    assert rows.argmax(axis=1).tolist() == [ENTAILED, NEUTRAL]


def test_a_premise_without_words_says_nothing(model: EntailmentModel) -> None:
    (row,) = model.entail([("", "The depot is closed.")])
    assert row[NEUTRAL] > 0.5


def test_a_missing_or_damaged_file_is_named_with_the_cure(copy: Path) -> None:
    (copy / GRAPH).write_bytes(b"no graph")
    with pytest.raises(ModelError, match=f"{GRAPH}: ONNX Runtime cannot load it.*install") as told:
        open_entailment(copy).entail([("a", "b")])
    assert "\n" not in str(told.value)
    (copy / GRAPH).unlink()
    with pytest.raises(ModelError, match="install the package again"):
        open_entailment(copy).entail([("a", "b")])
    (copy / FACTS).write_text("{")
    with pytest.raises(ModelError, match=r"holds no entailment model.*install the package again"):
        open_entailment(copy)
    (copy / FACTS).unlink()
    with pytest.raises(ModelError, match="holds no entailment model"):
        open_entailment(copy)


def test_a_base_that_cannot_be_had_names_the_way_without_it(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModelError("all-minilm-l6-v2: cannot be fetched: no network")

    monkeypatch.setattr("rag.answering.entailment.onnx.resolve", fail)
    with pytest.raises(ModelError, match=r"no network; or do without it: answering\.entailment"):
        open_entailment(copy)


def test_a_base_without_tokenizer_or_vectors_is_named(copy: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(ModelError, match=r"tokenizer\.json: is no tokenizer"):
        OnnxEntailment(copy, bare, 1.0).entail([("a", "b")])


def test_a_graph_that_fails_is_an_error_of_its_own(
    model: OnnxEntailment, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def run(self, *_: object) -> None:
            raise RuntimeError("bad allocation\nsomewhere")

    monkeypatch.setattr(model._graph, "_session", Failing(), raising=False)
    with pytest.raises(GenerationError, match="minilm-entailment failed: bad allocation") as told:
        model.entail([("a", "b")])
    assert "\n" not in str(told.value)


def test_the_card_names_the_files_as_they_are() -> None:
    import hashlib

    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    data = (FOLDER / GRAPH).read_bytes()
    assert f"`{GRAPH}` {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}" in card
    assert (FOLDER / GRAPH).stat().st_size <= 14_000_000
    facts = json.loads((FOLDER / FACTS).read_text(encoding="utf-8"))
    assert facts["agreement"]["same relation"] >= 0.97


def test_a_setting_turns_it_on_and_none_off(embedder: Embedder, tmp_path: Path) -> None:
    on = RAG(tmp_path / "a", embedder=embedder, settings={"answering.entailment": SHIPPED})
    assert on.entailment.name == SHIPPED
    for name in ("none", ""):
        settings = {"answering.entailment": name}
        assert RAG(tmp_path / "b", embedder=embedder, settings=settings).entailment is None


def test_generated_sentences_are_grounded_by_it(model: EntailmentModel, embedder: Embedder) -> None:
    text = "The depot in Ghent is closed on Sundays. It was built in 1871 and holds 40 buses."
    hit = Hit(Chunk(1, "d", text, 0, len(text), 0), 1.0, 1, "d.md", "")
    grounding = Grounding("When is the depot open?", Passages([hit], embedder), model)
    (support,) = grounding.supports("The depot in Ghent does not open on Sundays.")
    assert text[support.start : support.end].startswith("The depot in Ghent is closed on Sundays.")
    assert grounding.supports("The depot in Ghent is open on Sundays.") == []


@pytest.mark.slow
def test_written_claims_are_judged_as_recorded(corpus: RAG) -> None:
    """60 claims with negations, numbers, names, roles and units, written before training."""
    rows = [json.loads(line) for line in WRITTEN.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 60
    right = sum(corpus.check(row["text"]).label == row["label"] for row in rows)
    assert right >= RIGHT


# 44 of 60 when it was trained; the baseline alone gets 33 right.
RIGHT = 43


@pytest.mark.slow
def test_every_sentence_of_the_corpus_is_supported(corpus: RAG) -> None:
    wrong = []
    for document in corpus.documents():
        for start, end in split_sentences(document.text):
            sentence = document.text[start:end]
            # A heading of one word is no sentence, and a question claims nothing.
            if len(content_words(sentence)) > 1 and sentence[0] != "#" and sentence[-1] != "?":
                verdict = corpus.check(sentence)
                if verdict.label != LABELS[0]:
                    wrong.append((document.source, sentence, verdict.label))
    assert wrong == []
