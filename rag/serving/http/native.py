"""The server's own routes: collections, documents, questions, checks, feedback and jobs."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rag.errors import RagError, StoreError
from rag.serving.feedback import Feedback, FeedbackStore
from rag.serving.http import uploads
from rag.serving.http.access import Refused, User
from rag.serving.http.collections import Collection, Collections
from rag.serving.http.exchange import as_json, event, read_json, read_number, reply, stream
from rag.serving.http.jobs import Job, Jobs, is_over
from rag.serving.http.places import address_of, show_answer, show_hit, show_quote
from rag.serving.operations import Ask, Check, Explain, ListDocuments, Read, TextPiece, Verify
from rag.serving.view import View
from rag.types import Answer, Message, Page, Verdict
from rag.viewing.proof import as_data

_log = logging.getLogger("rag.serving")
_MOST_LISTED = 1_000
_SECONDS_READY = 5.0
# What is shown of a document at once, in characters.
_LONGEST_PART = 200_000


class Talk(msgspec.Struct, frozen=True):
    """A message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """What every question says: in which collection, in how many passages, of which documents."""

    collection: str = ""
    k: int | None = None
    where: str | dict[str, Any] = ""


class AskBody(Asking, frozen=True, kw_only=True):
    """The body of `/ask`."""

    question: str
    schema: dict[str, Any] | None = None
    history: tuple[Talk, ...] = ()
    stream: bool = False


class SearchBody(Asking, frozen=True, kw_only=True):
    """The body of `/search`."""

    question: str


class CheckBody(Asking, frozen=True, kw_only=True):
    """The body of `/check`."""

    claim: str
    by_generator: bool = False


class VerifyBody(Asking, frozen=True, kw_only=True):
    """The body of `/verify`."""

    text: str


class CollectionBody(msgspec.Struct, frozen=True):
    """The body of `POST /collections`."""

    name: str


class AddBody(msgspec.Struct, frozen=True):
    """The body of `POST /documents`: addresses, or paths of the server for an admin."""

    sources: tuple[str, ...]
    collection: str = ""


class FeedbackBody(msgspec.Struct, frozen=True):
    """The body of `/feedback`."""

    question: str
    answer: str
    rating: str
    collection: str = ""
    comment: str = ""
    correction: str = ""
    documents: tuple[str, ...] = ()


def user_of(request: Request) -> User:
    """Return who asks."""
    found: User = request.state.user
    return found


def open_view(request: Request, name: str) -> tuple[Collection, View]:
    """Return the collection that a request names, as its user may see it."""
    collections: Collections = request.app.state.collections
    collection = collections.find(name, user_of(request))
    request.state.collection = collection.name
    return collection, collections.view(collection, user_of(request))


def check_write(request: Request) -> User:
    """Return the user of a request that changes something.

    Raises:
        Refused: if the server is read-only, or the user may not write.
    """
    user = user_of(request)
    if request.app.state.config.serve.read_only:
        raise Refused(403, "this server is read-only")
    if not user.write:
        raise Refused(403, "your token may read, but not add or remove")
    return user


async def perform(request: Request, name: str, operation: Any) -> tuple[Collection, Any]:
    """Do an operation in the collection that is named, in a thread of the server's."""
    collection, view = await asyncio.to_thread(open_view, request, name)
    gone = threading.Event()
    watching = asyncio.ensure_future(_watch(request, gone))
    try:
        return collection, await request.app.state.workers.perform(view, operation, gone)
    finally:
        watching.cancel()


