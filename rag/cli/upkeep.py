"""Commands that keep an index well."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import output, progress
from rag.cli.opening import open_rag
from rag.cli.options import config_option, index_option, json_option, wait_option

if TYPE_CHECKING:
    from rag.types import CopyReport


@click.command("compact")
@index_option
@config_option
@wait_option
@json_option
def compact_command(
    index: str | None, config_file: Path | None, wait: float | None, as_json: bool
) -> None:
    """Rewrite the index without what was removed: no byte of its text remains.

    Exit code 1 says that a reader at work all the while still holds a part of it.
    """
    done = open_rag(index, config_file, None, {"index.wait": wait}).compact()
    if as_json:
        output.print_json(done)
    else:
        click.echo(f"{done.before / 1e6:.1f} MB before, {done.after / 1e6:.1f} MB now")
    if not done.cleared:
        click.echo(
            "a reader was at work all the while, and the log still holds what it reads: run "
            "`rag compact` again when it is done",
            err=True,
        )
        sys.exit(1)


_force_option = click.option("--force", is_flag=True, help="Replace what is there already.")


@click.command("export")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@index_option
@config_option
@_force_option
@json_option
def export_command(
    file: Path, index: str | None, config_file: Path | None, force: bool, as_json: bool
) -> None:
    """Write all that the index holds into one FILE, to carry it elsewhere.

    It is a ZIP archive of JSON lines and a NumPy array. The same contents give the same bytes.
    """
    with progress.shown() as show:
        done = open_rag(index, config_file, show).export(file, force=force)
    _print_copied(done, "exported", as_json)


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@index_option
@config_option
@wait_option
@json_option
def import_command(
    file: Path, index: str | None, config_file: Path | None, wait: float | None, as_json: bool
) -> None:
    """Build an index from a FILE that `rag export` wrote: all of it, or nothing.

    Nothing is embedded. The index folder must not hold an index yet.
    """
    with progress.shown() as show:
        done = open_rag(index, config_file, show, {"index.wait": wait}).import_from(file)
    _print_copied(done, "imported", as_json)


@click.command("backup")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@index_option
@config_option
@_force_option
@json_option
def backup_command(
    folder: Path, index: str | None, config_file: Path | None, force: bool, as_json: bool
) -> None:
    """Copy the index as it is into DIR, while others read and write it.

    The copy is an index folder itself: `rag search --index DIR` searches it. --force replaces an
    index that is in DIR, once the copy is whole.
    """
    with progress.shown() as show:
        done = open_rag(index, config_file, show).backup(folder, force=force)
    _print_copied(done, "copied", as_json)


def _print_copied(done: CopyReport, verb: str, as_json: bool) -> None:
    if as_json:
        output.print_json(done)
        return
    click.echo(
        f"{verb} {done.documents:,} documents in {done.chunks:,} passages to "
        f"{output.one_line(done.path)}: {done.bytes / 1e6:.1f} MB in {done.seconds:.1f} s"
    )


@click.command("doctor")
@index_option
@config_option
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@wait_option
@json_option
def doctor_command(
    index: str | None, config_file: Path | None, repair: bool, wait: float | None, as_json: bool
) -> None:
    """Check all that the index consists of: its database, its caches, and how they agree.

    A repair keeps all documents that can be read, names those that it cannot keep, and leaves what
    is well alone. Exit code 1 says that a problem remains.
    """
    found = open_rag(index, config_file, None, {"index.wait": wait}).doctor(repair=repair)
    if as_json:
        output.print_json(found)
    else:
        output.print_examination(found)
    if not found.well:
        sys.exit(1)
