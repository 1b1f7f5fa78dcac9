"""`rag check` as a user runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Ran, RunMain
from making import make_entailment

from rag import RAG
from rag.answering.claims import LABELS
from rag.protocols import Embedder

TRUE = "PagedAttention, introduced with vLLM in 2023, stores the cache in blocks."
FALSE = "Generating text does not have two phases."
UNTOLD = "The parliament of Iceland first met at Thingvellir."


Check = Callable[..., Ran]


@pytest.fixture
def check(sample: RAG, run_main: RunMain) -> Check:
    return lambda *arguments, typed="": run_main(
        "check", *arguments, "--index", sample.path, typed=typed
    )


@pytest.mark.parametrize(
    ("claim", "code", "label"),
    [(TRUE, 0, "supported"), (FALSE, 4, "refuted"), (UNTOLD, 3, "not enough information")],
)
def test_the_exit_code_tells_the_verdict(check: Check, claim: str, code: int, label: str) -> None:
    result = check(claim)
    assert result.code == code
    assert re.match(rf"{label} \(0\.\d\d, by baseline\)\n", result.out)


def test_evidence_is_shown_with_its_place_and_quote(check: Check) -> None:
    shown = check(TRUE).out
    assert re.search(r"^for \(0\.\d\d\)  .*serving\.txt:\d+$", shown, re.MULTILINE)
    assert "“PagedAttention, introduced with vLLM in 2023, stores the cache" in shown
    against = check(FALSE).out
    assert re.search(r"^against \(0\.\d\d\)  .*serving\.txt:\d+$", against, re.MULTILINE)
    assert "“Generating text has two phases.”" in against


def test_json_is_the_verdict(check: Check, sample: RAG) -> None:
    result = check(TRUE, "--json", "-k", "2")
    verdict = json.loads(result.out)
    assert verdict["claim"] == TRUE
    assert verdict["label"] == "supported"
    assert verdict["probabilities"][verdict["label"]] == verdict["score"]
    assert tuple(verdict["probabilities"]) == LABELS
    assert {"check"} <= set(verdict["timings"])
    for evidence in verdict["evidence"]:
        text = sample.document(evidence["document_id"]).text
        assert evidence["quote"] == text[evidence["start"] : evidence["end"]]


def test_a_filter_is_obeyed(check: Check) -> None:
    result = check(TRUE, "--json", "--where", "type:pdf")
    assert all(each["source"].endswith(".pdf") for each in json.loads(result.out)["evidence"])
    assert check(TRUE, "--where", "type:docx").code == 3


def test_many_claims_come_out_as_lines_of_json(check: Check, tmp_path: Path) -> None:
    file = tmp_path / "claims.jsonl"
    file.write_text(
        json.dumps({"_id": "a", "text": TRUE}) + "\n\n" + json.dumps({"claim": FALSE}) + "\n"
        f"  {UNTOLD}\n",
        encoding="utf-8-sig",
    )
    result = check("--file", str(file), "--json")
    assert result.code == 0
    first, second, third = map(json.loads, result.out.splitlines())
    assert [each.get("_id") for each in (first, second, third)] == ["a", None, None]
    assert [each["label"] for each in (first, second, third)] == list(LABELS)
    assert third["claim"] == UNTOLD


def test_many_claims_are_shown_each_under_its_text(check: Check) -> None:
    result = check("--file", "-", typed=f"{TRUE}\n{FALSE}\n")
    assert result.code == 0
    blocks = result.out.strip().split("\n\n")
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
    check: Check, tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "claims"
    file.write_bytes(content)
    result = check("--file", str(file))
    assert re.search(message, result.complaint)


def test_wrong_usage_is_told(check: Check, tmp_path: Path) -> None:
    assert check().code == 2
    assert check(TRUE, "--file", str(tmp_path)).code == 2
    assert check(TRUE, "--generator", "a", "--entailment", "b").code == 2
    assert "cannot be read" in check("--file", str(tmp_path / "none")).complaint
    assert "./none: no such model" in check(TRUE, "--entailment", "./none").complaint
    assert "is empty" in check(" ").complaint
    assert "the claim" in check("…").complaint


def test_escape_sequences_do_not_reach_the_terminal(
    embedder: Embedder, tmp_path: Path, run_main: RunMain
) -> None:
    file = tmp_path / "docs" / "lamp\x1b[31m.txt"
    file.parent.mkdir()
    file.write_text("The lamp \x1b[2Jburnt [bold]whale oil[/bold] until 1902.\n")
    rag = RAG(tmp_path / "index", embedder=embedder)
    rag.index(file.parent)
    claim = "The lamp \x1b[2Jburnt whale oil until 1902.\n"
    result = run_main("check", "--file", "-", "--index", rag.path, typed=claim)
    assert result.code == 0
    assert "supported" in result.out
    assert "[bold]whale oil[/bold]" in result.out
    assert "\x1b" not in result.out


@pytest.mark.model
def test_an_entailment_model_judges_if_it_is_named(check: Check, tmp_path: Path) -> None:
    folder = make_entailment(tmp_path / "tiny-nli")
    verdict = json.loads(check(TRUE, "--entailment", str(folder), "--json", "-k", "1").out)
    assert verdict["judge"] == "tiny-nli"
    assert sum(verdict["probabilities"].values()) == pytest.approx(1)


def test_a_generator_judges_only_if_it_is_named(check: Check) -> None:
    named = ("--generator", "smollm2-135m-instruct", "--json", "-k", "1")
    assert json.loads(check(TRUE, *named).out)["judge"] == "smollm2-135m-instruct"
    assert json.loads(check(TRUE, "--json").out)["judge"] == "baseline"
