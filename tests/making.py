"""What tests make: models of random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.models import resolve

# Models.

SMALL: Any = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
RELATIONS = ("entailment", "neutral", "contradiction")


def make_entailment(
    folder: Path, labels: Sequence[str] = RELATIONS, *, head: bool = True, **settings: Any
) -> Path:
    names = dict(enumerate(labels))
    ids = {label: at for at, label in names.items()}
    return make_classifier(folder, head=head, id2label=names, label2id=ids, **settings)


def make_cross_encoder(folder: Path, *, labels: int = 1, head: bool = True) -> Path:
    return make_classifier(folder, head=head, num_labels=labels)


def make_classifier(folder: Path, *, head: bool, **settings: Any) -> Path:
    """Two layers of random weights behind the tokenizer of a real model."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

    tokenizer = AutoTokenizer.from_pretrained(resolve("all-minilm-l6-v2", kind="embedder").location)
    config = BertConfig(
        vocab_size=len(tokenizer),
        **SMALL,
        num_hidden_layers=2,
        # Wide enough that texts come out well apart.
        initializer_range=0.5,
        **settings,
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(config) if head else BertModel(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
