"""HTML: content kept, navigation dropped, blocks as Markdown, spans, titles, refusals."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import document, headings
from working import assert_grows_linearly

from rag import Document, SourceError
from rag.config import SourcesConfig
from rag.sources.formats.html import render

PROSE = "<p>" + "The heron stands in the shallow water and waits for fish. " * 6 + "</p>"


def page(tmp_path: Path, markup: str | bytes, **settings: object) -> Document:
    path = tmp_path / "a.html"
    path.write_bytes(markup if isinstance(markup, bytes) else markup.encode())
    return document(path, **settings)


def text(markup: str) -> str:
    return render(markup, "a.html", SourcesConfig()).text


def test_the_content_is_kept_and_the_frame_dropped(tmp_path: Path) -> None:
    found = page(
        tmp_path,
        "<html lang='en-GB'><head><title>T &amp; U</title><script>bad()</script></head><body>"
        "<nav>NAVIGATION</nav><main><header><h1>Head <b>one</b></h1></header><p>a  <i>b</i>\nc"
        "<br>d</p><ul><li>x</li><li><p>y</p></li></ul><table><tr><th>A</th><th>B</th></tr>"
        "<tr><td>1</td><td>2|3</td></tr></table><pre>k\n  l</pre><h2>Next</h2>tail<!-- note -->"
        "</main><footer>FOOTER</footer></body></html>",
    )
    assert found.text == (
        "Head one\n\na b c\nd\n\n- x\n- y\n\n| A | B |\n| --- | --- |\n| 1 | 2\\|3 |\n\n"
        "```\nk\n  l\n```\n\nNext\n\ntail"
    )
    assert found.title == "T & U"
    assert headings(found) == [(1, "Head one", "Head one"), (2, "Next", "Next")]
    assert found.metadata == {"language": "en"}
    assert (found.markup, found.media_type, found.verbatim) == ("markdown", "text/html", False)


# Written by the DocBook stylesheets, XHTML without any of HTML 5.
MANUAL = f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
 "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>3.2.&#160;Wading Birds</title></head>
<body id="docContent" class="container-fluid col-10"><div class="navheader"><table width="100%">
<tr><th colspan="5">3.2. Wading Birds</th></tr><tr><td><a accesskey="p" href="a.html">Prev</a></td>
<td><a href="up.html">Up</a></td><th>Chapter 3. Birds</th><td><a href="i.html">Home</a></td>
<td><a href="n.html">Next</a></td></tr></table><hr /></div>
<div class="sect1" id="BIRDS"><div class="titlepage"><div><div><h2 class="title">3.2. Wading Birds
</h2></div></div></div><div class="toc"><dl class="toc"><dt><span class="sect2"><a href="#S1">3.2.1.
Herons</a></span></dt></dl></div><a id="i1" class="indexterm"></a>{PROSE}
<div class="note"><h3 class="title">Note</h3><p>They nest early.</p></div>
<div class="sect2" id="S1"><h3 class="title">3.2.1. Herons</h3><p>Grey and tall:
</p><pre class="programlisting">
heron <span class="emphasis"><strong>--grey</strong></span>
</pre><p>and quiet.</p></div></div>
<div class="navfooter"><hr /><table><tr><td><a accesskey="p" href="a.html">Prev</a></td><td>
<a href="up.html">Up</a></td><td><a href="n.html">Next</a></td></tr><tr><td>3.1. Ducks</td><td>
<a href="i.html">Home</a></td><td>3.3. Owls</td></tr></table></div></body></html>"""


def test_a_docbook_manual(tmp_path: Path) -> None:
    found = page(tmp_path, MANUAL)
    assert found.title == "3.2. Wading Birds"
    assert headings(found) == [
        (2, "3.2. Wading Birds", "3.2. Wading Birds"),
        (3, "3.2.1. Herons", "3.2.1. Herons"),
    ]
    prose = " ".join(PROSE[3:-4].split())
    assert found.text == (
        f"3.2. Wading Birds\n\n{prose}\n\nNote\n\nThey nest early.\n\n3.2.1. Herons\n\n"
        "Grey and tall:\n\n```\nheron --grey\n```\n\nand quiet."
    )


