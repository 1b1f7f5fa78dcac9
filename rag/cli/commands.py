"""The commands: parse, call RAG, print, exit code.

Exit codes: 0 done, 1 an error (one line says what to do) or a file that could not be indexed,
2 wrong usage, 3 the documents hold no answer.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rag.cli import output, progress
from rag.cli.chat import chat_command
from rag.cli.checking import check_command
from rag.cli.daemon import daemon_command
from rag.cli.evaluation import evaluation_command
from rag.cli.models import models_command
from rag.cli.opening import open_rag, open_to_ask
from rag.cli.options import (
    config_option,
    embedder_option,
    index_option,
    json_option,
    k_option,
    precision_option,
    wait_option,
    where_option,
)
from rag.cli.prompts import prompts as prompts_command
from rag.cli.upkeep import (
    backup_command,
    compact_command,
    doctor_command,
    export_command,
    import_command,
)
from rag.errors import RagError

if TYPE_CHECKING:
    from rag.engine import RAG
    from rag.types import IngestionReport

EXIT_ERROR = 1
EXIT_NO_ANSWER = 3
_INTERRUPTED = 130
_SPAN = re.compile(r"(.+):(\d+)-(\d+)", re.DOTALL)


_generator_option = click.option(
    "--generator",
    metavar="NAME",
    help="`extractive`, a catalogued model, a GGUF file, a directory, a hub name, "
    "or the URL of an OpenAI-compatible server.",
)
_mode_option = click.option(
    "--mode",
    type=click.Choice(["hybrid", "dense", "lexical"]),
    help="By meaning and words (default), by meaning alone, or by words alone.",
)
_rerank_option = click.option(
    "--rerank",
    metavar="NAME",
    help="`none` (default), `embedder`, `late-interaction`, `likelihood`, or a cross-encoder's "
    "directory or hub name.",
)
_context_option = click.option(
    "--context",
    type=click.Choice(["passage", "window", "section"]),
    help="What is read of a hit: the passage (default), a few sentences more, or its section.",
)
_way_option = click.option(
    "--way",
    type=click.Choice(["auto", "generate", "extract"]),
    help="Answers written by the generator, quoted from the passages, or (default) written where "
    "the passages bear it out and quoted otherwise.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="checkable-rag", prog_name="rag")
def cli() -> None:
    """Ask your own documents, and check every answer against its sources."""


def _choosing(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that take in files."""
    options = [
        click.option(
            "--include",
            multiple=True,
            metavar="GLOB",
            help="Of folders, take these files only; as in .gitignore; may be repeated.",
        ),
        click.option(
            "--exclude",
            multiple=True,
            metavar="GLOB",
            help="Of folders, leave these files out; as in .gitignore; may be repeated.",
        ),
        click.option("--hidden", is_flag=True, default=None, help="Take hidden files too."),
        click.option(
            "--retry", is_flag=True, help="Read again what failed, although it has not changed."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@index_option
@embedder_option
@precision_option
@config_option
@wait_option
@click.option("--rebuild", is_flag=True, help="Forget everything first; takes on new settings.")
@click.option(
    "--optimize",
    is_flag=True,
    help="Then build the index of vectors anew and measure it; without PATH, do that alone.",
)
@click.option("--watch", is_flag=True, help="Then go on, and index again whenever a file changes.")
@_choosing
def index(
    paths: tuple[str, ...],
    index: str | None,
    embedder: str | None,
    precision: str | None,
    config_file: Path | None,
    wait: float | None,
    rebuild: bool,
    optimize: bool,
    watch: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    hidden: bool | None,
    retry: bool,
    as_json: bool,
) -> None:
    """Bring the index to the state of files and folders; without PATH, of all given before.

    Unchanged files cost nothing, changed ones replace their passages, and files that are gone
    from a given folder go with theirs. Hidden files and what .gitignore or .ragignore name are
    left out. Exit code 1 says that a file could not be read; all others are indexed.
    """
    if not paths and (include or exclude or hidden):
        raise click.UsageError("--include, --exclude and --hidden go with a PATH: name it.")
    settings = {**_sources(embedder, precision, include, exclude, hidden), "index.wait": wait}
    if optimize and not (paths or rebuild or retry or watch):
        _optimize(open_rag(index, config_file, None, settings), as_json)
        return
    with progress.as_events() if as_json else progress.shown() as show:
        rag = open_rag(index, config_file, show, settings)
        report = rag.index(list(paths), rebuild=rebuild, retry=retry, progress=show)
    _finish(report, as_json)
    if optimize:
        _optimize(rag, as_json)
    if watch:
        if not as_json:
            click.echo("watching; Ctrl-C ends it", err=True)
        told = set(report.failed)
        # What a change was is told when it is in; a bar for a single file would only flicker.
        for later in rag.watch():
            if later.added or later.updated or later.removed or not told.issuperset(later.failed):
                _finish(later, as_json)
            told = set(later.failed)
    if report.failed:
        sys.exit(EXIT_ERROR)


def _optimize(rag: RAG, as_json: bool) -> None:
    with progress.as_events() if as_json else progress.shown() as show:
        # What was built for minutes is not thrown away for a writer that takes seconds.
        found = rag.optimize(progress=show)
    if as_json:
        output.print_event("optimized", output.as_json(found))
    else:
        click.echo(f"search: {output.vector_search(found)}")


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@index_option
@embedder_option
@precision_option
@config_option
@wait_option
@_choosing
def add(
    paths: tuple[str, ...],
    index: str | None,
    embedder: str | None,
    precision: str | None,
    config_file: Path | None,
    wait: float | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    hidden: bool | None,
    retry: bool,
    as_json: bool,
) -> None:
    """Index files and folders like `rag index`, but remove nothing that is gone."""
    with progress.as_events() if as_json else progress.shown() as show:
        settings = {**_sources(embedder, precision, include, exclude, hidden), "index.wait": wait}
        report = open_rag(index, config_file, show, settings).add(
            list(paths), retry=retry, progress=show
        )
    _finish(report, as_json)
    if report.failed:
        sys.exit(EXIT_ERROR)


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@index_option
@config_option
@wait_option
@json_option
def remove(
    paths: tuple[str, ...],
    index: str | None,
    config_file: Path | None,
    wait: float | None,
    as_json: bool,
) -> None:
    """Take files and folders out of the index.

    A file that still lies in a folder which the index keeps to comes back with the next
    `rag index`: name it in a .ragignore file to leave it out for good.
    """
    removed = open_rag(index, config_file, None, {"index.wait": wait}).remove(list(paths))
    if as_json:
        output.print_json({"removed": removed})
    else:
        click.echo(f"{len(removed):,} file{'' if len(removed) == 1 else 's'} removed")


@cli.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@index_option
@config_option
@json_option
def status(
    paths: tuple[str, ...], index: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Name files that are new, changed or gone since they were indexed, and those that failed."""
    found = open_rag(index, config_file).status(list(paths))
    if as_json:
        output.print_json(found)
    else:
        output.print_status(found)


@cli.command()
@click.argument("document", metavar="DOC[:START-END]")
@index_option
@config_option
@json_option
def show(document: str, index: str | None, config_file: Path | None, as_json: bool) -> None:
    """Print a stored document, or a passage of it in its section.

    DOC is a document's id or path, or the end of its path. START and END count characters, as in
    the JSON that `search` and `ask` print.
    """
    rag = open_rag(index, config_file)
    span = _SPAN.fullmatch(document)
    found = rag.find(span[1] if span else document)
    bounds = (int(span[2]), int(span[3])) if span else None
    if bounds is not None and not 0 <= bounds[0] < bounds[1] <= len(found.text):
        _fail(f"{found.source}: has {len(found.text):,} characters, no {bounds[0]}-{bounds[1]}")
    if as_json:
        passage = {"passage": found.text[slice(*bounds)]} if bounds else {}
        output.print_json({**output.as_json(found), **passage})
    else:
        output.print_document(found, bounds)


@cli.command()
@click.argument("question")
@index_option
@k_option
@where_option
@_mode_option
@_rerank_option
@_context_option
@click.option(
    "--diversity",
    type=click.FloatRange(0, 1),
    metavar="0-1",
    help="How much variety counts against nearness (default: 0).",
)
@click.option("--explain", is_flag=True, help="Show how each hit came to its place.")
@embedder_option
@precision_option
@_generator_option
@config_option
@json_option
def search(
    question: str,
    index: str | None,
    k: int | None,
    where: str,
    mode: str | None,
    rerank: str | None,
    context: str | None,
    diversity: float | None,
    explain: bool,
    embedder: str | None,
    precision: str | None,
    generator: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Find the passages that suit a question best.

    Passages are found by meaning and by words. What stands in "double quotes" must be in a
    passage word for word, a word after a minus (`-draft`) must not. The generator is used by
    `likelihood` and by the expansions that write (see the settings), and not loaded otherwise.
    """
    settings = {
        "embedding.model": embedder,
        "embedding.precision": precision,
        "generation.model": generator,
        **_by(mode),
        "retrieval.rerank": rerank,
        "retrieval.context": context,
        "retrieval.diversity": diversity,
    }
    with progress.shown() as show:
        rag = open_to_ask(index, config_file, show, settings)
        found = rag.explain(question, k, where)
    if as_json:
        output.print_json(found if explain else found.hits)
    elif explain:
        output.print_explanation(found)
    else:
        output.print_hits(found.hits)
    if found.loosened:
        click.echo("no passage holds the quoted phrase: its words were looked for", err=True)
    if not found.hits:
        sys.exit(EXIT_NO_ANSWER)


@cli.command()
@click.argument("question")
@click.option(
    "--docs",
    multiple=True,
    metavar="PATH",
    help="Bring the index to the state of PATH first; may be given more than once.",
)
@index_option
@k_option
@where_option
@_mode_option
@_rerank_option
@_context_option
@_generator_option
@_way_option
@click.option("--strict", is_flag=True, default=None, help="Leave out what no passage bears out.")
@click.option(
    "--schema",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Answer with JSON that follows this JSON schema.",
)
@embedder_option
@config_option
@json_option
def ask(
    question: str,
    docs: tuple[str, ...],
    index: str | None,
    k: int | None,
    where: str,
    mode: str | None,
    rerank: str | None,
    context: str | None,
    generator: str | None,
    way: str | None,
    strict: bool | None,
    schema: Path | None,
    embedder: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Answer a question from the documents, with its sources.

    Exit code 3 says that the documents hold no answer.
    """
    settings = {
        "embedding.model": embedder,
        "generation.model": generator,
        **_by(mode),
        "retrieval.rerank": rerank,
        "retrieval.context": context,
        "answering.way": way,
        "answering.strict": strict,
    }
    with progress.shown() as show:
        rag = open_to_ask(index, config_file, show, settings)
        if docs:
            if not question.strip():
                _fail("the question is empty")
            report = rag.index(list(docs))
            for problem in report.failed:
                click.echo(f"not indexed: {problem.source}: {problem.reason}", err=True)
        stream = rag.stream(question, k, where, schema=_schema(schema))
        pieces = iter(stream)
        # Searching and reading the prompt take their time before the first piece.
        first = next(pieces, "")
    if not as_json:
        click.echo(output.for_terminal(first), nl=False)
    for piece in pieces:
        if not as_json:
            click.echo(output.for_terminal(piece), nl=False)
    answer = stream.answer
    if as_json:
        output.print_json(answer)
    else:
        click.echo()
        output.print_sources(answer)
    if answer.interrupted:
        _fail(f"the answer is not complete: {answer.interrupted}")
    if answer.abstained:
        sys.exit(EXIT_NO_ANSWER)


@cli.command()
@index_option
@config_option
@json_option
def info(index: str | None, config_file: Path | None, as_json: bool) -> None:
    """Say what the index holds and with what it was built."""
    facts = open_rag(index, config_file).info()
    if as_json:
        output.print_json(facts)
        return
    rows = [
        ("index", facts["path"]),
        ("files", f"{facts['files']:,}"),
        ("documents", f"{facts['documents']:,}"),
        ("passages", f"{facts['chunks']:,}"),
        ("on disk", f"{facts['bytes'] / 1e6:.1f} MB"),
        ("embedder", f"{facts['embedder']} ({facts['dim']} dimensions)"),
        ("weights", " ".join(filter(None, (facts["fingerprint"], facts["revision"]))) or "unknown"),
        ("cut to", f"{facts['chunk_size']} tokens, {facts['chunk_overlap']} overlapping"),
    ]
    if facts["search"]:
        rows.append(("search", output.vector_search(facts["search"])))
    for name, value in rows:
        click.echo(f"{name:<10} {value}")


cli.add_command(chat_command)
cli.add_command(check_command)
cli.add_command(daemon_command)
cli.add_command(evaluation_command)
cli.add_command(models_command)
cli.add_command(prompts_command)
cli.add_command(compact_command)
cli.add_command(doctor_command)
cli.add_command(export_command)
cli.add_command(import_command)
cli.add_command(backup_command)


def main() -> NoReturn:
    """Run the command line; problems end in one line and an exit code."""
    # Threads that wait by spinning are in one another's way where other work is going on: five
    # times slower was seen. Read when the first library with OpenMP is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        result = cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.UsageError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_ERROR)
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted; what was committed to the index is unharmed", err=True)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has left; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_ERROR)
    except RagError as error:
        _fail(str(error))
    sys.exit(result if isinstance(result, int) else 0)


def _fail(reason: str) -> NoReturn:
    click.echo("rag: " + " ".join(reason.split()), err=True)
    sys.exit(EXIT_ERROR)


def _sources(
    embedder: str | None,
    precision: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    hidden: bool | None,
) -> dict[str, Any]:
    return {
        "embedding.model": embedder,
        "embedding.precision": precision,
        "sources.include": include or None,
        "sources.exclude": exclude or None,
        "sources.hidden": hidden,
    }


def _by(mode: str | None) -> dict[str, Any]:
    # Who asks for one side alone wants to see that, and nothing that is built on both.
    alone = mode in ("dense", "lexical")
    return {"retrieval.mode": mode, "retrieval.expansion": () if alone else None}


def _schema(file: Path | None) -> Mapping[str, Any] | None:
    if file is None:
        return None
    from rag.answering.schema import load_schema

    return load_schema(file)


def _finish(report: IngestionReport, as_json: bool) -> None:
    if as_json:
        output.print_event("report", output.as_json(report))
    else:
        output.print_report(report)
