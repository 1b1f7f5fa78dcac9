"""A model's files -> a short text that tells other weights under the same name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rag.models import CATALOGUE, LocalModel

_EDGE_BYTES = 1 << 20
_SAMPLES = 512
_SAMPLE_BYTES = 4096


def fingerprint(model: LocalModel) -> str:
    """A short hash of the weights; for a hub's model its pinned revision, empty without one."""
    if model.origin == "catalogue":
        entry = CATALOGUE[model.name]
        sums = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(entry.files.items()))
        return hashlib.sha256(sums.encode()).hexdigest()[:16]
    if model.origin == "hub":
        return model.revision or ""
    return directory_fingerprint(Path(model.location))


def directory_fingerprint(directory: Path, samples: int = _SAMPLES) -> str:
    """A hash over names, sizes, the first and last MiB, and samples between them, of all files.

    Weights of many gigabytes are told apart at every start without being read whole: whatever
    trains or merges a model changes whole matrices of it.
    """
    total = hashlib.sha256()
    kept = {".safetensors", ".bin", ".json", ".txt", ".model", ".onnx"}
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or path.suffix not in kept:
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
    """The fingerprint that the same weights have in an index of format 3."""
    if model.origin != "directory":
        return fingerprint(model)
    return directory_fingerprint(Path(model.location), samples=0)


def hub_commit(model: LocalModel) -> str:
    """The commit of a hub's model that is here; empty before it is, and for other models."""
    if model.origin != "hub":
        return ""
    from huggingface_hub import try_to_load_from_cache

    for file in ("modules.json", "config.json"):
        found = try_to_load_from_cache(model.location, file, revision=model.revision)
        if isinstance(found, str):
            return Path(found).parent.name
    return ""


def weights_hash(model: LocalModel) -> str:
    """A short text that stands for the weights themselves; empty while they are not here."""
    return hub_commit(model) if model.origin == "hub" else fingerprint(model)
