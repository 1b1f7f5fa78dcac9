"""`rag eval`: how good retrieval is, on a set of questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli import output, progress

if TYPE_CHECKING:
    from rich.console import Console

    from rag.config import Config
    from rag.engine import RAG
    from rag.evaluation import Comparison, Dataset, Report
    from rag.types import ProgressCallback

_CURRENT = "current"
_SHOWN_METRICS = ("nDCG@10", "recall@5", "recall@10", "MRR@10", "MAP")
_SHOWN_DOCUMENTS = 3
# A table that is piped or filed is not to be broken for a terminal that there is none of.
_PIPED_WIDTH = 160

_file = click.Path(dir_okay=False, path_type=Path)


@click.command("eval")
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@click.option(
    "--index",
    metavar="DIR",
    help="The index to measure (default: one of the dataset's own corpus, which is brought up to "
    "date first; without a corpus, indexes/default).",
)
@click.option(
    "--compare",
    "configurations",
    default=_CURRENT,
    metavar="NAMES",
    help="Configurations, separated by commas: current, dense, lexical, hybrid, rrf; each with any "
    "of +rerank, +rm3, +rocchio, +multi-query, +hyde, +mmr, and +KEY=VALUE.",
)
@click.option("--against", type=_file, metavar="FILE", help="Compare with a saved report.")
@click.option("--save", type=_file, metavar="FILE", help="Save the report as JSON.")
@click.option("--html", type=_file, metavar="FILE", help="Write a page with tables and plots.")
@click.option("--run", type=_file, metavar="FILE", help="Write the rankings as a TREC run.")
@click.option(
    "--from-run", type=_file, metavar="FILE", help="Measure a TREC run, without searching."
)
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="How many documents to rank.",
)
@click.option(
    "--failures",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="How many of the worst questions to show.",
)
@click.option(
    "--make", type=_file, metavar="FILE", help="Write questions about the index into a CSV instead."
)
@click.option(
    "--questions",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="How many questions to make.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Which passages questions are made for.",
)
@click.option("--generator", metavar="NAME", help="What writes the questions; as for `rag ask`.")
@click.option("--embedder", metavar="NAME", help="A catalogued model, a directory, or a hub name.")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=_file,
    help="Settings to read (default: rag.toml here, if there is one).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluation_command(
    dataset: Path | None,
    index: str | None,
    configurations: str,
    against: Path | None,
    save: Path | None,
    html: Path | None,
    run: Path | None,
    from_run: Path | None,
    depth: int,
    failures: int,
    make: Path | None,
    questions: int,
    seed: int,
    generator: str | None,
    embedder: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Measure retrieval on questions whose documents are known.

    DATASET is a folder with queries.jsonl, qrels.tsv and a corpus (BEIR's layout), or a CSV file
    with the columns question and source. `--make FILE` writes such a CSV about an index.
    """
    from rag import evaluation
    from rag.config import load_config

    settings = {
        "index.path": index,
        "embedding.model": embedder,
        "generation.model": generator,
    }
    config = load_config(config_file, arguments=settings)
    if make is not None and dataset is None:
        _make(config, make, questions, seed)
        return
    if make is not None or dataset is None:
        raise click.UsageError("give either a DATASET or --make FILE")
    asked = evaluation.load_dataset(dataset)
    # What cannot be read is found out before the searches are made.
    before = [_saved(against)] if against else []
    reports = [_of_run(asked, from_run)] if from_run else []
    if not from_run or configurations != _CURRENT:
        names = [name.strip() for name in configurations.split(",") if name.strip()]
        reports += _measured(config, asked, names, depth, own_corpus=index is None)
    comparison = evaluation.compare(before + reports)
    if as_json:
        output.print_json(comparison)
    else:
        _print_comparison(comparison, against=bool(before))
        _print_failures(max(reports, key=_ndcg), failures)
    for report in reports:
        name = report.configuration if len(reports) > 1 else ""
        if save:
            report.save(_named(save, name))
        if run:
            evaluation.write_run(_named(run, name), report.run, report.configuration)
    if html:
        evaluation.write_page(html, comparison)


def _make(config: Config, file: Path, count: int, seed: int) -> None:
    from rag.engine import RAG
    from rag.evaluation import make_questions, write_questions

    with progress.shown() as show:
        rag = RAG(config=config, progress=show)
        made = make_questions(rag, count, seed=seed, progress=show)
    write_questions(file, made)
    dropped = ", ".join(f"{number} {reason}" for reason, number in made.dropped.items())
    click.echo(f"{file}: {len(made.questions)} questions by {rag.generator.name}")
    if dropped:
        click.echo(f"dropped: {dropped}", err=True)
    if len(made.questions) < count:
        click.echo(f"no more than {len(made.questions)} of {count} could be made", err=True)


def _saved(file: Path) -> Report:
    from rag.evaluation import Report

    saved = Report.load(file)
    return replace(saved, configuration=f"{file.name}: {saved.configuration}")


def _of_run(dataset: Dataset, file: Path) -> Report:
    from rag.evaluation import evaluate_run, read_run

    return evaluate_run(dataset, read_run(file), file.stem)


