"""Schemas of the user, and the JSON value in what a generator wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.answering.schema import check_schema, load_schema, parse
from rag.errors import ConfigError, GenerationError

LIGHTHOUSE = {
    "type": "object",
    "properties": {
        "year": {"type": "integer"},
        "opened": {"type": "string", "format": "date"},
        "keepers": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["year"],
    "additionalProperties": False,
}


def test_a_schema_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(LIGHTHOUSE), encoding="utf-8")
    assert load_schema(file) == load_schema(str(file)) == LIGHTHOUSE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not JSON: Expecting property name"),
        (b"\xff\xfe", "is not JSON: "),
        (b'{"minimum": Infinity}', "is not JSON: Infinity is not JSON"),
        (b"[" * 200_000, "is not JSON: "),
        (b"[1]", r"a JSON schema is an object, not \[1\]"),
        (b'{"type": "colour"}', r"not a JSON schema: at \$\.type: 'colour'"),
    ],
)
def test_a_file_without_a_schema_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "schema.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"schema.json: {reason}") as caught:
        load_schema(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"), [("absent.json", "No such file"), (".", "Is a directory")]
)
def test_an_unreadable_file_is_named(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path / name}: cannot be read: {reason}"):
        load_schema(tmp_path / name)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        LIGHTHOUSE,
        {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}},
        {"$id": "urn:a", "$defs": {"b": {"$id": "urn:b"}}, "properties": {"x": {"$ref": "urn:b"}}},
        # A property of that name, and a value: neither refers to anything.
        {"properties": {"$ref": {"type": "string"}}, "const": {"$ref": "urn:c"}},
    ],
)
def test_a_schema_may_refer_to_itself(schema: dict[str, Any]) -> None:
    check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"required": "year"}, r"at \$\.required: 'year' is not of type 'array'"),
        ({"properties": {"a": {"pattern": "(a"}}}, r"at \$\.properties\.a\.pattern: '\(a' is not"),
        ({"$ref": "#/$defs/a"}, r"refers to '#/\$defs/a', which it does not hold"),
        ({"items": {"$ref": "http://127.0.0.1:9/a"}}, "refers to 'http://127.0.0.1:9/a'"),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "definitions": {"a": {"items": {"$ref": "#/definitions/b"}}},
            },
            "refers to '#/definitions/b'",
        ),
    ],
)
def test_what_is_wrong_with_a_schema_is_told(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_schema(schema)


@pytest.mark.parametrize(
    "text",
    [
        '{"year": 1871}',
        ' \n{"year": 1871}\n',
        'Sure, here it is:\n\n```json\n{"year": 1871}\n```\nAsk for more.',
        '```\n{\n  "year": 1871\n}\n```',
        'The year is given [1]. {"year": 1871} [1]',
        'It was [so it seems] {"year": 1871}.',
        '{"year": 1871} {"year": 1871}',
        '{"builder": "Ada"} is not asked for, {"year": 1871} is',
        '"So be it": {"year": 1871}',
    ],
)
def test_the_value_is_found_among_words(text: str) -> None:
    assert parse(text, LIGHTHOUSE) == {"year": 1871}


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("1871", {"type": "integer"}, 1871),
        ("```\ntrue\n```", {"type": "boolean"}, True),
        ('"by the sea" [1]', {"type": "string"}, "by the sea"),
        ('["a", "b"] [2]', {"type": "array", "items": {"type": "string"}}, ["a", "b"]),
    ],
)
def test_a_value_need_not_be_an_object(text: str, schema: dict[str, Any], value: object) -> None:
    assert parse(text, schema) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I do not know.", "holds no valid JSON: 'I do not know.'"),
        ("", "holds no valid JSON: ''"),
        ("{'year': 1871}", "holds no valid JSON"),
        ('{"year": NaN}', "holds no valid JSON"),
        (f'{{"year": {"9" * 5000}}}', "holds no valid JSON"),
        ('{"year": "1871"}', r"does not fit the schema: at \$\.year: '1871' is not of type"),
        ('{"year": 1, "keepers": ["a", 2]}', r"at \$\.keepers\[1\]: 2 is not of type 'string'"),
        ('{"year": 1, "opened": "May"}', r"at \$\.opened: 'May' is not a 'date'"),
        ('[{"year": 1871}]', r"at \$: \[\{'year': 1871\}\] is not of type 'object'"),
        # Of several that do not fit, the longest is what was meant.
        ('See [1]: {"yaer": 1871}', r"at \$: 'year' is a required property|'yaer' was unexpected"),
        ('{"year": 1871} or {"year": 1872}', "holds 2 JSON values that fit the schema, not one"),
        # What lies within a broken value is not the answer.
        ('{"first": {"year": 1871}, second: 2}', "holds no valid JSON"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(GenerationError, match=reason) as caught:
        parse(text, LIGHTHOUSE)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


WHOLE = json.dumps({"keepers": ['Ada "the lamp" Stone', "Bo [2]", "{}"], "year": 1871})


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_an_answer_that_was_cut_off_says_so(length: int) -> None:
    with pytest.raises(GenerationError, match=r"cut off .* raise `generation\.max_tokens`"):
        parse(WHOLE[:length], LIGHTHOUSE)


@pytest.mark.parametrize("text", ['"by the s', "[" * 100_000, '```json\n{"a": 1,'])
def test_other_beginnings_are_cut_off_as_well(text: str) -> None:
    with pytest.raises(GenerationError, match="was cut off before its JSON ended"):
        parse(text, {})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.slow
@given(
    value=st.dictionaries(st.text(max_size=8), VALUES, min_size=1),
    before=st.text("Ab. ,:\n", max_size=12),
    after=st.text("Ab. ,:\n", max_size=12),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_any_object_comes_back(
    value: dict[str, Any], before: str, after: str, indent: int | None, ascii_only: bool
) -> None:
    written = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert parse(f"{before}{written}{after}", {"type": "object"}) == value
    assert parse(f"{before}\n```json\n{written}\n```\n{after}", {"type": "object"}) == value
