"""The application: routes, who may use them, limits, and replies to what goes wrong."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag import private
from rag.answering.stopping import StoppedError
from rag.config import Config
from rag.errors import (
    ConfigError,
    GenerationError,
    QuestionError,
    RagError,
    StoreError,
    is_out_of_memory,
)
from rag.serving.http import native, openai, page, schema
from rag.serving.http.access import Refused, User, Users
from rag.serving.http.collections import Collections
from rag.serving.http.exchange import Endpoint, Handler, reply
from rag.serving.http.jobs import Job, Jobs
from rag.serving.http.metrics import Metrics
from rag.serving.http.tracing import Cost, record
from rag.serving.http.work import Workers
from rag.serving.operations import Operation
from rag.serving.paths import make_paths_absolute
from rag.types import Answer

_ENDING_SECONDS = 10.0
_CHARACTERS_A_TOKEN = 4
_AUDIT_BYTES = 64 << 20
_OPENAI = "/v1/"
_log = logging.getLogger("rag.serving")


def make_app(config: Config, users: Users) -> Starlette:
    """Make the ASGI application that serves the collections of the settings.

    Raises:
        ConfigError: if a setting cannot be used.
        StoreError: if jobs cannot be kept.
    """
    config = make_paths_absolute(config)
    collections = Collections(config)
    metrics = Metrics()

    def note(operation: Operation, result: Any, started: float) -> None:
        _note_operation(config, metrics, operation, result, started)

    workers = Workers(config.serve.workers, config.serve.queue, note)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(agents.run())
            app.state.jobs = Jobs(collections.state, lambda job, tell: _do(collections, job, tell))
            try:
                yield
            finally:
                app.state.jobs.close(_ENDING_SECONDS)
                workers.close()

    agents = _agents(collections, workers, config)
    middleware = [Middleware(_Gate, users=users, metrics=metrics, audit=_audit(config))]
    if config.serve.origins:
        middleware.insert(
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.serve.origins),
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type"],
            ),
        )
    app = Starlette(
        routes=_routes(agents), middleware=middleware, lifespan=lifespan,
        exception_handlers={404: _missing, 405: _missing},
    )  # fmt: skip
    app.state.config = config
    app.state.collections = collections
    app.state.workers = workers
    app.state.metrics = metrics
    app.state.describe = describe
    return app


def _note_operation(
    config: Config, metrics: Metrics, operation: Operation, result: Any, started: float
) -> None:
    """Count what an operation cost, and record it with its stages."""
    facts: dict[str, Any] = {}
    if isinstance(result, Answer):
        facts = {"rag.way": result.way, "rag.abstained": result.abstained}
        facts["rag.model"] = result.model
        if result.way == "generate":
            # The generator's own count of what it wrote is not told: a token has four characters.
            read, written = result.prompt.tokens, -(-len(result.text) // _CHARACTERS_A_TOKEN)
            serve = config.serve
            cost = Cost.of(read, written, serve.price_read, serve.price_written)
            metrics.count_cost(cost)
            facts |= {"gen_ai.usage.input_tokens": read, "gen_ai.usage.output_tokens": written}
            facts["rag.price"] = cost.price
    timings = getattr(result, "timings", {})
    record(type(operation).__name__.lower(), started, timings, facts)


def _agents(collections: Collections, workers: Workers, config: Config) -> Any:
    from rag.serving.mcp import HttpAgents

    return HttpAgents(collections, workers, config)


# Each route of the API, for the application and for its description.
ROUTES: tuple[Endpoint, ...] = (
    Endpoint("GET", "/collections", native.list_collections),
    Endpoint("POST", "/collections", native.make_collection, body=native.CollectionBody),
    Endpoint("PUT", "/collections/{collection}/files/{name}", native.upload),
    Endpoint(
        "GET", "/documents", native.list_documents, query=("collection", "where", "limit", "offset")
    ),
    Endpoint("POST", "/documents", native.add_documents, body=native.AddBody),
    Endpoint(
        "GET", "/documents/{id:path}/pages/{number:int}", native.read_page, query=("collection",)
    ),
    Endpoint(
        "GET",
        "/documents/{id:path}/picture",
        native.draw_page,
        query=("collection", "start", "end"),
    ),
    Endpoint(
        "GET", "/documents/{id:path}", native.read_document, query=("collection", "start", "end")
    ),
    Endpoint("DELETE", "/documents/{id:path}", native.remove_document, query=("collection",)),
    Endpoint("GET", "/places", native.read_place, query=("collection", "place")),
    Endpoint("POST", "/search", native.search, body=native.SearchBody),
    Endpoint("POST", "/ask", native.ask, body=native.AskBody),
    Endpoint("POST", "/check", native.check, body=native.CheckBody),
    Endpoint("POST", "/verify", native.verify, body=native.VerifyBody),
    Endpoint("GET", "/feedback", native.list_feedback, query=("collection", "limit")),
    Endpoint("POST", "/feedback", native.give_feedback, body=native.FeedbackBody),
    Endpoint("DELETE", "/feedback/{id}", native.remove_feedback, query=("collection",)),
    Endpoint("GET", "/jobs", native.list_jobs, query=("limit",)),
    Endpoint("GET", "/jobs/{id}", native.read_job, query=("stream",)),
    Endpoint("POST", "/jobs/{id}/retry", native.retry_job),
    Endpoint("DELETE", "/jobs/{id}", native.cancel_job),
    Endpoint("GET", "/examination", native.examine, query=("collection",)),
    Endpoint("GET", "/v1/models", openai.list_models),
    Endpoint("GET", "/v1/models/{id:path}", openai.read_model),
    Endpoint("POST", "/v1/chat/completions", openai.complete_chat, body=openai.ChatBody),
    Endpoint("POST", "/v1/responses", openai.respond, body=openai.ResponsesBody),
    Endpoint("POST", "/v1/embeddings", openai.embed, body=openai.EmbeddingsBody),
    Endpoint("GET", "/v1/files", openai.list_files),
    Endpoint("POST", "/v1/files", openai.upload_file),
    Endpoint("GET", "/v1/files/{id}", openai.read_file),
    Endpoint("DELETE", "/v1/files/{id}", openai.remove_file),
    Endpoint("GET", "/v1/files/{id}/content", openai.read_file_content),
    Endpoint("GET", "/v1/vector_stores", openai.list_stores),
    Endpoint("POST", "/v1/vector_stores", openai.make_store, body=openai.StoreBody),
    Endpoint("GET", "/v1/vector_stores/{id}", openai.read_store),
    Endpoint(
        "POST", "/v1/vector_stores/{id}/search", openai.search_store, body=openai.StoreSearchBody
    ),
    Endpoint(
        "GET", "/v1/vector_stores/{id}/files", openai.list_store_files, query=("limit", "after")
    ),
    Endpoint(
        "POST", "/v1/vector_stores/{id}/files", openai.add_store_file, body=openai.StoreFileBody
    ),
    Endpoint("GET", "/v1/vector_stores/{id}/files/{file_id:path}", openai.read_store_file),
    Endpoint("DELETE", "/v1/vector_stores/{id}/files/{file_id:path}", openai.remove_store_file),
)
# What anybody may see: that the server runs, and the page, which holds nothing of the documents.
_OPEN = (
    Endpoint("GET", "/health", native.show_health),
    Endpoint("GET", "/ready", native.show_readiness),
    Endpoint("GET", "/openapi.json", schema.show_schema),
    Endpoint("GET", "/api", schema.show_page),
)


async def _show_metrics(request: Request) -> Response:
    if not native.user_of(request).admin:
        raise Refused(403, "only an admin sees the metrics")
    return request.app.state.metrics.show(request.app.state)  # type: ignore[no-any-return]


def _routes(agents: Any) -> list[BaseRoute]:
    known = [*ROUTES, *_OPEN, Endpoint("GET", "/metrics", _show_metrics)]
    routes: list[BaseRoute] = [
        Route(each.path, _guard(each.handler), methods=[each.method], name=each.handler.__name__)
        for each in known
    ]
    # Not a mount, which would send clients from one of these to the other.
    routes += [Route(path, agents, methods=None) for path in ("/mcp", "/mcp/")]
    return [*routes, *page.routes()]


def _guard(handler: Handler) -> Handler:
    """Turn what a handler raises on purpose into a reply."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except (RagError, Refused) as error:
            return _refuse(request, error)
        except (StoppedError, ClientDisconnect):
            # Nobody reads it.
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 - one request must not end in silence.
            if is_out_of_memory(error):
                return _refuse(request, Refused(503, "the server has not enough memory now", 10))
            _log.error("%s %s", request.method, request.url.path, exc_info=error)
            return error_reply(request.url.path, 500, "the server failed: its log says why", {})

    handle.__name__ = handler.__name__
    return handle


