"""A model's files -> a short text that differs for other weights under the same name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rag.models import CATALOGUE, LocalModel

_EDGE_BYTES = 1 << 20
_SAMPLES = 512
_SAMPLE_BYTES = 4096
_SUFFIXES = {".safetensors", ".bin", ".json", ".txt", ".model", ".onnx"}


def fingerprint(model: LocalModel) -> str:
    """Hash the weights; for a hub's model return its pinned revision, empty without one."""
    if model.origin == "catalogue":
        entry = CATALOGUE[model.name]
        sums = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(entry.files.items()))
        return hashlib.sha256(sums.encode()).hexdigest()[:16]
    if model.origin == "hub":
        return model.revision or ""
    return directory_fingerprint(Path(model.location))


def directory_fingerprint(directory: Path, samples: int = _SAMPLES) -> str:
    """Hash the names and sizes of all files, their first and last MiB, and samples between.

    Weights of many gigabytes are told apart at every start without being read whole: training or
    merging a model changes whole matrices of it.
    """
    total = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or path.suffix not in _SUFFIXES:
            continue
        size = path.stat().st_size
        total.update(f"{path.relative_to(directory).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            total.update(file.read(_EDGE_BYTES))
            file.seek(max(0, size - _EDGE_BYTES))
            total.update(file.read(_EDGE_BYTES))
            for at in range(samples if size > 2 * _EDGE_BYTES else 0):
                file.seek(_EDGE_BYTES + (size - 2 * _EDGE_BYTES) * at // samples)
                total.update(file.read(_SAMPLE_BYTES))
    return total.hexdigest()[:16]


def former_fingerprint(model: LocalModel) -> str:
    """Return the fingerprint that the same weights have in an index of format 3."""
    if model.origin != "directory":
        return fingerprint(model)
    return directory_fingerprint(Path(model.location), samples=0)


def hub_commit(model: LocalModel) -> str:
    """Return the downloaded commit of a hub's model; empty before that, and for other models."""
    if model.origin != "hub":
        return ""
    from huggingface_hub import try_to_load_from_cache

    for file in ("modules.json", "config.json"):
        path = try_to_load_from_cache(model.location, file, revision=model.revision)
        if isinstance(path, str):
            return Path(path).parent.name
    return ""


def weights_hash(model: LocalModel) -> str:
    """Return a short text that stands for the weights alone; empty until they are downloaded."""
    return hub_commit(model) if model.origin == "hub" else fingerprint(model)
