"""`rag chat`: questions that build on one another, at a prompt or line by line from a pipe."""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli import output, progress
from rag.cli.options import config_option, embedder_option, index_option, k_option
from rag.errors import QuestionError, RagError

if TYPE_CHECKING:
    from rag.answering.conversation import Conversation, StaleCitation, Turn
    from rag.engine import RAG
    from rag.types import Answer

_PROMPT = "> "

_file = click.Path(dir_okay=False, path_type=Path)


@dataclass(slots=True)
class _Chat:
    """A conversation, and how its next question is answered.

    `asked_with` are the number of passages and the filter that the last question was asked with.
    """

    rag: RAG
    conversation: Conversation
    k: int | None
    where: str
    session: Path | None
    as_json: bool
    asked_with: tuple[int | None, str]


@click.command("chat")
@index_option
@k_option
@click.option(
    "--where",
    metavar="FILTER",
    default="",
    help="Of documents that are so only, until /where says otherwise; as for `rag ask`.",
)
@click.option(
    "--way",
    type=click.Choice(["auto", "generate", "extract"]),
    help="Answers are generated, extracted word for word, or extracted where what was generated "
    "is not borne out (auto).",
)
@click.option("--generator", metavar="NAME", help="What writes the answers; as for `rag ask`.")
@embedder_option
@config_option
@click.option(
    "--session",
    type=_file,
    metavar="FILE",
    help="Go on with the conversation in FILE, if there is one, and keep it there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each turn.")
def chat_command(
    index: str | None,
    k: int | None,
    where: str,
    way: str | None,
    generator: str | None,
    embedder: str | None,
    config_file: Path | None,
    session: Path | None,
    as_json: bool,
) -> None:
    """Ask questions that build on one another.

    A follow-up ("And when?") is searched for with what it leaves out. Standard input has one
    question a line; a line that begins with / is a command, and /help lists them. Ctrl-C stops an
    answer, Ctrl-D ends the conversation. Exit code 1 says that a line of a pipe met an error.
    """
    from rag.answering.conversation import Conversation
    from rag.config import load_config
    from rag.engine import RAG

    settings = {
        "index.path": index,
        "answering.way": way,
        "generation.model": generator,
        "embedding.model": embedder,
    }
    with progress.shown() as show:
        rag = RAG(config=load_config(config_file, arguments=settings), progress=show)
        facts = rag.info()
        kept = session if session is not None and session.exists() else None
        conversation = Conversation(rag) if kept is None else Conversation.load(rag, kept)
        # Also loads what searching needs, so that the first question does not wait for it.
        _check_filter(rag, where)
        writer = conversation.writer
    # A byte that is no text makes a question odd, and must not end the conversation.
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    chat = _Chat(rag, conversation, k, where, session, as_json, (k, where))
    if not sys.stdin.isatty():
        sys.exit(0 if _read_through(chat) else 1)
    by = "quoted word for word" if writer is None else f"by {writer.name}"
    _note(f"{facts['path']}: {facts['documents']:,} documents; answers are {by}")
    if kept is not None:
        _tell_resumed(conversation, kept)
    _converse(chat)


def _converse(chat: _Chat) -> None:
    """Question after question at a prompt."""
    half_typed = _line_editing()
    _note("/help lists the commands; Ctrl-C stops an answer, Ctrl-D ends")
    with contextlib.suppress(EOFError):
        while True:
            try:
                line = _typed()
            except KeyboardInterrupt:
                click.echo()
                if not half_typed():
                    return
                continue
            try:
                _take(chat, line)
            except KeyboardInterrupt:
                _note("\nstopped")


def _line_editing() -> Callable[[], str]:
    """Have lines edited where Python can; gives what tells the line as far as it is typed."""
    try:
        import readline
    except ImportError:
        return lambda: ""
    return readline.get_line_buffer


def _typed() -> str:
    try:
        if sys.stdout.isatty():
            return input(_PROMPT)
        # `input` would write the prompt among the answers.
        click.echo(_PROMPT, nl=False, err=True)
        return input()
    except EOFError:
        click.echo(err=True)
        raise


def _read_through(chat: _Chat) -> bool:
    """Question after question from a pipe or a file; whether none met an error."""
    good = True
    with contextlib.suppress(EOFError):
        for line in iter(sys.stdin.readline, ""):
            good = _take(chat, line) and good
    return good


def _take(chat: _Chat, line: str) -> bool:
    """Answer a question or obey a command; whether it met no error."""
    line = line.strip()
    try:
        if line.startswith("/"):
            _obey(chat, line)
        elif line:
            return _ask(chat, line)
    except RagError as error:
        _complain(str(error))
        if chat.as_json:
            _print_line({"question": line, "error": str(error)})
        return False
    return True


def _ask(chat: _Chat, question: str) -> bool:
    stream = chat.conversation.stream(question, chat.k, chat.where)
    with contextlib.closing(stream):
        if not chat.as_json:
            _tell_asked_as(stream.question, stream.standalone)
        for piece in stream:
            if not chat.as_json:
                click.echo(output.for_terminal(piece), nl=False)
    answer = stream.answer
    chat.asked_with = (chat.k, chat.where)
    if chat.as_json:
        asked = {"question": stream.question, "standalone": stream.standalone}
        _print_line({**output.as_json(answer), **asked})
    else:
        click.echo()
        output.print_sources(answer)
        click.echo()
    _keep(chat)
    if answer.interrupted:
        _complain(f"the answer is not complete: {answer.interrupted}")
    return answer.interrupted is None


def _keep(chat: _Chat) -> None:
    if chat.session is not None:
        chat.conversation.save(chat.session)


