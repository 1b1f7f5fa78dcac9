"""A model's files -> a sentence-transformers model, its tokenizer, and facts about both."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError, first_line
from rag.models.checkpoints import hub_options
from rag.models.devices import choose_device
from rag.models.fetching import LocalModel, without_progress_bars
from rag.models.tokenization import count_special_tokens, truncate, whole_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Modules with which a text's vector follows from its tokens alone.
_PLAIN = {"Transformer", "Pooling", "Dense", "Normalize", "Dropout", "LayerNorm"}
# Texts whose vectors are compared, from tokens alone and from `encode`.
_SAMPLES = ("a", "What is said of a filter, and how often it has to be changed?")
_LEAST_AGREEMENT = 0.999


@dataclass(frozen=True, slots=True)
class SentenceModel:
    """A SentenceTransformer in evaluation mode, with a tokenizer that neither truncates nor pads.

    `before` and `after` count the special tokens around a text, and `max_tokens` is the most that a
    text may hold with them. The prompts are what `encode_query` and `encode_document` put before a
    question and a passage.
    """

    model: Any
    tokenizer: Tokenizer
    before: int
    after: int
    max_tokens: int
    query_prompt: str
    document_prompt: str

    def token_ids(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """Return the tokens of each text, special tokens included, truncated to `max_tokens`."""
        encodings = self.tokenizer.encode_batch(list(texts))
        return [truncate(each.ids, self.max_tokens, self.after) for each in encodings]

    def forward(self, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Run the modules on texts' tokens, padded to the longest, on the model's device."""
        import numpy as np
        import torch

        longest = max(1, *map(len, rows))
        ids = np.full((len(rows), longest), self.model.tokenizer.pad_token_id or 0, dtype=np.int64)
        mask = np.zeros_like(ids)
        left = self.model.tokenizer.padding_side == "left"
        for row, tokens in enumerate(rows):
            columns = slice(longest - len(tokens), None) if left else slice(len(tokens))
            ids[row, columns] = tokens
            mask[row, columns] = 1
        device = self.model.device
        with torch.inference_mode():
            outputs: dict[str, Any] = self.model(
                {
                    "input_ids": torch.from_numpy(ids).to(device),
                    "attention_mask": torch.from_numpy(mask).to(device),
                }
            )
            return outputs

    def why_not_tokens_alone(self) -> str:
        """Return why a text's vector does not follow from its tokens alone; empty if it does."""
        kinds = [type(module).__name__ for module in self.model]
        if kinds[:1] != ["Transformer"] or not set(kinds) <= _PLAIN:
            return f"it is made of {', '.join(kinds)}"
        prompted = self.query_prompt or self.document_prompt
        if prompted and not all(getattr(each, "include_prompt", True) for each in self.model):
            return "its prompts are left out of the mean"
        # For instance a model whose chat template is put around each text.
        return "" if self._agrees() else "its tokens alone give other vectors than its texts"

    def _agrees(self) -> bool:
        """Compare vectors from tokens alone with those of `encode_query` and `encode_document`."""
        import torch

        model = self.model
        try:
            for prompt, encode in (
                (self.query_prompt, model.encode_query),
                (self.document_prompt, model.encode_document),
            ):
                rows = [self.tokenizer.encode(prompt + text).ids for text in _SAMPLES]
                found = self.forward(rows)["sentence_embedding"].float()
                expected = encode(list(_SAMPLES), show_progress_bar=False, convert_to_tensor=True)
                cosines = torch.nn.functional.cosine_similarity(found, expected.float())
                if not cosines.min() > _LEAST_AGREEMENT:
                    return False
        # A model's own modules may need other inputs and fail in any way.
        except Exception:  # noqa: BLE001
            return False
        return True


def open_sentence_model(
    model: LocalModel, *, device: str = "auto", dtype: str = "float32", **model_options: Any
) -> SentenceModel:
    """Open an embedder's files with sentence-transformers.

    `device` is `auto` for the best that there is, or torch's name of one; `model_options` are
    arguments for transformers.

    Raises:
        ConfigError: if there is no such device.
        ModelError: if sentence-transformers cannot load the files, or there is no tokenizer.json,
            which alone gives the positions of tokens.
    """
    options = {"dtype": dtype, **model_options}
    opened = _open(model, "SentenceTransformer", "an embedder", device, options)
    if not getattr(opened.tokenizer, "is_fast", False):
        raise ModelError(f"{model.name}: has no tokenizer.json, which texts are measured by")
    tokenizer = whole_tokenizer(opened)
    most = int(opened.max_seq_length or opened.tokenizer.model_max_length)
    prompts = {name: prompt for name, prompt in opened.prompts.items() if prompt is not None}
    document = next(
        (prompts[name] for name in ("document", "passage", "corpus") if name in prompts), ""
    )
    before, after = count_special_tokens(tokenizer)
    return SentenceModel(opened, tokenizer, before, after, most, prompts.get("query", ""), document)


def open_cross_encoder(model: LocalModel, *, device: str = "auto") -> Any:
    """Open a model that scores pairs of texts, in evaluation mode.

    Raises:
        ConfigError: if there is no such device.
        ModelError: if sentence-transformers cannot load the files.
    """
    return _open(model, "CrossEncoder", "a cross-encoder", device, {})


def _open(model: LocalModel, name: str, kind: str, device: str, options: dict[str, Any]) -> Any:
    import sentence_transformers

    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    chosen = None if device == "auto" else choose_device(device, "`embedding.device`")
    try:
        with without_progress_bars():
            # Code that lies beside the weights is not run, and nobody is asked whether to run it.
            opened = getattr(sentence_transformers, name)(
                model.location,
                device=chosen,
                model_kwargs=options,
                trust_remote_code=False,
                **hub_options(model),
            )
    # Broken files raise errors of every kind.
    except Exception as error:
        raise ModelError(
            f"{model.location}: cannot be loaded as {kind}: {first_line(error)}"
        ) from error
    return opened.eval()
