"""A comparison -> one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from rag.errors import ConfigError
from rag.evaluation.metrics import METRICS
from rag.evaluation.plots import gains_plot, recall_plot
from rag.evaluation.report import Report, Row, write
from rag.evaluation.significance import Comparison

_TEMPLATE = Path(__file__).with_name("page.html")
_SHOWN_DOCUMENTS = 5


def write_page(file: str | Path, comparison: Comparison) -> None:
    """Write reports and their differences as a page with tables and plots.

    Raises:
        ConfigError: if Jinja2 or matplotlib is not installed.
        SourceError: if the file cannot be written.
    """
    write(Path(file), page(comparison))


def page(comparison: Comparison) -> str:
    """The text of the page; every text in it is escaped."""
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise ConfigError("a page needs Jinja2: pip install 'checkable-rag[eval]'") from None
    reference, *others = comparison.reports
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # The plots are matplotlib's SVG, which escapes the names in it.
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        reports=comparison.reports,
        reference=reference,
        comparison=comparison,
        metrics=METRICS,
        best={each: max(report.metrics[each] for report in comparison.reports) for each in METRICS},
        recall=Markup(recall_plot(comparison.reports)),  # noqa: S704
        gains=[(other, Markup(gains_plot(reference, other))) for other in others],  # noqa: S704
        questions=_questions(comparison.reports),
        shown=_SHOWN_DOCUMENTS,
    )


def _questions(reports: tuple[Report, ...]) -> list[list[tuple[str, Row]]]:
    """For each question its row in every report, the worst on average first."""
    by_id = [{row.id: row for row in report.rows} for report in reports]
    questions = [
        [(report.configuration, rows[row.id]) for report, rows in zip(reports, by_id, strict=True)]
        for row in reports[0].rows
    ]
    return sorted(questions, key=lambda rows: sum(row.metrics["nDCG@10"] for _, row in rows))