SPHINX = f"""<!DOCTYPE html><html lang="en"><head><title>birds — Watching — Guide 1.0</title></head>
<body><div class="mobile-nav"><nav class="nav-content" role="navigation">MOBILE</nav></div>
<div class="related"><h3>Navigation</h3><ul><li><a href="g.html">index</a></li>
<li><a href="n.html">next</a> |</li></ul></div><div class="document"><div class="documentwrapper">
<div class="bodywrapper"><div class="body" role="main"><section id="module-birds">
<h1><code><span class="pre">birds</span></code> — Watching<a class="headerlink" href="#birds"
title="Permalink">¶</a></h1>{PROSE}<section id="navigation"><h2>Navigation<a class="headerlink"
href="#navigation">¶</a></h2><dl class="py function"><dt class="sig" id="birds.find">
<span class="sig-name">find</span>(<em>name</em>)<a class="reference internal" href="_s.html">
<span class="viewcode-link"><span class="pre">[source]</span></span></a></dt><dd><p>Find it:</p>
<div class="highlight-python3 notranslate"><div class="highlight"><pre><span></span>
<span class="linenos">1</span><span class="n">find</span>(<span class="s1">'heron'</span>)
</pre></div></div></dd></dl></section></section></div></div></div>
<div class="sphinxsidebar" role="navigation"><h3>Table of Contents</h3><a href="#">birds</a></div>
</div><div class="footer">&copy; Copyright SOMEBODY. Last updated yesterday.</div></body></html>"""


def test_a_sphinx_page(tmp_path: Path) -> None:
    found = page(tmp_path, SPHINX)
    assert found.title == "birds — Watching"
    assert [heading[:2] for heading in headings(found)] == [
        (1, "birds — Watching"),
        (2, "Navigation"),
    ]
    assert found.text.startswith("birds — Watching\n\nThe heron")
    assert found.text.endswith(
        "fish.\n\nNavigation\n\nfind(name)\n: Find it:\n\n  ```python3\n  find('heron')\n  ```"
    )


FRAMES = [
    "<nav><a href='x'>FRAME</a></nav>",
    "<aside>FRAME</aside>",
    "<header><a href='/'>FRAME</a></header>",
    "<header><h1><a href='/'>FRAME</a></h1></header>",
    "<form><label>FRAME <input></label></form>",
    "<div role='navigation'>FRAME</div>",
    "<div role='search'>FRAME</div>",
    "<div class='navheader'>FRAME</div>",
    "<div class='sphinxsidebarwrapper'>FRAME</div>",
    "<div class='wy-breadcrumbs'>FRAME</div>",
    "<ul class='site-nav'><li><a href='x'>FRAME</a></ul>",
    "<div id='sidebar'><a href='x'>FRAME</a></div>",
    "<div class='toc'><b>In</b><ul><li><a href='#a'>FRAME</a><li><a href='#b'>FRAME</a></ul></div>",
    "<div class='contents topic'><p>In</p><a href='#a'>FRAME</a></div>",
    "<table class='related'><tr><td><a href='x'>FRAME</a></td><td><a href='y'>a</a></td></table>",
    "<div class='cookie-banner'>FRAME</div>",
    "<div id='onetrust-consent-banner'>FRAME</div>",
    "<a class='skip-link' href='#main'>FRAME</a>",
    "<a href='#main'>Skip to FRAME content</a>",
    "<div class='pagination'>FRAME 1 2 3</div>",
    "<p>Next: <a href='x'>FRAME</a>, Previous: <a href='y'>FRAME</a>, Up: <a href=z>F</a></p>",
    "<div><a rel='prev' href='x'>← FRAME</a> <a rel='next' href='y'>FRAME →</a></div>",
    "<div class='footer'>© FRAME 2020, all rights reserved</div>",
    "<button>FRAME</button>",
    "<select><option>FRAME</select>",
    "<span aria-hidden='true'>FRAME</span>",
    "<noscript>FRAME</noscript>",
    "<svg><title>FRAME</title></svg>",
]