async def _watch(request: Request, gone: threading.Event) -> None:
    """Set `gone` once the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def search(request: Request) -> Response:
    """Find the passages that fit a question best."""
    body = await read_json(request, SearchBody)
    collection, found = await perform(
        request, body.collection, Explain(body.question, body.k, body.where)
    )
    return reply(
        {
            "question": found.question,
            "collection": collection.name,
            "read_as": found.read_as,
            "words": found.words,
            "related": found.related,
            "wordings": found.wordings,
            "loosened": found.loosened,
            "filter_matched": found.filter_matched,
            "hits": [show_hit(request, collection.name, hit) for hit in found.hits],
            "timings": found.timings,
        }
    )


async def ask(request: Request) -> Response:
    """Answer a question with citations, whole or as events."""
    body = await read_json(request, AskBody)
    history = tuple(Message(each.role, each.content) for each in body.history)
    operation = Ask(body.question, body.k, body.where, body.schema, history)
    if body.stream:
        collection, view = await asyncio.to_thread(open_view, request, body.collection)
        events = request.app.state.workers.events(view, operation)
        first = await anext(events)
        return stream(_answer_events(request, collection, first, events))
    collection, answer = await perform(request, body.collection, operation)
    return reply(await _whole(request, collection, answer))


async def _whole(request: Request, collection: Collection, answer: Answer) -> dict[str, Any]:
    """Return an answer as it is shown, with its proof for `rag verify`."""
    view = request.app.state.collections.view(collection, user_of(request))
    proof = await asyncio.to_thread(view.prove, answer)
    shown = show_answer(request, collection.name, answer)
    return {**shown, "collection": collection.name, "proof": as_data(proof)}


async def _answer_events(
    request: Request, collection: Collection, first: Any, events: Any
) -> AsyncIterator[bytes]:
    """Yield an answer's events: `message` pieces, each `citation`, `final_answer`, `done`."""
    try:
        piece = first
        while isinstance(piece, TextPiece):
            yield event({"text": piece.text}, "message")
            piece = await anext(events)
        shown = await _whole(request, collection, piece)
        for citation in shown["citations"]:
            yield event(citation, "citation")
        yield event(shown, "final_answer")
    except (RagError, Refused) as error:
        status, reason = request.app.state.describe(request, error)
        yield event({"status": status, "message": reason}, "error")
    finally:
        await events.aclose()
    yield event({}, "done")


async def check(request: Request) -> Response:
    """Decide whether the documents support a claim."""
    body = await read_json(request, CheckBody)
    operation = Check(body.claim, body.k, body.where, body.by_generator)
    collection, verdict = await perform(request, body.collection, operation)
    return reply(show_verdict(request, collection.name, verdict))


def show_verdict(request: Request, collection: str, verdict: Verdict) -> dict[str, Any]:
    """Return a verdict with its evidence and the addresses that open it."""
    evidence = [show_quote(request, collection, each) for each in verdict.evidence]
    return {**as_json(verdict), "evidence": evidence}


async def verify(request: Request) -> Response:
    """Check each sentence of a text."""
    body = await read_json(request, VerifyBody)
    operation = Verify(body.text, body.k, body.where)
    collection, found = await perform(request, body.collection, operation)
    sentences = [
        {
            "text": each.text,
            "start": each.start,
            "end": each.end,
            "verdict": each.verdict and show_verdict(request, collection.name, each.verdict),
        }
        for each in found.sentences
    ]
    return reply({"text": found.text, "sentences": sentences})


async def list_collections(request: Request) -> Response:
    """List the collections that the user may see, with how many documents each holds for them."""
    collections: Collections = request.app.state.collections
    user = user_of(request)

    def count() -> list[dict[str, Any]]:
        found = []
        for each in collections.all():
            if not user.sees(each.name):
                continue
            rag = collections.rag(each, narrowed=bool(user.where.strip()))
            documents = 0
            if rag.exists():
                documents = collections.view(each, user).list_documents(limit=1).total
            found.append({"name": each.name, "documents": documents})
        return found

    found = await request.app.state.workers.run(count)
    may_write = user.write and not request.app.state.config.serve.read_only
    return reply({"collections": found, "user": user.name, "write": may_write, "admin": user.admin})


async def make_collection(request: Request) -> Response:
    """Make a collection without documents."""
    user = check_write(request)
    if not user.admin:
        raise Refused(403, "only an admin makes collections")
    body = await read_json(request, CollectionBody)
    made = await request.app.state.workers.run(
        lambda: request.app.state.collections.make(body.name, user)
    )
    return reply({"name": made.name, "documents": 0}, 201)


async def list_documents(request: Request) -> Response:
    """List documents by source, without their texts."""
    operation = ListDocuments(
        request.query_params.get("where", ""),
        read_number(request, "limit", 100, _MOST_LISTED, 1),
        read_number(request, "offset", 0, 1 << 40),
    )
    name = request.query_params.get("collection", "")
    collection, listing = await perform(request, name, operation)
    documents = [show_entry(request, collection.name, each) for each in listing.documents]
    return reply({"collection": collection.name, "total": listing.total, "documents": documents})


def show_entry(request: Request, collection: str, entry: Any) -> dict[str, Any]:
    """Return what a list says of a document."""
    url = address_of(request, collection, entry.id, 0, 0).partition("#")[0]
    return {**as_json(entry), "url": url}


