"""What is not ours reaches no terminal as it is, whatever prints it and in whatever encoding."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import io
import json
import logging
import sys
import types
import typing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from conftest import RunMain

import rag.types
from rag.cli import evaluation_tables, output, progress
from rag.cli.terminal import PLAIN, guard_output, one_line, say, say_json, say_text, several_lines

ROOT = Path(rag.types.__file__).parent
CLI = sorted((ROOT / "cli").glob("*.py"))
# A title of the window, a colour, a CSI in one byte, a bell, a return to the line's start, two ways
# of turning the direction of writing, an invisible letter, rich's markup.
EVIL = (
    "a\x1b]0;owned\x07b\x1b[31mc\x9b2Jd\x08\x08e\rf\u202eg\u2066h\u200fi\U000e0041j"
    "[bold]k[/bold][link=http://evil]l[/link]\x7fm\u2028n"
)
FORBIDDEN = {each for each in EVIL if not each.isprintable()}
ANSI = r"\x1b\[[0-9;?]*[A-Za-z]"


class Screen(io.TextIOWrapper):
    """A terminal of some encoding, which keeps what it is sent."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="")

    def isatty(self) -> bool:
        return True

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Take what the block prints. (pytest puts back its own streams after each fixture.)"""
        with redirect_stdout(self), redirect_stderr(self):
            yield

    @property
    def shown(self) -> str:
        self.flush()
        sent = typing.cast("io.BytesIO", self.buffer).getvalue()
        return sent.decode(self.encoding)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal that takes what is printed on it, without colours of our own."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    return Screen()


def assert_harmless(shown: str) -> None:
    found = {
        each for each in shown if each in FORBIDDEN or not (each.isprintable() or each == "\n")
    }
    assert not found, repr(shown)


def constants(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a part of a module, but no docstring."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in docstrings:
            yield text


@pytest.mark.parametrize("file", CLI, ids=lambda file: file.name)
def test_only_one_module_writes_to_the_terminal(file: Path) -> None:
    writes = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "Console", "Text") or called.endswith(
                (".echo", ".secho", ".style", "stdout.write", "stderr.write", "Console", ".show")
            ):
                writes.append(f"{file.name}:{node.lineno} {called}")
    assert not writes or file.name == "terminal.py"
    assert writes or file.name != "terminal.py"


def printed_by_us() -> set[str]:
    """Return the characters of our own, besides ASCII, that commands and errors print."""
    found: set[str] = set()
    for file in ROOT.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        parts: list[ast.AST] = [tree] if file in CLI else []
        parts += [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
        for part in parts:
            found.update(each for text in constants(part) for each in text if not each.isascii())
    return found


def test_every_character_of_our_own_has_a_plain_stand_in() -> None:
    ours = printed_by_us() - {chr(code) for code in (0x200C, 0x200D)}
    assert {"“", "…", "▶"} <= ours
    assert ours <= PLAIN.keys()
    assert all(stand_in.isascii() and stand_in for stand_in in PLAIN.values())


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "cp1252", "koi8-r", "utf-8", "utf-16"])
def test_any_encoding_of_a_terminal_gets_its_characters(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(encoding)
    monkeypatch.setenv("NO_COLOR", "1")
    with screen.taking(), guard_output():
        say("▶“é” …")
        say("дом\udcff\ud800", err=True)
        say_text("▶ 家\n\udc80")
        say_json({"“": "é家\udcff\u202e\x1b"})
        # What writes by itself, as rich does.
        print("✓ 家\udcff", file=sys.stdout)
        evaluation_tables.make_console().print("– 家\udcff")
    shown = screen.shown
    if encoding in ("ascii", "iso-8859-1"):
        assert '>"' in shown
        assert "..." in shown
        assert "> ?" in shown
    line = next(line for line in shown.splitlines() if line.startswith("{"))
    assert json.loads(line) == {"“": "é家\udcff\u202e\x1b"}
    assert "\u202e" not in line


def test_joiners_of_letters_stay() -> None:
    assert one_line("می‌خواهم 👩‍💻") == "می‌خواهم 👩‍💻"
    assert several_lines("a\tb\nc") == "a\tb\nc"
    assert one_line("a\nb\tc") == "a\ufffdb\ufffdc"


def hostile(kind: Any, depth: int = 0) -> Any:
    """Make a value of a type, in which every text is evil."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is str or kind is Any:
        return EVIL
    if kind in (int, float):
        return kind(3)
    if kind is bool:
        return True
    if origin is Literal:
        return arguments[0]
    if origin in (types.UnionType, typing.Union):
        chosen = [each for each in arguments if each is not type(None)]
        return hostile(chosen[0], depth)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return (hostile(arguments[0], depth + 1),)
        return tuple(hostile(each, depth + 1) for each in arguments)
    if origin in (list, Sequence):
        return [hostile(arguments[0], depth + 1)]
    if origin in (dict, Mapping):
        return {hostile(arguments[0], depth + 1): hostile(arguments[1], depth + 1)}
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        values = {
            field.name: hostile(hints[field.name], depth + 1)
            for field in dataclasses.fields(kind)
            if field.init
        }
        values.update(FITTING.get(typing.cast(type, kind).__name__, {}))
        return kind(**values)
    raise AssertionError(f"no evil {kind}")