CONTENTS = [
    "<section id='sidebar'><p>KEPT</p></section>",
    "<div class='section' id='navigation'><a href='x'>KEPT</a></div>",
    "<div class='sidebar'><p>A word on KEPT birds, <a href='x'>as told</a>.</p></div>",
    "<div class='related'>KEPT by <a href='x'>one</a></div>",
    "<div class='table-contents'><table><tr><td><a href='x'>KEPT</a><td>b</table></div>",
    "<section id='cookie-notice'><h2>KEPT</h2></section>",
    "<h2 class='nav-title'><a href='x'>KEPT</a></h2>",
    "<h2><a class='toc-backref' href='#id1'>KEPT</a></h2>",
    "<h2><a href='#x'>KEPT</a></h2>",
    "<article><header><h2><a href='x'>KEPT</a></h2></header></article><article>b</article>",
    "<header><h1>KEPT</h1><p>by somebody</p></header>",
    "<article><aside>KEPT</aside></article><article>b</article>",
    "<h3><button>KEPT</button></h3>",
    "<p><a href='x'>KEPT</a></p>",
    "<p>The next step is KEPT: <a href='x'>next</a> comes after <a href='y'>it</a>.</p>",
    "<ul><li><a href='x'>next()</a> KEPT</ul>",
    "<p class='no-sidebar'>KEPT</p>",
]


@pytest.mark.parametrize("frame", FRAMES)
def test_what_is_navigation_goes(frame: str) -> None:
    found = text(f"<body>{frame}<div>{PROSE}</div>{frame}</body>")
    assert found == " ".join(PROSE[3:-4].split())


@pytest.mark.parametrize("content", CONTENTS)
def test_what_only_looks_like_navigation_stays(content: str) -> None:
    assert "KEPT" in text(f"<body>{content}<div>{PROSE}</div></body>")


@pytest.mark.parametrize("frame", ["nav", "aside", "form", "div class='navheader'", "footer"])
def test_nothing_that_holds_most_of_the_text_is_dropped(frame: str) -> None:
    found = text(f"<body><{frame}>{PROSE}</{frame.split(maxsplit=1)[0]}><p>End.</p></body>")
    assert found.endswith("fish.\n\nEnd.")


def test_the_main_part_is_taken_with_the_title_above_it() -> None:
    frame = "<div>Buy our birds today</div>"
    assert text(f"{frame}<h1>Herons</h1><main>{PROSE}</main>").startswith("Herons\n\nThe heron")
    assert "Buy" not in text(f"{frame}<article>{PROSE}</article>")
    # What calls itself the main part and is not.
    assert "The heron" in text(f"<main>Loading</main>{PROSE}")
    two = text(f"<article>{PROSE}</article><article>Second</article>")
    assert two.endswith("Second")


def test_what_follows_the_end_of_the_body_is_kept() -> None:
    assert text("<html><body><p>a</p></body></html><p>b<html><body>c") == "a\n\nb\n\nc"


def test_lists_are_nested_and_numbered() -> None:
    found = text(
        "<ul><li>a<ul><li>b<ol start=3><li>c<li value=7><p>d<p>e<li>f</ol></ul><li></li>"
        "<li><pre>x\n\ny</pre></ul>g<ol><li>h</ol>"
    )
    assert found == (
        "- a\n  - b\n    3. c\n    7. d\n\n       e\n\n    8. f\n- ```\n  x\n\n  y\n  ```\n\n"
        "g\n\n1. h"
    )


def test_definition_lists() -> None:
    found = text("<dl><dt>a</dt><dt>b</dt><dd>one<p>two</p></dd><dt>c<dd><dl><dt>d<dd>e</dl></dl>f")
    assert found == "a\nb\n: one\n\n  two\n\nc\n: d\n  : e\n\nf"


