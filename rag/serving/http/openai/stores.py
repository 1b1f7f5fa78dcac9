"""`/v1/files` and `/v1/vector_stores`: documents and collections by OpenAI's names."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from rag.serving.http import uploads
from rag.serving.http.access import Refused
from rag.serving.http.collections import Collection
from rag.serving.http.exchange import read_json, read_number, reply
from rag.serving.http.jobs import Job
from rag.serving.http.native import check_write, open_view, perform, user_of
from rag.serving.http.openai import shapes
from rag.serving.operations import Explain, ListDocuments
from rag.serving.view import View
from rag.types import DocumentEntry, Hit

_STORE = "vs_"
_MOST_ATTRIBUTES = 16
_LONGEST_ATTRIBUTE = 512
_FORM_BYTES = 1 << 20


class StoreBody(msgspec.Struct, frozen=True):
    """The body of `POST /v1/vector_stores`."""

    name: str = ""


class StoreFileBody(msgspec.Struct, frozen=True):
    """The body of `POST /v1/vector_stores/{id}/files`."""

    file_id: str


class RankingOptions(msgspec.Struct, frozen=True):
    """How a search ranks; the ranker is our own whatever is named."""

    ranker: str | None = None
    score_threshold: float | None = None


class StoreSearchBody(msgspec.Struct, frozen=True):
    """The body of `POST /v1/vector_stores/{id}/search`."""

    query: str | list[str]
    max_num_results: int | None = None
    filters: dict[str, Any] | None = None
    ranking_options: RankingOptions | None = None
    rewrite_query: bool | None = None


def store_name(store_id: str) -> str:
    """Return the name of the collection that a vector store's id names.

    Raises:
        Refused: if it is no such id.
    """
    if not store_id.startswith(_STORE):
        raise Refused(404, f"there is no vector store {store_id[:80]!r}")
    return store_id.removeprefix(_STORE)


def show_result(hit: Hit) -> dict[str, Any]:
    """Return a passage as a result of a search, with our own fields beside OpenAI's."""
    return {
        "file_id": hit.chunk.document_id,
        "filename": hit.source,
        # OpenAI's scores lie between 0 and 1; ours by vectors do, nearly always.
        "score": min(1.0, max(0.0, hit.cosine if hit.cosine is not None else hit.score)),
        "attributes": {
            key: value
            for key, value in (
                ("page", hit.chunk.page),
                ("line", hit.chunk.line),
                ("heading", " › ".join(hit.chunk.heading)[:_LONGEST_ATTRIBUTE]),
            )
            if value
        },
        "text": hit.text,
        "content": [{"type": "text", "text": hit.text}],
        "start": hit.start,
        "end": hit.end,
        "location": hit.location,
    }


async def _show_store(request: Request, collection: Collection) -> dict[str, Any]:
    collections, user = request.app.state.collections, user_of(request)

    def count() -> int:
        if not collections.rag(collection).exists():
            return 0
        total: int = collections.view(collection, user).list_documents(limit=1).total
        return total

    documents = await request.app.state.workers.run(count)
    counts = {"in_progress": 0, "completed": documents, "failed": 0, "cancelled": 0}
    created = int(collection.path.stat().st_ctime) if collection.path.exists() else 0
    return {
        "id": f"{_STORE}{collection.name}",
        "object": "vector_store",
        "created_at": created,
        "name": collection.name,
        "usage_bytes": 0,
        "file_counts": {**counts, "total": documents},
        "status": "completed",
        "last_active_at": int(time.time()),
        "metadata": {},
    }


async def list_stores(request: Request) -> Response:
    """List a vector store for each collection that the user may see."""
    user = user_of(request)
    seen = [each for each in request.app.state.collections.all() if user.sees(each.name)]
    return _list([await _show_store(request, each) for each in seen])


async def make_store(request: Request) -> Response:
    """Make a collection without documents."""
    user = check_write(request)
    if not user.admin:
        raise Refused(403, "only an admin makes vector stores")
    body = await read_json(request, StoreBody)
    collections = request.app.state.collections
    made = await request.app.state.workers.run(lambda: collections.make(body.name, user))
    return reply(await _show_store(request, made))


async def read_store(request: Request) -> Response:
    """Return one vector store."""
    name = store_name(request.path_params["id"])
    collection = request.app.state.collections.find(name, user_of(request))
    return reply(await _show_store(request, collection))


