"""A model -> its ONNX graphs in the cache, made once from the model's own weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rag import private
from rag.errors import ModelError, first_line, without_passwords
from rag.models import LocalModel, cache_dir
from rag.models.fingerprint import weights_hash
from rag.processes import environment_without_keys, start_python
from rag.types import Progress, ProgressCallback, no_progress

# The outputs of an embedder's graph: the vector of the text, and one for each of its tokens.
VECTOR, TOKENS = "sentence_embedding", "token_embeddings"
TOKENIZER = "tokenizer.json"

# Raise it when graphs are made in another way, so that old ones are made anew.
_RECIPE = 1
_FACTS, _SPEEDS = "graph.json", "speeds.json"
_HUB_KEYS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@dataclass(frozen=True, slots=True)
class Facts:
    """The properties of a model that its graphs do not hold.

    `before` and `after` count the special tokens around a text. `agreement` is, by precision, the
    mean and the least cosine with the model in float32 over passages of many kinds.
    """

    dim: int
    max_tokens: int
    before: int
    after: int
    query_prompt: str
    document_prompt: str
    agreement: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Graph:
    """The graphs of a model in one folder, one for each precision that agrees with the model."""

    folder: Path
    facts: Facts

    @property
    def tokenizer(self) -> Path:
        """Return the file of the model's fast tokenizer, which neither truncates nor pads."""
        return self.folder / TOKENIZER

    def file(self, precision: str) -> Path:
        """Return the file of the graph in one precision."""
        return self.folder / f"{precision}.onnx"

    @property
    def precisions(self) -> list[str]:
        """List the precisions in which a graph agrees with the model."""
        return [name for name in ("int8", "float32") if self.file(name).is_file()]

    def speeds(self, machine: str) -> dict[str, float]:
        """Return the texts a second that were measured on a machine, by precision and runtime."""
        try:
            known = json.loads((self.folder / _SPEEDS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        speeds = known.get(machine, {}) if isinstance(known, dict) else {}
        return {str(name): float(value) for name, value in speeds.items()}

    def remember_speeds(self, machine: str, speeds: Mapping[str, float]) -> None:
        """Save measured speeds beside the graph, if the cache can be written."""
        import tempfile

        file = self.folder / _SPEEDS
        try:
            known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
            with tempfile.NamedTemporaryFile(
                "w", dir=self.folder, delete=False, encoding="utf-8"
            ) as draft:
                json.dump({**known, machine: dict(speeds)}, draft, indent=1)
            Path(draft.name).replace(file)
        except (OSError, ValueError):
            return


@dataclass(frozen=True, slots=True)
class Unsupported:
    """The reason why a model has no graph."""

    reason: str


def calibration() -> list[str]:
    """Load passages of many kinds, by which a graph is fitted, measured and compared."""
    text = (files("rag.models.onnx") / "calibration.txt").read_text(encoding="utf-8")
    return [passage.strip() for passage in text.split("\n\n") if passage.strip()]


def graph_of(model: LocalModel, progress: ProgressCallback | None = None) -> Graph | Unsupported:
    """Return a model's graphs, made in a process of their own unless they are in the cache.

    Raises:
        ModelError: if the cache cannot be written.
    """
    weights = weights_hash(model)
    cached = _read(_folder(model, weights)) if weights else None
    if cached is not None:
        return cached
    from filelock import FileLock

    home = cache_dir() / "graphs"
    try:
        private.make_folder(cache_dir())
        home.mkdir(exist_ok=True)
        with FileLock(home / f"{_file_name(model.name)}.lock"):
            # Another process may have made it while this one waited.
            cached = _read(_folder(model, weights)) if weights else None
            return cached or _make(model, home, progress or no_progress)
    except OSError as error:
        raise ModelError(
            f"{model.name}: its graph cannot be kept under {home} ({error.strerror or error}): "
            "make room, or set RAG_CACHE to a folder that can be written"
        ) from error


def _read(folder: Path) -> Graph | Unsupported | None:
    try:
        return _from_record(folder, json.loads((folder / _FACTS).read_text(encoding="utf-8")))
    # A graph that is missing or cut off is made anew.
    except (OSError, ValueError, KeyError):
        return None


def _from_record(folder: Path, record: Mapping[str, Any]) -> Graph | Unsupported:
    if "unfit" in record:
        return Unsupported(record["unfit"])
    if any((folder / name).stat().st_size != size for name, size in record["sizes"].items()):
        raise OSError
    agreement = {name: (mean, least) for name, (mean, least) in record["agreement"].items()}
    facts = {name: value for name, value in record.items() if name != "sizes"}
    return Graph(folder, Facts(**{**facts, "agreement": agreement}))


def _make(model: LocalModel, home: Path, progress: ProgressCallback) -> Graph | Unsupported:
    import shutil
    import tempfile

    progress(Progress("prepare", 0, 1, "model", model.name))
    # A killed process left these: only the lock's holder stages graphs of this model.
    for stale in home.glob(f"staging-{_file_name(model.name)}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=f"staging-{_file_name(model.name)}-", dir=home))
    try:
        record = _make_in_process(model, staging)
        if "unfit" in record:
            for file in staging.iterdir():
                file.unlink()
        else:
            record["sizes"] = {file.name: file.stat().st_size for file in staging.iterdir()}
        (staging / _FACTS).write_text(json.dumps(record, indent=1), encoding="utf-8")
        # All users who share a cache may read what one of them made.
        for path in (staging, *staging.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        # The process may have downloaded a hub's model, so that its commit is known only now.
        folder = _folder(model, weights_hash(model) or "unknown")
        if folder.exists():
            shutil.rmtree(folder)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    progress(Progress("prepare", 1, 1, "model", model.name))
    return _from_record(folder, record)


def _make_in_process(model: LocalModel, target: Path) -> dict[str, Any]:
    from subprocess import PIPE

    # Only a model that the hub has may need the key for the hub.
    process = start_python(
        *("-m", "rag.models.onnx.making"),
        folder=target,
        environment=environment_without_keys(but=_HUB_KEYS if model.origin == "hub" else ()),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    request = json.dumps({"model": asdict(model), "target": str(target)})
    with process:
        try:
            answer, complaints = process.communicate(request.encode())
        finally:
            process.kill()
    try:
        record: dict[str, Any] = json.loads(answer)
    except ValueError as error:
        complaint = complaints.decode("utf-8", "replace").strip()
        last = complaint.splitlines()[-1:] or [first_line(error)]
        # This is not remembered: the next try may have more memory, or not be interrupted.
        raise ModelError(
            f"{model.name}: no graph could be made of it ({without_passwords(last[0])[:200]}): try "
            "again, or set `embedding.precision` to float16 or bfloat16, which need no graph"
        ) from error
    return record


def _folder(model: LocalModel, weights: str) -> Path:
    key = hashlib.sha256(f"{weights}\0{_RECIPE}".encode()).hexdigest()[:16]
    return cache_dir() / "graphs" / f"{_file_name(model.name)}-{key}"


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "-" for c in name)
