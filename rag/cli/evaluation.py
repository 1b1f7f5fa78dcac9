"""`rag eval`: how good retrieval is, or the answers are, on a set of questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag.cli import evaluation_tables, options, output, progress
from rag.cli.opening import open_rag, read_config, warn_in_a_line
from rag.cli.terminal import say

if TYPE_CHECKING:
    from rag.config import Config
    from rag.engine import RAG
    from rag.evaluation import AnswerReport, Comparison, Dataset, Report
    from rag.types import ProgressCallback

R = TypeVar("R", "Report", "AnswerReport")

_CURRENT = "current"


@dataclass(frozen=True, slots=True)
class _Options:
    """What to measure, and where the report goes."""

    answers: bool
    every: int
    compare: str
    against: Path | None
    save: Path | None
    html: Path | None
    run: Path | None
    from_run: Path | None
    depth: int
    failures: int
    as_json: bool


@click.command("eval")
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@options.setting(
    "--index",
    "index.path",
    "Measure this index. Without it, the dataset's own corpus is indexed and measured, or "
    "indexes/default for a dataset without a corpus.",
    metavar="DIR",
    show_default=False,
)
@click.option("--answers", is_flag=True, help="Measure answers instead of retrieval.")
@options.count_option("--every", "With --answers: ask only every Nth question.", default=1)
@click.option(
    "--compare",
    default=_CURRENT,
    metavar="NAMES",
    help="Compare these configurations, separated by commas: current, dense, lexical, hybrid, rrf, "
    "and with --answers auto, generate, extract; each with any of +rerank, +rm3, +rocchio, "
    "+multi-query, +hyde, +mmr, and +KEY=VALUE.",
)
@options.file_option("--against", "Compare with the report saved in FILE.")
@options.file_option("--save", "Save the report as JSON.")
@options.file_option("--html", "Write a page with tables and plots.")
@options.file_option("--run", "Write the rankings as a TREC run.")
@options.file_option("--from-run", "Measure the TREC run in FILE, without searching.")
@options.count_option("--depth", "How many documents to rank.", default=100)
@options.count_option("--failures", "How many of the worst questions to show.", default=3)
@options.file_option("--make", "Write questions about the index into a CSV file instead.")
@options.count_option("--questions", "With --make: how many questions to make.", default=50)
@options.count_option("--seed", "With --make: choose the passages that it asks about.", default=0)
@click.option(
    "--no-near-misses",
    is_flag=True,
    help="With --make: do not add each question again, with its answer hidden from the index.",
)
@options.setting(
    "--generator",
    "generation.model",
    "The model that writes the questions, or the answers; as for `rag ask`.",
    metavar="NAME",
)
@options.embedder_option
@options.config_option
@options.json_option
def evaluation_command(
    dataset: Path | None,
    make: Path | None,
    questions: int,
    seed: int,
    no_near_misses: bool,
    **measuring: Any,
) -> None:
    """Measure search or answers by questions with known answers.

    DATASET is a folder with queries.jsonl, qrels.tsv and a corpus (BEIR's layout), or a CSV file
    with the columns question and source. `--make FILE` writes such a CSV about an index: questions
    that it answers, and near misses.
    `--answers` asks the questions for which the dataset has answers.
    """
    from rag.evaluation import load_dataset

    config, wanted = read_config(), _Options(**measuring)
    if make is not None and dataset is None:
        _make(config, make, questions, seed, near_misses=not no_near_misses)
        return
    if make is not None or dataset is None:
        raise click.UsageError("give either a DATASET or --make FILE")
    loaded = load_dataset(dataset)
    if not wanted.answers:
        if wanted.every > 1:
            raise click.UsageError("--every goes with --answers")
        _measure_retrieval(config, loaded, wanted)
    elif wanted.run or wanted.from_run:
        raise click.UsageError("--answers ranks nothing: leave out --run and --from-run")
    else:
        _measure_answers(config, loaded, wanted)


def _make(config: Config, file: Path, count: int, seed: int, *, near_misses: bool) -> None:
    from rag.evaluation import make_questions, write_questions

    with progress.display() as show, warn_in_a_line():
        rag = open_rag(show, config)
        made = make_questions(rag, count, near_misses=near_misses, seed=seed, progress=show)
    write_questions(file, made)
    dropped = ", ".join(f"{number} {reason}" for reason, number in made.dropped.items())
    asked = len(made.questions) - len(made.near_misses)
    answered = sum(bool(each.answer) for each in made.questions)
    hiding = f" and {len(made.near_misses)} near misses" if near_misses else ""
    say(f"{file}: {asked} questions ({answered} answered){hiding} by {rag.generator.name}")
    if dropped:
        say(f"dropped: {dropped}", err=True)
    if asked < count:
        say(f"no more than {asked} of {count} could be made", err=True)


def _measure_retrieval(config: Config, dataset: Dataset, wanted: _Options) -> None:
    from rag import evaluation

    # What cannot be read is found out before searches are made in vain.
    before = _load_report(evaluation.Report.load, wanted.against)
    reports = []
    if wanted.from_run:
        run = evaluation.read_run(wanted.from_run)
        reports.append(evaluation.evaluate_run(dataset, run, wanted.from_run.stem))
    if not wanted.from_run or wanted.compare != _CURRENT:

        def measure(rag: RAG, name: str, show: ProgressCallback) -> Report:
            return evaluation.evaluate(rag, dataset, name, depth=wanted.depth, progress=show)

        reports += _measure(config, dataset, wanted.compare, measure)
    comparison = evaluation.compare(before + reports)

    def print_tables(best: Report) -> None:
        evaluation_tables.print_retrieval(comparison, against=bool(before))
        evaluation_tables.print_failures(best, wanted.failures)

    _print_and_save(comparison, reports, wanted, "nDCG@10", print_tables)
    for file, report in _name_files(wanted.run, reports):
        evaluation.write_run(file, report.run, report.configuration)
    if wanted.html:
        evaluation.write_page(wanted.html, comparison)


def _measure_answers(config: Config, dataset: Dataset, wanted: _Options) -> None:
    from rag import evaluation

    def measure(rag: RAG, name: str, show: ProgressCallback) -> AnswerReport:
        return evaluation.evaluate_answers(rag, dataset, name, every=wanted.every, progress=show)

    before = _load_report(evaluation.AnswerReport.load, wanted.against)
    reports = _measure(config, dataset, wanted.compare, measure)
    comparison = evaluation.compare(before + reports)

    def print_tables(best: AnswerReport) -> None:
        evaluation_tables.print_answers(comparison, against=bool(before))
        evaluation_tables.print_answer_failures(best, wanted.failures)

    _print_and_save(comparison, reports, wanted, "F1", print_tables)
    if wanted.html:
        evaluation.write_answer_page(wanted.html, comparison)


def _load_report(load: Callable[[Path], R], file: Path | None) -> list[R]:
    """Load the report to compare with, if one is named."""
    if file is None:
        return []
    report = load(file)
    return [replace(report, configuration=f"{file.name}: {report.configuration}")]


def _measure(
    config: Config,
    dataset: Dataset,
    compare: str,
    measure: Callable[[RAG, str, ProgressCallback], R],
) -> list[R]:
    """Measure the configurations that `--compare` names.

    Raises:
        ConfigError: if one of the names is unknown, before anything is measured.
    """
    from rag.evaluation import apply_configuration

    names = [name.strip() for name in compare.split(",") if name.strip()]
    if not names:
        raise click.UsageError("--compare names no configuration")
    for name in names:
        apply_configuration(config, name)
    with progress.display() as show:
        rag = _open_index(config, dataset, show)
        return [measure(rag, name, show) for name in names]


def _open_index(config: Config, dataset: Dataset, show: ProgressCallback) -> RAG:
    """Open the index that is named, or else index the dataset's own corpus if it has one."""
    from rag.engine import RAG
    from rag.evaluation import cache_folder, index_corpus

    if dataset.corpus is None or "index.path" in options.chosen_settings():
        return open_rag(show, config)
    folder = cache_folder(dataset, config)
    say(f"indexing {dataset.corpus} into {folder}", err=True)
    rag = RAG(folder, config=config, progress=show)
    for problem in index_corpus(rag, dataset).failed:
        say(f"not indexed: {problem.source}: {problem.reason}", err=True)
    return rag


def _print_and_save(
    comparison: Comparison[R],
    reports: Sequence[R],
    wanted: _Options,
    metric: str,
    print_tables: Callable[[R], None],
) -> None:
    """Print the comparison as JSON, or as tables with the report that is best by `metric`."""
    if wanted.as_json:
        output.print_json(comparison)
    else:
        print_tables(max(reports, key=lambda report: report.metrics.get(metric, 0.0)))
    for file, report in _name_files(wanted.save, reports):
        report.save(file)


def _name_files(file: Path | None, reports: Sequence[R]) -> Iterator[tuple[Path, R]]:
    """Yield each report with its file; of several, the name of a file ends in the configuration."""
    if file is None:
        return
    for report in reports:
        name = report.configuration.replace("/", "_")
        several = f"{file.stem}-{name}{file.suffix}"
        yield (file.with_name(several) if len(reports) > 1 else file), report
