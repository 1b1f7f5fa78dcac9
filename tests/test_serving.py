"""`rag serve`: the routes by real HTTP, OpenAI's own client, and what callers may not do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from serving import OWNER, client, running, user, wait_for_job

from rag import RAG
from rag.errors import ConfigError
from rag.serving.http import read_users, write_users

pytestmark = pytest.mark.model

TEXTS = {
    "public/bridge.md": "# The Vorn bridge\n\nThe Vorn bridge was opened in 1921. It is 340 metres "
    "long and was designed by Ilse Brandt.\n",
    "public/ferry.md": "# The ferry\n\nThe ferry to Holm leaves at 7:15 on weekdays. A ticket "
    "costs 4 euro.\n",
    "secret/salaries.md": "# Salaries\n\nThe keeper of the bridge earns 3,911 euro a month. The "
    "codeword is zanzibarium.\n",
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for name, text in TEXTS.items():
        file = folder / "docs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    RAG(folder / "index").index([folder / "docs"])
    return folder / "index"


@pytest.fixture(scope="module")
def base(index: Path) -> Iterator[str]:
    _, reader = user("reader", where="path~public")
    _, elsewhere = user("elsewhere", collections=("other",))
    _, slow = user("slow", per_minute=2)
    with running(index, reader, elsewhere, slow) as address:
        yield address


@pytest.fixture
def owner(base: str) -> Iterator[httpx.Client]:
    with client(base) as made:
        yield made


@pytest.fixture(scope="module")
def chat(base: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{base}/v1", api_key=OWNER, max_retries=0)


def document_text(owner: httpx.Client, document_id: str) -> str:
    text: str = owner.get(f"/documents/{document_id}").json()["text"]
    return text


def test_nothing_is_said_without_a_token(base: str) -> None:
    with httpx.Client(base_url=base) as nobody:
        for path in ("/collections", "/documents", "/v1/models", "/jobs", "/metrics", "/mcp/"):
            reply = nobody.get(path)
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"].startswith("Bearer")
        assert nobody.get("/collections", headers={"Authorization": f"Basic {OWNER}"}).is_error
        assert nobody.get("/health").json() == {"status": "ok"}
        assert nobody.get("/ready").json() == {"status": "ready"}


def test_an_answer_has_its_places(owner: httpx.Client) -> None:
    answer = owner.post("/ask", json={"question": "When was the Vorn bridge opened?"}).json()
    assert "1921" in answer["text"]
    (citation, *_) = answer["citations"]
    text = document_text(owner, citation["document_id"])
    assert text[citation["start"] : citation["end"]] == citation["quote"]
    assert citation["url"].endswith(f"#char={citation['start']},{citation['end']}")


def test_a_stream_ends_with_the_answer(owner: httpx.Client) -> None:
    asked = {"question": "When was the Vorn bridge opened?", "stream": True}
    lines = owner.post("/ask", json=asked).text.split("\n\n")
    named = [line.split("\n")[0].removeprefix("event: ") for line in lines if line]
    assert named[0] == "message"
    assert named[-2:] == ["final_answer", "done"]
    pieces = [
        json.loads(each.split("data: ")[1])["text"] for each in lines if "message" in each[:15]
    ]
    final = next(each for each in lines if each.startswith("event: final_answer"))
    assert "".join(pieces) == json.loads(final.split("data: ", 1)[1])["text"]


def test_a_follow_up_is_understood(owner: httpx.Client) -> None:
    history = [
        {"role": "user", "content": "When was the Vorn bridge opened?"},
        {"role": "assistant", "content": "The Vorn bridge was opened in 1921. [1]"},
    ]
    asked = {"question": "Who designed it?", "history": history}
    assert "Ilse Brandt" in owner.post("/ask", json=asked).json()["text"]


def test_silence_is_said(owner: httpx.Client) -> None:
    answer = owner.post("/ask", json={"question": "Who won the chess championship?"}).json()
    assert answer["abstained"]


def test_search_explains_itself(owner: httpx.Client) -> None:
    found = owner.post("/search", json={"question": "ferry ticket", "k": 2}).json()
    assert found["hits"][0]["source"].endswith("ferry.md")
    assert found["hits"][0]["trace"]
    assert "ferri" in found["words"] or "ferry" in found["words"]


def test_a_text_is_verified_sentence_by_sentence(owner: httpx.Client) -> None:
    text = "# Report\n\nThe Vorn bridge was opened in 1921. [3] Is it long? A ticket costs 9 euro."
    found = owner.post("/verify", json={"text": text}).json()["sentences"]
    assert [text[each["start"] : each["end"]] for each in found] == [each["text"] for each in found]
    labels = {each["text"]: each["verdict"] and each["verdict"]["label"] for each in found}
    assert labels["The Vorn bridge was opened in 1921. [3]"] == "supported"
    assert labels["Is it long?"] is None
    assert labels["A ticket costs 9 euro."] != "supported"


def test_a_claim_is_checked(owner: httpx.Client) -> None:
    verdict = owner.post("/check", json={"claim": "The Vorn bridge was opened in 1921."}).json()
    assert verdict["label"] == "supported"
    assert verdict["evidence"][0]["url"]


def test_a_place_is_found_as_it_is_printed(owner: httpx.Client) -> None:
    found = owner.get("/places", params={"place": "ferry.md:3"}).json()
    assert "leaves at 7:15" in found["text"]


def test_what_cannot_be_read_is_named(owner: httpx.Client) -> None:
    assert owner.post("/ask", content=b"{").status_code == 400
    assert owner.post("/ask", json={"question": ""}).status_code == 400
    reply = owner.post("/search", json={"question": "x", "where": "nofield:3"})
    assert "unknown field" in reply.json()["error"]["message"]
    assert owner.get("/documents/none").status_code == 404
    assert owner.get("/nothing").status_code == 404
    assert owner.put("/ask").status_code == 405
    assert owner.post("/ask", content=b" " * (2 << 20)).status_code == 413
    assert owner.get("/documents?limit=0").status_code == 400
    assert owner.post("/ask", json={"question": "x", "collection": "../.."}).status_code == 404


def test_quotas_are_kept(base: str) -> None:
    with client(base, "slow-token-of-the-tests") as slow:
        replies = [slow.get("/collections") for _ in range(4)]
    assert [each.status_code for each in replies] == [200, 200, 429, 429]
    assert int(replies[-1].headers["retry-after"]) > 0


def test_who_may_see_a_part_sees_nothing_of_the_rest(base: str) -> None:
    with client(base, "reader-token-of-the-tests") as reader:
        assert reader.get("/documents").json()["total"] == 2
        assert reader.get("/collections").json()["collections"][0]["documents"] == 2
        everything = [
            reader.post("/search", json={"question": "salary of the keeper zanzibarium"}).text,
            reader.post("/ask", json={"question": "What does the keeper of the bridge earn?"}).text,
            reader.post("/ask", json={"question": "What is the codeword?"}).text,
            reader.post("/check", json={"claim": "The keeper earns 3,911 euro."}).text,
            reader.post("/search", json={"question": "zanzibariom codewrod"}).text,
            reader.get("/documents", params={"where": "path~secret OR path~public"}).text,
        ]
    told = "".join(everything)
    assert "3,911" not in told.replace('"claim":"The keeper earns 3,911 euro."', "")
    assert "salaries" not in told
    assert "codeword is" not in told
    assert '"read_as":"zanzibarium' not in told


def test_another_collection_is_like_none(base: str) -> None:
    with client(base, "elsewhere-token-of-the-tests") as other:
        assert other.get("/documents", params={"collection": "index"}).status_code == 404
        assert other.get("/collections").json()["collections"] == []
        assert other.get("/v1/models").json()["data"] == []


def test_who_may_only_read_changes_nothing(base: str) -> None:
    with client(base, "reader-token-of-the-tests") as reader:
        assert reader.put("/collections/index/files/a.md", content=b"x").status_code == 403
        assert reader.post("/documents", json={"sources": ["/etc"]}).status_code == 403
        assert reader.get("/metrics").status_code == 403
        assert reader.get("/examination").status_code == 403


def test_openai_models_and_chat(chat: openai.OpenAI, owner: httpx.Client) -> None:
    assert [each.id for each in chat.models.list()] == ["rag", "rag/index"]
    made = chat.chat.completions.create(
        model="rag",
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Who designed the Vorn bridge?"}],
            },
        ],
    )
    message = made.choices[0].message
    assert "Ilse Brandt" in (message.content or "")
    assert made.choices[0].finish_reason == "stop"
    assert made.usage and made.usage.completion_tokens > 0
    (annotation, *_) = message.annotations or []
    cited = annotation.url_citation
    assert (message.content or "")[cited.start_index : cited.end_index]
    extra = cited.model_extra or {}
    text = document_text(owner, extra["document_id"])
    assert text[extra["document_start"] : extra["document_end"]] == extra["quote"]


def test_openai_chat_streams(chat: openai.OpenAI) -> None:
    chunks = list(
        chat.chat.completions.create(
            model="rag/index",
            messages=[{"role": "user", "content": "Who designed the Vorn bridge?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert "Ilse Brandt" in text
    assert len({each.id for each in chunks}) == 1
    assert chunks[-1].usage and not chunks[-1].choices
    *_, cited, last = [each for each in chunks if each.choices]
    assert last.choices[0].finish_reason == "stop"
    assert (cited.choices[0].delta.model_extra or {})["annotations"]


def test_openai_responses(chat: openai.OpenAI) -> None:
    made = chat.responses.create(
        model="rag",
        input="Who designed the Vorn bridge?",
        tools=[{"type": "file_search", "vector_store_ids": ["vs_index"], "max_num_results": 3}],
        include=["file_search_call.results"],
    )
    assert "Ilse Brandt" in made.output_text
    search, message = made.output
    assert search.type == "file_search_call" and search.results
    assert message.type == "message"
    kinds = {each.type for each in message.content[0].annotations}  # type: ignore[union-attr]
    assert kinds == {"url_citation", "file_citation"}


def test_openai_responses_stream_in_order(chat: openai.OpenAI) -> None:
    with chat.responses.stream(model="rag", input="Who designed the Vorn bridge?") as events:
        seen = list(events)
        final = events.get_final_response()
    assert "Ilse Brandt" in final.output_text
    numbers = [each.sequence_number for each in seen if hasattr(each, "sequence_number")]
    assert numbers == sorted(numbers)
    kinds = [each.type for each in seen]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert "response.output_text.annotation.added" in kinds


@pytest.mark.parametrize("form", ["float", "base64"])
def test_openai_embeddings(chat: openai.OpenAI, index: Path, form: str) -> None:
    rag = RAG(index)
    made = chat.embeddings.create(model="rag", input=["a bridge"], encoding_format=form)  # type: ignore[call-overload]
    given = made.data[0].embedding
    if form == "base64":
        import base64

        import numpy as np

        given = (
            np.frombuffer(base64.b64decode(given), "<f4").tolist()
            if isinstance(given, str)
            else given
        )
    assert given == pytest.approx(rag.embedder.embed_documents(["a bridge"])[0].tolist(), abs=1e-6)


def test_openai_vector_stores(chat: openai.OpenAI) -> None:
    (store,) = list(chat.vector_stores.list())
    assert store.id == "vs_index" and store.file_counts.completed == 3
    found = chat.vector_stores.search(
        store.id,
        query="price of a ticket",
        max_num_results=2,
        filters={"type": "ne", "key": "filename", "value": "**/bridge.md"},
    )
    names = [each.filename for each in found]
    assert names[0].endswith("ferry.md")
    assert not any("bridge.md" in name for name in names)
    assert all(0 <= each.score <= 1 for each in found)
    listed = [each.id for each in chat.vector_stores.files.list(store.id, limit=2)]
    assert len(listed) == 3 == len(set(listed))


def test_openai_errors_have_openais_form(chat: openai.OpenAI, base: str) -> None:
    with pytest.raises(openai.NotFoundError):
        chat.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="last message"):
        chat.chat.completions.create(model="rag", messages=[{"role": "assistant", "content": "x"}])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{base}/v1", api_key="wrong").models.list()


@pytest.mark.parametrize(
    "given",
    [
        {"type": "eq", "key": 'x" OR path~secret', "value": "1"},
        {"type": "eq", "key": "path", "value": '"x" OR path~secret'},
        {"type": "or", "filters": [{"type": "eq", "key": "title", "value": "a) OR (path~secret"}]},
        {"type": "not", "filters": []},
        {"type": "eq", "key": "path", "value": {}},
    ],
)
def test_a_filter_of_openai_cannot_break_out(base: str, given: object) -> None:
    with client(base, "reader-token-of-the-tests") as reader:
        body = {"query": "salaries codeword", "filters": given}
        reply = reader.post("/v1/vector_stores/vs_index/search", json=body)
        assert "salaries.md" not in reply.text
        assert "3,911" not in reply.text
        assert reply.status_code in (200, 400)


def test_feedback_is_kept_listed_and_deleted(base: str, owner: httpx.Client, index: Path) -> None:
    given = {"question": "Who?", "answer": "Ilse Brandt [1]", "rating": "good", "comment": "yes"}
    with client(base, "reader-token-of-the-tests") as reader:
        kept = reader.post("/feedback", json=given).json()
        assert owner.get("/feedback").json()["feedback"][0]["id"] == kept["id"]
        own = owner.post("/feedback", json={**given, "rating": "bad"}).json()
        assert [each["id"] for each in reader.get("/feedback").json()["feedback"]] == [kept["id"]]
        assert reader.delete(f"/feedback/{own['id']}").status_code == 404
        assert owner.delete(f"/feedback/{own['id']}").json() == {"removed": own["id"]}
    assert owner.post("/feedback", json={**given, "rating": "5 stars"}).status_code == 400
    assert index.with_name("index.feedback.sqlite").stat().st_mode & 0o077 == 0


def test_the_api_describes_itself(base: str, owner: httpx.Client) -> None:
    described = httpx.get(f"{base}/openapi.json").json()
    assert described["paths"]["/ask"]["post"]["requestBody"]
    assert "AskBody" in described["components"]["schemas"]
    assert all(each["summary"] for path in described["paths"].values() for each in path.values())
    assert "/v1/chat/completions" in httpx.get(f"{base}/api").text
    assert "rag_requests_total" in owner.get("/metrics").text


def test_a_file_is_taken_in_indexed_and_removed(tmp_path: Path) -> None:
    token, writer = user("writer", write=True)
    with running(tmp_path / "index", writer) as base, client(base, token) as asked:
        job = asked.put("/collections/index/files/lamp.md", content=b"The lamp weighs 7 kg.\n")
        assert job.status_code == 202
        done = wait_for_job(asked, job.json())
        assert (done["state"], done["report"]["failed"]) == ("done", [])
        answer = asked.post("/ask", json={"question": "How much does the lamp weigh?"}).json()
        assert "7 kg" in answer["text"]
        assert str(tmp_path) not in json.dumps(done["sources"])
        (document,) = asked.get("/documents").json()["documents"]
        assert document["source"] == "lamp.md"
        gone = wait_for_job(asked, asked.delete(f"/documents/{document['id']}").json())
        assert (gone["state"], gone["error"]) == ("done", "")
        assert asked.get("/documents").json()["total"] == 0
        assert not list((tmp_path / "server" / "files" / "index").iterdir())


@pytest.mark.parametrize("name", ["..%2F..%2Fx.md", "%2Fetc%2Fpasswd", "..", "a%00b.md", "%20"])
def test_the_name_of_a_file_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with running(tmp_path / "index") as base, client(base) as asked:
        asked.put(f"/collections/index/files/{name}", content=b"text here")
        kept = [
            each
            for each in tmp_path.rglob("*")
            if each.is_file() and b"text here" in each.read_bytes()
        ]
        assert all(each.parent == tmp_path / "server" / "files" / "index" for each in kept)


def test_an_upload_has_an_end(tmp_path: Path) -> None:
    with running(tmp_path / "index", serve__upload_mb=1) as base, client(base) as asked:
        reply = asked.put("/collections/index/files/a.md", content=b"x" * (2 << 20))
        assert reply.status_code == 413

        def endless() -> Iterator[bytes]:
            for _ in range(64):
                yield b"x" * (1 << 16)

        # It may be refused while it is still being sent.
        with contextlib.suppress(httpx.WriteError):
            assert asked.put("/collections/index/files/a.md", content=endless()).status_code == 413
        assert not list((tmp_path / "server" / "files" / "index").iterdir())


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "index") as base:
        port = int(base.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                b"PUT /collections/index/files/a.md HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
                b"Authorization: Bearer " + OWNER.encode() + b"\r\n\r\nhalf of it"
            )
        with client(base) as asked:
            folder = tmp_path / "server" / "files" / "index"
            while asked.get("/metrics").text.count('status="400"') < 1:
                pass
            assert not list(folder.iterdir())
            assert asked.get("/jobs").json()["jobs"] == []


def test_openai_files_become_documents(tmp_path: Path) -> None:
    with running(tmp_path / "index") as base, client(base) as asked:
        chat = openai.OpenAI(base_url=f"{base}/v1", api_key=OWNER)
        file = chat.files.create(
            file=("crane.md", b"The crane lifts 52 tonnes."), purpose="assistants"
        )
        assert file.filename == "crane.md"
        chat.vector_stores.files.create("vs_index", file_id=file.id)
        polled = chat.vector_stores.files.poll(
            file.id, vector_store_id="vs_index", poll_interval_ms=50
        )
        assert polled.status == "completed"
        (found, *_) = chat.vector_stores.search("vs_index", query="crane")
        assert "52 tonnes" in found.content[0].text
        assert chat.files.content(file.id).read() == b"The crane lifts 52 tonnes."
        assert chat.files.delete(file.id).deleted
        assert asked.get("/documents").json()["total"] == 1


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with running(tmp_path / "index") as base, client(base) as asked:
        job = asked.put("/collections/index/files/broken.pdf", content=b"%PDF-1.7 nothing")
        done = wait_for_job(asked, job.json())
        assert done["error"] or done["report"]["failed"]


def test_a_job_waits_for_the_next_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rag.serving.http import jobs

    with monkeypatch.context() as patched:
        # A server that ends before it begins any job.
        patched.setattr(jobs.Jobs, "_run", lambda self: None)
        with running(tmp_path / "index") as base, client(base) as asked:
            job = asked.put("/collections/index/files/a.md", content=b"Noor fixed it.").json()
            assert job["state"] == "waiting"
    with running(tmp_path / "index") as base, client(base) as asked:
        assert wait_for_job(asked, job)["state"] == "done"
        assert asked.get("/documents").json()["total"] == 1


def test_several_collections_each_with_its_users(tmp_path: Path) -> None:
    folder = tmp_path / "indexes"
    folder.mkdir()
    token, member = user("member", collections=("tools",), write=True)
    with (
        running(tmp_path / "unused", member, serve__folder=str(folder)) as base,
        client(base) as owner,
        client(base, token) as asked,
    ):
        for name in ("tools", "toys"):
            assert owner.post("/collections", json={"name": name}).status_code == 201
        assert owner.post("/collections", json={"name": "../up"}).status_code == 400
        assert asked.post("/collections", json={"name": "mine"}).status_code == 403
        job = owner.put("/collections/toys/files/a.md", content=b"The doll is called Mira.")
        wait_for_job(owner, job.json())
        assert asked.put("/collections/toys/files/b.md", content=b"x y z").status_code == 404
        job = asked.put("/collections/tools/files/a.md", content=b"The saw is called Otto.")
        wait_for_job(asked, job.json())
        names = [each["name"] for each in owner.get("/collections").json()["collections"]]
        assert names == ["tools", "toys"]
        found = asked.post("/search", json={"question": "what is called"}).text
        assert "Otto" in found and "Mira" not in found
        models = [each["id"] for each in asked.get("/v1/models").json()["data"]]
        assert models == ["rag", "rag/tools"]


def test_a_busy_server_asks_to_come_again(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rag.serving.view import View

    held, begun = threading.Event(), threading.Semaphore(0)
    original = View.explain

    def slow(self: View, *given: object) -> object:
        begun.release()
        held.wait()
        return original(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(View, "explain", slow)
    with running(index, serve__workers=1, serve__queue=1) as base:
        statuses: list[int] = []

        def ask() -> None:
            with client(base) as asked:
                statuses.append(asked.post("/search", json={"question": "ferry"}).status_code)

        first = threading.Thread(target=ask)
        first.start()
        begun.acquire()
        second = threading.Thread(target=ask)
        second.start()
        with client(base) as asked:
            while "rag_work 2.0" not in asked.get("/metrics").text:
                pass
            reply = asked.post("/search", json={"question": "ferry"})
            assert (reply.status_code, int(reply.headers["retry-after"]) >= 1) == (429, True)
            held.set()
            first.join()
            second.join()
            assert asked.post("/search", json={"question": "ferry"}).status_code == 200
    assert statuses == [200, 200]


def test_a_reader_who_goes_stops_the_generator(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag.engine import RAG as Engine
    from rag.generation import from_callable

    stopped = threading.Event()

    def write(_: object) -> Iterator[str]:
        try:
            # A model that repeats itself is stopped by itself.
            for number in itertools.count():
                yield f"The bridge was opened in 1921 for the {number} time. "
        finally:
            stopped.set()

    endless = from_callable("endless", write, context_tokens=4096, max_tokens=64)
    monkeypatch.setattr(Engine, "generator", endless)
    monkeypatch.setattr(Engine, "writes", True)
    with running(index, answering__way="generate") as base:
        asked = {"question": "When was the Vorn bridge opened?", "stream": True}
        headers = {"Authorization": f"Bearer {OWNER}"}
        with httpx.stream("POST", f"{base}/ask", json=asked, headers=headers, timeout=60) as reply:
            next(reply.iter_bytes())
        assert stopped.wait(30)


def test_users_are_written_and_read(tmp_path: Path) -> None:
    token, made = user("alice", collections=("papers",), where="path:public/**")
    write_users(tmp_path / "users.json", (made,))
    assert read_users(tmp_path / "users.json") == (made,)
    assert token not in (tmp_path / "users.json").read_text()
    assert (tmp_path / "users.json").stat().st_mode & 0o077 == 0
    for wrong in ({"where": "page:3"}, {"where": "nofield:x"}, {"where": "title:x", "write": True}):
        with pytest.raises(ConfigError):
            write_users(tmp_path / "wrong.json", (user("bob", **wrong)[1],))


def test_the_library_answers_asynchronously(index: Path) -> None:
    async def ask() -> tuple[str, list[str], str]:
        rag = RAG(index)
        whole = await rag.aask("Who designed the Vorn bridge?")
        stream = rag.astream("Who designed the Vorn bridge?")
        pieces = [piece async for piece in stream]
        return whole.text, pieces, (await stream.answer()).text

    whole, pieces, text = asyncio.run(ask())
    assert "Ilse Brandt" in whole
    assert "".join(pieces) == text == whole