TABLES = {
    "<table><caption>Cap</caption><tr><th rowspan=2>A<th colspan=2>B<tr><td>1<td>2<tr><td>3<td>4"
    "<td>5</table>": "Cap\n\n| A | B | B |\n| --- | --- | --- |\n| A | 1 | 2 |\n| 3 | 4 | 5 |",
    "<table><thead><tr><td>A<td>B</thead><tbody><tr><td><p>1<p>2<td><ul><li>x<li>y</ul></table>": (
        "| A | B |\n| --- | --- |\n| 1 2 | x y |"
    ),
    # What lays text out, and a table within it.
    "<table><tr><td>menu<td><h1>Title</h1><p>a<table><tr><th>x<th>y<tr><td>1<td>2</table>": (
        "menu\n\nTitle\n\na\n\n| x | y |\n| --- | --- |\n| 1 | 2 |"
    ),
    "<table><tr><td>one cell</table>": "one cell",
    "<table><tr><th><p>Name<p>Meaning<tr><td><p>x<p>first</table>": "Name\n\nMeaning\n\nx\n\nfirst",
    "<table role=presentation><tr><td>a<td>b<tr><td>c<td>d</table>": "a\nb\nc\nd",
    "<table>stray<tr><td>a<td>b<tr><td>c<td>d</table>": "stray\na\nb\nc\nd",
    # Line numbers beside code.
    "<table><tr><td class=linenos><pre>1\n2</pre><td><pre>a\n b</pre></table>": "```\na\n b\n```",
    "<table><tr><td><pre>1\n2</pre><td><pre>a\n b</pre></table>": "```\na\n b\n```",
    "<table><tr><td class=blob-num><td class='blob-code x'>  a<tr><td class=blob-num><td "
    "class='blob-code x'> b</table>": "```\n  a\n b\n```",
    "<table><tr><th>Command<th>Code<tr><td>x<td><pre>1\n2</pre></table>": (
        "Command\nCode\nx\n\n```\n1\n2\n```"
    ),
}


@pytest.mark.parametrize("table", TABLES)
def test_tables(table: str) -> None:
    assert text(table) == TABLES[table]


def test_a_table_is_no_larger_than_its_cells() -> None:
    cells = "<td>b" * 2_000
    down = f"<td rowspan=9999>{'x' * 90}" * 500
    found = text(f"<table><tr>{down}{cells.replace('<td>', '<tr><td>')}</table>")
    assert len(found) < 5_000_000
    assert found.count("b") == 2_000
    found = text(f"<table><tr>{cells.replace('<td>', '<tr><td colspan=9999>a<td>')}</table>")
    assert len(found) < 500_000
    assert found.count("b") == 2_000


CODE = {
    "<pre>x</pre>": "",
    "<pre class='language-c++'>x</pre>": "c++",
    "<pre><code class='hljs lang-Go'>x</code></pre>": "go",
    "<pre class='sourceCode python'>x</pre>": "python",
    "<pre class='brush: js'>x</pre>": "js",
    "<div class='highlight highlight-source-shell'><pre>x</pre></div>": "shell",
    "<div class='highlight-default'><div class='highlight'><pre>x</pre></div></div>": "",
    "<pre data-lang=rust>x</pre>": "rust",
    "<div class='lang-en'><pre>x</pre></div>": "",
}


def test_code_keeps_its_lines_and_ends_at_its_own_fence() -> None:
    assert text("<pre>\n  a<br><br>b &lt;c&gt;&nbsp;d\n\n````\n</pre>") == (
        "`````\n  a\n\nb <c> d\n\n````\n`````"
    )
    lines = "<pre><code><div class=line>a</div><div class=line>  b</div></code></pre>"
    assert text(lines) == "```\na\n  b\n```"


SHOWN = {
    **{code: f"```{language}\nx\n```" for code, language in CODE.items()},
    "<p>a<img src=x alt='A heron'> b<img alt='' src=y><img src=z>": "aA heron b",
    "<details><summary>More</summary>hidden</details>": "More\n\nhidden",
    "10<sup>6</sup> m<sup>-2</sup> 19<sup>th</sup> H<sub>2</sub>O": "10^6 m^-2 19th H2O",
    "note<sup><a href='#n'>1</a></sup>": "note1",
    "<q>so</q> <del>no</del>": '"so" ~~no~~',
    "<math><semantics><mi>x</mi><annotation encoding='application/x-tex'>x_1</annotation>"
    "</semantics></math>": "$x_1$",
    "<math display=block alttext='y^2'><mi>y</mi></math>": "$$y^2$$",
    "<math><mi>x</mi><mo>=</mo><mn>1</mn></math>": "x=1",
    "<p><script type='math/tex'>z_3</script><script>no()</script>": "$z_3$",
    "soft&shy;ly zero&#8203;width": "softly zerowidth",
    "&#150; &eacute;&hellip;&nbsp;&lt;b&gt;": "– é… <b>",
    "a<b> b </b>c <i> d</i>": "a b c d",
    "a<!-- x -->b<![CDATA[c]]>": "ab",
}


