"""The command as a user runs it: a process, its output, its exit code."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import start_server
from commanding import assert_one_line, run
from conftest import CORPUS

from rag import RAG

# Most tests start a process that loads a model.
pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, sample: RAG) -> Path:
    """A working directory whose default index is the sample corpus."""
    folder = tmp_path_factory.mktemp("here")
    result = run("index", str(CORPUS), cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "20 added" in result.stdout
    return folder


def test_ask_streams_an_answer_then_its_sources(here: Path) -> None:
    result = run("ask", "What is reward hacking?", "--generator", "extractive", cwd=here)
    assert result.returncode == 0
    assert "reward hacking. [" in result.stdout
    assert re.search(r"^\[\d\] .*training/rlhf\.md:\d+ › Three steps$", result.stdout, re.MULTILINE)
    assert "“Exploiting flaws of the reward model is called reward hacking.”" in result.stdout


def test_a_pdf_source_names_its_page(here: Path) -> None:
    question = "What does a cross-encoder read together?"
    result = run("ask", question, "--generator", "extractive", cwd=here)
    assert "retrieval/rag.pdf:p2 › Reranking" in result.stdout


def test_ask_as_json_holds_all_of_the_answer(here: Path) -> None:
    command = ("ask", "Who proposed HyDE?", "--json", "--generator", "extractive", "-k", "3")
    answer = json.loads(run(*command, cwd=here).stdout)
    assert answer["abstained"] is False
    assert len(answer["prompt"]["hits"]) == 3
    assert answer["citations"][0]["quote"]
    assert answer["timings"]["retrieval"] > 0


def test_the_default_generator_answers_with_a_source(here: Path) -> None:
    question = "What is exploiting the flaws of a reward model called?"
    result = run("ask", question, cwd=here)
    assert result.returncode in (0, 3), result.stderr
    assert result.stdout.strip()
    assert "Traceback" not in result.stderr


def test_brief_prints_the_part_that_answers_alone(here: Path) -> None:
    command = ("ask", "Who proposed HyDE?", "--generator", "extractive")
    whole = json.loads(run(*command, "--json", cwd=here).stdout)
    marked = [whole["text"][start:end] for start, end in whole["spans"]]
    assert marked and all("Gao" in part for part in marked)
    brief = run(*command, "--brief", cwd=here)
    assert brief.returncode == 0
    assert brief.stdout == f"{', '.join(marked)}\n" != f"{whole['text']}\n"
    nothing = run("ask", "zxcv qwerty asdf?", "--brief", "--generator", "extractive", cwd=here)
    assert (nothing.returncode, nothing.stdout) == (3, "The documents do not say.\n")


def test_exit_code_3_where_the_documents_hold_no_answer(here: Path) -> None:
    result = run("ask", "zxcv qwerty asdf?", "--generator", "extractive", cwd=here)
    assert result.returncode == 3
    assert result.stdout.startswith("The documents do not say.")


def test_search_and_info(here: Path) -> None:
    result = run("search", "key-value cache", "-k", "2", "--json", cwd=here)
    hits = json.loads(result.stdout)
    assert [hit["rank"] for hit in hits] == [1, 2]
    assert hits[0]["source"].endswith("serving.txt")
    plain = run("search", "key-value cache", "-k", "2", cwd=here)
    assert "serving.txt" in plain.stdout
    info = run("info", cwd=here)
    assert re.search(r"documents +20\n", info.stdout)
    assert re.search(r"weights +[0-9a-f]{16}\n", info.stdout)
    assert json.loads(run("info", "--json", cwd=here).stdout)["documents"] == 20


def test_docs_builds_the_index_first(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("# Keys\nThe spare key is under the blue pot.\n")
    command = ("ask", "--docs", "note.md", "Where is the spare key?", "--generator", "extractive")
    result = run(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("The spare key is under the blue pot. [1]\n")
    assert "[1] note.md:2 › Keys" in result.stdout
    assert (tmp_path / "indexes" / "default" / "index.sqlite").is_file()


def test_models_are_listed(tmp_path: Path) -> None:
    result = run("models", cwd=tmp_path)
    assert result.returncode == 0
    for part in ("all-minilm-l6-v2", "smollm2-135m-instruct", "Apache-2.0", "84 MB", "93 MB"):
        assert part in result.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("ask", ""), ("the question is empty",)),
        (("ask", "why?", "--index", "nowhere"), ("nowhere: holds no index", "rag index PATH")),
        (("index", "nowhere.md"), ("nowhere.md: no such file",)),
        (("ask", "What is LoRA?", "--generator", "nothing"), ("nothing: no such generator",)),
        (("search", "why?", "--embedder", "./nothing"), ("no such model file or directory",)),
        (("models", "pull", "nothing"), ("not in the catalogue",)),
        (("info", "--config", "nowhere.toml"), ("nowhere.toml: no such file",)),
    ],
)
def test_errors_are_one_line_and_exit_code_1(
    here: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    result = run(*arguments, cwd=here)
    assert result.returncode == 1
    assert_one_line(result, *parts)


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    for arguments in (("ask",), ("nonsense",), ("search", "q", "-k", "0"), ("index", "--x", ".")):
        assert run(*arguments, cwd=tmp_path).returncode == 2


def test_patterns_without_a_folder_are_wrong_usage(here: Path) -> None:
    result = run("index", "--exclude", "*.md", cwd=here)
    assert result.returncode == 2
    assert "--exclude" in result.stderr


def test_who_reads_the_events_may_leave(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for n in range(40):
        (tmp_path / "docs" / f"{n}.txt").write_text(f"The text of file {n}.")
    command = [sys.executable, "-m", "rag", "index", "docs", "--json"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(300) == 1


def test_a_document_is_shown_as_it_is_stored(tmp_path: Path) -> None:
    text = "A tab\there, a :warning: sign, [bold]brackets[/bold] and [/red] more."
    (tmp_path / "a.txt").write_text(text)
    assert run("index", "a.txt", cwd=tmp_path).returncode == 0
    assert text in run("show", "a.txt", cwd=tmp_path).stdout
    shown = run("show", f"a.txt:2-{len(text)}", cwd=tmp_path).stdout
    assert f"A ▶{text[2:]}◀" in shown


@pytest.mark.skipif(os.name == "nt", reason="there are no such terminals")
@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_a_name_is_a_name_and_the_bar_has_its_room(columns: int) -> None:
    script = (
        "import time\n"
        "from rag.cli.progress import display\n"
        "from rag.types import Progress, Work\n"
        "work = Work(2047, 13_000, 10**8, 10**9, 120_047, 12_000, 2_733_000, 130.0)\n"
        "name = '[slug]/a[/red]\\n:warning:.md'\n"
        "with display() as show:\n"
        "    show(Progress('index', 2047, 13_000, 'files', name, work))\n"
        "    time.sleep(1)"
    )
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 65536):
            seen += piece
    os.close(ours)
    assert process.wait(300) == 0
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in seen.decode().split("\n")]
    assert any("indexing" in line and "━━━━" in line and "2047/13000" in line for line in lines)
    assert any("120,047 passages" in line and "left" in line for line in lines)
    assert any("[slug]/a[/red]�:warning:.md" in line for line in lines)


def test_an_unknown_setting_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "rag.toml").write_text("[retrieval]\ntopk = 3\n")
    result = run("info", cwd=tmp_path)
    assert result.returncode == 1
    assert_one_line(result, "rag.toml", "unknown key `retrieval.topk`", "`retrieval.top_k`")


def test_failed_files_are_named_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "good.md").write_text("A good note.")
    (tmp_path / "docs" / "bad.pdf").write_bytes(b"junk")
    result = run("index", "docs", cwd=tmp_path)
    assert result.returncode == 1
    assert "not indexed: docs/bad.pdf: cannot be read as PDF" in result.stderr
    assert "1 added" in result.stdout


def test_a_server_answers_dies_in_the_middle_and_is_absent(
    here: Path, generator_path: Path
) -> None:
    process, url = start_server(generator_path)
    written = ("--way", "generate", "--generator", url)
    command = ("ask", "How does the reward model learn?", *written)
    whole = run(*command, cwd=here)
    assert whole.returncode in (0, 3)
    assert whole.stdout.strip()

    longer = {"RAG_GENERATION_MAX_TOKENS": "1500", "RAG_ANSWERING_THRESHOLD": "0"}
    story = ("ask", "Tell a very long story in many sentences.", *written)
    asking = subprocess.Popen(
        [sys.executable, "-m", "rag", *story],
        cwd=here,
        env={**os.environ, **longer, "RAG_GENERATION_CONTEXT_TOKENS": "4000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert asking.stdout is not None
    first = asking.stdout.read(1)
    process.kill()
    rest, problem = asking.communicate(timeout=300)
    assert first
    assert asking.returncode == 1, (first + rest, problem)
    assert "the answer is not complete" in problem
    assert "Traceback" not in problem

    absent = run(*command, cwd=here, RAG_GENERATION_RETRIES="1")
    assert absent.returncode == 1
    assert "cannot be reached (2 tries)" in absent.stderr
