"""The reader's examples, loss and encoding, against values worked out by hand."""

# ruff: noqa: S311

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pytest

from rag.training.reader import perturbing, synthetic
from rag.training.reader.encoding import collate, encode, open_tokenizer
from rag.training.reader.examples import Example, Row, Span
from rag.training.reader.makers import beside, take_out

ROW = Row(
    "When did Ada Lovelace meet Charles Babbage?",
    "Ada Lovelace met Charles Babbage in 1833. He showed her his engine. Ada Lovelace wrote notes.",
    "Lovelace",
    ((36, 40),),
)


class TestExamples:
    def test_a_span_outside_its_passage_is_refused(self):
        with pytest.raises(ValueError, match="no text"):
            Example("q", ("short",), (Span(0, 2, 9),))

    def test_beside_moves_the_answers_with_their_passage(self):
        for seed in range(5):
            made = beside(ROW.example, ["one", "two"], Random(seed))
            (span,) = made.answers
            assert made.passages[span.passage][span.start : span.end] == "1833"
            assert sorted(made.passages) == sorted([ROW.context, "one", "two"])

    def test_take_out_leaves_the_other_sentences(self):
        long = " ".join(["The rest is about something else, which nobody asked for."] * 3)
        left = take_out(Row("q", f"It was 1833. {long}", "d", ((7, 11),)))
        assert left == long


class TestPerturbing:
    def test_rename_keeps_the_answer(self):
        names = perturbing.Names(["They saw Grace Hopper and then Alan Turing there."])
        for seed in range(20):
            made = perturbing.rename(ROW, Random(seed), names)
            assert made is not None
            ((start, end),) = made.answers
            assert made.context[start:end] == "1833"
            assert made.question != ROW.question

    def test_a_near_miss_has_no_answer_and_is_changed(self):
        names = perturbing.Names(["They saw Grace Hopper and then Alan Turing there."])
        siblings = perturbing.cached_siblings({"base": "all-minilm-l6-v2"})
        for seed in range(20):
            made = perturbing.near_miss(ROW, Random(seed), names, siblings)
            assert made is not None
            assert made.answers == ()
            assert (made.question, made.context) != (ROW.question, ROW.context)


class TestSynthetic:
    def test_every_kind_is_made_and_some_are_silent(self):
        made = synthetic.make(Random(1), 450)
        silent = sum(not each.answers for each in made)
        assert 100 < silent < 250
        assert all(each.passages[0].strip() for each in made)

    def test_the_same_seed_makes_the_same(self):
        assert synthetic.make(Random(4), 30) == synthetic.make(Random(4), 30)


class TestEncoding:
    def test_the_tokens_of_the_answer_are_marked(self, minilm: str):
        tokenizer = open_tokenizer(minilm)
        (row,) = encode(tokenizer, ROW.example, 64, Random(0))
        ((start, end),) = row.answers
        assert tokenizer.decode(row.ids[start : end + 1]) == "1833"

    def test_a_long_passage_keeps_its_answer(self, minilm: str):
        tokenizer = open_tokenizer(minilm)
        before = "Nothing of this matters. " * 40
        example = Example("When?", (f"{before}It was 1833. {before}",), (Span(0, 1007, 1011),))
        assert example.passages[0][1007:1011] == "1833"
        for seed in range(5):
            (row,) = encode(tokenizer, example, 64, Random(seed))
            ((start, end),) = row.answers
            assert len(row.ids) == 64
            assert tokenizer.decode(row.ids[start : end + 1]) == "1833"


class TestLoss:
    def test_spans_of_all_passages_share_one_silence(self, minilm: str):
        import torch

        from rag.training.reader.model import shared_loss, span_odds

        tokenizer = open_tokenizer(minilm)
        silent = encode(tokenizer, Example("Who?", ("No one.",)), 64, Random(0))
        pair = beside(ROW.example, ["Another one."], Random(0))
        batch = collate([silent, encode(tokenizer, pair, 64, Random(0))])
        torch.manual_seed(0)
        starts, ends = torch.randn(2, *batch.ids.shape)
        silence = torch.randn(len(batch.ids))
        loss = shared_loss(span_odds(starts, ends, silence, batch.inside), batch.gold, batch.group)
        expected = []
        for question in (0, 1):
            total, right = 1.0, 0.0
            for at in range(len(batch.ids)):
                if int(batch.group[at]) != question:
                    continue
                inside = batch.inside[at].nonzero().flatten().tolist()
                for first in inside:
                    for last in inside:
                        if first <= last < first + 40:
                            odds = math.exp(starts[at, first] + ends[at, last] - silence[at])
                            total += odds
                            right += odds * float(batch.gold[at, first, last - first])
            expected.append(math.log(total) - math.log(right or 1.0))
        assert float(loss) == pytest.approx(sum(expected) / 2, rel=1e-4)

    def test_what_is_learnt_of_a_teacher_is_its_distribution(self):
        import torch

        from rag.training.encoder import NEVER
        from rag.training.reader.model import taught_loss

        torch.manual_seed(1)
        odds, teacher = torch.randn(2, 5, 4, 3), torch.randn(2, 5, 4, 3)[0]
        odds = odds[0]
        # A span that cannot be, for both.
        odds[0, 0, 0] = teacher[0, 0, 0] = 2 * NEVER
        group = torch.tensor([0, 1, 1, 2, 2])
        expected = []
        for question in range(3):
            mine, theirs = (
                torch.cat([each[group == question].flatten().double(), torch.zeros(1)])
                for each in (odds, teacher)
            )
            expected.append(-(theirs.softmax(0) * mine.log_softmax(0)).sum())
        found = taught_loss(odds, teacher, group)
        assert float(found) == pytest.approx(float(sum(expected) / 3), rel=1e-5)
        # Who says what the teacher says cannot say it better.
        assert taught_loss(teacher, teacher, group) < taught_loss(teacher + odds, teacher, group)


class TestMpnet:
    def test_it_reads_as_in_transformers(self, tmp_path: Path):
        """The words are BERT's; MPNet numbers them otherwise, and positions from 2."""
        import torch
        from torch.nn import functional
        from transformers import MPNetConfig, MPNetModel

        from rag.training.reader.model import build

        torch.manual_seed(3)
        shape = MPNetConfig(
            vocab_size=30527,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=32,
            max_position_embeddings=302,
        )
        model = MPNetModel(shape).eval()
        model.encoder.relative_attention_bias.weight.data.normal_()
        model.save_pretrained(tmp_path)
        reader, embeddings = build(str(tmp_path))
        ids = torch.cat(
            [torch.tensor([101]), torch.randint(1000, 30000, (298,)), torch.tensor([102])]
        )[None]
        theirs = ids + 4
        theirs[ids == 101], theirs[ids == 102] = 0, 2
        with torch.no_grad():
            words = functional.embedding(ids, embeddings)
            found = reader.encode(words, torch.zeros_like(ids), torch.ones_like(ids))
            expected = model(theirs).last_hidden_state
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def minilm() -> str:
    from rag.models import resolve

    return resolve("all-minilm-l6-v2", kind="embedder").location
