"""Plot reports, as SVG for a page."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rag.errors import ConfigError
from rag.evaluation.answer_report import AnswerReport
from rag.evaluation.report import Report
from rag.evaluation.significance import R, pair_values

# Okabe & Ito's colours, which the colour-blind tell apart: those visible on dark and on light.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
# Where lines overlap, each one shows through the gaps of the next.
_LINES = ("-", "--", "-.", ":")
_BINS = 20
# A placeholder for the colour of the page's text.
_TEXT = "#010203"


def recall_plot(reports: Sequence[Report]) -> str:
    """Plot recall over the number of documents, a line for each configuration."""
    with _figure("recall", 3.8) as (figure, axes):
        for at, report in enumerate(reports):
            depths = range(1, report.depth + 1)
            axes.plot(
                depths,
                _recall(report),
                _LINES[at % len(_LINES)],
                color=_COLOURS[at % len(_COLOURS)],
                # Matplotlib reads text between two dollar signs as mathematics.
                label=report.configuration.replace("$", r"\$"),
                linewidth=2,
                # Clipping would cut off half of a line at 1.
                clip_on=False,
            )
        axes.set_xscale("log")
        ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= report.depth]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(top=1)
        axes.set(xlabel="documents", ylabel="recall")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        return _svg(figure)


def gains_plot(reference: R, other: R, metric: str) -> str:
    """Plot what each question gains or loses from one configuration to another, sorted."""
    pairs = pair_values(reference, other, metric)
    gains = sorted((after - before for before, after in pairs), reverse=True)
    name = f"{reference.configuration} {other.configuration}"
    with _figure(name, 2.6) as (figure, axes):
        colours = [_COLOURS[0] if gain > 0 else _COLOURS[1] for gain in gains]
        axes.bar(range(1, len(gains) + 1), gains, width=1.0, color=colours, antialiased=False)
        axes.axhline(0, color=_TEXT, linewidth=0.8)
        axes.set(xlim=(0.5, len(gains) + 0.5), ylim=(-1.05, 1.05))
        axes.set(xlabel="questions, sorted", ylabel=f"difference in {metric}")
        axes.grid(alpha=0.25, axis="y")
        return _svg(figure)


def confidence_plot(report: AnswerReport) -> str:
    """Plot the confidence of answers to questions with an answer and to those without."""
    kinds = {
        "with an answer": [row.confidence for row in report.rows if row.answerable],
        "without": [row.confidence for row in report.rows if not row.answerable],
    }
    by_kind = {label: confidences for label, confidences in kinds.items() if confidences}
    with _figure(f"confidence {report.configuration}", 2.8) as (figure, axes):
        axes.hist(
            list(by_kind.values()),
            bins=_BINS,
            range=(0, 1),
            # Shares and not counts, since one kind is often much rarer than the other.
            weights=[[1 / len(each)] * len(each) for each in by_kind.values()],
            color=_COLOURS[: len(by_kind)],
            label=list(by_kind),
        )
        threshold = report.settings.get("answering.threshold")
        if threshold is not None:
            axes.axvline(threshold, color=_TEXT, linewidth=1, linestyle="--", label="threshold")
        axes.set(xlim=(0, 1), xlabel="confidence", ylabel="share of questions")
        axes.grid(alpha=0.25, axis="y")
        # The legend is above the plot, since bars may be anywhere in it.
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
        return _svg(figure)


def risk_plot(reports: Sequence[AnswerReport]) -> str:
    """Plot the risk of the surest answers over their share of all questions, a line for each."""
    with _figure("risk", 3.8) as (figure, axes):
        for at, report in enumerate(reports):
            points = report.risk_coverage
            axes.plot(
                [point.coverage for point in points],
                [point.risk for point in points],
                _LINES[at % len(_LINES)],
                color=_COLOURS[at % len(_COLOURS)],
                # Matplotlib reads text between two dollar signs as mathematics.
                label=report.configuration.replace("$", r"\$"),
                linewidth=2,
                # A single answer is no line.
                marker="o" if len(points) == 1 else "",
                clip_on=False,
            )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="coverage", ylabel="risk")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        return _svg(figure)


def _recall(report: Report) -> Any:
    import numpy as np

    found = np.zeros((len(report.rows), report.depth))
    for row_number, row in enumerate(report.rows):
        for rank, document in enumerate(row.ranking[: report.depth]):
            found[row_number, rank] = (document.gain > 0) / len(row.relevant)
    return found.cumsum(axis=1).mean(axis=0)


@contextmanager
def _figure(name: str, height: float) -> Iterator[tuple[Any, Any]]:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("plots need matplotlib: pip install 'checkable-rag[eval]'") from None
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.size": 11,
        **{f"{part}.color": _TEXT for part in ("text", "xtick", "ytick", "grid")},
        "axes.edgecolor": _TEXT,
        "axes.labelcolor": _TEXT,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context():
        # matplotlib reads a `matplotlibrc` of the working directory, which may have any text set by
        # a TeX that is installed.
        mpl.rcdefaults()
        mpl.rcParams.update(style)
        figure = Figure(figsize=(7, height), layout="tight")
        yield figure, figure.subplots()


def _svg(figure: Any) -> str:
    text = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    drawing = text.getvalue()
    # The XML declaration may only stand at the beginning of a file.
    return drawing[drawing.index("<svg") :].replace(_TEXT, "currentColor")
