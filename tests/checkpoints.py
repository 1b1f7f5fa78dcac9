"""Tiny checkpoints of random weights, and the prompt that generators are tested with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag import Message, Prompt
from rag.types import Chunk, Hit

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

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + TEMPLATE
)


def make_causal(folder: Path, template: str | None = TEMPLATE) -> Path:
    """A Llama of two layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    tokenizer.chat_template = template
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 2048}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), **shape, **heads, **ends)
    return _saved(LlamaForCausalLM, config, tokenizer, folder)


def make_seq2seq(folder: Path) -> Path:
    """A T5 of two layers."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = _tokenizer()
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


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from tokenizers.decoders import ByteLevel
    from transformers import PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel()
    trained.decoder = ByteLevel()
    trained.train_from_iterator(
        [TEXT] * 4,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<pad>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="<pad>", eos_token="</s>", model_max_length=2048
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
