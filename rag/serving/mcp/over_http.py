"""The tools under `/mcp` of the web server, each call with the rights of its token."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from rag.config import Config
from rag.errors import GenerationError, QuestionError, RagError, StoreError
from rag.serving.mcp.tools import make_server
from rag.serving.view import View

if TYPE_CHECKING:
    from starlette.requests import Request

    from rag.serving.http.access import User
    from rag.serving.http.collections import Collections
    from rag.serving.http.jobs import Jobs
    from rag.serving.http.work import Workers

T = TypeVar("T")


class HttpAgents:
    """An ASGI application that speaks MCP by Streamable HTTP, without sessions."""

    def __init__(self, collections: Collections, workers: Workers, config: Config) -> None:
        host = _Server(collections, workers, config)
        server = make_server(host, write=not config.serve.read_only)
        # The token guards every request; a page of another site has none.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        self._app = server.streamable_http_app(
            streamable_http_path="/",
            stateless_http=True,
            json_response=True,
            transport_security=security,
        )
        self._manager = server.session_manager

    def run(self) -> AbstractAsyncContextManager[None]:
        """Return what runs as long as requests are served."""
        return self._manager.run()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)


class _Server:
    """The collections of the web server, as the user of a request may see them."""

    def __init__(self, collections: Collections, workers: Workers, config: Config) -> None:
        self._collections = collections
        self._workers = workers
        self._config = config

    def collections(self, context: Context[Any]) -> list[str]:
        user = _user(context)
        return [each.name for each in self._collections.all() if user.sees(each.name)]

    def view(self, context: Context[Any], collection: str) -> View:
        found = self._find(context, collection)
        return self._collections.view(found, _user(context))

    def _find(self, context: Context[Any], collection: str) -> Any:
        from rag.serving.http.access import Refused

        try:
            return self._collections.find(collection, _user(context))
        except Refused as refused:
            raise QuestionError(refused.reason) from refused

    async def run(self, work: Callable[[], T]) -> T:
        from rag.serving.http.access import Refused

        try:
            return await self._workers.run(work)
        except Refused as refused:
            raise QuestionError(refused.reason) from refused

    async def add(self, context: Context[Any], collection: str, sources: list[str]) -> str:
        user = _user(context)
        if not (user.write and user.admin):
            raise QuestionError("only an admin's token adds files and addresses of the server")
        found = self._find(context, collection)
        job = _jobs(context).add(found.name, user.name, "add", tuple(sources))
        return f"job {job.id} waits for its turn"

    async def remove(self, context: Context[Any], collection: str, document_id: str) -> str:
        user = _user(context)
        if not user.write:
            raise QuestionError("your token may read, but not remove")
        found = self._find(context, collection)
        view = self._collections.view(found, user)
        path = await self._workers.run(lambda: view.file_of(document_id))
        job = _jobs(context).add(found.name, user.name, "remove", (path,))
        return f"job {job.id} waits for its turn"

    def describe(self, error: Exception) -> str:
        if isinstance(error, QuestionError):
            return str(error)
        if isinstance(error, GenerationError):
            return "the generator gave no answer: try again later"
        if isinstance(error, StoreError) and ": holds no document" in str(error):
            return "there is no such document"
        return "the server cannot do this now" if isinstance(error, RagError) else str(error)


def _request(context: Context[Any]) -> Request:
    # Only requests by HTTP come here, and each has one.
    return cast("Request", context.request_context.request)


def _user(context: Context[Any]) -> User:
    user: User = _request(context).scope["state"]["user"]
    return user


def _jobs(context: Context[Any]) -> Jobs:
    jobs: Jobs = _request(context).scope["app"].state.jobs
    return jobs
