"""Load on `rag serve`: many clients on loopback, a writer beside them, and other servers.

    python benchmarks/serving.py --seconds 60 --clients 64

Starts the server as a process over an index of the sample corpus, lets clients search and ask for a
while, with a writer that adds and removes a file, then 10,000 requests one after another for the
server's memory and descriptors. 429 is counted apart from errors; each must carry Retry-After. With
`--txtai` its API over the same documents is searched in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil

TOKEN = "token-of-the-benchmark"  # noqa: S105 - of a server on loopback, for a minute.
QUESTIONS = (
    "What is low-rank adaptation?",
    "How are answers evaluated?",
    "What does quantization change?",
    "How is a model served?",
    "What is a hallucination?",
    "What is knowledge distillation?",
    "How long is a context window?",
    "What is retrieval-augmented generation?",
)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_until_up(url: str) -> float:
    """Wait until a server replies, and return the seconds that it took."""
    started = time.monotonic()
    while True:
        try:
            httpx.get(url, timeout=5)
        except httpx.HTTPError:
            time.sleep(0.05)
            continue
        return time.monotonic() - started


async def load(
    base: str, kind: str, clients: int, seconds: float, path: str = "", **given: Any
) -> dict[str, Any]:
    """Let clients ask for a while, each as soon as its last reply is there."""
    times: list[float] = []
    first_events: list[float] = []
    statuses: Counter[str] = Counter()
    end = time.monotonic() + seconds
    headers = {"Authorization": f"Bearer {TOKEN}"}
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        at = number
        while time.monotonic() < end:
            question = QUESTIONS[at % len(QUESTIONS)]
            at += 1
            started = time.monotonic()
            try:
                if path:
                    reply = await client.get(path, params={"query": question, **given})
                elif kind == "stream":
                    body = {"question": question, "stream": True}
                    async with client.stream("POST", "/ask", json=body) as reply:
                        begun = False
                        async for _ in reply.aiter_bytes():
                            if not begun:
                                first_events.append(time.monotonic() - started)
                            begun = True
                else:
                    reply = await client.post(f"/{kind}", json={"question": question})
            except httpx.HTTPError as error:
                statuses[type(error).__name__] += 1
                continue
            if reply.status_code == 429:
                wait = reply.headers.get("retry-after")
                statuses["429" if wait else "429 without Retry-After"] += 1
                await asyncio.sleep(min(float(wait or 1), 1.0))
                continue
            statuses[str(reply.status_code)] += 1
            if reply.status_code < 400:
                times.append(time.monotonic() - started)

    async with httpx.AsyncClient(
        base_url=base, headers=headers, timeout=120, limits=limits
    ) as client:
        await asyncio.gather(*(ask(client, number) for number in range(clients)))
    found: dict[str, Any] = {"kind": kind, "clients": clients, "statuses": dict(statuses)}
    if times:
        cuts = statistics.quantiles(times, n=100)
        found |= {"per second": round(len(times) / seconds, 1)}
        found |= {f"p{p} ms": round(cuts[p - 1] * 1000) for p in (50, 95, 99)}
    if first_events:
        found["first event p50 ms"] = round(statistics.median(first_events) * 1000)
    return found


async def write(base: str, seconds: float) -> dict[str, Any]:
    """Add and remove a file again and again."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    end = time.monotonic() + seconds
    states: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=120) as client:
        number = 0
        while time.monotonic() < end:
            number += 1
            text = f"Note {number}: the lamp in hall {number} weighs {number + 6} kg.\n"
            reply = await client.put("/collections/default/files/note.md", content=text)
            job = reply.json()
            while job["state"] in ("waiting", "running"):
                await asyncio.sleep(0.2)
                job = (await client.get(f"/jobs/{job['id']}")).json()
            states[job["state"]] += 1
    return {"kind": "writer", "jobs": dict(states)}


