"""The web page: static files that hold nothing of the documents; the page asks for those."""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
# Nothing is run or fetched but what this server sends.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


def is_page(path: str) -> bool:
    """Return whether a path belongs to the page, which anybody may load."""
    return path == "/" or path.startswith(("/d/", "/static/"))


async def _show(request: Request) -> Response:
    return _file("index.html")


async def _show_static(request: Request) -> Response:
    name = request.path_params["name"]
    return _file(name) if name in _TYPES else Response(status_code=404)


def _file(name: str) -> Response:
    data = (resources.files(__name__) / name).read_bytes()
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(data, media_type=_TYPES[name], headers=headers)


def routes() -> list[BaseRoute]:
    """Return the routes of the page."""
    return [
        Route("/", _show, name="page"),
        Route("/d/{collection}/{id:path}", _show, name="page_of_document"),
        Route("/static/{name}", _show_static, name="static"),
    ]
