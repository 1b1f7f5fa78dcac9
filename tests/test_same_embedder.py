"""Vectors of one embedder are never compared with those of another, whatever their names are."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import MANIFEST, put, record, rows, unit

from rag import RAG, StoreError
from rag.config import EmbeddingConfig
from rag.embedding import load_embedder
from rag.embedding.transformer import SentenceTransformerEmbedder
from rag.index import Index, Manifest, check_embedder
from rag.models import LocalModel, resolve
from rag.protocols import Embedder

PLACE = Path("index")
COMMITS = ("0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef")


class Named:
    """An embedder's names, without the embedder."""

    def __init__(self, name: str, fingerprint: str, revision: str = "") -> None:
        self.name, self.fingerprint, self.revision = name, fingerprint, revision


def manifest(fingerprint: str, revision: str = "", name: str = "own/model") -> Manifest:
    return Manifest(name, fingerprint, 8, 100, 10, revision)


@pytest.mark.parametrize(
    ("kept", "used"),
    [
        (manifest("f"), Named("own/model", "f")),
        (manifest(""), Named("own/model", "f")),
        (manifest("f"), Named("own/model", "", "r")),
        (manifest("", "r"), Named("own/model", "", "")),
        # A tag, and the commit that it stands for.
        (manifest("v1", "r"), Named("own/model", "r", "r")),
    ],
)
def test_what_is_not_known_to_differ_is_taken(kept: Manifest, used: Embedder) -> None:
    check_embedder(kept, used, PLACE)


@pytest.mark.parametrize(
    ("kept", "used", "said"),
    [
        (
            manifest("f", "r"),
            Named("own/model", "f", "s"),
            "holds vectors of own/model at revision r, the embedder is own/model at revision s: "
            "run `rag index --rebuild PATH...`, or pass `--embedder own/model@r`",
        ),
        (
            manifest("f"),
            Named("own/model", "g", "s"),
            "holds vectors of own/model with weights f, the embedder is own/model with weights g: "
            "run `rag index --rebuild PATH...`, or pass `--embedder own/model`",
        ),
        (
            manifest("f", "r"),
            Named("other", "f", "r"),
            "holds vectors of own/model, the embedder is other: run `rag index --rebuild "
            "PATH...`, or pass `--embedder own/model@r`",
        ),
    ],
)
def test_what_differs_is_refused_naming_both_and_the_cure(
    kept: Manifest, used: Embedder, said: str
) -> None:
    with pytest.raises(StoreError) as caught:
        check_embedder(kept, used, PLACE)
    assert str(caught.value) == f"index: {said}"


def test_the_revision_is_kept_and_none_is_read_as_empty(tmp_path: Path) -> None:
    index = Index(tmp_path)
    with index.write() as writer:
        writer.set_manifest(replace(MANIFEST, revision="r"))
        put(writer, record("a"), rows("a", unit(np.random.default_rng(0), 2)))
        writer.commit()
    assert index.manifest() == replace(MANIFEST, revision="r")
    with index.write() as writer:
        writer.set_manifest(MANIFEST)
        writer.commit()
    assert index.manifest() == MANIFEST


def of_directory(folder: Path) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(
        LocalModel(folder.name, str(folder), None, "directory"), EmbeddingConfig()
    )


def test_weights_of_a_directory_are_told_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "model", tmp_path / "b" / "model"
    first.mkdir(parents=True)
    weights = np.random.default_rng(0).bytes(6 << 20)
    (first / "model.safetensors").write_bytes(weights)
    (first / "config.json").write_text("{}")
    shutil.copytree(first, second)
    assert of_directory(first).fingerprint == of_directory(second).fingerprint != ""
    # One matrix in the middle, as a merged adapter changes it.
    changed = bytearray(weights)
    changed[3 << 20 : (3 << 20) + (64 << 10)] = bytes(64 << 10)
    (second / "model.safetensors").write_bytes(changed)
    ours, theirs = of_directory(first), of_directory(second)
    assert ours.name == theirs.name
    kept = manifest(ours.fingerprint, name="model")
    check_embedder(kept, ours, PLACE)
    with pytest.raises(StoreError, match=f"model with weights {theirs.fingerprint}"):
        check_embedder(kept, theirs, PLACE)
    # Known from an index of an earlier version, which looked at the ends of files alone.
    check_embedder(replace(kept, fingerprint=ours.former_fingerprint), ours, PLACE)


def test_an_index_is_not_searched_with_other_weights_of_its_embedders_name(
    tmp_path: Path, embedder: Embedder
) -> None:
    catalogued = Path(resolve("all-minilm-l6-v2", kind="embedder").location)
    changed = tmp_path / "all-minilm-l6-v2"
    shutil.copytree(catalogued, changed)
    with (changed / "model.safetensors").open("r+b") as file:
        file.seek(40 << 20)
        file.write(np.random.default_rng(0).bytes(256 << 10))
    (tmp_path / "a.md").write_text("The pump is greased.")
    RAG(tmp_path / "index", embedder=embedder).index(tmp_path / "a.md")
    other = load_embedder(EmbeddingConfig(model=str(changed)))
    assert other.name == embedder.name
    for use in (lambda rag: rag.search("pump"), lambda rag: rag.index(tmp_path / "a.md")):
        with pytest.raises(StoreError, match=r"with weights .* with weights .*--rebuild"):
            use(RAG(tmp_path / "index", embedder=other))


def test_the_revision_of_a_hub_model_is_that_of_its_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--own--model"
    for commit in COMMITS:
        (home / "snapshots" / commit).mkdir(parents=True)
        (home / "snapshots" / commit / "modules.json").write_text("[]")
    (home / "refs").mkdir()

    def hub(revision: str | None = None) -> SentenceTransformerEmbedder:
        model = LocalModel("own/model", "own/model", revision, "hub")
        return SentenceTransformerEmbedder(model, EmbeddingConfig())

    assert hub().revision == ""
    (home / "refs" / "main").write_text(COMMITS[0])
    (home / "refs" / "v2").write_text(COMMITS[1])
    assert hub().revision == COMMITS[0]
    assert hub("v2").revision == hub(COMMITS[1]).revision == COMMITS[1]
    kept = manifest("", hub().revision)
    check_embedder(kept, hub(), PLACE)
    (home / "refs" / "main").write_text(COMMITS[1])
    with pytest.raises(StoreError, match=f"--embedder own/model@{COMMITS[0]}"):
        check_embedder(kept, hub(), PLACE)


def test_other_models_have_no_revision(embedder: Embedder, tmp_path: Path) -> None:
    assert getattr(embedder, "revision", None) == ""
    assert embedder.fingerprint
    assert of_directory(tmp_path).revision == ""
