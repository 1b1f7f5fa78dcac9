"""`rag check` as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_entailment import make_model

from rag import RAG, ModelError, QuestionError
from rag.answering.claims import LABELS
from rag.cli.checking import check_command
from rag.protocols import Embedder

TRUE = "PagedAttention, introduced with vLLM in 2023, stores the cache in blocks."
FALSE = "Generating text does not have two phases."
UNTOLD = "The parliament of Iceland first met at Thingvellir."


@pytest.fixture
def index(sample: RAG) -> str:
    return str(sample.path)


def run(index: str, *arguments: str, **options: str) -> Result:
    return CliRunner().invoke(check_command, [*arguments, "--index", index], **options)


@pytest.mark.parametrize(
    ("claim", "code", "label"),
    [(TRUE, 0, "supported"), (FALSE, 4, "refuted"), (UNTOLD, 3, "not enough information")],
)
def test_the_exit_code_tells_the_verdict(index: str, claim: str, code: int, label: str) -> None:
    result = run(index, claim)
    assert result.exit_code == code
    assert re.match(rf"{label} \(0\.\d\d, by baseline\)\n", result.stdout)


def test_evidence_is_shown_with_its_place_and_quote(index: str) -> None:
    shown = run(index, TRUE).stdout
    assert re.search(r"^for \(0\.\d\d\)  .*serving\.txt:\d+$", shown, re.MULTILINE)
    assert "“PagedAttention, introduced with vLLM in 2023, stores the cache" in shown
    against = run(index, FALSE).stdout
    assert re.search(r"^against \(0\.\d\d\)  .*serving\.txt:\d+$", against, re.MULTILINE)
    assert "“Generating text has two phases.”" in against


def test_json_is_the_verdict(index: str, sample: RAG) -> None:
    result = run(index, TRUE, "--json", "-k", "2")
    verdict = json.loads(result.stdout)
    assert verdict["claim"] == TRUE
    assert verdict["label"] == "supported"
    assert verdict["probabilities"][verdict["label"]] == verdict["score"]
    assert tuple(verdict["probabilities"]) == LABELS
    assert {"check"} <= set(verdict["timings"])
    for evidence in verdict["evidence"]:
        text = sample.document(evidence["document_id"]).text
        assert evidence["quote"] == text[evidence["start"] : evidence["end"]]


def test_a_filter_is_obeyed(index: str) -> None:
    result = run(index, TRUE, "--json", "--where", "type:pdf")
    assert all(each["source"].endswith(".pdf") for each in json.loads(result.stdout)["evidence"])
    assert run(index, TRUE, "--where", "type:docx").exit_code == 3


def test_many_claims_come_out_as_lines_of_json(index: str, tmp_path: Path) -> None:
    file = tmp_path / "claims.jsonl"
    file.write_text(
        json.dumps({"_id": "a", "text": TRUE}) + "\n\n" + json.dumps({"claim": FALSE}) + "\n"
        f"  {UNTOLD}\n",
        encoding="utf-8-sig",
    )
    result = run(index, "--file", str(file), "--json")
    assert result.exit_code == 0
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert [each.get("_id") for each in (first, second, third)] == ["a", None, None]
    assert [each["label"] for each in (first, second, third)] == list(LABELS)
    assert third["claim"] == UNTOLD


def test_many_claims_are_shown_each_under_its_text(index: str) -> None:
    result = run(index, "--file", "-", input=f"{TRUE}\n{FALSE}\n")
    assert result.exit_code == 0
    blocks = result.stdout.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [TRUE, FALSE]
    assert [block.splitlines()[1].split(" (")[0] for block in blocks] == ["supported", "refuted"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no claim"),
        (b"\n \n", "holds no claim"),
        (b'One.\n{"text": 3}', r"claims:2: holds no claim under `text` or `claim`"),
        (b'{"text": " "}', r"claims:1: holds no claim under"),
        (b'{"text"', r"claims:1: is no JSON"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(
    index: str, tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "claims"
    file.write_bytes(content)
    result = run(index, "--file", str(file))
    assert isinstance(result.exception, QuestionError)
    assert re.search(message, str(result.exception))


def test_wrong_usage_is_told(index: str, tmp_path: Path) -> None:
    assert run(index).exit_code == 2
    assert run(index, TRUE, "--file", str(tmp_path)).exit_code == 2
    assert run(index, TRUE, "--generator", "a", "--entailment", "b").exit_code == 2
    missing = run(index, "--file", str(tmp_path / "none"))
    assert "cannot be read" in str(missing.exception)
    assert isinstance(run(index, TRUE, "--entailment", "./none").exception, ModelError)
    assert isinstance(run(index, " ").exception, QuestionError)
    assert isinstance(run(index, "…").exception, QuestionError)


def test_escape_sequences_do_not_reach_the_terminal(embedder: Embedder, tmp_path: Path) -> None:
    file = tmp_path / "docs" / "lamp\x1b[31m.txt"
    file.parent.mkdir()
    file.write_text("The lamp \x1b[2Jburnt [bold]whale oil[/bold] until 1902.\n")
    rag = RAG(tmp_path / "index", embedder=embedder)
    rag.index(file.parent)
    result = run(
        str(rag.path), "--file", "-", input="The lamp \x1b[2Jburnt whale oil until 1902.\n"
    )
    assert result.exit_code == 0
    assert "supported" in result.stdout
    assert "[bold]whale oil[/bold]" in result.stdout
    assert "\x1b" not in result.stdout


def test_an_entailment_model_judges_if_it_is_named(index: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "tiny-nli")
    verdict = json.loads(run(index, TRUE, "--entailment", str(folder), "--json", "-k", "1").stdout)
    assert verdict["judge"] == "tiny-nli"
    assert sum(verdict["probabilities"].values()) == pytest.approx(1)


def test_a_generator_judges_only_if_it_is_named(index: str) -> None:
    named = ("--generator", "smollm2-135m-instruct", "--json", "-k", "1")
    assert json.loads(run(index, TRUE, *named).stdout)["judge"] == "smollm2-135m-instruct"
    assert json.loads(run(index, TRUE, "--json").stdout)["judge"] == "baseline"