async def read_document(request: Request) -> Response:
    """Return a document's text, or the part of it from `start` to `end`, and where it is."""
    collection, view = await asyncio.to_thread(
        open_view, request, request.query_params.get("collection", "")
    )
    document_id = request.path_params["id"]
    document = await request.app.state.workers.run(lambda: view.document(document_id))
    length = len(document.text)
    start = min(read_number(request, "start", 0, 1 << 40), length)
    end = min(read_number(request, "end", length, 1 << 40), length, start + _LONGEST_PART)
    return reply(
        {
            "id": document.id,
            "collection": collection.name,
            "source": document.source,
            "title": document.title,
            "media_type": document.media_type,
            "markup": document.markup,
            "content_hash": document.content_hash,
            "metadata": document.metadata,
            "characters": length,
            "start": start,
            "end": end,
            "text": document.text[start:end],
            "pages": [_show_page(page) for page in document.pages],
            "headings": as_json(document.headings),
            "verbatim": document.verbatim,
        }
    )


def _show_page(page: Page) -> dict[str, Any]:
    """Return where a page is, without the places of its words."""
    return {"start": page.start, "end": page.end, "number": page.number, "label": page.label}


async def read_page(request: Request) -> Response:
    """Return the text of a page of a document."""
    _, view = await asyncio.to_thread(
        open_view, request, request.query_params.get("collection", "")
    )
    document = await request.app.state.workers.run(lambda: view.document(request.path_params["id"]))
    for page in document.pages:
        if page.number == request.path_params["number"]:
            text = document.text[page.start : page.end]
            return reply({**_show_page(page), "id": document.id, "text": text})
    raise Refused(404, "the document has no such page")


async def draw_page(request: Request) -> Response:
    """Draw the page of a PDF that `start` is on, with boxes around the words up to `end`."""
    _, view = await asyncio.to_thread(
        open_view, request, request.query_params.get("collection", "")
    )
    start = read_number(request, "start", 0, 1 << 40)
    end = read_number(request, "end", start, 1 << 40)
    document_id = request.path_params["id"]
    drawn = await request.app.state.workers.run(lambda: view.draw(document_id, start, end))
    picture = base64.b64encode(drawn.png).decode()
    return reply({"picture": f"data:image/png;base64,{picture}", "boxes": drawn.boxes})


async def read_place(request: Request) -> Response:
    """Return the span that a citation's place names, as `rag open` reads it."""
    name = request.query_params.get("collection", "")
    operation = Read(request.query_params.get("place", ""))
    collection, place = await perform(request, name, operation)
    url = address_of(request, collection.name, place.document.id, place.start, place.end)
    return reply(
        {
            "document_id": place.document.id,
            "source": place.document.source,
            "start": place.start,
            "end": place.end,
            "text": place.document.text[place.start : place.end][:_LONGEST_PART],
            "url": url,
        }
    )


async def upload(request: Request) -> Response:
    """Take a file in, and index it as a job."""
    user = check_write(request)
    collections: Collections = request.app.state.collections
    collection = collections.find(request.path_params["collection"], user)
    request.state.collection = collection.name
    most = request.app.state.config.serve.upload_mb << 20
    path = await uploads.take(
        request, uploads.folder_of(collections, collection), request.path_params["name"], most
    )
    job = request.app.state.jobs.add(collection.name, user.name, "add", (path.name,))
    return reply(show_job(job, user), 202)


async def add_documents(request: Request) -> Response:
    """Index addresses, or, for an admin, files and folders of the server, as a job."""
    user = check_write(request)
    body = await read_json(request, AddBody)
    collection = request.app.state.collections.find(body.collection, user)
    request.state.collection = collection.name
    if not body.sources or len(body.sources) > 100:
        raise Refused(400, "`sources` names 1 to 100 addresses or paths")
    if not user.admin:
        raise Refused(403, "only an admin indexes addresses and paths: upload files instead")
    job = request.app.state.jobs.add(collection.name, user.name, "add", body.sources)
    return reply(show_job(job, user), 202)


async def remove_document(request: Request) -> Response:
    """Remove a document's file from the index, and the upload that it came from, as a job."""
    user = check_write(request)
    collection, view = await asyncio.to_thread(
        open_view, request, request.query_params.get("collection", "")
    )
    path = await request.app.state.workers.run(lambda: view.file_of(request.path_params["id"]))
    job = request.app.state.jobs.add(collection.name, user.name, "remove", (path,))
    return reply(show_job(job, user), 202)


def show_job(job: Job, user: User) -> dict[str, Any]:
    """Return a job; only an admin sees the folders of the server in its sources."""
    shown = as_json(job)
    if not user.admin:
        shown["sources"] = [uploads.name_of(source) for source in job.sources]
    return {**shown, "url": f"/jobs/{quote(job.id)}"}


def _find_job(request: Request) -> Job:
    jobs: Jobs = request.app.state.jobs
    user = user_of(request)
    job = jobs.find(request.path_params["id"])
    if job is None or not (user.admin or job.user == user.name):
        raise Refused(404, "there is no such job")
    return job


