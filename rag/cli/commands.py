"""The commands: parse, call RAG, print, exit code.

Exit codes: 0 done, 1 an error (one line says what to do) or a file that could not be indexed,
2 wrong usage, 3 the documents hold no answer.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rag.cli import options, output, progress, upkeep
from rag.cli.chat import chat_command
from rag.cli.checking import check_command
from rag.cli.completion import completion_command
from rag.cli.daemon import daemon_command
from rag.cli.evaluation import evaluation_command
from rag.cli.models import models_command
from rag.cli.opening import open_rag, open_to_ask, trace_settings
from rag.cli.places import open_command, remember_citations, remember_hits, show_command
from rag.cli.prompts import prompts_command
from rag.cli.serving import feedback_command, mcp_command, serve_command
from rag.cli.settings import config_command, trust_command
from rag.cli.terminal import guard_output, say, say_error, say_text, show_usage_error
from rag.cli.verifying import verify_command
from rag.errors import RagError, is_out_of_memory

if TYPE_CHECKING:
    from rag.engine import RAG
    from rag.types import IngestionReport

EXIT_ERROR = 1
EXIT_NO_ANSWER = 3
_INTERRUPTED = 130

_retry_option = click.option(
    "--retry", is_flag=True, help="Read files again that failed, even if they have not changed."
)
_include_option = options.setting(
    "--include",
    "sources.include",
    "Index only files of a folder that match, as in .gitignore; repeat it for more.",
    multiple=True,
    metavar="GLOB",
)
_exclude_option = options.setting(
    "--exclude",
    "sources.exclude",
    "Leave out files of a folder that match, as in .gitignore; repeat it for more.",
    multiple=True,
    metavar="GLOB",
)
_hidden_option = options.setting(
    "--hidden", "sources.hidden", "Index hidden files too.", is_flag=True
)
_fetching_options = options.join(
    options.setting(
        "--depth",
        "fetching.depth",
        "Follow links from an address so far, in its own folder and below.",
        metavar="N",
    ),
    options.setting(
        "--pages", "fetching.pages", "Take at most so many pages of an address.", metavar="N"
    ),
    options.setting(
        "--allow-private",
        "fetching.allow_private",
        "Let an address lead to servers of a private network, or of this machine.",
        is_flag=True,
    ),
)
_events_option = click.option(
    "--json", "as_json", is_flag=True, help="Print events as JSON lines while it works."
)
_reading_options = options.join(
    options.embedder_option, options.precision_option, options.config_option, options.wait_option
)
_choosing_options = options.join(
    *(_include_option, _exclude_option, _hidden_option, _fetching_options),
    *(_retry_option, _events_option),
)
_finding_options = options.join(
    options.index_option,
    options.k_option,
    options.where_option,
    options.mode_option,
    options.rerank_option,
    options.context_option,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="checkable-rag", prog_name="rag")
def cli() -> None:
    """Ask your own documents, and check every answer against its sources."""


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="[PATH]...")
@options.index_option
@_reading_options
@click.option("--rebuild", is_flag=True, help="Empty the index first, and use today's settings.")
@click.option(
    "--optimize",
    is_flag=True,
    help="Then rebuild the vector index and measure it; without PATH, do only that.",
)
@click.option("--watch", is_flag=True, help="Then keep running, and index whatever changes.")
@_choosing_options
def index(
    paths: tuple[str, ...], rebuild: bool, optimize: bool, watch: bool, retry: bool, as_json: bool
) -> None:
    """Index files, folders or addresses, or bring all up to date.

    PATH may be an address, too: https://... for a page, the pages that a sitemap lists or, with
    --depth, a site; git+https://...@REVISION for the files of a repository.

    Without PATH, look again at all that was indexed before. Unchanged files cost nothing,
    changed files replace their passages, and files that are gone from a folder leave the index.
    Hidden files and those that .gitignore or .ragignore names are left out. Exit code 1 means
    that a file could not be read; all others are indexed.
    """
    ways = ("sources.", "fetching.")
    if not paths and any(key.startswith(ways) for key in options.chosen_settings()):
        raise click.UsageError(
            "--include, --exclude, --hidden, --depth, --pages and --allow-private go with a PATH: "
            "name it."
        )
    if optimize and not (paths or rebuild or retry or watch):
        _optimize(open_rag(), as_json)
        return
    with progress.display(as_events=as_json) as show:
        rag = open_rag(show)
        report = rag.index(
            list(paths), rebuild=rebuild, retry=retry, allow_empty=watch, progress=show
        )
    _print_report(report, as_json)
    if optimize:
        _optimize(rag, as_json)
    if watch:
        if not as_json:
            say("watching; Ctrl-C ends it", err=True)
        failed = set(report.failed)
        # A change is reported when it is in; a bar for a single file would only flicker.
        for later in rag.watch():
            changes = later.added or later.updated or later.removed
            if changes or not failed.issuperset(later.failed):
                _print_report(later, as_json)
            failed = set(later.failed)
    if report.failed:
        sys.exit(EXIT_ERROR)


def _optimize(rag: RAG, as_json: bool) -> None:
    with progress.display(as_events=as_json) as show:
        # What took minutes to build is not thrown away for a writer that takes seconds.
        found = rag.optimize(progress=show)
    if as_json:
        output.print_line({"event": "optimized", **output.as_json(found)})
    else:
        say(f"search: {output.describe_search(found)}")


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(), required=True, metavar="PATH...")
@options.index_option
@_reading_options
@_choosing_options
def add(paths: tuple[str, ...], retry: bool, as_json: bool) -> None:
    """Index files and folders like `rag index`, but remove nothing."""
    with progress.display(as_events=as_json) as show:
        report = open_rag(show).add(list(paths), retry=retry, progress=show)
    _print_report(report, as_json)
    if report.failed:
        sys.exit(EXIT_ERROR)


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(), required=True, metavar="PATH...")
@options.index_options
@options.wait_option
@options.json_option
def remove(paths: tuple[str, ...], as_json: bool) -> None:
    """Remove files and folders from the index.

    A file that is still in an indexed folder comes back with the next `rag index`: name it in a
    .ragignore file to leave it out for good.
    """
    removed = open_rag().remove(list(paths))
    if as_json:
        output.print_json({"removed": removed})
    else:
        say(f"{len(removed):,} file{'' if len(removed) == 1 else 's'} removed")


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="[PATH]...")
@options.index_options
@options.json_option
def status(paths: tuple[str, ...], as_json: bool) -> None:
    """List files that are new, changed or gone, or that failed.

    Compares the files with what the index holds of them.
    """
    trace = trace_settings()
    found = open_rag(config=trace.config).status(list(paths))
    if as_json:
        output.print_json({**output.as_json(found), "config_files": trace.files})
        return
    for file in trace.files:
        say(f"settings: {output.describe_config_file(file)}")
    output.print_status(found)


@cli.command()
@options.text_argument("question")
@_finding_options
@options.setting(
    "--diversity",
    "retrieval.diversity",
    "How much to prefer variety over nearness.",
    metavar="SHARE",
)
@click.option("--explain", is_flag=True, help="Show how each passage came to its rank.")
@options.embedder_option
@options.precision_option
@options.generator_option
@options.config_option
@options.json_option
def search(question: str, k: int | None, where: str, explain: bool, as_json: bool) -> None:
    """Find the passages that fit a question best.

    QUESTION needs no quotation marks around it, and may come from a pipe. Passages are found by
    meaning and by words. A passage must hold what stands in "double quotes" word for word, and must
    not hold a word after a minus (`-draft`); put single quotes around a question with either, which
    the shell would take for its own. The generator is only loaded
    for `--rerank likelihood` and for the expansions that write (see the settings). Exit code 3
    means that nothing was found.
    """
    with progress.display() as show:
        rag = open_to_ask(show)
        found = rag.explain(question, k, where)
    remember_hits(rag.path, found.hits)
    if as_json:
        output.print_json(found if explain else found.hits)
    elif explain:
        output.print_explanation(found)
    else:
        output.print_hits(found.hits)
    _tell_reading(found.read_as)
    if found.loosened:
        say("no passage holds the quoted phrase: its words were looked for", err=True)
    if not found.filter_matched:
        say(f"no document matches the filter: {where}", err=True)
    elif not found.hits:
        say("no passage was found", err=True)
    if not found.hits:
        sys.exit(EXIT_NO_ANSWER)


@cli.command()
@options.text_argument("question")
@click.option(
    "--docs",
    multiple=True,
    type=click.Path(),
    metavar="PATH",
    help="Index PATH first; repeat it for more.",
)
@_finding_options
@options.generator_option
@options.way_option
@options.setting(
    "--strict", "answering.strict", "Leave out what no passage supports.", is_flag=True
)
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Save the answer with quotes, places and hashes, for `rag verify`.",
)
@options.file_option("--schema", "Answer with JSON that follows the JSON schema in FILE.")
@click.option("--brief", is_flag=True, help="Print the part that answers, and nothing else.")
@options.embedder_option
@options.config_option
@options.json_option
def ask(
    question: str,
    docs: tuple[str, ...],
    k: int | None,
    where: str,
    schema: Path | None,
    brief: bool,
    save: Path | None,
    as_json: bool,
) -> None:
    """Answer a question from the documents, and name the sources.

    QUESTION needs no quotation marks around it, and may come from a pipe: `rag ask What is LoRA`,
    `echo What is LoRA | rag ask`. Put single quotes around one with an apostrophe or another sign
    that the shell would take for its own. Exit code 3 means that the documents hold no answer.
    """
    with progress.display() as show:
        rag = open_to_ask(show, for_answer=True)
        if docs:
            if not question.strip():
                _fail("the question is empty")
            report = rag.index(list(docs))
            for problem in report.failed:
                say(f"not indexed: {problem.source}: {problem.reason}", err=True)
        stream = rag.stream(question, k, where, schema=_load_schema(schema))
        pieces: Iterator[str] = iter(stream)
        # Searching and reading the prompt take their time before the first piece.
        pieces = itertools.chain([next(pieces, "")], pieces)
    if as_json:
        output.print_json(stream.answer)
    elif brief:
        say_text(stream.answer.brief)
    else:
        output.print_stream(stream, pieces)
        _tell_reading(stream.answer.read_as)
        output.print_sources(stream.answer)
    answer = stream.answer
    remember_citations(rag.path, answer.citations)
    if save is not None:
        from rag.viewing.proof import save_proof

        save_proof(open_rag().prove(answer), save)
    if answer.interrupted:
        _fail(f"the answer is not complete: {answer.interrupted}")
    if answer.abstained:
        sys.exit(EXIT_NO_ANSWER)


@cli.command()
@options.index_options
@options.json_option
def info(as_json: bool) -> None:
    """Show what the index holds, and what it was built with."""
    facts = open_rag().info()
    output.print_result(facts, output.print_facts, as_json=as_json)


for _command in (
    *(chat_command, check_command, completion_command, config_command, daemon_command),
    *(evaluation_command, models_command, open_command, show_command, trust_command),
    *(prompts_command, upkeep.backup_command, upkeep.compact_command, upkeep.doctor_command),
    *(upkeep.export_command, upkeep.import_command),
    *(feedback_command, mcp_command, serve_command, verify_command),
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command line; end a problem in one line and an exit code."""
    # Threads that wait by spinning get in one another's way where other work is going on, which
    # was measured to be five times slower. The first library with OpenMP reads this.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    with guard_output():
        _run()