# What has to agree with something else.
_HIT = {"matches": (), "widened": None}
FITTING: dict[str, dict[str, Any]] = {
    "Hit": _HIT,
    "Citation": {"quote": EVIL, "start": 0, "end": len(EVIL)},
    "Evidence": {"quote": EVIL, "start": 0, "end": len(EVIL)},
    "Quote": {"quote": EVIL, "start": 0, "end": len(EVIL)},
    "Document": {"headings": (), "pages": (), "text": EVIL},
    "Answer": {"spans": ((0, 5),)},
    "IngestionReport": {
        "timings": dict.fromkeys(("total", "read", "chunk", "embed", "write"), 1000.0)
    },
}


PRINTS: dict[str, tuple[Any, ...]] = {
    "print_report": (rag.types.IngestionReport,),
    "print_examination": (rag.types.Examination,),
    "print_status": (rag.types.IndexStatus,),
    "print_explanation": (rag.types.Explanation,),
    "print_facts": (rag.types.IndexInfo,),
    "print_sources": (rag.types.Answer,),
    "print_json": (rag.types.Explanation,),
    "print_line": (rag.types.IngestionReport,),
}


@pytest.mark.parametrize("name", PRINTS)
def test_no_print_lets_anything_through(name: str, screen: Screen) -> None:
    with screen.taking():
        getattr(output, name)(*(hostile(kind) for kind in PRINTS[name]))
    assert_harmless(screen.shown)
    assert "a" in screen.shown


def test_every_print_of_results_is_swept() -> None:
    # Those that print the hits, the documents and the streams of others are below.
    functions = {name for name, _ in inspect.getmembers(output, inspect.isfunction)
                 if name.startswith("print_")}  # fmt: skip
    assert functions == {*PRINTS, "print_hits", "print_document", "print_stream", "print_result"}


def test_hits_and_documents_are_harmless(screen: Screen) -> None:
    hit = hostile(rag.types.Hit)
    document = hostile(rag.types.Document)
    with screen.taking():
        output.print_hits([hit, dataclasses.replace(hit, duplicates=(EVIL,) * 5)])
        output.print_document(document, None)
        output.print_document(document, (1, 9))
    assert_harmless(screen.shown)
    assert screen.shown.count("[bold]k[/bold]") > 3


def test_a_stream_is_harmless(screen: Screen) -> None:
    pieces = iter([EVIL, "\x1b[", "2J", EVIL])
    with screen.taking():
        output.print_stream(typing.cast(Any, None), pieces)
    assert_harmless(screen.shown)


