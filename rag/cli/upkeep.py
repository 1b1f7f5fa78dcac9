"""The commands that maintain an index: compact, export, import, backup, doctor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import options, output, progress
from rag.cli.opening import open_rag
from rag.cli.terminal import say

if TYPE_CHECKING:
    from rag.types import CopyReport

_force_option = click.option("--force", is_flag=True, help="Replace what is there already.")
_file_argument = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))


@click.command("compact")
@options.index_options
@options.wait_option
@options.json_option
def compact_command(as_json: bool) -> None:
    """Rewrite the index so that no byte of removed text remains.

    Exit code 1 means that a process which was reading all the while still holds a part of it.
    """
    report = open_rag().compact()
    if as_json:
        output.print_json(report)
    else:
        say(f"{report.before / 1e6:.1f} MB before, {report.after / 1e6:.1f} MB now")
    if not report.cleared:
        say(
            "a reader was at work all the while, and the log still holds what it reads: run "
            "`rag compact` again when it is done",
            err=True,
        )
        sys.exit(1)


@click.command("export")
@_file_argument
@options.index_options
@_force_option
@options.json_option
def export_command(file: Path, force: bool, as_json: bool) -> None:
    """Write the whole index into one FILE, to carry it elsewhere.

    FILE is a ZIP archive of JSON lines and a NumPy array. The same contents give the same bytes.
    """
    with progress.display() as show:
        report = open_rag(show).export_to(file, force=force)
    _print_copy_report(report, "exported", as_json)


@click.command("import")
@_file_argument
@options.index_options
@options.wait_option
@options.json_option
def import_command(file: Path, as_json: bool) -> None:
    """Build an index from a FILE that `rag export` wrote.

    Imports all of it or nothing, and embeds nothing anew. The index folder must not hold an index
    yet.
    """
    with progress.display() as show:
        report = open_rag(show).import_from(file)
    _print_copy_report(report, "imported", as_json)


@click.command("backup")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.index_options
@_force_option
@options.json_option
def backup_command(folder: Path, force: bool, as_json: bool) -> None:
    """Copy the index into DIR, while others read and write it.

    The copy is an index folder itself: `rag search --index DIR` searches it. --force replaces an
    index that is in DIR, once the copy is complete.
    """
    with progress.display() as show:
        report = open_rag(show).backup(folder, force=force)
    _print_copy_report(report, "copied", as_json)


def _print_copy_report(report: CopyReport, verb: str, as_json: bool) -> None:
    if as_json:
        output.print_json(report)
        return
    say(
        f"{verb} {report.documents:,} documents in {report.chunks:,} passages to "
        f"{report.path}: {report.bytes / 1e6:.1f} MB in {report.seconds:.1f} s"
    )
    if report.waiting:
        named = ", ".join(report.waiting)
        say(f"it followed {named}: none is read here before you say `rag index PATH`")


@click.command("doctor")
@options.index_options
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
@options.wait_option
@options.json_option
def doctor_command(repair: bool, as_json: bool) -> None:
    """Check every part of the index, and repair it with --repair.

    The parts are its database, its caches, and how they agree. A repair keeps every document that
    can be read, names those that it cannot keep, and leaves alone what is well. Exit code 1 means
    that a problem remains.
    """
    found = open_rag().doctor(repair=repair)
    output.print_result(found, output.print_examination, as_json=as_json)
    if not found.well:
        sys.exit(1)
