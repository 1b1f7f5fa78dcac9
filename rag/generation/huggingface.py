"""Causal and sequence-to-sequence models through transformers: CUDA, MPS or the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from rag.config import GenerationConfig
from rag.errors import GenerationError, first_line
from rag.generation.replies import Ending, read_local
from rag.generation.thoughts import ThoughtFilter, ends_in_thoughts
from rag.generation.threaded import stream_from_thread
from rag.models import LocalModel
from rag.models.checkpoints import Checkpoint, load_checkpoint
from rag.once import once
from rag.types import Message, Prompt

_MOST_TOKENS_A_TAG = 16


class TransformersGenerator:
    """A model that transformers loads, in the precision its device works best in.

    Conversations are formatted by the model's chat template. If the template refuses the role
    "system", its messages go before the user's first one; without a template, messages are joined.
    """

    def __init__(self, model: LocalModel, config: GenerationConfig) -> None:
        self.name = model.name
        self.max_tokens = config.max_tokens
        self._model = model
        self._config = config
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def load(self) -> None:
        """Load the model unless that is done.

        Raises:
            ModelError: if it cannot be loaded.
            ConfigError: if there is no such device.
        """
        _ = self._checkpoint

    @property
    def context_tokens(self) -> int:
        """Return how many tokens the model's configuration and the settings allow in all."""
        model, tokenizer, _ = self._checkpoint
        most = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
        allowed = min(self._config.context_tokens, int(most))
        # An encoder reads a whole window; the answer fills the decoder's own.
        return allowed + self.max_tokens if model.config.is_encoder_decoder else allowed

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Count the tokens of `messages`, chat template included."""
        tokenizer = self._checkpoint.tokenizer
        return len(self._encode(tokenizer, messages)["input_ids"][0])

    def stream(self, prompt: Prompt) -> Iterator[str]:
        """Yield pieces of the answer as they are written.

        Raises:
            GenerationError: if the prompt does not fit, the model fails (out of memory), or only
                thinks.
            IncompleteError: if the answer was cut at its limit of tokens.
        """
        model, tokenizer, _ = self._checkpoint
        inputs = self._encode(tokenizer, prompt.messages).to(model.device)
        length, room = inputs["input_ids"].shape[1], self.context_tokens - self.max_tokens
        if length > room:
            raise GenerationError(
                f"{self.name}: the prompt takes {length} tokens, there is room for {room} beside "
                f"an answer of {self.max_tokens}: shorten it, or raise `generation.context_tokens`"
            )

        ending = Ending()

        def write(emit: Callable[[str], bool]) -> None:
            import torch

            sampling = self._config.temperature > 0
            options: dict[str, Any] = {"do_sample": sampling}
            if sampling:
                options["temperature"] = self._config.temperature
            with self._turn, torch.inference_mode():
                if sampling:
                    torch.manual_seed(self._config.seed)
                streamer = _make_streamer(
                    tokenizer, emit, skip_prompt=not model.config.is_encoder_decoder
                )
                written = model.generate(
                    **inputs,
                    max_new_tokens=self.max_tokens,
                    streamer=streamer,
                    stopping_criteria=[
                        lambda ids, _: torch.tensor([streamer.stopped], device=ids.device)
                    ],
                    pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
                    **options,
                )
            ends = model.generation_config.eos_token_id
            ends = ends if isinstance(ends, list) else [ends]
            # A decoder of its own begins with a token that is not written.
            read = 1 if model.config.is_encoder_decoder else length
            whole = written[0, -1].item() in ends or len(written[0]) < read + self.max_tokens
            ending.reason = "stop" if whole else "length"

        asked = tokenizer.decode(inputs["input_ids"][0, -_MOST_TOKENS_A_TAG:])
        thoughts = ThoughtFilter(self.name, begun=False, inside=ends_in_thoughts(asked))
        pieces = stream_from_thread(write, self.name)
        yield from read_local(pieces, thoughts, ending, self.name, self.max_tokens)

    def log_likelihood(self, context: str, text: str) -> float:
        """Return the mean log probability of a token of `text` after `context`.

        No chat template is applied, and the two are tokenized apart. If `context` does not fit into
        the window, its beginning is left out. An encoder reads `context`, and the decoder `text`.

        Raises:
            GenerationError: if one of them has no token, `text` alone fills the window, or the
                model fails (out of memory).
        """
        import torch

        model, tokenizer, _ = self._checkpoint
        before = tokenizer(context)["input_ids"]
        after = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not before or not after:
            raise GenerationError(f"{self.name}: a likelihood takes a token of each text")
        room = self.context_tokens - len(after)
        if model.config.is_encoder_decoder:
            room = self.context_tokens - self.max_tokens
        if room < 1:
            raise GenerationError(
                f"{self.name}: the text takes {len(after)} tokens, the window holds "
                f"{self.context_tokens} with what comes before: shorten it"
            )
        try:
            with self._turn, torch.inference_mode():
                logits = _logits_after(model, before[-room:], after).float()
                tokens = torch.tensor(after, device=logits.device)
                return -float(torch.nn.functional.cross_entropy(logits, tokens))
        except RuntimeError as error:
            raise GenerationError(f"{self.name} failed: {first_line(error)}") from error

    def _encode(self, tokenizer: Any, messages: Sequence[Message]) -> Any:
        if not tokenizer.chat_template:
            text = "\n\n".join(message.content for message in messages)
            encoded = tokenizer(text, return_tensors="pt")
            encoded.pop("token_type_ids", None)
            return encoded
        from jinja2 import TemplateError

        # Some models know no system role, and their templates refuse it.
        with suppress(TemplateError):
            return _apply_template(tokenizer, messages)
        try:
            return _apply_template(tokenizer, _without_system(messages))
        except TemplateError as error:
            raise GenerationError(
                f"{self.name}: its chat template refuses the conversation: {first_line(error)}"
            ) from error

    @once
    def _checkpoint(self) -> Checkpoint:
        return load_checkpoint(self._model, "generation", self._config.device)


def _apply_template(tokenizer: Any, messages: Sequence[Message]) -> Any:
    return tokenizer.apply_chat_template(
        [asdict(message) for message in messages],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Put the system's messages before the user's first one, as one message of the user."""
    first = [message.content for message in messages if message.role == "system"]
    others = [message for message in messages if message.role != "system"]
    if others and others[0].role == "user":
        first.append(others.pop(0).content)
    return [Message("user", "\n\n".join(first)), *others]


def _logits_after(model: Any, before: list[int], after: list[int]) -> Any:
    """Return, for each token of `after`, the logits of all tokens in its place."""
    import torch

    def row(tokens: list[int]) -> Any:
        return torch.tensor([tokens], device=model.device)

    if model.config.is_encoder_decoder:
        start = model.config.decoder_start_token_id
        return model(input_ids=row(before), decoder_input_ids=row([start, *after[:-1]])).logits[0]
    return model(input_ids=row([*before, *after[:-1]])).logits[0, -len(after) :]


def _make_streamer(tokenizer: Any, emit: Callable[[str], bool], *, skip_prompt: bool) -> Any:
    from transformers import TextStreamer

    class Streamer(TextStreamer):  # type: ignore[misc]
        stopped = False

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            self.stopped = emit(text)

    return Streamer(tokenizer, skip_prompt=skip_prompt, skip_special_tokens=True)
