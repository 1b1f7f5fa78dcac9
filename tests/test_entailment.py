"""Natural language inference, against transformers asked directly."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import PAIRS, break_config, break_weights, lose_weights
from making import RELATIONS, SMALL, make_entailment

from rag import ConfigError, ModelError
from rag.answering.entailment import load_entailment
from rag.protocols import EntailmentModel

# Each reads the tokenizer of a real model, and loads torch.
pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_entailment(tmp_path_factory.mktemp("models") / "tiny-nli")


def ask_directly(folder: Path, premise: str, hypothesis: str, **options: Any) -> list[float]:
    """The model's own outputs, as probabilities, in the order of its labels."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = model(**tokenizer(premise, hypothesis, return_tensors="pt", **options)).logits[0]
    whole = sum(math.exp(logit) for logit in logits.tolist())
    return [math.exp(logit) / whole for logit in logits.tolist()]


def relabel(folder: Path, target: Path, labels: Sequence[str]) -> Path:
    """The same model, whose outputs mean something else."""
    copy = Path(shutil.copytree(folder, target))
    config = json.loads((copy / "config.json").read_text())
    config["id2label"] = {str(at): label for at, label in enumerate(labels)}
    config["label2id"] = {label: at for at, label in enumerate(labels)}
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_probabilities_are_those_of_the_model(folder: Path) -> None:
    model = load_entailment(str(folder), device="cpu")
    assert isinstance(model, EntailmentModel)
    assert model.name == "tiny-nli"
    found = model.entail(PAIRS)
    assert found.dtype == np.float32
    expected = [ask_directly(folder, *pair) for pair in PAIRS]
    assert found == pytest.approx(np.array(expected), abs=1e-5)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(PAIRS)), abs=1e-5)
    # The test could not fail if all pairs came out the same.
    assert np.ptp(found, axis=0).min() > 0.01


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_labels_are_read_in_any_order_and_case(
    folder: Path, tmp_path: Path, order: tuple[int, ...]
) -> None:
    spelled = [("ENTAILMENT", "Neutral", "contradiction")[at] for at in order]
    model = load_entailment(str(relabel(folder, tmp_path / "model", spelled)), device="cpu")
    outputs = ask_directly(folder, *PAIRS[0])
    expected = [outputs[order.index(at)] for at in range(3)]
    assert model.entail(PAIRS[:1])[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "labels", [("not_entailment", "entailment"), ("Entailment", "NOT-ENTAILMENT")]
)
def test_two_labels_know_no_contradiction(tmp_path: Path, labels: tuple[str, str]) -> None:
    folder = make_entailment(tmp_path / "two", labels)
    outputs = ask_directly(folder, *PAIRS[0])
    entails = outputs[[label.lower() for label in labels].index("entailment")]
    found = load_entailment(str(folder), device="cpu").entail(PAIRS[:1])[0]
    assert found == pytest.approx([entails, 1 - entails, 0], abs=1e-5)


def test_a_batch_gives_what_its_pairs_give_alone(folder: Path) -> None:
    model = load_entailment(str(folder), device="cpu")
    # More than one batch, of all lengths, in no order.
    pairs = [
        (premise[:cut], hypothesis) for cut in (200, 7, 61, 19) for premise, hypothesis in PAIRS
    ]
    together = model.entail(pairs)
    alone = np.concatenate([model.entail([pair]) for pair in pairs])
    assert together == pytest.approx(alone, abs=1e-5)
    assert model.entail([]).shape == (0, 3)


def test_a_long_premise_is_cut_at_its_end_and_the_hypothesis_is_whole(folder: Path) -> None:
    premise, hypothesis = "lamp " * 600, "The lamp burnt oil all night."
    found = load_entailment(str(folder), device="cpu").entail([(premise, hypothesis)])[0]
    # The tokenizer reads 512 tokens: [CLS], [SEP], [SEP] and the hypothesis take 10 of them.
    expected = ask_directly(folder, "lamp " * 502, hypothesis)
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_hypothesis_that_fills_the_window_is_told(folder: Path) -> None:
    model = load_entailment(str(folder), device="cpu")
    with pytest.raises(ModelError, match="tiny-nli: cannot read a pair"):
        model.entail([("It burns.", "lamp " * 600)])


def test_roberta_has_fewer_positions_than_it_says(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, RobertaConfig, RobertaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=10**12)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        **SMALL,
        num_hidden_layers=1,
        max_position_embeddings=40,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(RELATIONS)),
    )
    RobertaForSequenceClassification(config).save_pretrained(tmp_path / "roberta")
    tokenizer.save_pretrained(tmp_path / "roberta")
    model = load_entailment(str(tmp_path / "roberta"), device="cpu")
    assert model.entail([("lamp " * 600, "It burns.")]).shape == (1, 3)


def test_threads_get_what_one_gets(folder: Path) -> None:
    model = load_entailment(str(folder), device="cpu")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(model.entail, [PAIRS] * 8))
    for each in found:
        assert np.array_equal(each, found[0])


def test_zero_shot_classification_is_entailment_of_a_sentence(folder: Path) -> None:
    """Yin, Hay & Roth, EMNLP 2019: a topic is a hypothesis."""
    topics = [f"This text is about {topic}." for topic in ("light", "bread")]
    found = load_entailment(str(folder), device="cpu").entail([(PAIRS[0][0], t) for t in topics])
    expected = [ask_directly(folder, PAIRS[0][0], topic) for topic in topics]
    assert found == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize(
    "labels",
    [
        ("LABEL_0", "LABEL_1", "LABEL_2"),
        ("entailment", "contradiction"),
        ("entailment", "neutral", "contradiction", "other"),
        ("positive", "negative"),
    ],
)
def test_labels_that_say_nothing_are_refused(tmp_path: Path, labels: tuple[str, ...]) -> None:
    model = load_entailment(str(make_entailment(tmp_path / "odd", labels)), device="cpu")
    with pytest.raises(
        ModelError, match=f"its labels are {', '.join(labels)}: name them"
    ) as caught:
        model.entail(PAIRS)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_head_is_refused(tmp_path: Path) -> None:
    model = load_entailment(str(make_entailment(tmp_path / "bare", head=False)), device="cpu")
    with pytest.raises(ModelError, match="BertModel has no head that judges"):
        model.entail(PAIRS)


@pytest.mark.parametrize("spoil", [break_weights, break_config, lose_weights])
def test_a_broken_model_is_named_in_one_line(folder: Path, tmp_path: Path, spoil: Any) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "broken"))
    spoil(copy)
    with pytest.raises(ModelError, match="broken: transformers cannot load it") as told:
        load_entailment(str(copy), device="cpu").entail(PAIRS)
    assert "\n" not in str(told.value)


def test_weights_that_give_no_numbers_are_told(folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias.fill_(math.nan)
    model.save_pretrained(tmp_path / "nan")
    for file in folder.glob("*token*"):
        shutil.copy(file, tmp_path / "nan")
    with pytest.raises(ModelError, match="NaN or infinite"):
        load_entailment(str(tmp_path / "nan"), device="cpu").entail(PAIRS)


def test_what_does_not_exist_is_told(folder: Path) -> None:
    with pytest.raises(ModelError, match="no such model file or directory"):
        load_entailment("./nowhere")
    with pytest.raises(ConfigError, match="device nonsense"):
        load_entailment(str(folder), device="nonsense").entail(PAIRS)
