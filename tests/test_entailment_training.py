"""The pairs that the judge of claims learns from, its batches and its calibration."""

# ruff: noqa: S311

from __future__ import annotations

import gzip
import json
import math
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from rag.training.entailment import changing, synthetic
from rag.training.entailment.makers import MAKERS
from rag.training.entailment.pairs import LABELS, Pair
from rag.training.entailment.statements import past_of, state
from rag.training.reader.examples import is_held_out

ARTICLE = [
    "The Hollin Bridge was built in 1871 by Amara Okoye.",
    "It has 12 arches and is closed on Sundays.",
    "Amara Okoye founded the Bridge Society in March 1880.",
    "The society has more members than the Northgate Club, which began in 1902.",
    "Because of the flood of 1910, the bridge lost two arches.",
    "They were rebuilt by Lena Vogt, who lived in Ghent.",
]
QUESTIONS = [
    ("When was the Hollin Bridge built?", "1871", 0),
    ("Who founded the Bridge Society in March 1880?", "Amara Okoye", 2),
    ("How many arches does the Hollin Bridge have?", "12", 1),
    ("What did the bridge lose because of the flood?", "two arches", 4),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file of rows as those that are learnt from: each context is one sentence."""
    title = next(f"bridge {at}" for at in range(99) if not is_held_out(f"bridge {at}", 12))
    rows = []
    for question, answer, at in QUESTIONS:
        context = ARTICLE[at]
        answers = [{"text": answer, "start": context.index(answer)}]
        rows.append(
            {"question": question, "context": context, "document": title, "answers": answers}
        )
    for at, context in enumerate(ARTICLE):
        answers = [{"text": context[:3], "start": 0}]
        row = {"question": f"Say {at}?", "context": context, "document": title, "answers": answers}
        rows.append(row)
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return tmp_path


class TestStatements:
    @pytest.mark.parametrize(
        ("question", "answer", "expected"),
        [
            ("When did the strike begin?", "1973", "The strike began in 1973."),
            ("When was the bridge built?", "5 May 1871", "The bridge was built on 5 May 1871."),
            ("Where was the treaty signed?", "Ghent", "The treaty was signed in Ghent."),
            ("How many arches does the bridge have?", "12", "The bridge has 12 arches."),
            ("How long did the siege last?", "five weeks", "The siege lasted for five weeks."),
            ("Who invented the telephone?", "Bell", "Bell invented the telephone."),
            ("What is the capital of Poland?", "Warsaw", "The capital of Poland is Warsaw."),
            ("what did the flood destroy in 1910", "two arches",
             "The flood destroyed two arches in 1910."),
            ("What was the ship called?", "Argo", "The ship was called Argo."),
        ],
    )  # fmt: skip
    def test_a_question_with_its_answer_becomes_a_sentence(self, question, answer, expected):
        made = state(question, answer)
        assert made is not None
        assert made.text == expected
        assert made.value.casefold() == answer.casefold() or answer in made.text

    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            ("Why did it fail?", "rain"),
            ("What happened?", "a flood"),
            ("Who did something in Paris?", "Bell"),
            ("When did the strike begin?", "suddenly"),
            ("What is the capital of Poland?", "the capital of Poland"),
            ("Is the bridge open on Sundays?", "yes"),
            ("What is the state of the bridge?", "has been repaired"),
        ],
    )
    def test_what_would_come_out_badly_is_dropped(self, question, answer):
        assert state(question, answer) is None

    def test_another_value_takes_the_place_of_the_answer(self):
        made = state("Who invented the telephone?", "Bell")
        assert made is not None
        assert made.unique
        assert made.with_value("the Edison works") == "The Edison works invented the telephone."
        owner = state("Who visited the bridge in May?", "Bell")
        assert owner is not None
        assert not owner.unique

    @pytest.mark.parametrize(
        ("base", "past"),
        [("begin", "began"), ("plan", "planned"), ("carry", "carried"), ("play", "played"),
         ("move", "moved"), ("end", "ended")],
    )  # fmt: skip
    def test_the_past(self, base, past):
        assert past_of(base) == past


class TestChanging:
    @pytest.mark.parametrize(
        ("change", "text", "expected"),
        [
            (changing.oppose, "The depot is closed.", {"The depot is open."}),
            (changing.change_unit, "It took 5 hours.",
             {f"It took 5 {unit}." for unit in ("seconds", "minutes", "days", "weeks", "months",
                                                "years", "decades", "centuries")}),
            (changing.negate, "Pets are not allowed.", {"Pets are allowed."}),
            (changing.negate, "It can float.", {"It cannot float.", "It can never float.",
                                                "It can no longer float."}),
            (changing.swap_roles, "Orbix bought Talvik in May.",
             {"Talvik bought Orbix in May."}),
            (changing.turn_passive, "Germany invaded Poland in 1939.",
             {"Poland was invaded by Germany in 1939."}),
            (changing.shorten, "The old bridge (built in 1871) fell.",
             {"The old bridge fell."}),
            (changing.reword, "It took 12000 men.", {"It took 12,000 men."}),
        ],
    )  # fmt: skip
    def test_changes(self, change, text, expected):
        made = {change(text, Random(seed)) for seed in range(60)}
        assert made <= expected
        assert made

    def test_a_changed_number_is_another_of_the_same_form(self):
        for seed in range(40):
            made = changing.change_number("In 1871 it cost 2,500 euros or 3.5 each.", Random(seed))
            assert made is not None
            assert made != "In 1871 it cost 2,500 euros or 3.5 each."
            assert "-" not in made

    def test_what_has_nothing_to_change_is_left(self):
        rng = Random(0)
        for change in (changing.change_number, changing.change_unit, changing.change_date_name,
                       changing.swap_roles, changing.turn_passive, changing.shorten):  # fmt: skip
            assert change("Bread feeds people.", rng) is None


class TestMakers:
    def test_statements_are_of_all_labels_and_the_same_each_time(self, data: Path):
        options = {"file": "rows.jsonl.gz", "count": 200}
        pairs = MAKERS["statements"](data, Random(3), options)
        assert pairs == MAKERS["statements"](data, Random(3), options)
        assert len(pairs) == 200
        assert set(Counter(pair.label for pair in pairs)) == {
            "entailment", "neutral", "contradiction",
        }  # fmt: skip
        for pair in pairs:
            if pair.kind == "wrong value":
                assert pair.label == "contradiction"
                assert pair.claim not in pair.premise
            if pair.kind == "taken out":
                assert pair.label == "neutral"
            if pair.kind == "statement" and "1871" in pair.claim:
                assert "1871" in pair.premise

    def test_sentences_stand_in_their_premise_unless_they_are_changed(self, data: Path):
        options = {"file": "rows.jsonl.gz", "count": 300}
        pairs = MAKERS["sentences"](data, Random(3), options)
        assert pairs == MAKERS["sentences"](data, Random(3), options)
        kinds = Counter(pair.kind for pair in pairs)
        assert {"verbatim", "changed", "both changed", "more than told"} <= set(kinds)
        for pair in pairs:
            held = " ".join(pair.claim.split()) in " ".join(pair.premise.split())
            if pair.kind == "verbatim":
                assert held
                assert pair.label == "entailment"
            if pair.label == "contradiction":
                assert not held

    def test_held_out_documents_are_others(self, data: Path):
        options = {"file": "rows.jsonl.gz", "count": 20, "held_out": True}
        assert MAKERS["sentences"](data, Random(3), options) == []

    def test_templates_agree_with_their_labels(self):
        pairs = synthetic.make(Random(2), 3000)
        assert pairs == synthetic.make(Random(2), 3000)
        labels = Counter(pair.label for pair in pairs)
        assert min(labels.values()) > 600
        # No pair is given two labels.
        known: dict[tuple[str, str], str] = {}
        for pair in pairs:
            assert known.setdefault((pair.premise, pair.claim), pair.label) == pair.label

    def test_what_is_closed_on_a_day_is_not_open_on_it(self):
        shut = 0
        for seed in range(200):
            fact = synthetic._days(Random(seed))
            for place, day in re.findall(r"(.+) is closed on (\w+)s\.$", fact.said[0]):
                if "," not in place and " and " not in place:
                    shut += 1
                    assert f"{place} is open on {day}s." in fact.claims["contradiction"]
                    assert f"{place} does not open on {day}s." in fact.claims["entailment"]
        assert shut > 20

    @pytest.mark.parametrize("kind", sorted({kind.__name__ for kind in synthetic._KINDS}))
    def test_no_claim_of_a_fact_has_two_labels(self, kind):
        for seed in range(60):
            fact = getattr(synthetic, kind)(Random(seed))
            yes, open_, no = (set(fact.claims[label]) for label in LABELS)
            assert not yes & no
            assert not yes & open_
            assert not no & open_
            assert not set(fact.said) & no

    def test_a_pair_has_words(self):
        with pytest.raises(ValueError, match="without words"):
            Pair(" ", "It is.", "neutral")


@pytest.mark.model
class TestLearning:
    @pytest.fixture(scope="class")
    def minilm(self) -> str:
        from rag.models import resolve

        return resolve("all-minilm-l6-v2", kind="embedder").location

    def test_claim_and_premise_are_told_apart_and_padded(self, minilm: str):
        from rag.training.entailment.encoding import collate, encode
        from rag.training.reader.encoding import open_tokenizer

        tokenizer = open_tokenizer(minilm)
        pairs = [Pair("Bread feeds.", "It rains today.", "neutral"), Pair("a", "b", "entailment")]
        rows = encode(tokenizer, pairs, 64)
        batch = collate(rows)
        assert batch.labels.tolist() == [1, 0]
        text = tokenizer.decode(rows[0].ids, skip_special_tokens=False)
        assert text == "[CLS] it rains today. [SEP] bread feeds. [SEP]"
        assert batch.types[0].tolist() == [0] * 6 + [1] * 4
        assert batch.mask.sum(1).tolist() == [10, 5]
        (cut,) = encode(tokenizer, [Pair("word " * 300, "It is.", "neutral")], 64)
        assert len(cut.ids) == 64

    def test_an_interrupted_run_gives_what_an_uninterrupted_one_does(
        self, minilm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        import torch

        from rag.training import loop
        from rag.training.entailment.train import train

        stage = loop.Stage(
            "claims", 1e-3, tokens=256, average=0.9,
            mix=[{"maker": "synthetic", "count": 24}],
        )  # fmt: skip
        config = loop.Config("all-minilm-l6-v2", 3, 48, [stage])
        whole = train(config, tmp_path, tmp_path / "whole")

        step = loop._step
        calls = []

        def failing(*arguments):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return step(*arguments)

        monkeypatch.setattr(loop, "_step", failing)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path, tmp_path / "cut", save_every=0.0)
        assert (tmp_path / "cut" / "claims.checkpoint").is_file()
        monkeypatch.setattr(loop, "_step", step)
        resumed = train(config, tmp_path, tmp_path / "cut", save_every=0.0)
        assert len(calls) == 4
        from safetensors.torch import load_file

        one, other = load_file(str(whole)), load_file(str(resumed))
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.allclose(value, other[name], atol=1e-6), name

    def test_layers_of_another_model_are_taken_and_heads_left(self, minilm: str, tmp_path: Path):
        import torch
        from safetensors.torch import save_file

        from rag.training.entailment.model import build
        from rag.training.entailment.train import load_layers
        from rag.training.loop import trained_weights
        from rag.training.reader.model import build as build_reader

        reader, _ = build_reader(minilm)
        with torch.no_grad():
            reader.layers[3].up.weight.fill_(0.5)
        save_file(trained_weights(reader), str(tmp_path / "reader.safetensors"))
        judge, _ = build(minilm)
        head = judge.relation.weight.detach().clone()
        load_layers(judge, tmp_path / "reader.safetensors")
        assert float(judge.layers[3].up.weight.detach().mean()) == 0.5
        assert torch.equal(judge.relation.weight.detach(), head)
        save_file({"other": torch.zeros(2)}, str(tmp_path / "none.safetensors"))
        with pytest.raises(ValueError, match="holds no layers of this base"):
            load_layers(judge, tmp_path / "none.safetensors")

    def test_the_temperature_undoes_what_was_multiplied(self):
        import torch

        from rag.training.entailment.calibration import fit_temperature

        # Three of four are right where the odds say e^2 : 1 : 1 times three.
        logits = torch.tensor([[6.0, 0.0, 0.0]] * 4)
        labels = torch.tensor([0, 0, 0, 1])
        # p(right) = 3/4: the logit is ln(6), so that e^x / (e^x + 2) = 3/4.
        assert fit_temperature(logits, labels) == pytest.approx(6 / math.log(6), rel=1e-2)
