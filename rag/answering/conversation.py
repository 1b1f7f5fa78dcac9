"""Questions that build on one another, each answered from the documents.

A conversation holds turns. What a follow-up leaves out is filled in before it is searched for;
what was said before is given on to the generator. Kept as JSON, it can be taken up again.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rag.answering.followups import standalone
from rag.errors import QuestionError, SourceError, StoreError
from rag.types import Citation, Message

if TYPE_CHECKING:
    from rag.protocols import LanguageModel
    from rag.types import Answer, Document

_FORMAT = "rag conversation"
_VERSION = 1

_MARK = re.compile(r"[ \t]*\[(\d+)\]")
_TURN_FIELDS: dict[str, tuple[type, ...]] = {
    "question": (str,),
    "standalone": (str,),
    "text": (str,),
    "abstained": (bool,),
    "citations": (list,),
    "asked_at": (str,),
    "interrupted": (str, NoneType),
}
_CITATION_FIELDS: dict[str, tuple[type, ...]] = {
    "number": (int,),
    "document_id": (str,),
    "source": (str,),
    "page": (int, NoneType),
    "line": (int, NoneType),
    "heading": (list,),
    "start": (int,),
    "end": (int,),
    "quote": (str,),
}


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer, as it is kept.

    `standalone` is the question as it was searched for: what was asked, or a follow-up with what it
    left out. `text`, `abstained`, `citations` and `interrupted` are those of the answer. `asked_at`
    is in UTC as ISO 8601.
    """

    question: str
    standalone: str
    text: str
    abstained: bool
    citations: tuple[Citation, ...]
    asked_at: str
    interrupted: str | None = None

    @property
    def unmarked(self) -> str:
        """The text without its citation marks; other numbers in brackets are left in it."""
        cited = {citation.number for citation in self.citations}
        return _MARK.sub(lambda mark: "" if int(mark[1]) in cited else mark[0], self.text)


@dataclass(frozen=True, slots=True)
class StaleCitation:
    """A citation whose document no longer holds the quote at its place, or is gone."""

    turn: Turn
    citation: Citation
    reason: Literal["changed", "gone"]


class Answering(Protocol):
    """What a conversation needs of the RAG that answers."""

    @property
    def writes(self) -> bool:
        """Whether answers are written, rather than quoted."""
        ...

    @property
    def generator(self) -> LanguageModel: ...

    def stream(
        self,
        question: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        history: Sequence[Message] = (),
    ) -> AnswerPieces: ...

    def document(self, document_id: str) -> Document: ...


class AnswerPieces(Protocol):
    """An answer as it is written: the text by iterating, then the whole."""

    def __iter__(self) -> Iterator[str]: ...

    @property
    def answer(self) -> Answer: ...