async def search_store(request: Request) -> Response:
    """Find the passages that fit a question, or several."""
    body = await read_json(request, StoreSearchBody)
    queries = [body.query] if isinstance(body.query, str) else body.query
    most = 10 if body.max_num_results is None else body.max_num_results
    if not 1 <= len(queries) <= 10 or not 1 <= most <= 50:
        raise Refused(400, "`query` is 1 to 10 questions, `max_num_results` a number from 1 to 50")
    name = store_name(request.path_params["id"])
    where = shapes.filter_of(body.filters)
    least = (body.ranking_options and body.ranking_options.score_threshold) or 0.0
    best: dict[int, dict[str, Any]] = {}
    for query in queries:
        _, found = await perform(request, name, Explain(query, most, where))
        for hit in found.hits:
            shown = show_result(hit)
            known = best.get(hit.chunk.id)
            if shown["score"] >= least and (known is None or known["score"] < shown["score"]):
                best[hit.chunk.id] = shown
    # One question keeps the order that the search found.
    results = list(best.values())
    if len(queries) > 1:
        results.sort(key=lambda each: -float(each["score"]))
    return reply(
        {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": results[:most],
            "has_more": False,
            "next_page": None,
        }
    )


def _list(data: list[dict[str, Any]], has_more: bool = False) -> Response:
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return reply(
        {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}
    )


async def list_store_files(request: Request) -> Response:
    """List the documents of a vector store by source."""
    limit = read_number(request, "limit", 20, 100, 1)
    name, after = store_name(request.path_params["id"]), request.query_params.get("after", "")
    offset = 0
    if after:
        collection, view = await asyncio.to_thread(open_view, request, name)
        offset = await request.app.state.workers.run(lambda: _number_after(view, after))
    collection, listing = await perform(request, name, ListDocuments("", limit, offset))
    data = [_show_store_file(collection, each) for each in listing.documents]
    return _list(data, has_more=offset + len(data) < listing.total)


def _number_after(view: View, document_id: str) -> int:
    """Return the number of the document after one, in the list of all."""
    source = view.document(document_id).source
    offset, step = 0, 1_000
    while True:
        page = view.list_documents("", step, offset).documents
        for at, each in enumerate(page):
            if each.source > source or each.id == document_id:
                return offset + at + (each.id == document_id)
        if len(page) < step:
            return offset + len(page)
        offset += step


def _show_store_file(
    collection: Collection, entry: DocumentEntry, status: str = "completed"
) -> dict[str, Any]:
    simple = {
        str(key)[:64]: value if isinstance(value, bool | int | float) else str(value)
        for key, value in entry.metadata.items()
        if isinstance(value, str | bool | int | float)
    }
    attributes = {"source": entry.source, "title": entry.title, "type": entry.media_type, **simple}
    kept = list(attributes.items())[:_MOST_ATTRIBUTES]
    return {
        "id": entry.id,
        "object": "vector_store.file",
        "created_at": int(entry.modified or 0),
        "vector_store_id": f"{_STORE}{collection.name}",
        "usage_bytes": entry.characters,
        "status": status,
        "last_error": None,
        "attributes": {
            key: value[:_LONGEST_ATTRIBUTE] if isinstance(value, str) else value
            for key, value in kept
        },
    }


async def add_store_file(request: Request) -> Response:
    """Index a file that was uploaded; the reply has the state of the job that does it."""
    user = check_write(request)
    body = await read_json(request, StoreFileBody)
    name = store_name(request.path_params["id"])
    collection = request.app.state.collections.find(name, user)
    file = _find_file(request, body.file_id)
    folder = uploads.folder_of(request.app.state.collections, collection)
    kept = folder / file.name

    def link() -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = folder / f".{file.parent.name}.part"
        temporary.unlink(missing_ok=True)
        temporary.hardlink_to(file)
        temporary.replace(kept)

    await asyncio.to_thread(link)
    job = request.app.state.jobs.add(collection.name, user.name, "add", (kept.name,))
    return reply(_show_pending(collection, body.file_id, job))


def _show_pending(collection: Collection, file_id: str, job: Job) -> dict[str, Any]:
    states = {"waiting": "in_progress", "running": "in_progress", "done": "completed"}
    failed = [each["reason"] for each in (job.report or {}).get("failed", ())]
    error = job.error or "; ".join(failed)
    status = "failed" if error else states.get(job.state, job.state)
    return {
        "id": file_id,
        "object": "vector_store.file",
        "created_at": int(job.created),
        "vector_store_id": f"{_STORE}{collection.name}",
        "usage_bytes": 0,
        "status": status,
        "last_error": {"code": "invalid_file", "message": error} if error else None,
        "attributes": {},
    }