async def list_jobs(request: Request) -> Response:
    """List the user's newest jobs, or everybody's for an admin."""
    user = user_of(request)
    found = request.app.state.jobs.all(read_number(request, "limit", 100, _MOST_LISTED, 1))
    seen = [show_job(job, user) for job in found if user.admin or job.user == user.name]
    return reply({"jobs": seen})


async def read_job(request: Request) -> Response:
    """Return a job; with `?stream=true`, its progress as events until it ends."""
    job = _find_job(request)
    if request.query_params.get("stream", "") not in ("", "false", "0"):
        return stream(_job_events(request, job))
    return reply(show_job(job, user_of(request)))


async def _job_events(request: Request, job: Job) -> AsyncIterator[bytes]:
    jobs: Jobs = request.app.state.jobs
    found: Job | None = job
    while found is not None and not is_over(found):
        yield event(show_job(found, user_of(request)), "progress")
        seen = found.progress
        # Not in a worker's thread: many may watch one job.
        for _ in range(10):
            await asyncio.sleep(0.2)
            found = jobs.find(job.id)
            if found is None or is_over(found) or found.progress != seen:
                break
    if found is not None:
        yield event(show_job(found, user_of(request)), "done")


async def retry_job(request: Request) -> Response:
    """Let a job that failed or was cancelled wait for its turn again."""
    check_write(request)
    return reply(show_job(request.app.state.jobs.retry(_find_job(request)), user_of(request)), 202)


async def cancel_job(request: Request) -> Response:
    """Cancel a job that waits for its turn."""
    check_write(request)
    return reply(show_job(request.app.state.jobs.cancel(_find_job(request)), user_of(request)))


def _feedback_store(request: Request, name: str) -> tuple[Collection, FeedbackStore]:
    collection = request.app.state.collections.find(name, user_of(request))
    request.state.collection = collection.name
    return collection, FeedbackStore(collection.path)


async def give_feedback(request: Request) -> Response:
    """Keep what a reader thought of an answer."""
    body = await read_json(request, FeedbackBody)
    _, store = _feedback_store(request, body.collection)
    user = user_of(request)

    def keep() -> Feedback:
        return store.add(
            Feedback.of(
                body.question,
                body.answer,
                body.rating,
                comment=body.comment,
                correction=body.correction,
                documents=body.documents,
                user=user.name,
            )
        )

    return reply(await request.app.state.workers.run(keep), 201)


async def list_feedback(request: Request) -> Response:
    """List feedback, newest first: the user's own, or everybody's for an admin."""
    _, store = _feedback_store(request, request.query_params.get("collection", ""))
    user = user_of(request)
    limit = read_number(request, "limit", 100, _MOST_LISTED, 1)
    found = await request.app.state.workers.run(
        lambda: store.all(limit, user="" if user.admin else user.name)
    )
    return reply({"feedback": found})


async def remove_feedback(request: Request) -> Response:
    """Delete a piece of feedback for good."""
    _, store = _feedback_store(request, request.query_params.get("collection", ""))
    user = user_of(request)
    owner = "" if user.admin else user.name
    removed = await request.app.state.workers.run(
        lambda: store.remove(request.path_params["id"], user=owner)
    )
    if not removed:
        raise Refused(404, "there is no such feedback")
    return reply({"removed": request.path_params["id"]})


async def show_health(request: Request) -> Response:
    """Say that the server runs."""
    return reply({"status": "ok"})


async def show_readiness(request: Request) -> Response:
    """Say whether questions can be answered: whether every index opens."""
    collections: Collections = request.app.state.collections
    state = request.app.state

    def look() -> bool:
        try:
            for each in collections.all():
                rag = collections.rag(each)
                if rag.exists():
                    rag.list_documents(limit=1)
        except StoreError:
            _log.exception("an index cannot be opened")
            return False
        return True

    # Anybody may ask this: it is looked at once in a while.
    asked, ready = getattr(state, "readiness", (-_SECONDS_READY, False))
    if time.monotonic() - asked >= _SECONDS_READY:
        ready = await asyncio.to_thread(look)
        state.readiness = (time.monotonic(), ready)
    if not ready:
        return reply({"status": "an index cannot be opened: the server's log says which"}, 503)
    return reply({"status": "ready"})


async def examine(request: Request) -> Response:
    """Return what `rag info` and `rag doctor` say of a collection, to an admin."""
    user = user_of(request)
    if not user.admin:
        raise Refused(403, "only an admin examines an index")
    collections: Collections = request.app.state.collections
    collection = collections.find(request.query_params.get("collection", ""), user)

    def look() -> Mapping[str, Any]:
        rag = collections.rag(collection)
        return {"info": rag.info(), "examination": rag.doctor()}

    return reply(await request.app.state.workers.run(look))