async def load_beside_writer(
    base: str, kind: str, clients: int, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let clients ask while a writer adds and removes."""
    asked, written = await asyncio.gather(load(base, kind, clients, seconds), write(base, seconds))
    return asked, written


def measure_flatness(base: str, process: psutil.Process, count: int) -> dict[str, Any]:
    """Return memory and descriptors after a tenth of `count` requests, and after all."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    taken = []
    with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
        for number in range(count):
            body = {"question": QUESTIONS[number % len(QUESTIONS)]}
            client.post("/search", json=body).raise_for_status()
            if number + 1 in (count // 10, count):
                taken.append((process.memory_info().rss / 1e6, process.num_fds()))
    (early, early_fds), (late, late_fds) = taken
    return {
        "kind": f"{count:,} requests",
        "MB": [round(early), round(late)],
        "descriptors": [early_fds, late_fds],
    }


def run(options: argparse.Namespace) -> None:
    """Measure our server, then another in the same run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = folder / "default"
        rag = [sys.executable, "-m", "rag"]
        subprocess.run([*rag, "index", options.documents, "--index", index], check=True)
        port = free_port()
        environment = {**os.environ, "RAG_SERVE_TOKEN": TOKEN}
        server = subprocess.Popen(
            [*rag, "serve", "--index", index, "--port", str(port)], env=environment
        )
        base = f"http://127.0.0.1:{port}"
        try:
            show({"kind": "start", "seconds": round(wait_until_up(f"{base}/health"), 2)})
            asyncio.run(load(base, "ask", 1, 3))
            process = psutil.Process(server.pid)
            show(measure_flatness(base, process, options.requests))
            for kind in ("search", "ask", "stream"):
                for clients in (1, options.clients):
                    found = asyncio.run(load_beside_writer(base, kind, clients, options.seconds))
                    for each in found:
                        show(each)
            show(
                {
                    "kind": "after all",
                    "MB": round(process.memory_info().rss / 1e6),
                    "descriptors": process.num_fds(),
                }
            )
        finally:
            server.terminate()
            show({"kind": "end", "exit code": server.wait(60)})
        if options.txtai:
            run_txtai(folder, options)


def run_txtai(folder: Path, options: argparse.Namespace) -> None:
    """Search txtai's API over the same passages; `--txtai` is a Python that has it."""
    from rag import RAG

    rag = RAG(folder / "default")
    texts = [hit.text for question in QUESTIONS for hit in rag.search(question, 50)]
    texts = list(dict.fromkeys(texts))
    from rag.models import resolve

    model = resolve(rag.config.embedding.model, kind="embedder").location
    (folder / "texts.json").write_text(json.dumps(texts))
    (folder / "make.py").write_text(
        "import json, sys\nfrom txtai import Embeddings\n"
        "e = Embeddings(path=sys.argv[1], content=True, hybrid=True)\n"
        "e.index(json.load(open(sys.argv[2])))\ne.save(sys.argv[3])\n"
    )
    saved = folder / "txtai"
    made = [options.txtai, folder / "make.py", model, folder / "texts.json", saved]
    subprocess.run(made, check=True)
    config = folder / "txtai.yml"
    config.write_text(f"path: {saved}\nembeddings:\n  path: {model}\n  content: true\n")
    port = free_port()
    server = subprocess.Popen(
        [options.txtai, "-m", "uvicorn", "txtai.api:app", "--port", str(port)],
        env={**os.environ, "CONFIG": str(config)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{port}"
    try:
        show({"kind": "txtai start", "seconds": round(wait_until_up(base), 2)})
        for clients in (1, options.clients):
            asyncio.run(load(base, "txtai", 1, 3, path="/search", limit=5))
            found = asyncio.run(
                load(base, "txtai search", clients, options.seconds, path="/search", limit=5)
            )
            show(found)
    finally:
        server.terminate()
        server.wait(60)


def show(found: dict[str, Any]) -> None:
    """Print a line of JSON."""
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--documents", default="data/corpus")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--txtai", default="", help="a Python that has txtai[api]")
    run(parser.parse_args())
