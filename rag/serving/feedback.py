"""What readers thought of answers, kept in a database beside the index."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import apsw

from rag import private
from rag.characters import replace_surrogates
from rag.errors import QuestionError, StoreError

Rating = Literal["good", "bad"]

_LONGEST = 20_000
_MOST_DOCUMENTS = 100
_SCHEMA = """CREATE TABLE IF NOT EXISTS feedback (
    id TEXT PRIMARY KEY, created REAL NOT NULL, user TEXT NOT NULL, question TEXT NOT NULL,
    answer TEXT NOT NULL, rating TEXT NOT NULL, comment TEXT NOT NULL, correction TEXT NOT NULL,
    documents TEXT NOT NULL)"""
_COLUMNS = "id, created, user, question, answer, rating, comment, correction, documents"


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a reader thought of an answer.

    `correction` is the answer that should have been given, `documents` the ids of those that it
    cited; `created` is in seconds since the epoch.
    """

    id: str
    created: float
    question: str
    answer: str
    rating: Rating
    comment: str = ""
    correction: str = ""
    documents: tuple[str, ...] = ()
    user: str = ""

    @classmethod
    def of(
        cls,
        question: str,
        answer: str,
        rating: str,
        *,
        comment: str = "",
        correction: str = "",
        documents: tuple[str, ...] = (),
        user: str = "",
    ) -> Feedback:
        """Make a piece of feedback, of now.

        Raises:
            QuestionError: if a text is too long, or the rating is none.
        """
        if rating not in get_args(Rating):
            raise QuestionError(f"`rating` must be good or bad, not {rating!r:.40}")
        texts = [replace_surrogates(each) for each in (question, answer, comment, correction)]
        if not texts[0].strip():
            raise QuestionError("the question is empty")
        if max(map(len, texts)) > _LONGEST or len(documents) > _MOST_DOCUMENTS:
            raise QuestionError(
                f"a text of feedback has {_LONGEST:,} characters at most, and cites "
                f"{_MOST_DOCUMENTS} documents"
            )
        return cls(
            uuid.uuid4().hex,
            time.time(),
            texts[0],
            texts[1],
            rating,  # type: ignore[arg-type]
            texts[2],
            texts[3],
            tuple(map(replace_surrogates, documents)),
            user,
        )


class FeedbackStore:
    """The feedback on answers from an index, in the file `INDEX.feedback.sqlite`."""

    def __init__(self, index: Path) -> None:
        self.file = index.with_name(f"{index.name}.feedback.sqlite")

    def add(self, feedback: Feedback) -> Feedback:
        """Keep a piece of feedback, and return it.

        Raises:
            StoreError: if it cannot be written.
        """
        given = (
            feedback.id, feedback.created, feedback.user, feedback.question, feedback.answer,
            feedback.rating, feedback.comment, feedback.correction, json.dumps(feedback.documents),
        )  # fmt: skip
        with self._open() as database:
            marks = ",".join("?" * len(given))
            database.execute(f"INSERT INTO feedback ({_COLUMNS}) VALUES ({marks})", given)
        return feedback

    def all(self, limit: int = -1, user: str = "") -> list[Feedback]:
        """Return the newest feedback, newest first; of one user, if one is named.

        Raises:
            StoreError: if it cannot be read.
        """
        if not self.file.exists():
            return []
        with self._open() as database:
            rows = list(
                database.execute(
                    f"SELECT {_COLUMNS} FROM feedback WHERE ? IN ('', user) "
                    "ORDER BY created DESC, id LIMIT ?",
                    (user, limit),
                )
            )
        return [_feedback_of(row, self.file) for row in rows]

    def remove(self, feedback_id: str, user: str = "") -> bool:
        """Delete a piece of feedback for good, and return whether there was one.

        Raises:
            StoreError: if it cannot be written.
        """
        if not self.file.exists():
            return False
        with self._open() as database:
            database.execute(
                "DELETE FROM feedback WHERE id = ? AND ? IN ('', user)", (feedback_id, user)
            )
            return database.changes() > 0

    @contextmanager
    def _open(self) -> Iterator[apsw.Connection]:
        try:
            private.make_folder(self.file.parent)
            with open(self.file, "ab", opener=private.open_for_owner):
                pass
            with closing(apsw.Connection(str(self.file))) as database:
                database.set_busy_timeout(10_000)
                # What is deleted leaves no bytes behind.
                database.execute("PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON")
                database.execute(_SCHEMA)
                yield database
        except (OSError, apsw.Error) as error:
            raise StoreError(f"{self.file}: cannot be used: {error}") from error


def _feedback_of(row: tuple[Any, ...], file: Path) -> Feedback:
    feedback_id, created, user, question, answer, rating, comment, correction, documents = row
    texts = (feedback_id, user, question, answer, rating, comment, correction, documents)
    try:
        cited = json.loads(documents)
        if not (
            all(isinstance(each, str) for each in (*texts, *cited))
            and isinstance(created, float)
            and rating in get_args(Rating)
        ):
            raise ValueError("a row of another shape")
    except (TypeError, ValueError) as error:
        raise StoreError(f"{file}: is damaged: {error}") from error
    return Feedback(
        feedback_id, created, question, answer, rating, comment, correction, tuple(cited), user
    )