def _measured(
    config: Config, dataset: Dataset, names: Sequence[str], depth: int, *, own_corpus: bool
) -> list[Report]:
    from rag.evaluation import configured, evaluate

    if not names:
        raise click.UsageError("--compare names no configuration")
    for name in names:
        configured(config, name)
    with progress.shown() as show:
        rag = _indexed(config, dataset, show, own_corpus=own_corpus)
        return [evaluate(rag, dataset, name, depth=depth, progress=show) for name in names]


def _indexed(config: Config, dataset: Dataset, show: ProgressCallback, *, own_corpus: bool) -> RAG:
    from rag.engine import RAG
    from rag.evaluation import cache_folder, index_corpus

    if dataset.corpus is None or not own_corpus:
        return RAG(config=config, progress=show)
    folder = cache_folder(dataset, config)
    click.echo(f"indexing {dataset.corpus} into {folder}", err=True)
    rag = RAG(folder, config=config, progress=show)
    for problem in index_corpus(rag, dataset).failed:
        name = output.one_line(problem.source)
        click.echo(f"not indexed: {name}: {problem.reason}", err=True)
    return rag


def _print_comparison(comparison: Comparison, *, against: bool) -> None:
    from rich.table import Table

    console = _console()
    _print_heading(console, comparison.reports[-1])
    best = {
        metric: max(report.metrics[metric] for report in comparison.reports)
        for metric in _SHOWN_METRICS
    }
    alone = len(comparison.reports) == 1
    table = Table("configuration", box=None, pad_edge=False, header_style="dim")
    for name in (*_SHOWN_METRICS, "ms median", "p95"):
        table.add_column(name, justify="right", no_wrap=True)
    for at, report in enumerate(comparison.reports):
        values = []
        for metric in _SHOWN_METRICS:
            value = report.metrics[metric]
            mark = "*" if at and comparison.difference(at, metric).significant else " "
            style = "bold green" if not alone and value == best[metric] else ""
            values.append(_text(f"{value:.3f}{'' if alone else mark}", style))
        times = [f"{each:.0f}" for each in report.timings.values()]
        table.add_row(_text(report.configuration), *values, *times)
    console.print(table)
    if not alone:
        reference = output.one_line(comparison.reports[0].configuration)
        _say(
            console,
            f"* differs from {reference} (paired randomisation test, p < 0.05 by Holm's "
            "correction over the configurations, each metric by itself)",
        )
    if against:
        _print_differences(console, comparison)


def _print_heading(console: Console, report: Report) -> None:
    index = report.index
    if index:
        _say(
            console,
            f"{index['path']}: {index['documents']:,} documents in {index['chunks']:,} passages, "
            f"{report.embedder}",
        )
    left_out = len(report.unanswerable)
    others = f"; {left_out:,} without a relevant document left out" if left_out else ""
    _say(console, f"{report.dataset}: {len(report.rows):,} questions{others}")
    if report.missing:
        named = ", ".join(map(output.one_line, report.missing[:3]))
        more = f" and {len(report.missing) - 3:,} more" if len(report.missing) > 3 else ""
        console.print(
            f"not in the index, and so not found, of the relevant documents: {named}{more}",
            markup=False,
            style="yellow",
        )


def _print_differences(console: Console, comparison: Comparison) -> None:
    for at, report in enumerate(comparison.reports[1:], start=1):
        for metric in _SHOWN_METRICS:
            each = comparison.difference(at, metric)
            console.print(
                f"{output.one_line(report.configuration)}: {metric} {each.mean:+.3f} "
                f"({each.low:+.3f} to {each.high:+.3f}), p {each.corrected:.4f}; "
                f"{each.better} better, {each.worse} worse, {each.equal} equal",
                markup=False,
            )


def _print_failures(report: Report, count: int) -> None:
    rows = report.failures(count)
    if not rows:
        return
    console = _console()
    name = output.one_line(report.configuration)
    console.print(f"\nWorst questions of {name}:", markup=False)
    for row in rows:
        question = output.one_line(row.question)
        value = row.metrics["nDCG@10"]
        console.print(f"{row.id}  {question}  (nDCG@10 {value:.3f})", markup=False, style="bold")
        ranks = {document.name: rank for rank, document in enumerate(row.ranking, start=1)}
        for document in row.relevant:
            place = f"at {ranks[document]}" if document in ranks else "not found"
            console.print(f"    expected {output.one_line(document)}: {place}", markup=False)
        for rank, found in enumerate(row.ranking[:_SHOWN_DOCUMENTS], start=1):
            place = output.one_line(found.location or found.name)
            mark = " ✓" if found.gain else ""
            console.print(f"    [{rank}] {place}{mark}", markup=False, style="cyan")


def _ndcg(report: Report) -> float:
    return report.metrics["nDCG@10"]


def _named(file: Path, configuration: str) -> Path:
    """The file of one configuration of several, which stands before the suffix."""
    if not configuration:
        return file
    return file.with_name(f"{file.stem}-{configuration.replace('/', '_')}{file.suffix}")


def _text(text: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(output.one_line(text), style=style)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, style="dim")


def _console() -> Console:
    import sys

    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    return Console(highlight=False, soft_wrap=True, emoji=False, width=width)
