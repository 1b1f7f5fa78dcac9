"""A model -> its graphs of ONNX in the cache, made once from the model's own weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rag.errors import ModelError, first_line
from rag.models import LocalModel, cache_dir
from rag.models.fingerprint import weights_hash
from rag.types import Progress, ProgressCallback, no_progress

# What a graph gives: the vector of the text, and one for each of its tokens.
VECTOR, TOKENS = "sentence_embedding", "token_embeddings"
TOKENIZER = "tokenizer.json"

# Changed with what graphs are made by, so that old ones are made anew.
_RECIPE = 1
_FACTS, _SPEEDS = "graph.json", "speeds.json"


@dataclass(frozen=True, slots=True)
class Graph:
    """The graphs of a model, one for each precision that agrees with it, in one folder.

    `before` and `after` are the special tokens around a text. `agreement` is, by precision, the
    mean and the least cosine with the model in float32 over passages of many kinds.
    """

    folder: Path
    dim: int
    max_tokens: int
    before: int
    after: int
    query_prompt: str
    document_prompt: str
    agreement: Mapping[str, tuple[float, float]]

    @property
    def tokenizer(self) -> Path:
        """The model's fast tokenizer, which neither cuts nor pads."""
        return self.folder / TOKENIZER

    def file(self, precision: str) -> Path:
        """The graph of one precision."""
        return self.folder / f"{precision}.onnx"

    @property
    def precisions(self) -> list[str]:
        """Those that agree with the model."""
        return [name for name in ("int8", "float32") if self.file(name).is_file()]

    def speeds(self, machine: str) -> dict[str, float]:
        """The texts a second that were measured on a machine, by precision and runtime."""
        try:
            known = json.loads((self.folder / _SPEEDS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        found = known.get(machine, {}) if isinstance(known, dict) else {}
        return {str(name): float(value) for name, value in found.items()}

    def remember_speeds(self, machine: str, speeds: Mapping[str, float]) -> None:
        """Keep what was measured, where the cache can be written."""
        import tempfile

        file = self.folder / _SPEEDS
        try:
            known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
            with tempfile.NamedTemporaryFile(
                "w", dir=self.folder, delete=False, encoding="utf-8"
            ) as written:
                json.dump({**known, machine: dict(speeds)}, written, indent=1)
            Path(written.name).replace(file)
        except (OSError, ValueError):
            return


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Why a model has no graph."""

    reason: str


def calibration() -> list[str]:
    """Passages of many kinds, by which a graph is fitted, measured and compared with its model."""
    text = (files("rag.models.onnx") / "calibration.txt").read_text(encoding="utf-8")
    return [passage.strip() for passage in text.split("\n\n") if passage.strip()]


def graph_of(model: LocalModel, progress: ProgressCallback | None = None) -> Graph | Unsupported:
    """The graphs of a model, made in a process of their own if they are not in the cache yet.

    Raises:
        ModelError: if the cache cannot be written.
    """
    known = weights_hash(model)
    found = _read(_folder(model, known)) if known else None
    if found is not None:
        return found
    from filelock import FileLock

    home = cache_dir() / "graphs"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / f"{_plain(model.name)}.lock"):
            # Another process may have made it while this one waited.
            found = _read(_folder(model, known)) if known else None
            return found or _make(model, home, progress or no_progress)
    except OSError as error:
        raise ModelError(
            f"{model.name}: its graph cannot be kept under {home} ({error.strerror or error}): "
            "make room, or set RAG_CACHE to a folder that can be written"
        ) from error


def _read(folder: Path) -> Graph | Unsupported | None:
    try:
        return _known(folder, json.loads((folder / _FACTS).read_text(encoding="utf-8")))
    # Not there, or cut off: it is made anew.
    except (OSError, ValueError, KeyError):
        return None


def _known(folder: Path, facts: Mapping[str, Any]) -> Graph | Unsupported:
    if "unfit" in facts:
        return Unsupported(facts["unfit"])
    if any((folder / name).stat().st_size != size for name, size in facts["sizes"].items()):
        raise OSError
    agreement = {name: (mean, least) for name, (mean, least) in facts["agreement"].items()}
    known = {name: value for name, value in facts.items() if name != "sizes"}
    return Graph(folder, **{**known, "agreement": agreement})


def _make(model: LocalModel, home: Path, progress: ProgressCallback) -> Graph | Unsupported:
    import shutil
    import tempfile

    progress(Progress("prepare", 0, 1, "model", model.name))
    # Left by a process that was killed: only the lock's holder stages graphs of this model.
    for stale in home.glob(f"staging-{_plain(model.name)}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=f"staging-{_plain(model.name)}-", dir=home))
    try:
        facts = _made_apart(model, staging)
        if "unfit" in facts:
            for file in staging.iterdir():
                file.unlink()
        else:
            facts["sizes"] = {file.name: file.stat().st_size for file in staging.iterdir()}
        (staging / _FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        # Those who share a cache are to read what one of them made.
        for path in (staging, *staging.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        # A hub's model may be here only now.
        folder = _folder(model, weights_hash(model) or "unknown")
        if folder.exists():
            shutil.rmtree(folder)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    progress(Progress("prepare", 1, 1, "model", model.name))
    return _known(folder, facts)


def _made_apart(model: LocalModel, target: Path) -> dict[str, Any]:
    import subprocess
    import sys

    order = {"model": asdict(model), "target": str(target)}
    process = subprocess.run(
        [sys.executable, "-m", "rag.models.onnx.making"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        facts: dict[str, Any] = json.loads(process.stdout)
    except ValueError as error:
        said = process.stderr.strip().splitlines()[-1:] or [first_line(error)]
        # Not remembered: the next try may have more memory, or not be interrupted.
        raise ModelError(
            f"{model.name}: no graph could be made of it ({said[0][:200]}): try again, or set "
            "`embedding.precision` to float16 or bfloat16, which goes without"
        ) from error
    return facts


def _folder(model: LocalModel, weights: str) -> Path:
    key = hashlib.sha256(f"{weights}\0{_RECIPE}".encode()).hexdigest()[:16]
    return cache_dir() / "graphs" / f"{_plain(model.name)}-{key}"


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "-" for c in name)
