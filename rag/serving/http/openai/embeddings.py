"""`/v1/embeddings`: vectors of the embedder that an index was built with."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from rag.serving.http.access import Refused
from rag.serving.http.exchange import read_json, reply
from rag.serving.http.native import user_of
from rag.serving.http.openai import shapes

_MOST_TEXTS = 2_048


class EmbeddingsBody(msgspec.Struct, frozen=True):
    """The body of `/v1/embeddings`; with `is_query` the texts are questions, not passages."""

    input: str | list[Any]
    model: str = shapes.MODEL
    encoding_format: str | None = None
    dimensions: int | None = None
    is_query: bool = False


async def embed(request: Request) -> Response:
    """Return a vector of length 1 for each text, as floats or as Base64 of float32."""
    body = await read_json(request, EmbeddingsBody)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts or len(texts) > _MOST_TEXTS or not all(isinstance(each, str) for each in texts):
        raise Refused(400, f"`input` must be a text, or a list of 1 to {_MOST_TEXTS:,} texts")
    if body.encoding_format not in (None, "float", "base64"):
        raise Refused(400, "`encoding_format` must be float or base64")
    collections = request.app.state.collections
    collection = collections.find(shapes.collection_of(body.model), user_of(request))
    given: list[str] = [str(each) for each in texts]

    def work() -> tuple[Any, int]:
        embedder = collections.rag(collection).embedder
        if body.dimensions not in (None, embedder.dim):
            raise Refused(400, f"`dimensions` must be {embedder.dim}, as the model gives")
        if body.is_query:
            vectors = np.stack([embedder.embed_query(text) for text in given])
        else:
            vectors = embedder.embed_documents(given)
        tokens = sum(len(embedder.token_offsets(text)) for text in given)
        return np.asarray(vectors, dtype="<f4"), tokens

    vectors, tokens = await request.app.state.workers.run(work)
    if body.encoding_format == "base64":
        shown: list[Any] = [base64.b64encode(row.tobytes()).decode() for row in vectors]
    else:
        shown = [row.tolist() for row in vectors]
    data = [
        {"object": "embedding", "index": at, "embedding": each} for at, each in enumerate(shown)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return reply({"object": "list", "data": data, "model": body.model, "usage": usage})
