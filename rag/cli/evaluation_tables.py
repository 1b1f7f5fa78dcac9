"""Print what `rag eval` found: a line per configuration, the differences, the worst questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from rag.cli import output
from rag.cli.terminal import make_console, make_text

if TYPE_CHECKING:
    from rich.console import Console

    from rag.evaluation import AnswerReport, AnswerRow, Comparison, Report, Row

R = TypeVar("R", "Report", "AnswerReport")

# A table that goes to a pipe or a file is not broken to the width of some terminal.
_PIPED_WIDTH = 160
# The heading of each column with its metric.
_COLUMNS = {metric: metric for metric in ("nDCG@10", "recall@5", "recall@10", "MRR@10", "MAP")}
_ANSWER_COLUMNS = {
    metric: metric
    for metric in (
        *("F1", "EM", "contains", "gold cited"),
        *("wrong", "lost", "refused", "AUROC", "AURC"),
    )
}
# The columns of what a generator wrote.
_CITATION_COLUMNS = {
    "cited": "citation recall (shared words)",
    "precise": "citation precision (shared words)",
}
_DOCUMENTS = 3
_COVERAGES = (0.1, 0.25, 0.5, 0.75)


def print_retrieval(comparison: Comparison[Report], *, against: bool) -> None:
    """Print reports on retrieval; `against` says that the first one is from before."""
    console, report = _console(), comparison.reports[-1]
    _print_index(console, report)
    left_out = len(report.unanswerable)
    others = f"; {left_out:,} without a relevant document left out" if left_out else ""
    _note(console, f"{report.dataset}: {len(report.rows):,} questions{others}")
    if report.missing:
        named = output.name_three(report.missing)
        text = f"not in the index, and so not found, of the relevant documents: {named}"
        console.print(text, style="yellow")
    timings = {"ms": [each.timings for each in comparison.reports]}
    _print_comparison(console, comparison, _COLUMNS, timings, against=against)


def print_answers(comparison: Comparison[AnswerReport], *, against: bool) -> None:
    """Print reports on answers; `against` says that the first one is from before."""
    console, report = _console(), comparison.reports[-1]
    _print_index(console, report)
    facts = [f"{len(report.rows):,} questions", f"{len(report.unanswerable):,} without an answer"]
    if report.every > 1:
        facts.append(f"one in {report.every:,} asked")
    if report.left_out:
        facts.append(f"{len(report.left_out):,} whose answers are not known left out")
    _note(console, f"{report.dataset}: {', '.join(facts)}")
    if len(report.unanswerable) == len(report.rows):
        text = "no question has an answer: whoever refuses everything gets all of these right"
        console.print(text, style="yellow")
    timings = {
        heading: [each.timings.get(name, {}) for each in comparison.reports]
        for heading, name in (("first token ms", "first_token"), ("total ms", "total"))
    }
    written = {
        heading: metric
        for heading, metric in _CITATION_COLUMNS.items()
        if any(metric in each.metrics for each in comparison.reports)
    }
    columns = {**_ANSWER_COLUMNS, **written}
    _print_comparison(console, comparison, columns, timings, against=against)
    _note(
        console,
        "with an answer: contains + wrong + lost = 1 (lost: refused); without one: refused; AURC: "
        "risk over coverage, of what was answered; wrong, lost, AURC: the lower the better",
    )
    if written:
        _note(
            console,
            "cited, precise: of what a generator wrote, the sentences that share the words of "
            "their quotes, and the quotes that are needed",
        )
    for each in comparison.reports:
        _print_risk(console, each)
    for each in comparison.reports:
        if each.false_quotes:
            console.print(
                f"{each.configuration}: {each.false_quotes:,} quotes are not in their documents",
                style="bold red",
            )


def _print_risk(console: Console, report: AnswerReport) -> None:
    """Print the risk of the surest tenths of the questions, and of all that were answered."""
    points = report.risk_coverage
    if not points:
        return
    shown = [
        # The first point that covers so many; equal confidences are answered together.
        next((point for point in points if point.coverage >= share), points[-1])
        for share in _COVERAGES
    ]
    curve = ", ".join(
        f"{point.risk:.2f} at {point.coverage:.0%}" for point in dict.fromkeys((*shown, points[-1]))
    )
    _note(console, f"{report.configuration}: risk by coverage {curve}")


def print_failures(report: Report, count: int) -> None:
    """Print the questions with the worst rankings: what was expected, and what came instead."""
    console, rows = _console(), report.failures(count)
    _print_failures_heading(console, report, rows)
    for row in rows:
        _print_question(console, row, f"nDCG@10 {row.score:.3f}")
        ranks = {document.name: rank for rank, document in enumerate(row.ranking, start=1)}
        for document in row.relevant:
            place = f"at {ranks[document]}" if document in ranks else "not found"
            console.print(f"    expected {document}: {place}")
        for rank, found in enumerate(row.ranking[:_DOCUMENTS], start=1):
            place = found.location or found.name
            mark = " ✓" if found.gain else ""
            console.print(f"    [{rank}] {place}{mark}", style="cyan")


def print_answer_failures(report: AnswerReport, count: int) -> None:
    """Print the questions with the worst answers: what was expected, what came, its quotes."""
    console, rows = _console(), report.failures(count)
    _print_failures_heading(console, report, rows)
    for row in rows:
        sure = f"confidence {row.confidence:.2f}"
        verdict = f"F1 {row.score:.3f}" if row.gold else "has no answer"
        _print_question(console, row, f"{verdict}, {sure}")
        if row.hidden:
            console.print(f"    asked without {output.shorten(', '.join(row.hidden))}")
        if row.gold:
            console.print(f"    expected {output.shorten(' / '.join(row.gold))}")
        console.print(f"    {row.way}: {output.shorten(row.text)}")
        for quote in () if row.abstained else row.citations:
            place = f"    [{quote.number}] {quote.location}"
            console.print(place, style="cyan")
            console.print(f"        “{output.shorten(quote.quote)}”", style="dim")


def _print_index(console: Console, report: Report | AnswerReport) -> None:
    if report.index:
        held = "{documents:,} documents in {chunks:,} passages".format(**report.index)
        _note(console, f"{report.index['path']}: {held}, {report.embedder}")


def _print_comparison(
    console: Console,
    comparison: Comparison[R],
    shown: Mapping[str, str],
    timings: Mapping[str, list[Mapping[str, float]]],
    *,
    against: bool,
) -> None:
    from rich.table import Table

    from rag.evaluation import best_value

    reports = comparison.reports
    alone = len(reports) == 1
    table = Table("configuration", box=None, pad_edge=False, header_style="dim")
    for heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in timings:
        table.add_column(f"{heading} median", justify="right", no_wrap=True)
        table.add_column("p95", justify="right", no_wrap=True)
    best = {metric: best_value(reports, metric) for metric in shown.values()}
    for at, report in enumerate(reports):
        values = []
        for metric in shown.values():
            value = report.metrics.get(metric)
            style = "bold green" if not alone and value == best[metric] else ""
            mark = "" if alone else "*" if at and _is_significant(comparison, at, metric) else " "
            values.append(make_text("–" if value is None else f"{value:.3f}{mark}", style))
        for each in timings.values():
            values += [f"{taken:.0f}" for taken in each[at].values()] or ["–", "–"]
        table.add_row(make_text(report.configuration), *values)
    console.print(table)
    if not alone:
        reference = reports[0].configuration
        _note(
            console,
            f"* differs from {reference} (paired randomisation test, p < 0.05 by Holm's "
            "correction over the configurations, each metric by itself)",
        )
    if against:
        _print_differences(console, comparison, shown)


def _is_significant(comparison: Comparison[R], at: int, metric: str) -> bool:
    return metric in comparison.metrics and comparison.difference(at, metric).significant


def _print_differences(
    console: Console, comparison: Comparison[R], shown: Mapping[str, str]
) -> None:
    for at, report in enumerate(comparison.reports[1:], start=1):
        for metric in shown.values():
            if metric not in comparison.metrics:
                continue
            each = comparison.difference(at, metric)
            console.print(
                f"{report.configuration}: {metric} {each.mean:+.3f} "
                f"({each.low:+.3f} to {each.high:+.3f}), p {each.corrected:.4f}; "
                f"{each.better} better, {each.worse} worse, {each.equal} equal"
            )


def _print_failures_heading(
    console: Console, report: Report | AnswerReport, rows: list[Row] | list[AnswerRow]
) -> None:
    if rows:
        name = report.configuration
        console.print()
        console.print(f"Worst questions of {name}:")


def _print_question(console: Console, row: Row | AnswerRow, verdict: str) -> None:
    console.print(f"{row.id}  {row.question}  ({verdict})", style="bold")


def _note(console: Console, text: str) -> None:
    console.print(text, style="dim")


def _console() -> Console:
    import sys

    return make_console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