class Conversation:
    """Turns of questions and answers, in which a question may lean on those before it.

    One conversation is for one thread at a time; several may share one RAG.

    Args:
        rag: what answers.
        turns: what was said before, oldest first.
    """

    def __init__(self, rag: Answering, turns: Sequence[Turn] = ()) -> None:
        self._rag = rag
        self._turns = list(turns)
        self._answer: Answer | None = None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said, oldest first."""
        return tuple(self._turns)

    @property
    def answer(self) -> Answer | None:
        """The answer to the last question, whole; None before the first one since it was loaded."""
        return self._answer

    @property
    def writer(self) -> LanguageModel | None:
        """The generator, which fills in follow-ups too; None where answers are extracted."""
        return self._rag.generator if self._rag.writes else None

    def ask(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> Answer:
        """Answer a question, which may lean on those before it; `RAG.ask` names the rest.

        Raises:
            QuestionError: if the question is empty or too long, or `where` cannot be understood.
            StoreError: if there is no index, or it was built with another embedder.
            GenerationError: if the generator cannot be reached at all.
        """
        return self.stream(question, k, where).answer

    def stream(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> ConversationStream:
        """Like `ask`, piece by piece: iterate for the text, then read `.answer`.

        The turn is added when the answer is complete; a stream that ends before leaves nothing.

        Raises:
            QuestionError: if the question is empty.
            GenerationError: if the generator is to fill in a follow-up and cannot be reached.
        """
        question = question.strip()
        whole = self._standalone(question)
        written = self._rag.stream(whole, k, where, history=self._history())
        return ConversationStream(question, whole, written, partial(self._add, question, whole))

    def clear(self) -> None:
        """Forget all turns."""
        self._turns.clear()
        self._answer = None

    def stale(self) -> tuple[StaleCitation, ...]:
        """The citations that no longer hold: the document was changed there, or is not indexed."""
        documents: dict[str, Document | None] = {}
        found = []
        for turn in self._turns:
            for citation in turn.citations:
                name = citation.document_id
                if name not in documents:
                    documents[name] = self._document(name)
                document = documents[name]
                if document is None:
                    found.append(StaleCitation(turn, citation, "gone"))
                elif document.text[citation.start : citation.end] != citation.quote:
                    found.append(StaleCitation(turn, citation, "changed"))
        return tuple(found)

    def save(self, file: str | Path) -> None:
        """Write the conversation as JSON; what was in the file stays whole until then.

        Raises:
            SourceError: if the file cannot be written.
        """
        turns = [asdict(turn) for turn in self._turns]
        value = {"format": _FORMAT, "version": _VERSION, "turns": turns}
        _replace(Path(file), json.dumps(value, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, rag: Answering, file: str | Path) -> Conversation:
        """Take up a conversation that `save` wrote.

        Raises:
            SourceError: if the file cannot be read, or is no conversation.
        """
        try:
            text = Path(file).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise SourceError(str(file), "no such file") from None
        except OSError as error:
            raise SourceError(str(file), f"cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SourceError(str(file), "is not a conversation: it is no text") from error
        try:
            return cls(rag, _turns_from(json.loads(text)))
        # Nested deeply enough, anything ends Python's own parser.
        except (ValueError, RecursionError) as error:
            raise SourceError(str(file), f"is not a conversation: {error}") from error

    def _standalone(self, question: str) -> str:
        if not question:
            raise QuestionError("the question is empty")
        if not self._turns:
            return question
        said = [message for turn in self._turns for message in _messages(turn)]
        return standalone(question, said, self.writer)

    def _history(self) -> list[Message]:
        """What the generator is told of the turns before.

        Of those without an answer nothing: a model follows the example of what it did before, and
        many have templates in which questions and answers must alternate.
        """
        answered = [turn for turn in self._turns if not turn.abstained]
        return [message for turn in answered for message in _messages(turn)]

    def _add(self, question: str, whole: str, answer: Answer) -> None:
        asked_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._turns.append(
            Turn(
                question,
                whole,
                answer.text,
                answer.abstained,
                answer.citations,
                asked_at,
                answer.interrupted,
            )
        )
        self._answer = answer

    def _document(self, document_id: str) -> Document | None:
        try:
            return self._rag.document(document_id)
        except StoreError:
            return None


class ConversationStream:
    """A turn as it is written. Iterate once; the joined pieces are `answer.text`.

    `question` is what was asked, `standalone` is what is searched for.
    """

    def __init__(
        self, question: str, standalone: str, written: AnswerPieces, keep: Callable[[Answer], None]
    ) -> None:
        self.question = question
        self.standalone = standalone
        self._written = written
        self._keep = keep
        self._answer: Answer | None = None
        self._pieces = self._read()

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    @property
    def answer(self) -> Answer:
        """The answer with its citations; what is left of the stream is read first."""
        for _ in self._pieces:
            pass
        if self._answer is None:
            raise QuestionError("the stream was closed before its end, or failed: ask again")
        return self._answer

    def close(self) -> None:
        """Stop: unless the answer is complete, the conversation stays as it was."""
        self._pieces.close()

    def _read(self) -> Generator[str, None, None]:
        yield from self._written
        self._answer = self._written.answer
        self._keep(self._answer)


def _messages(turn: Turn) -> list[Message]:
    asked = Message("user", turn.standalone)
    return [asked] if turn.abstained else [asked, Message("assistant", turn.unmarked)]


def _turns_from(value: Any) -> tuple[Turn, ...]:
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise ValueError("it was not written by `Conversation.save` or `rag chat`")
    version = value.get("version")
    if type(version) is not int or version != _VERSION:
        raise ValueError(f"it has version {version!r}, and this program reads {_VERSION}")
    return tuple(map(_turn_from, _fields(value, {"turns": (list,)}, "the conversation")["turns"]))


def _turn_from(value: Any) -> Turn:
    fields = _fields(value, _TURN_FIELDS, "a turn")
    datetime.fromisoformat(fields["asked_at"])
    return Turn(**{**fields, "citations": tuple(map(_citation_from, fields["citations"]))})


def _citation_from(value: Any) -> Citation:
    fields = _fields(value, _CITATION_FIELDS, "a citation")
    if not all(isinstance(title, str) for title in fields["heading"]):
        raise ValueError("`heading` of a citation is not a list of texts")
    if not 0 <= fields["start"] <= fields["end"]:
        raise ValueError(f"{fields['start']}-{fields['end']} of a citation is no span")
    return Citation(**{**fields, "heading": tuple(fields["heading"])})


def _fields(value: Any, kinds: Mapping[str, tuple[type, ...]], whose: str) -> dict[str, Any]:
    """The named fields of a JSON object, each of its kind."""
    if not isinstance(value, dict):
        raise ValueError(f"{whose} is not an object")
    for name, allowed in kinds.items():
        if name not in value:
            raise ValueError(f"{whose} lacks `{name}`")
        # Exact: to Python, a bool is an int too.
        if type(value[name]) not in allowed:
            raise ValueError(f"`{name}` of {whose} cannot be {json.dumps(value[name])[:40]}")
    return {name: value[name] for name in kinds}


def _replace(file: Path, text: str) -> None:
    """Put `text` in the place of a file at once: whoever reads it gets the old or the new."""
    target = file.resolve()
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # What UTF-8 cannot hold, half a surrogate pair, is escaped just as JSON escapes it.
            with temporary.open(
                "x", encoding="utf-8", errors="backslashreplace", newline=""
            ) as written:
                written.write(text)
                written.flush()
                os.fsync(written.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SourceError(str(file), f"cannot be written: {error.strerror}") from error