def _run() -> NoReturn:
    try:
        result = cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.UsageError as error:
        show_usage_error(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        show_usage_error(error)
        sys.exit(EXIT_ERROR)
    except (click.Abort, KeyboardInterrupt):
        say(err=True)
        say("interrupted; what was committed to the index is unharmed", err=True)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        # The reader of the output has left; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_ERROR)
    except RagError as error:
        _fail(str(error))
    except (MemoryError, RuntimeError, SystemError) as error:
        if not is_out_of_memory(error):
            raise
        _fail(
            "there is not enough memory for this: end other programs, or ask for less; what was "
            "committed to the index is unharmed"
        )
    sys.exit(result if isinstance(result, int) else 0)


def _fail(reason: str) -> NoReturn:
    say_error(reason)
    sys.exit(EXIT_ERROR)


def _tell_reading(read_as: str) -> None:
    """Say how a question with typing errors was read."""
    if read_as:
        say(f"Read as: {read_as}", err=True)


def _load_schema(file: Path | None) -> Mapping[str, Any] | None:
    if file is None:
        return None
    from rag.answering.schema import load_schema

    return load_schema(file)


def _print_report(report: IngestionReport, as_json: bool) -> None:
    if as_json:
        output.print_line({"event": "report", **output.as_json(report)})
    else:
        output.print_report(report)