@pytest.mark.parametrize("at_terminal", [True, False])
def test_progress_is_harmless(
    at_terminal: bool, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "isatty", lambda: at_terminal)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", -1.0)
    import re

    for stage in ("fetch", EVIL, "index"):
        event = dataclasses.replace(hostile(rag.types.Progress), stage=stage, done=1, total=9)
        work = dataclasses.replace(hostile(rag.types.Work), slowest=(EVIL, 9.0))
        with screen.taking(), progress.display() as show:
            show(dataclasses.replace(event, unit="files", work=work))
        with screen.taking(), progress.display() as show:
            show(dataclasses.replace(event, unit="bytes", work=None))
        with screen.taking(), progress.display(as_events=True) as show:
            show(dataclasses.replace(event, work=work))
    shown = re.sub(ANSI, "", screen.shown).replace("\r", "")
    assert_harmless(shown)
    # Markup is text.
    assert "[bold]k" in shown


def test_tables_of_an_evaluation_are_harmless(screen: Screen) -> None:
    from rag.evaluation import AnswerReport, Report, compare

    for kind, show, failures in (
        (Report, evaluation_tables.print_retrieval, evaluation_tables.print_failures),
        (AnswerReport, evaluation_tables.print_answers, evaluation_tables.print_answer_failures),
    ):
        report = hostile(kind)
        report = dataclasses.replace(
            report,
            index={"path": EVIL, "documents": 1, "chunks": 2},
            timings={},
            metrics={},
            rows=tuple(
                dataclasses.replace(row, metrics=dict.fromkeys(("nDCG@10", "F1"), 0.5))
                for row in report.rows
            ),
            **({"risk_coverage": ()} if kind is AnswerReport else {}),
        )
        comparison = compare([report])
        with screen.taking():
            typing.cast(Any, show)(comparison, against=False)
            typing.cast(Any, failures)(report, 3)
    assert_harmless(screen.shown)
    assert "[bold]k" in screen.shown


def test_other_modules_print_through_the_same(screen: Screen) -> None:
    models: Any = importlib.import_module("rag.cli.models")
    checking: Any = importlib.import_module("rag.cli.checking")
    from rag.models import Listing

    verdict = hostile(rag.types.Verdict)
    with screen.taking():
        models._print_listing(hostile(Listing))
        checking._print_verdict(dataclasses.replace(verdict, label="supported"))
    assert_harmless(screen.shown)


def test_what_libraries_warn_of_is_harmless(screen: Screen) -> None:
    with screen.taking(), guard_output():
        warnings.showwarning(EVIL, UserWarning, EVIL, 1)
        record = logging.LogRecord("some.library", logging.WARNING, EVIL, 1, "%s", (EVIL,), None)
        assert logging.lastResort is not None
        logging.lastResort.handle(record)
    assert_harmless(screen.shown)
    assert screen.shown.count("\n") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "--index", EVIL, "bridge"),
        ("info", "--index", EVIL),
        ("show", EVIL),
        ("doctor", "--index", EVIL),
        ("index", EVIL),
        ("eval", EVIL),
        ("check", "--file", EVIL),
        ("models", "pull", EVIL),
        ("search", "--where", f"{EVIL}:1", "bridge"),
        ("search", "--config", EVIL, "bridge"),
        ("search", "-k", EVIL, "bridge"),
        ("search", "--mode", EVIL, "bridge"),
        ("ask", "--schema", EVIL, "bridge"),
        ("ask", "--generator", EVIL, "--way", "generate", "bridge"),
        ("eval", "--compare", EVIL, EVIL),
        ("trust", EVIL),
        ("export", EVIL),
        ("import", EVIL),
        ("backup", EVIL),
        ("remove", EVIL),
        (EVIL,),
        (f"--{EVIL}",),
        ("completion", EVIL),
    ],
    ids=lambda arguments: " ".join(each if each.isprintable() else "EVIL" for each in arguments),
)
def test_no_error_line_lets_anything_through(
    arguments: tuple[str, ...], run_main: RunMain, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_main(*arguments)
    assert done.code in (1, 2)
    assert_harmless(done.out + done.err)
    assert "Traceback" not in done.err
    if done.code == 1:
        assert done.err.count("\n") == 1