def describe(request: Request, error: Exception) -> tuple[int, str]:
    """Return the status and the words for an error.

    Errors about the index, its files and its models name folders of the server: only an admin
    reads them, the log keeps them.
    """
    if isinstance(error, Refused):
        return error.status, error.reason
    if isinstance(error, QuestionError):
        return 400, str(error)
    user: User | None = getattr(request.state, "user", None)
    known = user is not None and user.admin
    _log.warning("%s %s: %s", request.method, request.url.path, error)
    if isinstance(error, GenerationError):
        return 502, str(error) if known else "the generator gave no answer: try again later"
    if isinstance(error, StoreError):
        # A document that is not there, or may not be seen, is named by the caller's own words.
        missing = ": holds no document" in str(error) or "may mean several" in str(error)
        if missing:
            return 404, "there is no such document, or more than one is meant"
        return 409, str(error) if known else "the index cannot be asked now"
    return 500, str(error) if known else "the server cannot do this now: its log says why"


def _refuse(request: Request, error: Exception) -> Response:
    status, reason = describe(request, error)
    headers = {}
    if isinstance(error, Refused) and error.wait:
        headers["Retry-After"] = str(error.wait)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="rag"'
    return error_reply(request.url.path, status, reason, headers)


def error_reply(path: str, status: int, reason: str, headers: dict[str, str]) -> Response:
    """Make the reply to a request that failed: on OpenAI's routes in OpenAI's form."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
    kinds[429] = "rate_limit_error"
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    if path.startswith(_OPENAI):
        body: dict[str, Any] = {"message": reason, "type": kind, "param": None, "code": str(status)}
    else:
        body = {"message": reason, "type": kind, "status": status}
    return reply({"error": body}, status, headers)


async def _missing(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    reason = "there is no such route" if status == 404 else "the route knows other methods"
    return error_reply(request.url.path, status, reason, {})


def _audit(config: Config) -> logging.Logger | None:
    """Return the log that each request adds a line to, readable by its owner alone."""
    if not config.serve.audit:
        return None
    file = Path(config.serve.audit)
    try:
        private.make_folder(file.parent)
        with open(file, "ab", opener=private.open_for_owner):
            pass
        handler = RotatingFileHandler(file, maxBytes=_AUDIT_BYTES, backupCount=8, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error
    log = logging.getLogger(f"rag.serving.audit.{id(handler)}")
    log.propagate = False
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    return log


class _Gate:
    """Let in who has a token; count, time and note each request; set headers that protect."""

    def __init__(
        self, app: ASGIApp, users: Users, metrics: Metrics, audit: logging.Logger | None
    ) -> None:
        self._app = app
        self._users = users
        self._metrics = metrics
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = 500
        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        path = scope["path"]
        try:
            if not _is_open(path):
                headers = dict(scope["headers"])
                given = headers.get(b"authorization", b"").decode("latin-1")
                try:
                    state["user"] = self._users.enter(given)
                except Refused as refused:
                    response = _refuse(Request(scope), refused)
                    await response(scope, receive, send_with_headers)
                    return
            await self._app(scope, receive, send_with_headers)
        finally:
            seconds = time.monotonic() - started
            route = getattr(scope.get("route"), "path", "") or ("/mcp" if "/mcp" in path else "")
            self._metrics.count(route or "other", scope["method"], status, seconds)
            self._note(scope, route or path[:200], status, seconds)

    def _note(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        if self._audit is None:
            return
        state = scope["state"]
        user: User | None = state.get("user")
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "user": user.name if user else None,
            "client": (scope.get("client") or [None])[0],
            "method": scope["method"],
            "route": route,
            "collection": state.get("collection"),
            "status": status,
            "ms": round(seconds * 1000),
        }
        self._audit.info(json.dumps(line))


_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


def _is_open(path: str) -> bool:
    return any(path == each.path for each in _OPEN) or page.is_page(path)


def _do(collections: Collections, job: Job, tell: Callable[[Any], None]) -> dict[str, Any]:
    """Do a job, and return its report."""
    found = next((each for each in collections.all() if each.name == job.collection), None)
    if found is None:
        raise StoreError(f"there is no collection {job.collection!r}")
    rag = collections.rag(found)
    folder = collections.state / "files" / found.name
    if job.kind == "remove":
        removed = rag.remove(list(job.sources))
        for source in job.sources:
            if Path(source).parent == folder.resolve():
                Path(source).unlink(missing_ok=True)
        return {"removed": list(removed), "failed": []}
    # Uploads are called by their names alone.
    report = rag.add(list(job.sources), retry=True, base=folder, progress=tell)
    return asdict(report)
