"""Conversations over the sample corpus: follow-ups, aborted answers, sessions kept as JSON."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import (
    RAG,
    Answer,
    Chunk,
    Citation,
    Document,
    Embedder,
    GenerationError,
    Hit,
    Message,
    Prompt,
)
from rag.answering.conversation import Conversation, Turn
from rag.answering.stream import AnswerStream
from rag.answering.writing import write
from rag.errors import QuestionError, SourceError
from rag.generation import from_callable

FIRST = "Who proposed direct preference optimization?"
UNANSWERABLE = "Which team won the football world cup of 1954?"


def generating(sample: RAG, embedder: Embedder, write: Any, way: str = "generate") -> RAG:
    """The index of the sample corpus, with answers by a function."""
    return RAG(
        sample.path,
        embedder=embedder,
        generator=from_callable("function", write),
        settings={"answering.way": way, "answering.threshold": 0},
    )


def is_rewriting(prompt: Prompt) -> bool:
    return not prompt.hits


def quoted(answer: Answer) -> str:
    return " ".join(citation.quote for citation in answer.citations)


def test_a_follow_up_is_searched_for_with_what_it_leaves_out(sample: RAG) -> None:
    conversation = Conversation(sample)
    assert "Rafailov" in quoted(conversation.ask(FIRST))
    when = conversation.ask("When?")
    assert "2023" in when.text
    assert "Rafailov" in quoted(when)
    first, second = conversation.turns
    assert (first.question, first.standalone) == (FIRST, FIRST)
    assert second.question == "When?"
    assert second.standalone == when.question != "When?"
    # Without the conversation there is nothing in the question to go by.
    assert "Rafailov" not in quoted(sample.ask("When?"))


def test_a_question_that_stands_alone_stays_as_it_is(sample: RAG) -> None:
    conversation = Conversation(sample)
    conversation.ask(FIRST)
    other = "How many layers does DistilBERT have?"
    assert conversation.ask(f"  {other} ").question == other
    assert conversation.turns[-1].standalone == other


def test_a_turn_holds_what_the_answer_says_and_rests_on(sample: RAG) -> None:
    conversation = Conversation(sample)
    answer = conversation.ask("What is reward hacking?")
    (turn,) = conversation.turns
    assert conversation.answer is answer
    assert (turn.text, turn.citations) == (answer.text, answer.citations)
    assert (turn.abstained, turn.interrupted) == (False, None)
    assert turn.citations
    for citation in turn.citations:
        text = sample.document(citation.document_id).text
        assert text[citation.start : citation.end] == citation.quote
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", turn.asked_at)


def test_the_joined_pieces_are_the_text(sample: RAG) -> None:
    stream = Conversation(sample).stream(FIRST)
    assert stream.standalone == stream.question == FIRST
    assert "".join(stream) == stream.answer.text


def test_k_and_where_reach_the_search(sample: RAG) -> None:
    conversation = Conversation(sample)
    answer = conversation.ask("What is reward hacking?", 2, {"path": "**/training/**"})
    hits = (*answer.prompt.hits, *answer.prompt.left_out)
    assert len(hits) == 2
    assert all("/training/" in hit.source for hit in hits)


def test_the_generator_is_told_what_was_said_without_marks_or_abstentions(
    sample: RAG, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories: list[list[Message]] = []

    def listen(*arguments: Any, history: Sequence[Message], **rest: Any) -> Any:
        histories.append(list(history))
        return write(*arguments, history=history, **rest)

    monkeypatch.setattr("rag.answering.conversation.write", listen)
    conversation = Conversation(sample)
    said = conversation.ask(FIRST).text
    assert conversation.ask(UNANSWERABLE).abstained
    conversation.ask("How many layers does DistilBERT have?")
    assert "[1]" in said
    told = [Message("user", FIRST), Message("assistant", said.replace(" [1]", ""))]
    assert histories == [[], told, told]


def test_a_follow_up_to_a_question_without_answer_leans_on_that_question(sample: RAG) -> None:
    conversation = Conversation(sample)
    conversation.ask(FIRST)
    assert conversation.ask(UNANSWERABLE).abstained
    conversation.ask("And in 1958?")
    assert "football" in conversation.turns[-1].standalone
    assert "preference" not in conversation.turns[-1].standalone


def test_follow_ups_are_rewritten_by_what_generates(sample: RAG, embedder: Embedder) -> None:
    def write(prompt: Prompt) -> list[str]:
        if is_rewriting(prompt):
            return ["When was direct preference optimization proposed?"]
        return ["It was proposed by Rafailov and colleagues in 2023."]

    conversation = Conversation(generating(sample, embedder, write))
    conversation.ask(FIRST)
    stream = conversation.stream("When was it?")
    assert stream.standalone == "When was direct preference optimization proposed?"
    assert "2023" in stream.answer.text


def test_what_extracts_asks_no_generator(sample: RAG, embedder: Embedder) -> None:
    def write(prompt: Prompt) -> Iterator[str]:
        if is_rewriting(prompt):
            raise AssertionError("a generator was asked to rewrite")
        yield "Rafailov and colleagues proposed it in 2023."

    conversation = Conversation(generating(sample, embedder, write, way="extract"))
    assert conversation.writer is None
    conversation.ask(FIRST)
    assert "preference" in conversation.ask("When?").question
    assert Conversation(sample).writer is None


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_no_follow_up(sample: RAG, question: str) -> None:
    conversation = Conversation(sample)
    conversation.ask(FIRST)
    with pytest.raises(QuestionError, match="empty"):
        conversation.ask(question)
    assert len(conversation.turns) == 1


def closed(stream: AnswerStream) -> None:
    next(iter(stream))
    stream.close()


def closed_before_its_beginning(stream: AnswerStream) -> None:
    stream.close()


def thrown_at(stream: AnswerStream) -> None:
    pieces = iter(stream)
    next(pieces)
    with pytest.raises(KeyboardInterrupt):
        pieces.throw(KeyboardInterrupt)  # type: ignore[attr-defined]


@pytest.mark.parametrize("abort", [closed, closed_before_its_beginning, thrown_at])
def test_an_aborted_answer_leaves_no_trace(sample: RAG, abort: Any) -> None:
    conversation = Conversation(sample)
    before = conversation.ask(FIRST)
    stream = conversation.stream("What is reward hacking?")
    abort(stream)
    assert [turn.question for turn in conversation.turns] == [FIRST]
    assert conversation.answer is before
    with pytest.raises(QuestionError, match="closed"):
        stream.answer  # noqa: B018
    assert "2023" in conversation.ask("When?").text


def test_a_stream_that_is_only_left_can_still_be_read_to_its_end(sample: RAG) -> None:
    conversation = Conversation(sample)
    stream = conversation.stream(FIRST)
    for _ in stream:
        break
    assert not conversation.turns
    assert "Rafailov" in quoted(stream.answer)
    stream.close()
    assert len(conversation.turns) == 1
    assert stream.answer is conversation.answer


def test_a_generator_that_fails_at_once_leaves_no_trace(sample: RAG, embedder: Embedder) -> None:
    def write(_: Prompt) -> Iterator[str]:
        raise GenerationError("the server is gone")
        yield ""

    conversation = Conversation(generating(sample, embedder, write))
    with pytest.raises(GenerationError, match="gone"):
        conversation.ask(FIRST)
    assert (conversation.turns, conversation.answer) == ((), None)


def test_an_answer_that_broke_off_is_kept_as_one(sample: RAG, embedder: Embedder) -> None:
    def write(_: Prompt) -> Iterator[str]:
        yield "Direct preference optimization was proposed by Rafailov in 2023. And "
        raise GenerationError("the server is gone")

    conversation = Conversation(generating(sample, embedder, write))
    assert conversation.ask(FIRST).interrupted == "the server is gone"
    assert conversation.turns[0].interrupted == "the server is gone"


def test_clear_forgets(sample: RAG) -> None:
    conversation = Conversation(sample)
    conversation.ask(FIRST)
    conversation.clear()
    assert (conversation.turns, conversation.answer) == ((), None)
    assert conversation.stream("When?").standalone == "When?"


def test_conversations_that_share_a_rag_keep_apart(sample: RAG) -> None:
    firsts = [FIRST, "Who introduced sequence-level distillation?"]

    def talk(first: str) -> list[tuple[str, str]]:
        conversation = Conversation(sample)
        for question in (first, "When?", "And by whom?"):
            conversation.ask(question)
        return [(turn.standalone, turn.text) for turn in conversation.turns]

    expected = [talk(first) for first in firsts]
    with ThreadPoolExecutor(len(firsts)) as pool:
        assert list(pool.map(talk, firsts)) == expected


citations = st.builds(
    lambda start, length, **rest: Citation(start=start, end=start + length, **rest),
    start=st.integers(0, 10**6),
    length=st.integers(0, 500),
    number=st.integers(1, 20),
    document_id=st.text(),
    source=st.text(),
    page=st.none() | st.integers(1, 500),
    line=st.none() | st.integers(1, 10**5),
    heading=st.lists(st.text(), max_size=3).map(tuple),
    quote=st.text(),
)
turns = st.builds(
    Turn,
    question=st.text(),
    standalone=st.text(),
    text=st.text(),
    abstained=st.booleans(),
    citations=st.lists(citations, max_size=3).map(tuple),
    asked_at=st.datetimes().map(lambda time: time.isoformat(timespec="seconds") + "+00:00"),
    interrupted=st.none() | st.text(),
)


@given(kept=st.lists(turns, max_size=4).map(tuple))
def test_what_is_saved_is_what_is_loaded(sample: RAG, kept: tuple[Turn, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a", "session.json")
        Conversation(sample, kept).save(file)
        assert Conversation.load(sample, file).turns == kept
        assert [path.name for path in file.parent.iterdir()] == ["session.json"]


def test_half_a_surrogate_pair_can_be_kept(sample: RAG, tmp_path: Path) -> None:
    turn = Turn("a\ud83d b", "ü", "text", False, (), "2026-01-01T00:00:00+00:00")
    Conversation(sample, [turn]).save(tmp_path / "session.json")
    assert Conversation.load(sample, tmp_path / "session.json").turns == (turn,)


def test_a_resumed_conversation_goes_on_as_if_it_had_not_stopped(
    sample: RAG, tmp_path: Path
) -> None:
    whole = Conversation(sample)
    whole.ask(FIRST)
    whole.save(tmp_path / "session.json")
    resumed = Conversation.load(sample, tmp_path / "session.json")
    assert resumed.turns == whole.turns
    assert resumed.answer is None

    def shown(answer: Answer) -> tuple[Any, ...]:
        return answer.question, answer.text, answer.citations

    assert shown(resumed.ask("When?")) == shown(whole.ask("When?"))
    resumed.save(tmp_path / "session.json")
    assert len(Conversation.load(sample, tmp_path / "session.json").turns) == 2


@pytest.fixture(scope="module")
def saved(sample: RAG, tmp_path_factory: pytest.TempPathFactory) -> str:
    conversation = Conversation(sample)
    conversation.ask(FIRST)
    conversation.ask(UNANSWERABLE)
    file = tmp_path_factory.mktemp("session") / "session.json"
    conversation.save(file)
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe\x00", "no text"),
        (b"[]", "not written by"),
        (b"{}", "not written by"),
        (b'"text"', "not written by"),
        (b'{"format": "rag conversation", "version": 2, "turns": []}', "version 2"),
        (b'{"format": "rag conversation", "turns": []}', "version None"),
        (b'{"format": "rag conversation", "version": 1}', "required field `turns`"),
        (b'{"format": "rag conversation", "version": 1, "turns": {}}', r"\$\.turns"),
        (b'{"format": "rag conversation", "version": 1, "turns": [3]}', r"turns\[0\]"),
        (b"[" * 100_000, "not a conversation"),
    ],
)
def test_a_foreign_file_is_named(sample: RAG, tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "notes.json"
    file.write_bytes(content)
    with pytest.raises(SourceError, match=reason) as caught:
        Conversation.load(sample, file)
    assert str(caught.value).startswith(f"{file}: is not a conversation: ")
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_named(sample: RAG, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.json: no such file"):
        Conversation.load(sample, tmp_path / "absent.json")
    with pytest.raises(SourceError, match="cannot be read"):
        Conversation.load(sample, tmp_path)


@given(share=st.floats(0, 1))
def test_a_file_that_was_cut_off_is_refused(sample: RAG, saved: str, share: float) -> None:
    part = saved[: round(share * (len(saved) - 2))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "session.json")
        file.write_text(part, encoding="utf-8")
        with pytest.raises(SourceError, match=r"session\.json"):
            Conversation.load(sample, file)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


@given(data=st.data())
def test_no_value_in_a_file_can_do_harm(sample: RAG, saved: str, data: st.DataObject) -> None:
    value = json.loads(saved)
    *path, last = data.draw(st.sampled_from(list(places(value))))
    holder = value
    for key in path:
        holder = holder[key]
    before = holder[last]
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    holder[last] = data.draw(scalars | st.lists(scalars, max_size=2) | st.just({}))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "session.json")
        file.write_text(json.dumps(value), encoding="utf-8")
        try:
            resumed = Conversation.load(sample, file)
        except SourceError as error:
            assert str(file) in str(error)
            return
        # What was taken has the kind that it had, and can be gone on from.
        same = type(holder[last]) is type(before)
        assert same or last in ("page", "line", "interrupted"), (last, holder[last])
        resumed.stale()
        resumed.stream("And when?").close()


def test_saving_replaces_the_file_at_once_or_not_at_all(
    sample: RAG, saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "session.json"
    file.write_text(saved, encoding="utf-8")
    conversation = Conversation.load(sample, file)
    conversation.ask("What is reward hacking?")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", full)
        with pytest.raises(SourceError, match=r"session\.json: cannot be written: No space left"):
            conversation.save(file)
    assert file.read_text(encoding="utf-8") == saved
    assert list(tmp_path.iterdir()) == [file]
    conversation.save(file)
    assert len(Conversation.load(sample, file).turns) == 3


def test_a_link_to_a_session_stays_one(sample: RAG, tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text("old")
    (tmp_path / "link.json").symlink_to("kept.json")
    Conversation(sample).save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert Conversation.load(sample, tmp_path / "kept.json").turns == ()


def test_a_file_that_cannot_be_written_is_named(sample: RAG, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match=r"file/session\.json: cannot be written"):
        Conversation(sample).save(tmp_path / "file" / "session.json")


def test_citations_that_no_longer_hold_are_told(embedder: Embedder, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    texts = {
        "lighthouse": "The lighthouse of Greifswald was built in 1855.",
        "bridge": "The bridge over the Ryck was renewed in 1994.",
        "harbour": "The harbour of Wieck has 40 berths.",
    }
    for name, text in texts.items():
        (docs / f"{name}.txt").write_text(text)
    rag = RAG(tmp_path / "index", embedder=embedder, settings={"generation.model": "extractive"})
    rag.index(docs)
    conversation = Conversation(rag)
    questions = {
        "lighthouse": "When was the lighthouse of Greifswald built?",
        "bridge": "When was the bridge over the Ryck renewed?",
        "harbour": "How many berths does the harbour of Wieck have?",
    }
    for question in questions.values():
        conversation.ask(question, 1)
    assert conversation.stale() == ()
    conversation.save(tmp_path / "session.json")

    (docs / "lighthouse.txt").write_text("It is said: " + texts["lighthouse"])
    (docs / "bridge.txt").unlink()
    (docs / "harbour.txt").write_text(texts["harbour"] + " All of them are taken.")
    rag.index(docs)
    resumed = Conversation.load(rag, tmp_path / "session.json")
    told = {stale.turn.question: stale for stale in resumed.stale()}
    assert told.keys() == {questions["lighthouse"], questions["bridge"]}
    assert told[questions["lighthouse"]].reason == "changed"
    assert told[questions["bridge"]].reason == "gone"
    assert told[questions["bridge"]].citation.quote == texts["bridge"]


def test_only_citation_marks_are_taken_out() -> None:
    document = Document("a", "a.md", "abc", "", "text/plain", "")
    hit = Hit(Chunk(1, "a", "abc", 0, 3, 0), 1.0, 1, "a.md", "")
    citation = Citation.of(hit, 0, 3, document, number=1)
    turn = Turn(
        "q",
        "q",
        "See [7] for x[0]. [1] [2] Then more. [2]",
        False,
        (citation, replace(citation, number=2)),
        "2026-01-01T00:00:00+00:00",
    )
    assert turn.unmarked == "See [7] for x[0]. Then more."
