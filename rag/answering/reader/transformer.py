"""Answers word for word out of the passages, by a model trained for question answering."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rag.answering.passages import Stretch
from rag.answering.reader.reading import NEVER, Reading, Span, trim, weigh
from rag.config import AnsweringConfig
from rag.errors import GenerationError, ModelError, QuestionError, first_line
from rag.models import LocalModel, resolve
from rag.models.checkpoints import Checkpoint, load_checkpoint
from rag.once import once
from rag.types import NO_ANSWER, Message, ProgressCallback, Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]

# What these models are trained with: 384 tokens of question and passage, answers of up to 30.
_WINDOW = 384
_OVERLAP = 128
_LONGEST = 30
_BATCH = 8


def load_transformer(
    config: AnsweringConfig,
    device: str = "auto",
    max_tokens: int = _LONGEST,
    progress: ProgressCallback | None = None,
) -> ReaderGenerator:
    """Return the reader that `config.reader` names; its weights are loaded at first use.

    Raises:
        ModelError: if there is no such model, or it cannot be fetched.
    """
    model = resolve(config.reader, kind="reader", progress=progress)
    return ReaderGenerator(model, device, max_tokens)


class ReaderGenerator:
    """A question answering model of transformers, as a LanguageModel that quotes.

    Devlin et al., NAACL 2019, section 4.2: the score of a span is the sum of its first token's
    logit as a start and its last token's as an end; section 4.3: the score of there being no
    answer is the same sum for the [CLS] token.
    """

    context_tokens = 1_000_000

    def __init__(self, model: LocalModel, device: str, max_tokens: int) -> None:
        self.name = model.name
        self.max_tokens = max_tokens
        self._model = model
        self._device = device
        # A tokenizer that cuts into windows cannot be shared by threads.
        self._lock = threading.RLock()

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return the length of `messages` in the model's own tokens; it reads them in windows."""
        with self._lock:
            tokenizer = self._checkpoint.tokenizer
            contents = [message.content for message in messages]
            return sum(map(len, tokenizer(contents, verbose=False)["input_ids"]))

    def stream(self, prompt: Prompt) -> Iterator[str]:
        """Yield the best span of all passages with its passage's number, or a refusal.

        Raises:
            QuestionError: if the question is longer than the model reads.
            GenerationError: if the model fails, for instance for want of memory.
        """
        passages = [hit.text for hit in prompt.hits]
        found = self.best_span(prompt.question, passages)
        if found is None:
            yield NO_ANSWER
        else:
            yield passages[found.number - 1][found.start : found.end]
            yield f" [{found.number}]"

    def best_span(self, question: str, passages: Sequence[str]) -> Span | None:
        """Return the span that most probably answers; None if it is more probable that none does.

        Raises:
            QuestionError: if the question is longer than the model reads.
            GenerationError: if the model fails, for instance for want of memory.
        """
        reading = self.read(question, passages, most=1)
        return reading.spans[0] if reading.log_odds > 0 else None

    def read(self, question: str, passages: Sequence[str], most: int = 10) -> Reading:
        """Find the best span of each window, and how probably it answers.

        A long passage is read in windows. Spans are compared by how far their score is above the
        one of no answer in the same window, which makes windows comparable; the probability is
        that of the best span among these two.

        Raises:
            QuestionError: if the question is longer than the model reads.
            GenerationError: if the model fails, for instance for want of memory.
        """
        with self._lock:
            scores = [
                (Stretch(number, start, end), margin)
                for number, passage in enumerate(passages, start=1)
                for start, end, margin in self._spans(question, passage)
            ]
        return weigh(scores, max((margin for _, margin in scores), default=NEVER), most)

    def _spans(self, question: str, passage: str) -> Iterator[tuple[int, int, float]]:
        """Yield the best span of each window of a passage, and its margin over no answer."""
        tokenizer = self._checkpoint.tokenizer
        windows = self._windows(question, passage)
        offsets = windows.pop("offset_mapping")
        windows.pop("overflow_to_sample_mapping", None)
        for at, (starts, ends) in enumerate(self._logits(windows)):
            allowed = [
                kind == 1 and not passage[start:end].isspace()
                for kind, (start, end) in zip(windows.sequence_ids(at), offsets[at], strict=True)
            ]
            span = _best(starts, ends, allowed, min(_LONGEST, self.max_tokens))
            if span is not None:
                first, last = span
                ids = windows["input_ids"][at]
                none = ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0
                margin = float(starts[first] + ends[last]) - float(starts[none] + ends[none])
                yield *trim(passage, offsets[at][first][0], offsets[at][last][1]), margin

    def _windows(self, question: str, passage: str) -> Any:
        tokenizer = self._checkpoint.tokenizer
        length = min(tokenizer.model_max_length, _WINDOW)
        asked = len(tokenizer(question, add_special_tokens=False, verbose=False)["input_ids"])
        room = length - asked - tokenizer.num_special_tokens_to_add(pair=True)
        # So that an answer lies whole in one window or the next.
        if room < 2 * _LONGEST:
            raise QuestionError(
                f"the question has {asked} tokens, {self.name} reads {length} together with a "
                "passage: shorten it"
            )
        return tokenizer(
            question,
            passage,
            truncation="only_second",
            max_length=length,
            stride=min(_OVERLAP, room // 2),
            padding=True,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )

    def _logits(self, windows: Any) -> Iterator[tuple[Logits, Logits]]:
        """Yield for each window the logits of its tokens as start and as end of the answer."""
        import torch

        model = self._checkpoint.model
        for at in range(0, len(windows["input_ids"]), _BATCH):
            try:
                inputs = {
                    name: torch.tensor(rows[at : at + _BATCH], device=model.device)
                    for name, rows in windows.items()
                }
                with torch.inference_mode():
                    output = model(**inputs)
            except RuntimeError as error:
                raise GenerationError(f"{self.name} failed: {first_line(error)}") from error
            yield from zip(
                output.start_logits.float().cpu().numpy(),
                output.end_logits.float().cpu().numpy(),
                strict=True,
            )

    @once
    def _checkpoint(self) -> Checkpoint:
        opened = load_checkpoint(self._model, "question-answering", self._device)
        place = self._model.location
        if any("qa_outputs" in name for name in opened.missing):
            raise ModelError(f"{place}: is no model for question answering: it lacks that head")
        if not opened.tokenizer.is_fast:
            raise ModelError(f"{place}: its tokenizer cannot tell where in the text a token is")
        return opened


def _best(
    starts: Logits, ends: Logits, allowed: Sequence[bool], longest: int
) -> tuple[int, int] | None:
    """Return the first and last token of the best span of at most `longest` `allowed` tokens."""
    import numpy as np

    size = len(allowed)
    ordered = np.tri(size, k=longest - 1, dtype=bool) & ~np.tri(size, k=-1, dtype=bool)
    possible = np.outer(allowed, allowed) & ordered
    if not possible.any():
        return None
    scores = np.where(possible, starts[:, None] + ends[None, :], -np.inf)
    first, last = divmod(int(scores.argmax()), size)
    return first, last