@pytest.mark.parametrize("markup", SHOWN)
def test_what_is_shown_of_code_and_within_a_line(markup: str) -> None:
    assert text(markup) == SHOWN[markup]


TITLES = [
    ("Herons — The Bird Guide", "<h1>Herons</h1>", "Herons"),
    ("The Bird Guide: Herons", "<h1>Herons</h1>", "Herons"),
    ("Herons and Storks", "<h1>Herons</h1>", "Herons and Storks"),
    ("Heronsburg", "<h1>Herons</h1>", "Heronsburg"),
    ("", "<h2>Second</h2><h1>Herons</h1>", "Herons"),
    ("Bird  Guide", "", "Bird Guide"),
    ("", "", "a"),
]


@pytest.mark.parametrize(("title", "body", "expected"), TITLES)
def test_titles(tmp_path: Path, title: str, body: str, expected: str) -> None:
    markup = f"<html><head><title>{title}</title></head><body>{body}<p>text</p></body></html>"
    assert page(tmp_path, markup).title == expected


def test_metadata(tmp_path: Path) -> None:
    metas = {
        "name='Author'": "A. Wader",
        "property='article:author'": "https://example.org/wader",
        "name=description": "On  birds",
        "name=keywords": "heron, stork",
        "http-equiv='Content-Language'": "de-AT",
        "property='article:published_time'": "2024-05-06T07:08:09+02:00",
        "name='dcterms.created'": "2020",
        "http-equiv='Last-Modified'": "Mon, 06 May 2024 07:08:09 GMT",
    }
    head = "".join(f"<meta {name} content='{value}'>" for name, value in metas.items())
    assert page(tmp_path, f"<head>{head}</head><p>text</p>").metadata == {
        "author": "A. Wader",
        "description": "On birds",
        "keywords": "heron, stork",
        "language": "de",
        "created": "2024-05-06T07:08:09+02:00",
        "modified": "2024-05-06T07:08:09+00:00",
    }
    vague = "<meta name=date content='last spring'><meta name=dc.language content=eng><p>text</p>"
    assert page(tmp_path, vague).metadata == {}


ENCODED = {
    "mark": "<p>né</p>".encode("utf-16"),
    "meta": '<meta charset="iso-8859-1"><p>n\xe9 \x96</p>'.encode("latin-1"),
    "http-equiv": b"<META http-equiv=Content-Type content='text/html; charset=koi8-r'><p>\xce\xc5",
    "xml": "<?xml version='1.0' encoding='iso-8859-2'?><html><p>né".encode("iso-8859-2"),
    "utf-8": "<p>né".encode(),
    # It is not what it says.
    "wrong": "<meta charset=ascii-2><p>né".encode(),
    "wide": "<meta charset=utf-16><p>né".encode(),
    # An encoding of Python's, and none of the web's.
    "codec": "<meta charset=unicode_escape><p>né\\x41".encode(),
}


@pytest.mark.parametrize("name", ENCODED)
def test_encodings(tmp_path: Path, name: str) -> None:
    expected = {"meta": "né –", "http-equiv": "не", "codec": "né\\x41"}
    assert page(tmp_path, ENCODED[name]).text == expected.get(name, "né")


def test_an_encoding_that_is_not_named(tmp_path: Path) -> None:
    markup = "<p>n\xe9".encode("latin-1")
    assert page(tmp_path, markup, encoding="latin-1").text == "né"
    with pytest.raises(SourceError, match=r"not valid UTF-8 \(byte 0xe9 at offset 4\).*encoding"):
        page(tmp_path, markup)
    with pytest.raises(SourceError, match="NUL"):
        page(tmp_path, b"<p>a\0b")


