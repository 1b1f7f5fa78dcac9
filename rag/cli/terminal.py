"""Print: all that a command shows goes through here, since much of it is not ours.

A file's name, a document, an answer or a server's message may hold escape sequences, which a
terminal obeys, characters that turn the direction of writing, line breaks that begin a line in our
name, or characters that the terminal's encoding lacks. None of them gets out as it is.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

# What stands for our own characters where the encoding of the terminal lacks them.
PLAIN = {
    "“": '"', "”": '"', "…": "...", "–": "-", "›": ">", "▶": ">", "◀": "<", "✓": "x",
    "\ufffd": "?",
}  # fmt: skip
_TERMS_WITH_LINKS = ("xterm-kitty", "alacritty", "foot", "contour", "xterm-ghostty", "wezterm")
_FIRST_VTE_WITH_LINKS = 5000
_PROGRAMS_WITH_LINKS = frozenset(
    {"iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "rio", "Tabby", "WarpTerminal"}
)
_REPLACED = "\ufffd"
_LONGEST_ERROR = 2000
# They are not printable by themselves, and join letters in Persian, in Indian scripts and in emoji.
_JOINERS = "\u200c\u200d"
_ERRORS = "rag.plain"


def one_line(text: str) -> str:
    """Replace what no line can hold: a line break would break it, an escape the terminal."""
    return _replace(text, _JOINERS)


def several_lines(text: str) -> str:
    """Replace what no text on a terminal can hold; line breaks and tabs stay."""
    return _replace(text, _JOINERS + "\n\t")


def _replace(text: str, allowed: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in allowed else _REPLACED for each in text)


def say(text: str = "", style: str = "", *, end: str = "\n", err: bool = False) -> None:
    """Print a line, on standard output or standard error.

    `style` is a colour, `bold` or `dim`; it is plain where it is piped or `NO_COLOR` is set.
    """
    _write(one_line(text), style, end, err)


def say_link(text: str, address: str, style: str = "", *, end: str = "\n") -> None:
    """Print a line that a terminal opens at a click, where it knows links (OSC 8).

    Nothing of the address gets out that is not printable ASCII.
    """
    shown = one_line(text)
    if address.isascii() and address.isprintable() and knows_links(sys.stdout):
        begin, finish = f"\x1b]8;;{address}\x1b\\", "\x1b]8;;\x1b\\"
        _write(shown, style, end, False, around=(begin, finish))
    else:
        _write(shown, style, end, False)


def knows_links(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that is known to show links."""
    forced = os.environ.get("FORCE_HYPERLINK")
    if forced is not None:
        return forced != "0"
    if not stream.isatty():
        return False
    term, version = os.environ.get("TERM", ""), os.environ.get("VTE_VERSION", "")
    known = (
        term.startswith(_TERMS_WITH_LINKS)
        or os.environ.get("TERM_PROGRAM", "") in _PROGRAMS_WITH_LINKS
        or (version.isdecimal() and int(version[:9]) >= _FIRST_VTE_WITH_LINKS)
        or any(os.environ.get(name) for name in ("WT_SESSION", "KONSOLE_VERSION", "DOMTERM"))
    )
    # What runs within another may not hand links through.
    return known and not term.startswith(("screen", "tmux", "dumb"))


def say_text(text: str, style: str = "", *, end: str = "\n", err: bool = False) -> None:
    """Print a text of any number of lines: as it is where standard output is piped."""
    piped = not err and not sys.stdout.isatty()
    _write(text if piped else several_lines(text), style, end, err)


def say_error(reason: str) -> None:
    """Print why something failed as one line, which has an end although a file may be quoted."""
    line = "rag: " + " ".join(reason.split())
    say(line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]}…", err=True)


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON, which escapes what is not printable, and what no encoding has."""
    plain = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    lines = [line if line.isprintable() else _escape(line) for line in text.split("\n")]
    _write("\n".join(lines), "", "\n", False)


def _escape(line: str) -> str:
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line)


def _write(
    text: str, style: str, end: str, err: bool, *, around: tuple[str, str] = ("", "")
) -> None:
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")
    colour = None if style in ("", "bold", "dim") else style
    # None leaves bold and dim alone: with False, click would write what ends them.
    bold, dim = style == "bold" or None, style == "dim" or None
    fitting = fit(text, sys.stderr if err else sys.stdout)
    marked = click.style(fitting, fg=colour, bold=bold, dim=dim, reset=bool(style))
    begin, finish = around
    # click takes out what colours, and leaves what links.
    click.echo(begin + marked + finish + end, nl=False, err=err, color=False if plain else None)


def fit(text: str, stream: TextIO) -> str:
    """Return a text with stand-ins for what the encoding of a stream lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, _ERRORS).decode(encoding)


def show_usage_error(error: click.ClickException) -> None:
    """Print what is wrong with a command as click does; it may quote what was given."""
    written = io.StringIO()
    error.show(written)
    say_text(written.getvalue(), end="", err=True)


def make_console(*, err: bool = False, width: int | None = None) -> Console:
    """Make a rich console that reads no markup, and prints a line for each text."""
    from rich.console import Console
    from rich.text import Text

    class Safe(Console):
        def render_str(self, text: str, *arguments: Any, **options: Any) -> Text:
            return super().render_str(one_line(text), *arguments, **options)

    return Safe(
        stderr=err, markup=False, highlight=False, emoji=False, soft_wrap=not err, width=width
    )


def make_text(text: str, style: str = "", **attributes: Any) -> Any:
    """Make a line for a rich console."""
    from rich.text import Text

    return Text(one_line(text), style=style, **attributes)


@contextmanager
def guard_output() -> Iterator[None]:
    """Let the block print stand-ins for what the encoding lacks, and libraries warn safely.

    Without it a name in another script ends a command where the encoding is an old one, and what a
    library logs of a file goes to the terminal as it is.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)
    last, show = logging.lastResort, warnings.showwarning
    logging.lastResort = _Saying(logging.WARNING)
    warnings.showwarning = _say_warning
    try:
        yield
    finally:
        logging.lastResort, warnings.showwarning = last, show


class _Saying(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage(), err=True)


def _say_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    say(f"{category.__name__}: {message}", err=True)


def _stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    if error.encoding.lower().startswith("utf"):
        # Lone surrogates, which is how Python holds bytes of a name that are no text.
        return (_REPLACED * len(missing)).encode(error.encoding), error.end
    return "".join(PLAIN.get(each, "?") for each in missing), error.end


codecs.register_error(_ERRORS, _stand_in)
