from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import document, documents, headings, results

from rag import SourceError

MAN = r"""'\" t
.\" A comment.
.de Vb \" verbatim text
.ft CW
.nf
..
.de Ve
.fi
..
.ie \n(.g .ds Aq \(aq
.el       .ds Aq '
.if t \{\
.SH "NOT SHOWN"
.\}
.TH LAMP "1" "2026-03-04" "lights 2.0" "User Commands"
.SH NAME
lamp, lantern \- switch a \fBlamp\fR on \(em or off
.SH SYNOPSIS
.B lamp
[\fI\,OPTION\/\fR]... \
\fIFILE\fR
.SH "WHAT IT DOES"
First line
second line.  \" a remark
.PP
Don\*(Aqt \(lqpanic\(rq: caf\('e, 5\~\(mu\~3, a\\b, \&.dot.
.SS Options
.TP
\fB\-a\fR, \fB\-\-all\fR
switch
.I all
lamps.
.TP
.BR \-b " (see " lamp.conf (5))
brightness
.IP \(bu 2
a point
.IP \(bu 2
.RI another " one"
.Vb 2
\&    $ lamp \-a
\&      ok
.Ve
.TS
tab(;);
l l.
Name;Use
_
red;T{
stop
there
T}
green;go | on
.TE
.UR https://example.org/
The site
.UE .
.\} stray
.XX "left over" text
"""

MDOC = r""".\" A comment.
.Dd March 4, 2026
.Dt LAMP 8
.Os
.Sh NAME
.Nm lamp
.Nd switch lamps
.Sh SYNOPSIS
.Nm
.Op Fl av
.Op Fl f Ar file Ns Op , Ns Ar more
.Ar name ...
.Sh DESCRIPTION
.Nm
reads
.Pa /etc/lamps ,
see
.Xr lamp.conf 5
.Pq or ask Dq Em someone .
.Bl -tag -width Ds
.It Fl a
All lamps.
.It Fl D Xo
.Sm off
.Oo Ar host : Oc
.Ar port
.Sm on
.Xc
A remote lamp at
.Sm off
.Ar host : port .
.Sm on
.El
.Bl -bullet
.It
One point
.El
.Bd -literal -offset indent
$ lamp -a
  ok
.Ed
.Ss Functions
.Fn lamp_on "int a" "int b"
.Ex -std
"""


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_man_pages_are_paragraphs_lists_examples_and_tables(tmp_path: Path) -> None:
    found = document(written(tmp_path / "lamp.1", MAN))
    assert found.title == "lamp(1) — switch a lamp on — or off"
    assert found.metadata["section"] == "1"
    assert found.metadata["modified"] == "2026-03-04"
    assert headings(found) == [
        (1, "NAME", "NAME"),
        (1, "SYNOPSIS", "SYNOPSIS"),
        (1, "WHAT IT DOES", "WHAT IT DOES"),
        (2, "Options", "Options"),
    ]
    assert found.text == (
        "NAME\n\nlamp, lantern - switch a lamp on — or off\n\n"
        "SYNOPSIS\n\nlamp [OPTION]... FILE\n\n"
        "WHAT IT DOES\n\nFirst line second line.\n\n"
        "Don't “panic”: café, 5 × 3, a\\b, .dot.\n\n"
        "Options\n\n- -a, --all\n  switch all lamps.\n\n"
        "- -b (see lamp.conf(5))\n  brightness\n\n- a point\n\n- another one\n\n"
        "```\n$ lamp -a\n  ok\n```\n\n"
        "| Name | Use |\n| --- | --- |\n| red | stop there |\n| green | go \\| on |\n\n"
        "The site <https://example.org/>. left over text"
    )


def test_mdoc_pages_are_the_words_without_the_macros(tmp_path: Path) -> None:
    found = document(written(tmp_path / "lamp.8", MDOC))
    assert found.title == "lamp(8) — switch lamps"
    assert found.text == (
        "NAME\n\nlamp — switch lamps\n\nSYNOPSIS\n\nlamp [-av] [-f file[,more]] name ...\n\n"
        "DESCRIPTION\n\nlamp reads /etc/lamps, see lamp.conf(5) (or ask “someone”).\n\n"
        "- -a\n  All lamps.\n\n- -D [host:]port\n  A remote lamp at host:port.\n\n- One point\n\n"
        "```\n$ lamp -a\n  ok\n```\n\nFunctions\n\nlamp_on(int a, int b) "
        "The lamp utility exits 0 on success, and >0 if an error occurs."
    )
    assert (2, "Functions", "Functions") in headings(found)


@pytest.mark.parametrize("name", ["lamp.1", "lamp.3ssl", "lamp.n.man", "lamp.1.gz"])
@pytest.mark.parametrize("before", ["", '.\\" A long licence, line by line.\n' * 500])
def test_a_page_is_known_by_section_or_content(tmp_path: Path, name: str, before: str) -> None:
    data = (before + MAN).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (found,) = documents(path)
    assert found.media_type == "text/troff"
    assert found.source == str(path)


def test_the_other_name_of_a_page_is_skipped(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"another name of the page 'man1/lamp.1'") as caught:
        results(written(tmp_path / "lantern.1", ".so man1/lamp.1\n"))
    assert caught.value.kind == "skipped"


def test_latin1_as_roff_has_it_and_declared_encodings(tmp_path: Path) -> None:
    page = ".TH X 1\n.SH NAME\nx \\- h\xf6ren\n"
    path = tmp_path / "x.1"
    path.write_bytes(page.encode("latin1"))
    assert "hören" in document(path).text
    path.write_bytes(b"'\\\" -*- coding: koi8-r -*-\n" + page.replace("\xf6", "и").encode("koi8-r"))
    assert "hиren" in document(path).text


def test_macros_that_call_themselves_come_to_an_end(tmp_path: Path) -> None:
    page = ".TH X 1\n.de XX\n.XX\n.XX\nword\n..\n.ds a \\*a\\*a\n.SH NAME\nx\n.XX\nend\n"
    assert document(written(tmp_path / "x.1", page)).text.startswith("NAME\n\nx")


LINES = st.lists(
    st.sampled_from([*MAN.splitlines(), *MDOC.splitlines(), ".ig", ".TE", ".\\}", "\\"])
)


@given(lines=LINES)
def test_no_order_of_lines_makes_reading_crash(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    text = ".TH X 1\n.SH NAME\nx \\- y\n" + "\n".join(lines) + "\n"
    found = document(written(tmp_path_factory.mktemp("man") / "x.1", text))
    assert found.text.startswith("NAME\n\nx - y")


@pytest.mark.parametrize("head", [".TH A 1\n.SH NAME\n", ".Dd today\n.Dt A 1\n.Sh NAME\n"])
def test_a_control_line_without_a_name_costs_nothing(tmp_path: Path, head: str) -> None:
    path = tmp_path / "a.1"
    path.write_text(f"{head}lamp \\- a lamp\n.}}\nBright.\n")
    assert "Bright." in document(path).text
