"""Compare two processes: their answers are the same if code, libraries and environment are."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

import rag

_VARIABLES = frozenset(
    {
        "ALL_PROXY", "HOME", "HTTPS_PROXY", "HTTP_PROXY", "LD_LIBRARY_PATH", "NO_PROXY",
        "OPENAI_API_KEY", "RAG_API_KEY", "RAG_CACHE", "REQUESTS_CA_BUNDLE", "XDG_CACHE_HOME",
    }
)  # fmt: skip
_PREFIXES = (
    "BLIS_", "CUDA_", "FAISS_", "GGML_", "GOMP_", "HF_", "HUGGING", "KMP_", "LLAMA_", "MKL_",
    "NVIDIA_", "OMP_", "OPENBLAS_", "OPENVINO_", "ORT_", "PIP_", "PYTORCH_", "ROCR_", "SSL_CERT_",
    "SENTENCE_TRANSFORMERS_", "TOKENIZERS_", "TORCH", "TRANSFORMERS_",
)  # fmt: skip


def identity(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Collect facts by name: this package's version and code, Python, libraries, environment.

    Settings are not among them: each question comes with its own. Variables are hashed, since keys
    and the passwords of proxies and package indexes are among them.
    """
    variables = os.environ if environment is None else environment
    facts = {
        "version": rag.__version__,
        "code": _code_state(Path(rag.__file__).parent),
        "python": f"{sys.prefix} {sys.version}",
        # Installing or removing a library changes this folder.
        "libraries": _folder_state(Path(msgspec.__file__).parent.parent),
    }
    for name, value in variables.items():
        if name.upper() in _VARIABLES or name.startswith(_PREFIXES):
            place = absolute_path(value) if name == "RAG_CACHE" and value else value
            facts[name] = hashlib.sha256(os.fsencode(place)).hexdigest()
    return facts


def absolute_path(folder: str) -> str:
    """Return a folder of the user's as it is called from everywhere; links stay as they are."""
    return os.path.abspath(os.path.expanduser(folder))  # noqa: PTH100, PTH111


def find_differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the facts that differ."""
    names = sorted(ours.keys() | theirs.keys())
    return tuple(name for name in names if ours.get(name) != theirs.get(name))


def _code_state(package: Path) -> str:
    """Return where the package is, how many files it has, and when one was last changed."""
    changed = [
        Path(folder, name).stat().st_mtime_ns
        for folder, _, names in os.walk(package)
        if not folder.endswith("__pycache__")
        for name in names
    ]
    return f"{package} {len(changed)} {max(changed)}"


def _folder_state(folder: Path) -> str:
    try:
        return f"{folder} {folder.stat().st_mtime_ns}"
    except OSError:
        return f"{folder}"
