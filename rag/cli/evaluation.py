"""`rag eval`: how good retrieval is, or the answers are, on a set of questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from rag.cli import evaluation_tables, output, progress
from rag.cli.options import config_option, embedder_option, json_option

if TYPE_CHECKING:
    from rag.config import Config
    from rag.engine import RAG
    from rag.evaluation import AnswerReport, Dataset, Report
    from rag.types import ProgressCallback

R = TypeVar("R", "Report", "AnswerReport")

_CURRENT = "current"

_file = click.Path(dir_okay=False, path_type=Path)


@click.command("eval")
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@click.option(
    "--index",
    metavar="DIR",
    help="The index to measure (default: one of the dataset's own corpus, which is brought up to "
    "date first; without a corpus, indexes/default).",
)
@click.option("--answers", is_flag=True, help="Measure answers in place of retrieval.")
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="With --answers: ask only every Nth question.",
)
@click.option(
    "--compare",
    "configurations",
    default=_CURRENT,
    metavar="NAMES",
    help="Configurations, separated by commas: current, dense, lexical, hybrid, rrf, and with "
    "--answers auto, generate, extract; each with any of +rerank, +rm3, +rocchio, +multi-query, "
    "+hyde, +mmr, and +KEY=VALUE.",
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
@embedder_option
@config_option
@json_option
def evaluation_command(
    dataset: Path | None,
    index: str | None,
    answers: bool,
    every: int,
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
    """Measure retrieval, or answers, on questions whose documents are known.

    DATASET is a folder with queries.jsonl, qrels.tsv and a corpus (BEIR's layout), or a CSV file
    with the columns question and source. `--make FILE` writes such a CSV about an index.

    `--answers` asks the questions for which the set gives answers.
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
    names = [name.strip() for name in configurations.split(",") if name.strip()]
    if answers:
        if run or from_run:
            raise click.UsageError("--answers ranks nothing: leave out --run and --from-run")
        _measure_answers(
            config,
            asked,
            names,
            every,
            own_corpus=index is None,
            against=against,
            save=save,
            html=html,
            failures=failures,
            as_json=as_json,
        )
        return
    if every > 1:
        raise click.UsageError("--every goes with --answers")
    # What cannot be read is found out before the searches are made.
    before = [_named_after(against, evaluation.Report.load(against))] if against else []
    reports = [_of_run(asked, from_run)] if from_run else []
    if not from_run or configurations != _CURRENT:
        reports += _measured(config, asked, names, depth, own_corpus=index is None)
    comparison = evaluation.compare(before + reports)
    if as_json:
        output.print_json(comparison)
    else:
        evaluation_tables.print_retrieval(comparison, against=bool(before))
        evaluation_tables.print_failures(max(reports, key=_ndcg), failures)
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


def _measure_answers(
    config: Config,
    dataset: Dataset,
    names: Sequence[str],
    every: int,
    *,
    own_corpus: bool,
    against: Path | None,
    save: Path | None,
    html: Path | None,
    failures: int,
    as_json: bool,
) -> None:
    from rag.evaluation import AnswerReport, compare, evaluate_answers, write_answer_page

    before = [_named_after(against, AnswerReport.load(against))] if against else []
    _check(config, names)
    with progress.shown() as show:
        rag = _indexed(config, dataset, show, own_corpus=own_corpus)
        reports = [
            evaluate_answers(rag, dataset, name, every=every, progress=show) for name in names
        ]
    comparison = compare(before + reports)
    if as_json:
        output.print_json(comparison)
    else:
        evaluation_tables.print_answers(comparison, against=bool(before))
        best = max(reports, key=lambda report: report.metrics.get("F1", 0.0))
        evaluation_tables.print_answer_failures(best, failures)
    if save:
        for report in reports:
            report.save(_named(save, report.configuration if len(reports) > 1 else ""))
    if html:
        write_answer_page(html, comparison)


def _named_after(file: Path, saved: R) -> R:
    return replace(saved, configuration=f"{file.name}: {saved.configuration}")


def _check(config: Config, names: Sequence[str]) -> None:
    from rag.evaluation import configured

    if not names:
        raise click.UsageError("--compare names no configuration")
    for name in names:
        configured(config, name)


def _of_run(dataset: Dataset, file: Path) -> Report:
    from rag.evaluation import evaluate_run, read_run

    return evaluate_run(dataset, read_run(file), file.stem)


def _measured(
    config: Config, dataset: Dataset, names: Sequence[str], depth: int, *, own_corpus: bool
) -> list[Report]:
    from rag.evaluation import evaluate

    _check(config, names)
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


def _ndcg(report: Report) -> float:
    return report.metrics["nDCG@10"]


def _named(file: Path, configuration: str) -> Path:
    """The file of one configuration of several, which stands before the suffix."""
    if not configuration:
        return file
    return file.with_name(f"{file.stem}-{configuration.replace('/', '_')}{file.suffix}")
