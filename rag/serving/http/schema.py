"""What the API can be asked, as OpenAPI and as a page."""

from __future__ import annotations

import html
import inspect
import re
from functools import cache
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import rag
from rag.serving.http.exchange import reply

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


@cache
def describe_api() -> dict[str, Any]:
    """Return the OpenAPI description of all routes, made from the types that they read."""
    from rag.serving.http.application import ROUTES

    kinds = sorted({each.body for each in ROUTES if each.body}, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for each in ROUTES:
        name = each.handler.__name__
        parameters = [
            {"name": found, "in": "path", "required": True, "schema": {"type": "string"}}
            for found in _PARAMETER.findall(each.path)
        ] + [{"name": found, "in": "query", "schema": {"type": "string"}} for found in each.query]
        operation: dict[str, Any] = {
            "operationId": name,
            "summary": (inspect.getdoc(each.handler) or "").splitlines()[0],
            "parameters": parameters,
            "responses": {
                "200": {"description": "Done."},
                "default": {"description": "An error: `{error: {message, type}}`."},
            },
        }
        if body := each.body:
            schema = {"$ref": f"#/components/schemas/{body.__name__}"}
            operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        elif name == "upload":
            operation["requestBody"] = {"content": {"application/octet-stream": {}}}
        elif name == "upload_file":
            operation["requestBody"] = {"content": {"multipart/form-data": {}}}
        shown = _PARAMETER.sub(r"{\1}", each.path)
        paths.setdefault(shown, {})[each.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "rag", "version": rag.__version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


async def show_schema(request: Request) -> Response:
    """Return the description as JSON."""
    return reply(describe_api())


async def show_page(request: Request) -> Response:
    """Return the description as a page."""
    rows = []
    for path, operations in describe_api()["paths"].items():
        for method, operation in operations.items():
            names = ", ".join(each["name"] for each in operation["parameters"])
            body = operation.get("requestBody", {}).get("content", {})
            refs = [each.get("schema", {}).get("$ref", "") for each in body.values()]
            kind = " ".join(ref.rpartition("/")[2] for ref in refs) or " ".join(body)
            cells = (method.upper(), path, operation["summary"], names, kind)
            rows.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    head = "".join(
        f"<th scope='col'>{name}</th>" for name in ("Method", "Path", "", "Parameters", "Body")
    )
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'><title>API of rag</title>"
        "<link rel='stylesheet' href='/static/page.css'></head><body class='api'><main>"
        "<h1>API</h1><p>Each request carries <code>Authorization: Bearer TOKEN</code>. "
        "<a href='/openapi.json'>openapi.json</a> has the types of all bodies.</p>"
        f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>"
        f"<tr>{'</tr><tr>'.join(rows)}</tr></tbody></table></div></main></body></html>"
    )
    policy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'"
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})
