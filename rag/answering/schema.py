"""Answers as JSON: read a user's schema, and find the value in a generator's text that fits it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError, GenerationError, first_line

if TYPE_CHECKING:
    from jsonschema.exceptions import SchemaError, ValidationError
    from referencing import Resource

_FENCED = re.compile(r"```\w*\n(.*?)\n?```", re.DOTALL)
# The beginning of a value, as opposed to a bracket or a quoted word in a sentence.
_BEGINNING = re.compile(r'\A"|\{\s*(?:["}]|\Z)|\[\s*(?:["{\[\]\d-]|true|false|null|\Z)')
_MARK = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_LONGEST_REASON = 200


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def load_schema(path: str | Path) -> Mapping[str, Any]:
    """Read the JSON schema in a file.

    Raises:
        ConfigError: if the file cannot be read, or holds no JSON schema.
    """
    try:
        schema = _DECODER.decode(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON: {first_line(error)}") from error
    try:
        check_schema(schema)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return dict(schema)


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise ConfigError unless `schema` is a JSON schema that refers to nothing outside itself.

    The draft is the one that `$schema` names, or 2020-12.
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY, specification_with

    if not isinstance(schema, Mapping):
        raise ConfigError(f"a JSON schema is an object, not {json.dumps(schema)[:40]}")
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except SchemaError as error:
        raise ConfigError(f"not a JSON schema: {_describe(error)}") from error
    draft = specification_with(str(kind.META_SCHEMA.get("$schema")), default=DRAFT202012)
    resource = draft.create_resource(schema)
    _check_references(resource, EMPTY_REGISTRY.resolver_with_root(resource))


def parse(text: str, schema: Mapping[str, Any]) -> Any:
    """Find the one JSON value in `text` that fits `schema`; ignore fences and words around it.

    Raises:
        GenerationError: if no value fits (it names where the best one does not), or several do.
    """
    from jsonschema.exceptions import best_match
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing.jsonschema import EMPTY_REGISTRY

    kind = validator_for(schema, default=Draft202012Validator)
    # The default registry would fetch what a schema refers to.
    validator = kind(dict(schema), registry=EMPTY_REGISTRY, format_checker=kind.FORMAT_CHECKER)
    values = _find_values(text)
    fitting = [value for value in values if validator.is_valid(value)]
    if not fitting:
        longest = max(values, key=lambda value: len(json.dumps(value)))
        error = best_match(validator.iter_errors(longest))
        raise GenerationError(f"the answer does not fit the schema: {_describe(error)}")
    if any(value != fitting[0] for value in fitting):
        raise GenerationError(
            f"the answer holds {len(fitting)} JSON values that fit the schema, not one"
        )
    return fitting[0]


def _find_values(text: str) -> list[Any]:
    """Find the JSON values in `text`: all of it, the fenced part, or those among its words."""
    text = text.strip()
    fenced = _FENCED.findall(text)
    for whole in [text, *fenced] if len(fenced) == 1 else [text]:
        try:
            return [_DECODER.decode(whole.strip())]
        except (ValueError, RecursionError):
            continue
    values = []
    at = 0
    while begun := _BEGINNING.search(text, at):
        try:
            value, at = _DECODER.raw_decode(text, begun.start())
            values.append(value)
        except (ValueError, RecursionError):
            # A value inside a broken one is not the answer.
            at = _end_of_value(text, begun.start())
    if not values:
        raise GenerationError(f"the answer holds no valid JSON: {' '.join(text.split())[:80]!r}")
    return values


def _end_of_value(text: str, start: int) -> int:
    """Find the end of the value that begins at `start`, by its quotes and brackets alone."""
    depth = 0
    for match in _MARK.finditer(text, start):
        depth += (match[0] in "{[") - (match[0] in "}]")
        if not depth:
            return match.end()
    raise GenerationError(
        "the answer was cut off before its JSON ended: raise `generation.max_tokens`"
    )


def _check_references(resource: Resource[Any], resolver: Any) -> None:
    from referencing.exceptions import Unresolvable

    contents = resource.contents
    reference = contents.get("$ref") if isinstance(contents, Mapping) else None
    if isinstance(reference, str):
        try:
            resolver.lookup(reference)
        except Unresolvable as error:
            raise ConfigError(
                f"the JSON schema refers to {reference!r}, which it does not hold: put it under "
                "`$defs`"
            ) from error
    for subresource in resource.subresources():
        _check_references(subresource, resolver.in_subresource(subresource))


def _describe(error: ValidationError | SchemaError) -> str:
    """Describe in one line where something does not fit, and why."""
    reason = " ".join(error.message.split())
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]}…"
    return f"at {error.json_path}: {reason}"
