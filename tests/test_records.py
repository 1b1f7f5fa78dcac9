from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import document, documents, problems, results

from rag import Document, SourceError


def lines(path: Path, *rows: Any) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def whole(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def test_corpus_lines_keep_their_ids(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "c.jsonl",
        {"_id": "x1", "title": "T", "text": "one", "year": 1999},
        "",
        {"_id": 2, "text": "two"},
        {"_id": "x3", "title": "Only a title", "text": ""},
    )
    first, second, third = documents(path)
    assert (first.id, first.title, first.text, first.metadata) == ("x1", "T", "one", {"year": 1999})
    assert first.source == f"{path}#x1"
    assert (second.id, second.title, second.text) == ("2", "2", "two")
    assert third.text == "Only a title"


def test_other_layouts_are_found_by_the_usual_names(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.ndjson",
        {"id": 7, "headline": "News", "body": "Something happened.", "tags": ["a", "b"]},
        {"subject": "No id", "content": "Content."},
        {"level": "info", "at": {"line": 3, "file": "x.py"}},
    )
    first, second, third = documents(path)
    assert (first.source, first.title, first.text) == (f"{path}#7", "News", "Something happened.")
    assert first.metadata == {"tags": ["a", "b"]}
    assert first.id != "7"
    assert (second.title, second.text) == ("No id", "Content.")
    assert third.text == "level: info\nat.line: 3\nat.file: x.py"


def test_a_record_without_an_id_keeps_its_own_when_others_go(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    both = documents(lines(path, {"text": "one"}, {"text": "two"}))
    (alone,) = documents(lines(path, {"text": "two"}))
    assert alone.id == both[1].id


def test_fields_may_be_described(tmp_path: Path) -> None:
    row = {
        "key": {"n": "a/1"},
        "about": {"name": "Title", "by": "Ada"},
        "lead": "Lead.",
        "parts": [{"words": "One."}, {"words": "Two."}],
        "text": "not this",
    }
    path = lines(tmp_path / "a.jsonl", row, {"lead": "Only this.", "key": {"n": "b"}}, {"x": "y"})
    settings = {"json_text": "lead, parts.words", "json_title": "about.name", "json_id": "key.n"}
    first, second = documents(path, **settings)
    assert (first.text, first.title) == ("Lead.\n\nOne.\n\nTwo.", "Title")
    assert first.source == f"{path}#a/1"
    assert first.metadata["about"] == {"by": "Ada"}
    assert first.metadata["text"] == "not this"
    assert second.text == "Only this."
    (problem,) = problems(path, **settings)
    assert problem.reason.startswith("line 3 has no text in `lead, parts.words`")


BAD_LINES = {
    "nope": "line 2 is not JSON",
    '{"text": 1e': "line 2 is not JSON",
    '{"_id": "1", "text": "again"}': "line 2 has the id '1' of an earlier one",
    '{"text": "one"}': "line 2 is the same as an earlier one",
    '{"text": "  "}': "line 2 holds no text",
    "[" * 100_000: "line 2 is nested too deeply",
    '{"a":' * 60 + "1" + "}" * 60: "line 2 is nested more than 50 deep (`sources.max_nesting`)",
}


@pytest.mark.parametrize("bad", BAD_LINES, ids=list(BAD_LINES.values()))
def test_a_bad_line_is_named_and_costs_no_other(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.jsonl"
    first = {"text": "one"} if "same" in BAD_LINES[bad] else {"_id": "1", "text": "one"}
    lines(path, first, bad, {"_id": "2", "text": "two"})
    assert [d.text for d in documents(path, max_nesting=50)] == ["one", "two"]
    (problem,) = problems(path, max_nesting=50)
    assert problem.reason.startswith(BAD_LINES[bad])
    assert problem.source == f"{path}:2"


def test_bad_bytes_and_endless_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"text": "caf\xe9"}\n{"text": "' + b"x " * (1 << 20) + b'"}\n{"text": "good"}\n'
    )
    assert [d.text for d in documents(path, max_text_mb=1)] == ["good"]
    first, second = problems(path, max_text_mb=1)
    assert first.reason.startswith("line 1 is not valid UTF-8")
    assert second.reason == "line 2 is longer than 1 MB (`sources.max_text_mb`)"
    assert documents(path, max_text_mb=3, encoding="latin1")[0].text == "café"


def test_bad_lines_alone_fail_the_file_by_the_first(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line 1 is not JSON"):
        results(lines(tmp_path / "a.jsonl", "nope", "no", "n"))
    with pytest.raises(SourceError, match="line 1 is not JSON"):
        results(lines(tmp_path / "b.jsonl", *["nope"] * 5000))


def test_one_record_too_many_words_long_costs_no_other(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"_id": "1", "text": "x" * 500}, {"_id": "2", "text": "two"})
    assert [d.id for d in documents(path, max_word=100)] == ["2"]
    (problem,) = problems(path, max_word=100)
    assert problem.source == f"{path}#1"
    assert "`sources.max_word`" in problem.reason


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"data": rows}])
def test_a_list_of_objects_is_a_document_each(tmp_path: Path, wrap: Any) -> None:
    rows = [{"id": "a", "text": "one"}, {"id": "b", "text": "two", "n": 1}, {"id": "c"}, 3]
    path = whole(tmp_path / "a.json", wrap(rows))
    found = {d.source.removeprefix(str(path)): d.text for d in documents(path)}
    # What has no field for its text is text as a whole.
    assert found == {"#a": "one", "#b": "two", "#c": "id: c"}
    (problem,) = problems(path)
    assert (problem.source, problem.reason) == (f"{path}:4", "item 4 has no field for its text")