def _obey(chat: _Chat, line: str) -> None:
    name, _, rest = line.partition(" ")
    if name not in _COMMANDS:
        close = difflib.get_close_matches(name, _COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else "/help lists them"
        raise QuestionError(f"{name}: unknown command; {hint}")
    _COMMANDS[name].run(chat, rest.strip())


def _sources(chat: _Chat, _: str) -> None:
    turn = _last_turn(chat)
    answer = chat.conversation.answer or _remembered(turn)
    if chat.as_json:
        _print_line(answer.citations)
        return
    output.print_sources(answer)
    for each in chat.conversation.stale():
        if each.turn is turn:
            _print_stale(each)


def _why(chat: _Chat, _: str) -> None:
    turn = _last_turn(chat)
    answer = chat.conversation.answer
    found = chat.rag.explain(turn.standalone, *chat.asked_with)
    if chat.as_json:
        _print_line({"search": found, "answer": answer})
        return
    _tell_asked_as(turn.question, turn.standalone)
    output.print_explanation(found)
    click.echo()
    if answer is None:
        _note("how well its sentences are borne out was not kept: ask again")
    else:
        _print_support(answer)


def _save(chat: _Chat, rest: str) -> None:
    if not rest:
        raise QuestionError("/save: name a FILE")
    file = Path(rest)
    with contextlib.suppress(RuntimeError):
        file = file.expanduser()
    if file.exists():
        # A slip of the pen must not cost a document: only a conversation gives way.
        chat.conversation.load(chat.rag, file)
    chat.conversation.save(file)
    _note(f"saved: {file}")


def _history(chat: _Chat, _: str) -> None:
    turns = chat.conversation.turns
    if chat.as_json:
        _print_line(turns)
        return
    stale = chat.conversation.stale()
    for number, turn in enumerate(turns, start=1):
        click.secho(f"{number}. {output.for_terminal(turn.question)}", bold=True)
        _tell_asked_as(turn.question, turn.standalone)
        click.echo(output.for_terminal(turn.text))
        for each in stale:
            if each.turn is turn:
                _print_stale(each)


def _where(chat: _Chat, rest: str) -> None:
    _check_filter(chat.rag, rest)
    chat.where = rest
    _note(f"of documents that are so only: {rest}" if rest else "of all documents")


def _clear(chat: _Chat, _: str) -> None:
    chat.conversation.clear()
    _keep(chat)
    _note("what was said is forgotten")


def _help(_: _Chat, __: str) -> None:
    for name, command in _COMMANDS.items():
        click.echo(f"{name + ' ' + command.takes:<16}{command.help}")


def _quit(_: _Chat, __: str) -> None:
    raise EOFError


@dataclass(frozen=True, slots=True)
class _Command:
    run: Callable[[_Chat, str], None]
    help: str
    takes: str = ""


_COMMANDS = {
    "/sources": _Command(_sources, "What the last answer rests on."),
    "/why": _Command(_why, "How its passages were found, and how well they bear it out."),
    "/history": _Command(_history, "What was said so far."),
    "/where": _Command(_where, "Of documents that are so only; without FILTER, of all.", "FILTER"),
    "/save": _Command(_save, "Keep the conversation, for --session FILE.", "FILE"),
    "/clear": _Command(_clear, "Forget what was said."),
    "/help": _Command(_help, "This list."),
    "/quit": _Command(_quit, "End; as does Ctrl-D."),
}


def _check_filter(rag: RAG, where: str) -> None:
    """Search with a filter, which tells whether it can be understood and takes any document."""
    if not rag.search("documents", 1, where) and where:
        raise QuestionError(f"{where}: no document is so")


def _last_turn(chat: _Chat) -> Turn:
    if not chat.conversation.turns:
        raise QuestionError("nothing was asked yet")
    return chat.conversation.turns[-1]


def _remembered(turn: Turn) -> Answer:
    """What is kept of an answer."""
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


def _tell_resumed(conversation: Conversation, session: Path) -> None:
    count = len(conversation.turns)
    _note(f"{session}: {count} turn{'' if count == 1 else 's'} so far; /history shows them")
    stale = len(conversation.stale())
    if stale:
        _note(f"{stale} of their citations no longer hold")


def _tell_asked_as(question: str, standalone: str) -> None:
    if standalone != question:
        click.secho(f"asked as: {output.one_line(standalone)}", dim=True)


def _print_support(answer: Answer) -> None:
    for sentence in answer.sentences:
        marks = "".join(f"[{number}]" for number in sentence.citations) or "-"
        click.echo(f"{sentence.support:.2f} {marks:<8} {output.for_terminal(sentence.text)}")
        if sentence.flagged:
            flagged = ", ".join(map(output.one_line, sentence.flagged))
            click.secho(f"     in no passage: {flagged}", fg="yellow")
    said = "; no answer" if answer.abstained else f"; {answer.way} by {answer.model}"
    click.secho(
        f"answerability {answer.answerability:.2f}, confidence {answer.confidence:.2f}{said}",
        dim=True,
    )


def _print_stale(stale: StaleCitation) -> None:
    reason = {"changed": "the document was changed", "gone": "the document is gone"}[stale.reason]
    place = output.one_line(stale.citation.location)
    click.secho(f"[{stale.citation.number}] {place}: no longer holds: {reason}", fg="yellow")


def _print_line(value: Any) -> None:
    click.echo(json.dumps(output.as_json(value), ensure_ascii=False))


def _note(text: str) -> None:
    """What is said to a person, and is no part of an answer."""
    click.secho(text, dim=True, err=True)


def _complain(reason: str) -> None:
    click.echo("rag: " + output.one_line(" ".join(reason.split())), err=True)