async def read_store_file(request: Request) -> Response:
    """Return a document of a vector store, or how far the indexing of an upload is."""
    name, file_id = store_name(request.path_params["id"]), request.path_params["file_id"]
    user = user_of(request)
    if file_id.startswith("file-"):
        collection = request.app.state.collections.find(name, user)
        file = _find_file(request, file_id)
        for job in request.app.state.jobs.all(1_000):
            if job.collection == collection.name and file.name in job.sources:
                return reply(_show_pending(collection, file_id, job))
        raise Refused(404, "the file was not added to this vector store")
    collection, view = await asyncio.to_thread(open_view, request, name)
    document = await request.app.state.workers.run(lambda: view.document(file_id))
    entry = DocumentEntry(
        document.id,
        document.source,
        document.title,
        document.media_type,
        document.content_hash,
        len(document.text),
        0,
        document.modified,
        document.metadata,
    )
    return reply(_show_store_file(collection, entry))


async def remove_store_file(request: Request) -> Response:
    """Remove a document from a vector store, as a job."""
    user = check_write(request)
    name, file_id = store_name(request.path_params["id"]), request.path_params["file_id"]
    collection, view = await asyncio.to_thread(open_view, request, name)
    if file_id.startswith("file-"):
        file = _find_file(request, file_id)
        folder = uploads.folder_of(request.app.state.collections, collection)
        source = str(folder / file.name)
    else:
        source = await request.app.state.workers.run(lambda: view.file_of(file_id))
    request.app.state.jobs.add(collection.name, user.name, "remove", (source,))
    return reply({"id": file_id, "object": "vector_store.file.deleted", "deleted": True})


def _folder(request: Request) -> Path:
    """Return the folder of the user's uploads that belong to no collection yet."""
    state: Path = request.app.state.collections.state
    return state / "uploads" / user_of(request).name


def _find_file(request: Request, file_id: str) -> Path:
    number = file_id.removeprefix("file-")
    if number.isalnum() and number.isascii():
        for found in (_folder(request) / number).glob("*"):
            if not found.name.startswith("."):
                return found
    raise Refused(404, f"there is no file {file_id[:80]!r}")


def _show_file(path: Path) -> dict[str, Any]:
    state = path.stat()
    return {
        "id": f"file-{path.parent.name}",
        "object": "file",
        "bytes": state.st_size,
        "created_at": int(state.st_mtime),
        "filename": path.name,
        "purpose": "assistants",
        "status": "processed",
    }


async def upload_file(request: Request) -> Response:
    """Take in a file, to be added to a vector store."""
    check_write(request)
    most = request.app.state.config.serve.upload_mb << 20
    stated = request.headers.get("content-length", "")
    if not stated.isdigit() or int(stated) > most + _FORM_BYTES:
        raise Refused(413, f"a file has {most >> 20:,} MB at most, and its length is stated")
    async with request.form(max_files=1, max_fields=20) as form:
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise Refused(400, "the form has no `file`")
        name = uploads.check_name(sent.filename or "")
        folder = _folder(request) / uuid.uuid4().hex

        def keep() -> Path:
            folder.mkdir(parents=True, mode=0o700)
            temporary = folder / ".part"
            with temporary.open("xb") as opened:
                shutil.copyfileobj(sent.file, opened)
            return temporary.rename(folder / name)

        path = await request.app.state.workers.run(keep)
    return reply(_show_file(path))


async def list_files(request: Request) -> Response:
    """List the user's uploads."""
    found = [each for each in sorted(_folder(request).glob("*/*")) if each.name[0] != "."]
    return _list([_show_file(path) for path in found])


async def read_file(request: Request) -> Response:
    """Return one upload's name and size."""
    return reply(_show_file(_find_file(request, request.path_params["id"])))


async def read_file_content(request: Request) -> Response:
    """Return an upload as it was sent."""
    path = _find_file(request, request.path_params["id"])
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


async def remove_file(request: Request) -> Response:
    """Delete an upload; documents that were made of it stay."""
    check_write(request)
    file_id = request.path_params["id"]
    path = _find_file(request, file_id)
    path.unlink(missing_ok=True)
    path.parent.rmdir()
    return reply({"id": file_id, "object": "file", "deleted": True})
