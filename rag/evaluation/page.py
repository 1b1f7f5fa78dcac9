"""Write a comparison as one HTML file that needs no other file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag.errors import ConfigError
from rag.evaluation.answer_metrics import F1
from rag.evaluation.answer_report import AnswerReport
from rag.evaluation.metrics import METRICS
from rag.evaluation.plots import confidence_plot, gains_plot, recall_plot, risk_plot
from rag.evaluation.report import Report, write_text
from rag.evaluation.significance import Comparison, R, best_value

_SHOWN_DOCUMENTS = 5


def write_page(file: str | Path, comparison: Comparison[Report]) -> None:
    """Write reports on retrieval and their differences as a page with tables and plots.

    Raises:
        ConfigError: if Jinja2 or matplotlib is not installed.
        SourceError: if the file cannot be written.
    """
    text = _render(
        "retrieval.html",
        comparison,
        title=f"Retrieval on {comparison.reports[0].dataset}",
        metrics=METRICS,
        main="nDCG@10",
        scored="nDCG@10",
        recall=recall_plot(comparison.reports),
        shown=_SHOWN_DOCUMENTS,
    )
    write_text(Path(file), text)


def write_answer_page(file: str | Path, comparison: Comparison[AnswerReport]) -> None:
    """Write reports on answers and their differences as a page with tables and plots.

    Raises:
        ConfigError: if Jinja2 or matplotlib is not installed.
        SourceError: if the file cannot be written.
    """
    reports = comparison.reports
    text = _render(
        "answers.html",
        comparison,
        title=f"Answers on {reports[0].dataset}",
        metrics=tuple(dict.fromkeys(metric for report in reports for metric in report.metrics)),
        main=F1,
        scored="F1 (without an answer: 1 if the reply says so)",
        risk=risk_plot(reports),
        confidence=[(report, confidence_plot(report)) for report in reports],
    )
    write_text(Path(file), text)


def _render(
    template: str, comparison: Comparison[R], *, metrics: tuple[str, ...], main: str, **values: Any
) -> str:
    """Render a page; the template engine escapes every text in it."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise ConfigError("a page needs Jinja2: pip install 'checkable-rag[eval]'") from None
    reference, others = comparison.reports[0], comparison.reports[1:]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Plots go in unescaped: matplotlib escapes the names in its SVG.
    return environment.get_template(template).render(
        reports=comparison.reports,
        reference=reference,
        comparison=comparison,
        metrics=metrics,
        best={metric: best_value(comparison.reports, metric) for metric in metrics},
        main=main,
        gains=[(other, gains_plot(reference, other, main)) for other in others]
        if main in comparison.metrics
        else [],
        questions=_sort_questions(comparison.reports),
        **values,
    )


def _sort_questions(reports: tuple[R, ...]) -> list[list[tuple[str, Any]]]:
    """Return for each question its row in every report, the worst on average first."""
    by_id = [{row.id: row for row in report.rows} for report in reports]
    questions = [
        [(report.configuration, rows[row.id]) for report, rows in zip(reports, by_id, strict=True)]
        for row in reports[0].rows
    ]
    return sorted(questions, key=lambda rows: sum(row.score for _, row in rows))
