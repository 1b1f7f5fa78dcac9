"""`rag check`: whether the documents support a claim, or many claims."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import options, output, progress
from rag.cli.opening import open_to_ask
from rag.cli.terminal import say
from rag.errors import QuestionError, first_line
from rag.parsing import parse_json

if TYPE_CHECKING:
    from rag.types import Verdict

_EXIT_CODES = {"supported": 0, "not enough information": 3, "refuted": 4}
_STYLES = {"supported": "green", "not enough information": "yellow", "refuted": "red"}


@click.command("check")
@click.argument("claim", nargs=-1, metavar="[CLAIM]...")
@click.option(
    "--file",
    "claims_file",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Check many claims: one per line, or JSON lines with `text` or `claim`, and `_id` if they "
    "have one; - reads them from standard input.",
)
@options.index_option
@options.setting(
    "-k",
    "retrieval.top_k",
    "How many passages to retrieve; 10 unless you say.",
    metavar="N",
    show_default=False,
    expose_value=True,
)
@options.where_option
@options.setting(
    "--entailment",
    "answering.entailment",
    "Judge by this natural language inference model: minilm-entailment, which comes with the "
    "package, a directory or a hub name.",
    metavar="NAME",
)
@options.setting(
    "--generator",
    "generation.model",
    "Judge by this generator, named as for `rag ask`; without the option none is asked.",
    show_default=False,
)
@options.embedder_option
@options.config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; of a file, JSON lines.")
def check_command(
    claim: tuple[str, ...], claims_file: Path | None, k: int | None, where: str, as_json: bool
) -> None:
    """Check whether the documents support a claim.

    CLAIM needs no quotation marks around it. Shows the evidence for and against it. The exit code
    is 0 for a supported claim, 3 where the documents do not tell, and 4 for a refuted one; for a
    file it is 0.
    """
    if bool(claim) == (claims_file is not None):
        raise click.UsageError("give either a CLAIM or --file FILE")
    if {"answering.entailment", "generation.model"} <= options.chosen_settings().keys():
        raise click.UsageError("give either --entailment or --generator: one of them judges")
    claims = _read_claims(claims_file) if claims_file is not None else [("", " ".join(claim))]
    verdicts = _check_claims(claims, k, where)
    if claims_file is None:
        (verdict,) = verdicts
        output.print_result(verdict, _print_verdict, as_json=as_json)
        sys.exit(_EXIT_CODES[verdict.label])
    for (name, _), verdict in zip(claims, verdicts, strict=True):
        if as_json:
            output.print_line({**({"_id": name} if name else {}), **output.as_json(verdict)})
        else:
            say(f"{name}  {verdict.claim}" if name else verdict.claim)
            _print_verdict(verdict)
            say()


def _read_claims(file: Path) -> list[tuple[str, str]]:
    """Read the claims of a file, each with its id or an empty one; ignore blank lines.

    Raises:
        QuestionError: if it cannot be read, or a line of JSON holds no claim.
    """
    try:
        with click.open_file(str(file), encoding="utf-8-sig") as opened:
            lines = opened.read().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(f"{file}: cannot be read: {first_line(error)}") from error
    numbered = [(at, line) for at, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise QuestionError(f"{file}: holds no claim")
    return [
        _read_entry(line, f"{file}:{at}") if line.lstrip().startswith("{") else ("", line.strip())
        for at, line in numbered
    ]


def _read_entry(line: str, place: str) -> tuple[str, str]:
    try:
        entry = parse_json(line)
    except ValueError as error:
        raise QuestionError(f"{place}: is no JSON: {first_line(error)}") from error
    text = entry.get("text", entry.get("claim"))
    if not isinstance(text, str) or not text.strip():
        raise QuestionError(f"{place}: holds no claim under `text` or `claim`")
    return str(entry.get("_id", "")), text


def _check_claims(
    claims: Sequence[tuple[str, str]], k: int | None, where: str
) -> Iterator[Verdict]:
    """Yield a verdict for each claim, as it is reached."""
    by_generator = "generation.model" in options.chosen_settings()
    with progress.display() as show:
        rag = open_to_ask(show)
        # Models are fetched and loaded for the first one.
        first = rag.check(claims[0][1], k, where, by_generator=by_generator)
    yield first
    for _, claim in claims[1:]:
        yield rag.check(claim, k, where, by_generator=by_generator)


def _print_verdict(verdict: Verdict) -> None:
    """Print a verdict with its probability, then the evidence for and against it."""
    if not verdict.filter_matched:
        say("no document matches the filter: nothing was read", "yellow")
        return
    say(verdict.label, _STYLES[verdict.label], end="")
    say(f" ({verdict.score:.2f}, by {verdict.judge})")
    for relation in ("for", "against"):
        for evidence in verdict.evidence:
            if evidence.relation == relation:
                place = f"{relation} ({evidence.score:.2f})  {evidence.location}"
                say(place, "cyan")
                say(f"    “{output.shorten(evidence.quote)}”", "dim")
