"""A web server of the tests' own: real HTTP, real models, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from rag.config import load_config
from rag.serving.http import User, hash_token, make_app
from rag.serving.http.access import Users

OWNER = "owner-token-of-the-tests"


def user(name: str, **rights: Any) -> tuple[str, User]:
    """A user, with the token."""
    token = f"{name}-token-of-the-tests"
    return token, User(name, hash_token(token), **rights)


@contextmanager
def running(index: Path, *others: User, **settings: Any) -> Iterator[str]:
    """Run a server over an index, and give its address."""
    owner = User("owner", hash_token(OWNER), write=True, admin=True)
    users = Users({each.sha256: each for each in (owner, *others)})
    config = load_config(
        arguments={"index.path": str(index), "serve.state": str(index.parent / "server")}
        | {key.replace("__", "."): value for key, value in settings.items()}
    )
    server = uvicorn.Server(
        uvicorn.Config(make_app(config, users), port=0, log_level="error", log_config=None)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    (port,) = {s.getsockname()[1] for each in server.servers for s in each.sockets}
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def client(base: str, token: str = OWNER) -> Iterator[httpx.Client]:
    """A client with a token."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=base, headers=headers, timeout=60) as made:
        yield made


def wait_for_job(asked: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """Wait until a job ends."""
    while True:
        found: dict[str, Any] = asked.get(f"/jobs/{job['id']}").json()
        if found["state"] not in ("waiting", "running"):
            return found
        time.sleep(0.05)