@pytest.mark.parametrize("tag", ["div", "ul><li", "dl><dd", "blockquote", "table><tr><td", "span"])
def test_deep_nesting_is_read_up_to_the_limit(tmp_path: Path, tag: str) -> None:
    steps = tag.count("<") + 1
    deep = f"<{tag}>" * (900 // steps) + "deep"
    assert "deep" in page(tmp_path, deep).text
    for depth in (1_100, 5_000, 100_000):
        with pytest.raises(SourceError, match=r"1,000 deep.*`sources\.max_nesting`") as caught:
            page(tmp_path, f"<{tag}>" * depth + "deep")
        assert "\n" not in str(caught.value)
    assert "deep" in page(tmp_path, f"<{tag}>" * (1_800 // steps) + "deep", max_nesting=2_000).text


# What comes once, and what is repeated how often.
HOSTILE = [
    ("", "<p>x", 2_000),
    ("", "<a name=x>y", 2_000),
    ("", "<a ", 4_000),
    ("", "<meta ", 4_000),
    ("", "<font>z<p>", 2_000),
    ("<table>", "<tr><td>a<td>b", 1_000),
    ("<table>", "<td>a", 2_000),
    ("<ol>", "<li>a", 2_000),
    ("<div>" * 900, "<i></i><a href='#'>x</a>", 500),
    ("<ul><li>" * 400, "<p>x", 500),
    ("<pre>", "`", 50_000),
    (" ", " ", 100_000),
    ("", "&amp;", 20_000),
    ("<header>" * 900, "x<b></b>", 500),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("once", "part", "often"), HOSTILE, ids=[once[:6] + part[:6] for once, part, _ in HOSTILE]
)
def test_time_grows_with_the_size_only(once: str, part: str, often: int) -> None:
    def rendered(markup: str) -> int:
        return len(render(markup, "a.html", SourcesConfig()).text)

    short, long = once + part * often + "x", once + part * (8 * often) + "x"
    assert_grows_linearly(rendered, short, long, 8)
    assert rendered(long) < 50 * len(long)


def test_nothing_outside_the_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET")
    (tmp_path / "a.dtd").write_text("<!ENTITY leak SYSTEM 'secret.txt'>")
    found = page(
        tmp_path,
        "<!DOCTYPE html [<!ENTITY leak SYSTEM 'secret.txt'>]><html><head><base href='file:///'>"
        "<link rel=stylesheet href=secret.txt></head><p>&leak; text</p><iframe src=secret.txt>"
        "</iframe><object data=secret.txt>kept</object>",
    )
    assert "SECRET" not in found.text
    assert "text" in found.text
    assert "kept" in found.text


TAGS = [
    *("a href='x'", "b", "blockquote", "br", "dd", "details", "div", "dl", "dt", "figure", "h1"),
    *("h3", "li", "ol", "p", "pre", "section", "span", "table", "td", "th", "tr", "ul"),
]
LEAVES = st.integers(0, 999).map(lambda number: f" w{number} ")
TREES = st.recursive(
    LEAVES,
    lambda inner: st.tuples(
        st.sampled_from(TAGS),
        st.lists(inner, max_size=4),
        st.booleans(),
    ).map(lambda t: f"<{t[0]}>{''.join(t[1])}" + (f"</{t[0].split()[0]}>" if t[2] else "")),
    max_leaves=25,
)


@given(markup=TREES)
def test_no_word_is_lost_and_spans_are_exact(markup: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.html")
        path.write_text(f"<body><p>first</p>{markup}</body>")
        found = document(path)
    words = [word for word in markup.replace("<", " <").split() if word.startswith("w")]
    shown = found.text.replace("`", " ").split()
    assert sorted(set(words)) == sorted({word for word in shown if word.startswith("w")})
    for heading in found.headings:
        assert found.text[heading.start : heading.end] == heading.title
        line_start = found.text.rfind("\n", 0, heading.start) + 1
        assert not found.text[line_start : heading.start].strip(" -:.0123456789")
        assert found.text[heading.end : heading.end + 1] in ("", "\n")
