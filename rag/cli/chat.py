"""`rag chat`: questions that build on one another, at a prompt or line by line from a pipe."""

from __future__ import annotations

import contextlib
import difflib
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import options, output, progress
from rag.cli.opening import open_rag
from rag.cli.places import remember_citations
from rag.cli.terminal import say, say_error, say_text
from rag.errors import QuestionError, RagError

if TYPE_CHECKING:
    from rag.answering.conversation import Conversation, StaleCitation, Turn
    from rag.engine import RAG
    from rag.types import Answer

_PROMPT = "> "


@dataclass(slots=True)
class _Chat:
    """A conversation, and how its next question is answered.

    `asked_with` holds the number of passages and the filter of the last question.
    """

    rag: RAG
    conversation: Conversation
    k: int | None
    where: str
    session: Path | None
    as_json: bool
    asked_with: tuple[int | None, str]


@click.command("chat")
@options.index_option
@options.k_option
@click.option(
    "--where",
    metavar="FILTER",
    default="",
    help="Search only documents that match, until /where says otherwise; as for `rag ask`.",
)
@options.way_option
@options.generator_option
@options.embedder_option
@options.config_option
@options.file_option(
    "--session", "Continue the conversation in FILE, if there is one; save it there."
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per turn.")
def chat_command(k: int | None, where: str, session: Path | None, as_json: bool) -> None:
    """Ask questions that build on one another.

    A follow-up question ("And when?") is searched for together with what it leaves out. At a
    prompt or from a pipe, each line is a question; a line that begins with / is a command, and
    /help lists them. Ctrl-C stops an answer, Ctrl-D ends the conversation. Exit code 1 means that
    a line of a pipe met an error.
    """
    from rag.answering.conversation import Conversation

    with progress.display() as show:
        rag = open_rag(show)
        facts = rag.info()
        resumed = session if session is not None and session.exists() else None
        conversation = Conversation(rag) if resumed is None else Conversation.load(rag, resumed)
        # Also loads what searching needs, so that the first question does not wait for it.
        _check_filter(rag, where)
        writer = conversation.writer
    # Bytes that are no text make a question odd, but must not end the conversation.
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    chat = _Chat(rag, conversation, k, where, session, as_json, (k, where))
    if not sys.stdin.isatty():
        sys.exit(0 if _answer_lines(chat) else 1)
    by = "quoted word for word" if writer is None else f"by {writer.name}"
    _note(f"{facts.path}: {facts.documents:,} documents; answers are {by}")
    if resumed is not None:
        _note_resumed(conversation, resumed)
    _converse(chat)


def _converse(chat: _Chat) -> None:
    """Answer question after question at a prompt."""
    typed_so_far = _edit_lines()
    _note("/help lists the commands; Ctrl-C stops an answer, Ctrl-D ends")
    with contextlib.suppress(EOFError):
        while True:
            try:
                line = _read_line()
            except KeyboardInterrupt:
                say()
                if not typed_so_far():
                    return
                continue
            try:
                _take(chat, line)
            except KeyboardInterrupt:
                say(err=True)
                _note("stopped")


def _edit_lines() -> Callable[[], str]:
    """Let lines be edited where Python can; return what tells the line as typed so far."""
    try:
        import readline
    except ImportError:
        return lambda: ""
    return readline.get_line_buffer


def _read_line() -> str:
    try:
        if sys.stdout.isatty():
            return input(_PROMPT)
        # `input` would write the prompt among the answers.
        say(_PROMPT, end="", err=True)
        return input()
    except EOFError:
        say(err=True)
        raise


def _answer_lines(chat: _Chat) -> bool:
    """Answer question after question from a pipe or a file; return whether none met an error."""
    good = True
    with contextlib.suppress(EOFError):
        for line in iter(sys.stdin.readline, ""):
            good = _take(chat, line) and good
    return good


def _take(chat: _Chat, line: str) -> bool:
    """Answer a question or obey a command; return whether it met no error."""
    line = line.strip()
    try:
        if line.startswith("/"):
            _obey(chat, line)
        elif line:
            return _ask(chat, line)
    except RagError as error:
        _complain(str(error))
        if chat.as_json:
            output.print_line({"question": line, "error": str(error)})
        return False
    return True


def _ask(chat: _Chat, question: str) -> bool:
    stream = chat.conversation.stream(question, chat.k, chat.where)
    with contextlib.closing(stream):
        if not chat.as_json:
            _print_standalone(stream.question, stream.standalone)
            output.print_stream(stream, iter(stream))
        answer = stream.answer
    chat.asked_with = (chat.k, chat.where)
    if chat.as_json:
        asked = {"question": stream.question, "standalone": stream.standalone}
        output.print_line({**output.as_json(answer), **asked})
    else:
        output.print_sources(answer)
        say()
    remember_citations(chat.rag.path, answer.citations)
    _save_session(chat)
    if answer.interrupted:
        _complain(f"the answer is not complete: {answer.interrupted}")
    return answer.interrupted is None


def _save_session(chat: _Chat) -> None:
    if chat.session is not None:
        chat.conversation.save(chat.session)


def _obey(chat: _Chat, line: str) -> None:
    name, _, rest = line.partition(" ")
    if name not in _COMMANDS:
        close = difflib.get_close_matches(name, _COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else "/help lists them"
        raise QuestionError(f"{name}: unknown command; {hint}")
    _COMMANDS[name].run(chat, rest.strip())


def _print_sources(chat: _Chat, _: str) -> None:
    turn = _last_turn(chat)
    answer = chat.conversation.answer or _rebuild_answer(turn)
    if chat.as_json:
        output.print_line(answer.citations)
        return
    output.print_sources(answer)
    _print_stale(turn, chat.conversation.stale())


def _explain(chat: _Chat, _: str) -> None:
    turn = _last_turn(chat)
    answer = chat.conversation.answer
    found = chat.rag.explain(turn.standalone, *chat.asked_with)
    if chat.as_json:
        output.print_line({"search": found, "answer": answer})
        return
    _print_standalone(turn.question, turn.standalone)
    output.print_explanation(found)
    say()
    if answer is None:
        _note("how well the passages support its sentences was not saved: ask again")
    else:
        _print_support(answer)


def _save(chat: _Chat, rest: str) -> None:
    if not rest:
        raise QuestionError("/save: name a FILE")
    file = Path(rest)
    with contextlib.suppress(RuntimeError):
        file = file.expanduser()
    if file.exists():
        # A slip of the pen must not cost a document: overwrite only a conversation.
        chat.conversation.load(chat.rag, file)
    chat.conversation.save(file)
    _note(f"saved: {file}")


def _print_history(chat: _Chat, _: str) -> None:
    turns = chat.conversation.turns
    if chat.as_json:
        output.print_line(turns)
        return
    stale = chat.conversation.stale()
    for number, turn in enumerate(turns, start=1):
        say(f"{number}. {turn.question}", "bold")
        _print_standalone(turn.question, turn.standalone)
        say_text(turn.text)
        _print_stale(turn, stale)


def _set_filter(chat: _Chat, rest: str) -> None:
    _check_filter(chat.rag, rest)
    chat.where = rest
    _note(f"searching only documents that match: {rest}" if rest else "searching all documents")


def _clear(chat: _Chat, _: str) -> None:
    chat.conversation.clear()
    _save_session(chat)
    _note("the conversation is cleared")


def _print_help(_: _Chat, __: str) -> None:
    for name, command in _COMMANDS.items():
        say(f"{name + ' ' + command.takes:<16}{command.help}")


def _quit(_: _Chat, __: str) -> None:
    raise EOFError


@dataclass(frozen=True, slots=True)
class _Command:
    run: Callable[[_Chat, str], None]
    help: str
    takes: str = ""


_COMMANDS = {
    "/sources": _Command(_print_sources, "Show what the last answer rests on."),
    "/why": _Command(_explain, "Show how its passages were found, and how well they support it."),
    "/history": _Command(_print_history, "Show what was said so far."),
    "/where": _Command(
        _set_filter, "Search only documents that match; all without FILTER.", "FILTER"
    ),
    "/save": _Command(_save, "Save the conversation, for --session FILE.", "FILE"),
    "/clear": _Command(_clear, "Forget what was said."),
    "/help": _Command(_print_help, "Show this list."),
    "/quit": _Command(_quit, "End the conversation; so does Ctrl-D."),
}


def _check_filter(rag: RAG, where: str) -> None:
    """Raise FilterError or QuestionError unless a filter is understood and a document matches."""
    if not rag.search("documents", 1, where) and where:
        raise QuestionError(f"{where}: no document matches")


def _last_turn(chat: _Chat) -> Turn:
    if not chat.conversation.turns:
        raise QuestionError("nothing was asked yet")
    return chat.conversation.turns[-1]


def _rebuild_answer(turn: Turn) -> Answer:
    """Rebuild the last answer from what its turn holds."""
    from rag.types import Answer, Prompt

    return Answer(
        question=turn.standalone,
        text=turn.text,
        citations=turn.citations,
        sentences=(),
        unsupported=(),
        abstained=turn.abstained,
        prompt=Prompt(turn.standalone, (), (), 0),
        model="",
        interrupted=turn.interrupted,
    )


def _note_resumed(conversation: Conversation, session: Path) -> None:
    count = len(conversation.turns)
    _note(f"{session}: {count} turn{'' if count == 1 else 's'} so far; /history shows them")
    stale = len(conversation.stale())
    if stale:
        _note(f"{stale} of their citations no longer hold")


def _print_standalone(question: str, standalone: str) -> None:
    if standalone != question:
        say(f"asked as: {standalone}", "dim")


def _print_support(answer: Answer) -> None:
    for sentence in answer.sentences:
        marks = "".join(f"[{number}]" for number in sentence.citations) or "-"
        say(f"{sentence.support:.2f} {marks:<8} {sentence.text}")
        if sentence.flagged:
            flagged = ", ".join(sentence.flagged)
            say(f"     in no passage: {flagged}", "yellow")
    outcome = "no answer" if answer.abstained else f"{answer.way} by {answer.model}"
    say(
        f"answerability {answer.answerability:.2f}, confidence {answer.confidence:.2f}; {outcome}",
        "dim",
    )


def _print_stale(turn: Turn, stale: Sequence[StaleCitation]) -> None:
    """Print which citations of a turn no longer hold, and why."""
    reasons = {"changed": "the document was changed", "gone": "the document is gone"}
    for each in (each for each in stale if each.turn is turn):
        place, reason = each.citation.location, reasons[each.reason]
        say(f"[{each.citation.number}] {place}: no longer holds: {reason}", "yellow")


def _note(text: str) -> None:
    """Print on standard error what is for a person, and no part of an answer."""
    say(text, "dim", err=True)


def _complain(reason: str) -> None:
    say_error(reason)
