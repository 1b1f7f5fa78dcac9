"""`rag verify`: whether the documents still say what a saved answer quotes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import options, output
from rag.cli.opening import read_config
from rag.cli.terminal import say

if TYPE_CHECKING:
    from rag.viewing.proof import CheckedQuote, ProofReport

_STYLES = {"same": "green", "there": "green", "moved": "yellow", "changed": "red", "gone": "red"}


@click.command("verify")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option(
    "--in",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="The folder that the answer's sources are relative to, unless it is this one.",
)
@options.config_option
@options.json_option
def verify_command(file: Path, folder: Path, as_json: bool) -> None:
    """Check a saved answer against its documents.

    FILE was written by `rag ask --save`. The documents are read again: neither an index nor a model
    is needed. Exit code 1 means that one of them does not say any more what is quoted.
    """
    from rag.viewing.proof import check_proof, load_proof

    report = check_proof(load_proof(file), folder, read_config().sources)
    output.print_result(report, _print_report, as_json=as_json)
    if not report.holds:
        sys.exit(1)


def _print_report(report: ProofReport) -> None:
    say(report.proof.question)
    say(report.proof.text)
    say()
    for each in report.quotes:
        say(f"[{each.quote.number}] {each.quote.location}: ", end="")
        say(_describe(each), _STYLES[each.state])
        say(f"    “{output.shorten(each.quote.quote)}”", "dim")
    for number in report.unproven:
        say(f"[{number}] names no quote", "red")
    if not report.quotes:
        say("the answer quotes nothing", "yellow")


def _describe(checked: CheckedQuote) -> str:
    told = {
        "same": "the document says so, and is unchanged",
        "there": "the document was changed, but still says so here",
        "moved": f"the document says so elsewhere now, at character {checked.start:,}",
        "changed": "the document does not say so any more",
        "gone": f"the document cannot be read: {checked.reason}",
    }
    return told[checked.state]
