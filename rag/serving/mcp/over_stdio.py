"""The tools over standard input and output, for one user: whoever started the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from mcp.server.mcpserver import Context

from rag.config import Config
from rag.engine import RAG
from rag.errors import QuestionError
from rag.serving.mcp.tools import make_server
from rag.serving.view import View

T = TypeVar("T")


class _OneIndex:
    """The index of the settings, under the name of its folder."""

    def __init__(self, config: Config) -> None:
        self._rag = RAG(config=config)
        self._name = self._rag.path.name or "default"

    def collections(self, context: Context[Any]) -> list[str]:
        return [self._name]

    def view(self, context: Context[Any], collection: str) -> View:
        if collection not in ("", self._name):
            raise QuestionError(f"there is no collection {collection!r:.80}: there is {self._name}")
        return View(self._rag, self._name)

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def add(self, context: Context[Any], collection: str, sources: list[str]) -> str:
        self.view(context, collection)
        report = await asyncio.to_thread(lambda: self._rag.add(list(sources)))
        failed = "; ".join(f"{each.source}: {each.reason}" for each in report.failed)
        counts = f"{len(report.added)} added, {len(report.updated)} updated"
        return f"{counts}; failed: {failed}" if failed else counts

    async def remove(self, context: Context[Any], collection: str, document_id: str) -> str:
        view = self.view(context, collection)
        removed = await asyncio.to_thread(lambda: self._rag.remove([view.file_of(document_id)]))
        return f"{len(removed)} removed"

    def describe(self, error: Exception) -> str:
        return str(error)


def serve_stdio(config: Config, *, write: bool) -> None:
    """Serve the tools until standard input ends.

    Raises:
        ConfigError: if a setting cannot be used.
    """
    make_server(_OneIndex(config), write=write).run("stdio")
