"""Files -> passages as JSON lines, cut as `rag index` cuts them.

    python passages.py FOLDER EMBEDDER

A line has the passage's `name` (the file's, `#`, its place), the `text` that is embedded for it,
and its `tokens`, special ones included.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rag.chunking import chunk_document, chunk_size, embedded_texts, embedding_limit
from rag.config import Config, EmbeddingConfig
from rag.embedding import load_embedder
from rag.errors import SourceError
from rag.sources import SourceFile, read_file
from rag.types import Document


def main(folder: Path, model: str) -> None:
    """Print the passages of every file of a folder."""
    config = Config(embedding=EmbeddingConfig(model=model))
    embedder = load_embedder(config.embedding)
    size, limit = chunk_size(config.chunking, embedder), embedding_limit(embedder)
    for path in sorted(folder.iterdir()):
        status = path.stat()
        file = SourceFile(str(path), path.name, status.st_size, status.st_mtime_ns)
        try:
            documents = [
                each for each in read_file(file, config.sources) if isinstance(each, Document)
            ]
        except SourceError:
            # Empty files; `rag index` leaves them out, too.
            continue
        for document in documents:
            chunks = list(
                chunk_document(
                    document,
                    embedder.token_offsets,
                    size=size,
                    overlap=config.chunking.overlap,
                    limit=limit,
                )
            )
            for chunk, text in zip(chunks, embedded_texts(document, chunks), strict=True):
                tokens = len(embedder.token_offsets(text)) + embedder.special_tokens
                passage = {"name": f"{path.stem}#{chunk.ordinal}", "text": text, "tokens": tokens}
                print(json.dumps(passage))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
