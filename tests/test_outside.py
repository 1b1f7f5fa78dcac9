"""Text from outside that is no text: lone surrogates, deep nesting, endless digits, odd tables."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import RunMain

from rag import RAG, ConfigError, QuestionError
from rag.answering.citations import _take_markers
from rag.answering.conversation import Conversation
from rag.answering.prompt.examples import load_examples
from rag.answering.quoting.asking import parse_request
from rag.characters import replace_surrogates
from rag.errors import RagError, check_text
from rag.evaluation import load_dataset
from rag.evaluation.answer_metrics import remove_marks
from rag.evaluation.dataset import HiddenPart
from rag.evaluation.runs import read_run
from rag.parsing import parse_json, parse_table, read_whole
from rag.sources.formats.manpage.syntax import strip_escapes

DEEP, DIGITS = "[" * 100_000, "9" * 5000
LONE = "br\udcffidge\ud800"
# What Python makes of a byte of the command line that is no UTF-8.
BYTES = "br\udcffidge"
# What stands in a file in place of a value, a line or all of it.
ODD = {
    "deep": DEEP,
    "digits": DIGITS,
    "deep object": '{"a":' * 100_000,
    "nan": "NaN",
    "surrogate": '"\\ud800"',
    "null": "null",
    "a zero": "\0",
    "quotes": '"' * 7,
    "a long cell": '"' + "x" * 200_000 + '"',
    "an open cell": '"' + "x,\n" * 1000,
    "returns": "a\rb\r\nc\r",
    "minus": "--5",
    "superscript": "²",
    "separators": "\u2028\x85\x1c",
    "empty": "",
}


def refusing(call: Any) -> None:
    """Call what may raise an error of ours, and no other."""
    with suppress(RagError):
        call()


@pytest.mark.parametrize("what", ODD)
def test_no_set_of_questions_is_a_traceback(what: str, tmp_path: Path) -> None:
    odd = ODD[what]
    table, folder = tmp_path / "q.csv", tmp_path / "set"
    folder.mkdir()
    (folder / "qrels.tsv").write_text("q1\td1\t1\n", encoding="utf-8")
    for text in (odd, f"question,source,{odd}\na,b,c\n", f"question,source\na,{odd}\n{odd},b\n",
                 f"question,source,hidden\na,b,{odd}\n", f"question,source\na,b,c,d,{odd}\n",
                 f"question,source,hidden\na,b,f.md:1-{odd}\n",
                 f"question,source\na\n{odd}"):  # fmt: skip
        table.write_text(text, encoding="utf-8", newline="")
        refusing(lambda: load_dataset(table))
    for text in (
        odd,
        f'{{"_id": {odd or 1}, "text": "a"}}',
        f'{{"_id": "q1", "text": {odd or 1}}}',
    ):
        (folder / "queries.jsonl").write_text(text, encoding="utf-8")
        refusing(lambda: load_dataset(folder))
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "a"}', encoding="utf-8")
    for text in (odd, f"q1\td1\t{odd}\n", f"q1\td1\t1\n{odd}\td1\t1\n", f"a\tb\tc\nq1\td1\t-{odd}"):
        (folder / "qrels.tsv").write_text(text, encoding="utf-8")
        refusing(lambda: load_dataset(folder))


@pytest.mark.parametrize("what", ODD)
def test_no_file_of_examples_runs_or_sessions_is_a_traceback(what: str, tmp_path: Path) -> None:
    odd = ODD[what]
    for name, texts in {
        "e.jsonl": (odd, f'{{"question": {odd or 1}, "answer": "b"}}'),
        "e.csv": (odd, f"question,answer\n{odd},b\n", f"question,answer\na,b\n{odd}"),
    }.items():
        for text in texts:
            (tmp_path / name).write_text(text, encoding="utf-8", newline="")
            refusing(lambda name=name: load_examples(str(tmp_path / name)))
    for text in (odd, f"q1 Q0 d1 1 {odd} tag\n", f"q1 Q0 d1 {odd} 1 tag\n"):
        (tmp_path / "run").write_text(text, encoding="utf-8")
        refusing(lambda: read_run(tmp_path / "run"))
    for text in (odd, f'{{"format": "rag conversation", "version": {odd or 1}, "turns": []}}'):
        (tmp_path / "session").write_text(text, encoding="utf-8")
        refusing(lambda: Conversation.load(RAG(tmp_path / "index"), tmp_path / "session"))


@pytest.mark.parametrize("what", ODD)
def test_no_file_of_claims_or_schemas_is_a_traceback(
    what: str, run_main: RunMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = ODD[what]
    for text in (
        odd,
        f'{{"text": {odd or 1}}}',
        f'{{"text": "a", "_id": {odd or 1}}}',
        f"a\n{odd}",
    ):
        Path("claims").write_text(text, encoding="utf-8", newline="")
        done = run_main("check", "--file", "claims")
        # There is no index: the error is about the file, or about that.
        assert done.code == 1
        assert done.err.count("\n") == 1
        assert len(done.err) < 2100
        Path("schema").write_text(text, encoding="utf-8", newline="")
        done = run_main("ask", "--schema", "schema", "bridge")
        assert done.code == 1
        assert done.err.count("\n") == 1
        assert len(done.err) < 2100


def test_a_number_of_too_many_digits_is_a_large_one() -> None:
    assert read_whole("007") == 7
    assert read_whole(DIGITS) == 10**15
    for text in ("²", "-1", "1_0", "", " 1"):
        with pytest.raises(ValueError, match="no whole number"):
            read_whole(text)
    assert _take_markers(f"a [{DIGITS}]", 0)[1] == [10**15]
    assert remove_marks(f"a [{DIGITS}]", {1}) == f"a [{DIGITS}]"
    assert HiddenPart.parse(f"a:1-{DIGITS}").end == 10**15
    assert parse_request(f"What are the {DIGITS} steps?") is not None
    assert strip_escapes(r"a\N'²'b\N'" + DIGITS + "'c") == "abc"


def test_tables_and_json_are_values_or_a_value_error() -> None:
    assert list(parse_table("a,b\n1\n1,2,3\n", {"a"})) == [
        (2, {"a": "1", "b": ""}), (3, {"a": "1", "b": "2"}),
    ]  # fmt: skip
    for text in (DEEP, DIGITS, '{"a":' * 100_000, "", "{"):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


def test_lone_surrogates_are_replaced_and_pairs_joined() -> None:
    assert replace_surrogates("a\ud800b\udcff") == "a\ufffdb\ufffd"
    assert replace_surrogates("\ud83d\ude00") == "\U0001f600"
    assert replace_surrogates("é") == "é"
    assert check_text(f" {LONE} ", "question") == "br\ufffdidge\ufffd"
    with pytest.raises(QuestionError):
        check_text(" ", "question")


@pytest.mark.parametrize("path", [f"a{LONE}", "a\0b", f"{LONE}/b"])
def test_an_index_whose_path_is_no_text_is_a_line(
    path: str, run_main: RunMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        RAG(path)
    for command in (("info",), ("search", "bridge"), ("doctor",), ("index", "."), ("export", "x")):
        done = run_main(command[0], "--index", path, *command[1:])
        assert done.code in (1, 2)
        assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ("search", BYTES),
            ("ask", BYTES),
            ("check", BYTES),
            ("search", "--where", BYTES, "bridge"),
        ),
        *(("show", BYTES), ("remove", BYTES), ("status", BYTES), ("index", BYTES), ("add", BYTES)),
        *(("ask", "--docs", BYTES, "bridge"), ("import", BYTES), ("eval", BYTES), ("trust", BYTES)),
        *(
            ("search", "--rerank", BYTES, "bridge"),
            ("models", "pull", BYTES),
            ("export", f"{BYTES}/a"),
        ),
        ("search", "--where", f"path:{BYTES}", "bridge"),
        ("search", "--where", f"source~{BYTES}", "bridge"),
        ("ask", "--way", "generate", "--generator", BYTES, "bridge"),
        ("search", "--config", BYTES, "bridge"),
        ("check", "--file", BYTES),
        ("ask", "--schema", BYTES, "bridge"),
        ("backup", f"{BYTES}/a"),
    ],
    ids=ascii,
)
@pytest.mark.model
def test_bytes_that_are_no_text_are_no_traceback(
    arguments: tuple[str, ...], sample: RAG, run_main: RunMain, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAG_INDEX_PATH", str(sample.path))
    monkeypatch.setenv("RAG_DAEMON_USE", "no")
    done = run_main(*arguments)
    assert done.code in (0, 1, 2, 3, 4)
    assert "Traceback" not in done.err
    json.dumps(done.err).encode()


@pytest.mark.model
@pytest.mark.parametrize("name", ["folder\udcff", "folder"])
def test_files_and_folders_whose_names_are_no_text_are_no_traceback(
    name: str, run_main: RunMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAG_DAEMON_USE", "no")
    folder = tmp_path / name
    try:
        folder.mkdir()
        (folder / "a\udcff.txt").write_text("The bridge is old.", encoding="utf-8")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    (folder / "b.txt").write_text("The bridge was built in 1921.", encoding="utf-8")
    odd = f"{name}/a\udcff.txt"
    for command in (("index", name), ("status",), ("search", "bridge"), ("status", name),
                    ("remove", odd), ("index",), ("add", odd)):  # fmt: skip
        done = run_main(*command)
        assert done.code in (0, 1, 3)
        assert "Traceback" not in done.err