def test_what_stands_around_a_list_is_kept(tmp_path: Path) -> None:
    path = whole(tmp_path / "a.json", {"about": "Birds", "items": [{"text": "Robin"}]})
    assert [d.text for d in documents(path)] == ["Robin", "about: Birds"]


def test_any_other_json_is_rendered_as_lines(tmp_path: Path) -> None:
    value = {"name": "x", "parts": [{"n": 1}, {"n": None}], "list": [1, "b", True], "none": {}}
    found = document(whole(tmp_path / "a.json", value))
    assert found.text == ("name: x\nparts.0.n: 1\nparts.1.n: null\nlist: 1, b, true\nnone: {}")
    found = document(whole(tmp_path / "b.json", {"title": "T", "body": "Words.", "n": 1}))
    assert (found.title, found.text, found.metadata) == ("T", "Words.", {"n": 1})
    assert found.source == str(tmp_path / "b.json")


def test_lines_that_are_called_json(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.json", {"_id": "1", "text": "one"}, {"_id": "2", "text": "two"})
    assert [d.id for d in documents(path)] == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{nope", "is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ("[" * 60 + "]" * 60, "is nested more than 50 deep (`sources.max_nesting`)"),
    ],
)
def test_json_that_cannot_be_read_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(SourceError) as caught:
        results(path, max_nesting=50)
    assert reason in str(caught.value)


def test_numbers_of_any_size_and_half_pairs_can_be_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "a\\ud800b", "big": ' + "9" * 5000 + ', "far": 1e999, "not": NaN, "\\udc00": 1}\n'
    )
    found = document(path)
    assert found.text == "a\ufffdb"
    stored = json.dumps(found.metadata, allow_nan=False, ensure_ascii=False).encode()
    assert b"9" * 5000 in stored
    assert b"1e999" in stored


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["text", "title", "id", "_id", "body", "data"]) | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def strings_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings_in(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings_in(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.slow
@given(value=VALUES, as_lines=st.booleans())
def test_no_json_makes_reading_crash_and_no_string_is_lost(value: Any, as_lines: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl" if as_lines else "a.json")
        path.write_text(json.dumps(value), encoding="utf-8")
        try:
            found = results(path, max_word=10**9)
        except SourceError as error:
            assert error.kind == "skipped"
            assert not any(text.strip() for text in strings_in(value)) or "no text" in error.reason
            return
        kept = " ".join(
            f"{d.text} {d.title} {d.source} {rendered(d)}" for d in found if isinstance(d, Document)
        )
        if not any(not isinstance(d, Document) for d in found):
            for text in strings_in(value):
                assert " ".join(text.replace("\0", "\ufffd").split()) in " ".join(kept.split())


def rendered(document: Document) -> str:
    return " ".join(strings_in(dict(document.metadata))).replace("\0", "\ufffd")


def test_tables_among_texts_are_taken(tmp_path: Path) -> None:
    rows = [
        {"type": "text", "text": "The gate code is 7731."},
        {"type": "table", "rows": [["Gate", "Code"], ["North", "5520"]]},
    ]
    joined = "\n".join(d.text for d in documents(whole(tmp_path / "a.json", rows)))
    assert "7731" in joined
    assert "rows.1: North, 5520" in joined


def test_comments_and_last_commas_of_settings_are_no_mistake(tmp_path: Path) -> None:
    text = """{
      // how long sessions live
      "session_minutes": 45, /* , } ] " */
      "url": "https://a.example/*b*/", "odd": "a\\"//,]",
      "list": [1, 2, /* last */ ],
      "retries": 3, // then give up
    }"""
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert document(tmp_path / "a.json").text.split("\n") == [
        "session_minutes: 45",
        "url: https://a.example/*b*/",
        'odd: a"//,]',
        "list: 1, 2",
        "retries: 3",
    ]


@pytest.mark.parametrize(
    "text",
    ["{,}", "[1,,2]", '{"a": 1,, }', '{"a": "' + '\\"' * 50_000, "[1 /*" * 20_000, "// only"],
)
def test_what_comments_do_not_explain_is_still_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match="is not JSON"):
        results(tmp_path / "a.json")


def test_a_picture_within_json_is_cut_out(tmp_path: Path) -> None:
    value = {"report": "It failed.", "picture": "data:image/png;base64," + "iVBO" * 40_000}
    found = document(whole(tmp_path / "a.json", value)).text
    assert found == "report: It failed.\npicture: data:image/png;base64,"
