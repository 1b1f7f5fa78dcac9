"""Tiny checkpoints of random weights, and the texts that models are tested with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from conftest import CORPUS

from rag import IncompleteError, LanguageModel, Message, Prompt
from rag.types import Chunk, Hit, Stage

TEXT = (
    "The lighthouse was built in 1871 by Ada Stone. Its lamp burns whale oil. "
    "Visitors climb 210 steps to the gallery."
)
HIT = Hit(Chunk(1, "d", TEXT, 0, len(TEXT), 0), 0.9, 1, "d.txt", "The lighthouse")
MESSAGES = (
    Message("system", "Answer in one sentence."),
    Message("user", f"{TEXT}\n\nQuestion: When was the lighthouse built?"),
)
PROMPT = Prompt("When was the lighthouse built?", MESSAGES, (HIT,), 60)

QUESTION = "When was the lighthouse built?"
TEXTS = (
    "Penguins sleep standing up, and some of them dive five hundred metres deep.",
    "The lighthouse was built in 1871 by Ada Stone.",
    "Whale oil burnt in the lamp until the winter of 1902.",
    "A keeper's day began at dusk, when the light had to be lit.",
    "Bread is baked from flour, water, salt and time.",
)

# Premises and hypotheses.
PAIRS = [
    ("The lighthouse was built in 1871 by Ada Stone.", "Ada Stone built the lighthouse."),
    ("Whale oil burnt in the lamp until the winter of 1902.", "The lamp never burnt oil."),
    ("Penguins sleep standing up.", "Bread is baked from flour."),
    ("A keeper's day began at dusk. " * 9, "The keeper slept by day."),
    ("", "Something is said."),
]

PASSAGES = [
    passage
    for file in sorted(CORPUS.rglob("*.md"))
    for passage in file.read_text(encoding="utf-8").split("\n\n")
] + ["", "a", "東京", "word " * 40, "sentence of a few words. " * 200]

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + TEMPLATE
)


def make_hits(texts: Sequence[str], scores: Sequence[float] | None = None) -> list[Hit]:
    """Hits in this order; each is of a document by itself."""
    scores = scores or [0.9 - at / 100 for at in range(len(texts))]
    return [
        Hit(
            chunk=Chunk(at, f"d{at}", text, 0, len(text), 0),
            score=score,
            rank=at,
            source=f"d{at}.txt",
            title="",
            trace=(Stage("dense", at, score),),
        )
        for at, (text, score) in enumerate(zip(texts, scores, strict=True), start=1)
    ]


def read(generator: LanguageModel, prompt: Prompt) -> Iterator[str]:
    """Yield what a generator writes, up to its limit: random weights find no end."""
    with suppress(IncompleteError):
        yield from generator.stream(prompt)


def no_generator() -> LanguageModel:
    raise AssertionError("the generator is not wanted here")


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.sum(one * other, axis=-1)


def make_causal(folder: Path, template: str | None = TEMPLATE) -> Path:
    """A Llama of two layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer()
    tokenizer.chat_template = template
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 2048}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), **shape, **heads, **ends)
    return _saved(LlamaForCausalLM, config, tokenizer, folder)


def make_seq2seq(folder: Path) -> Path:
    """A T5 of two layers."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = train_tokenizer()
    shape = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=len(tokenizer), **shape, **ends)
    return _saved(T5ForConditionalGeneration, config, tokenizer, folder)


def make_reader(folder: Path, *, silent: bool = False) -> Path:
    """A BERT of one layer for question answering in windows of 96 words and marks.

    With `silent` no token outdoes [CLS]: it never finds an answer.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = sorted(set(f"{TEXT} When was it ? Who a b c d e f g h".replace(".", " . ").split()))
    vocabulary = {word: at for at, word in enumerate([*marks, *words])}
    split = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    split.pre_tokenizer = pre_tokenizers.Whitespace()
    split.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=split,
        sep_token="[SEP]",
        model_max_length=96,
        model_input_names=inputs,
        **names,
    )
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    # Weights well apart, so that the order of sums cannot decide.
    ranges = {"max_position_embeddings": 96, "initializer_range": 0.5}
    config = BertConfig(vocab_size=len(vocabulary), num_attention_heads=2, **shape, **ranges)
    model = BertForQuestionAnswering(config)
    if silent:
        torch.nn.init.zeros_(model.qa_outputs.weight)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def break_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights" * 100)


def cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def widen_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))


def empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


SERVER = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.verbosity = -1
params.n_ctx = 4096
params.n_parallel = 2
params.cache_prompt = False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
time.sleep(600)
"""


def start_server(model: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Beside other work, threads that wait by spinning keep each other from getting on.
        env={**os.environ, "GOMP_SPINCOUNT": "1000"},
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def train_tokenizer(
    texts: Sequence[str] = (TEXT,) * 4, window: int = 2048, *, prefix_space: bool = True
) -> Any:
    """A tokenizer of bytes and of a few pairs of them that the texts hold."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from tokenizers.decoders import ByteLevel
    from transformers import PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    trained.decoder = ByteLevel()
    trained.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<pad>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="<pad>", eos_token="</s>", model_max_length=window
    )


def _saved(kind: Any, config: Any, tokenizer: Any, folder: Path) -> Path:
    import torch

    torch.manual_seed(0)
    model = kind(config)
    # It writes words: random weights would rather end at once, or write halves of characters.
    words = {number for token, number in tokenizer.get_vocab().items() if token.startswith("Ġ")}
    model.generation_config.suppress_tokens = sorted(set(range(len(tokenizer))) - words)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
