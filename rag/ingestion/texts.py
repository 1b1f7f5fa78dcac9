"""Add texts that are in no file to an index, and remove them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rag import sources
from rag.config import Config
from rag.errors import ConfigError, SourceError, StoreError
from rag.index import Index, Writer, text_path
from rag.ingestion.pipeline import Pipeline, check_settings
from rag.ingestion.plan import Plan
from rag.ingestion.tally import Tally
from rag.protocols import Embedder
from rag.types import Document, ProgressCallback, no_progress


def add_texts(
    index: Index,
    embedder: Embedder,
    config: Config,
    texts: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    metadata: Sequence[Mapping[str, Any]] | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[str, ...]:
    """Put texts into the index, each in place of an earlier one of its id, and return their ids.

    All of them come in, or none.

    Raises:
        ConfigError: if there are more or fewer ids, titles or metadata than texts.
        SourceError: if a text, an id or metadata cannot be stored, or an id is given twice.
        StoreError: if an id is that of a document from a file, or as `ingest`.
    """
    if isinstance(texts, str):
        raise ConfigError("add_texts: takes a list of texts, not one text")
    documents: dict[str, Document] = {}
    names = []
    given = zip(
        texts,
        _check_length(texts, ids, "ids", ""),
        _check_length(texts, titles, "titles", ""),
        _check_length(texts, metadata, "metadata", {}),
        strict=True,
    )
    for text, name, title, values in given:
        document = sources.make_document(text, name or "", title or "", values, config.sources)
        if name and name in documents:
            raise SourceError(document.source, "is given twice: each text needs an id of its own")
        documents[document.id] = document
        names.append(document.id)
    if not documents:
        return ()
    tally = Tally(progress or no_progress)
    with index.write() as writer:
        check_settings(writer, embedder, config.chunking, index.directory)
        for document in documents.values():
            _check_owner(writer, document.id, "take another id")
        plan = Plan(writer, config.sources, tally)
        with Pipeline(writer, embedder, config, plan, tally, at_once=True) as pipeline:
            pipeline.take_texts(documents.values())
            tally.raise_first_problem()
            pipeline.finish()
    return tuple(names)


def remove_texts(index: Index, ids: Sequence[str]) -> tuple[str, ...]:
    """Remove texts by their ids, and return those that there were.

    Raises:
        StoreError: if an id is that of a document from a file; nothing is removed then.
    """
    if isinstance(ids, str):
        raise ConfigError("remove_texts: takes a list of ids, not one id")
    gone = []
    with index.write() as writer:
        for name in dict.fromkeys(ids):
            _check_owner(writer, name, "remove the file instead")
            state = writer.file(text_path(name))
            if state is not None:
                writer.remove_file(state.id)
                gone.append(name)
        if gone:
            writer.commit()
            writer.refresh_cache()
    return tuple(gone)


def _check_owner(writer: Writer, name: str, cure: str) -> None:
    """Raise StoreError if a document of that id comes from a file."""
    owner = writer.path_of(name)
    if owner and owner != text_path(name):
        raise StoreError(f"text:{name}: this is the id of a document of {owner}: {cure}")


def _check_length(
    texts: Sequence[str], given: Sequence[Any] | None, name: str, default: Any
) -> Sequence[Any]:
    if given is None:
        return [default] * len(texts)
    if isinstance(given, str) or len(given) != len(texts):
        count = "one text" if isinstance(given, str) else f"{len(given)}"
        raise ConfigError(f"add_texts: {len(texts)} texts, and for `{name}` {count}")
    return given
