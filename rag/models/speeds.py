"""How fast generators are on this machine: measured once and kept in the cache, or estimated."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rag import private
from rag.models.cache import cache_dir
from rag.models.catalogue import CATALOGUE, CatalogueEntry, Speed
from rag.models.devices import usable_cores


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """A speed, the version of the model, the cores that it was measured on, and when (ISO 8601)."""

    prompt: float
    written: float
    version: str
    cores: int
    when: str


def keep_speed(name: str, speed: Speed) -> None:
    """Keep the measured speed of a catalogued generator on this machine.

    Raises:
        OSError: if the cache cannot be written.
    """
    from filelock import FileLock

    private.make_folder(cache_dir())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    version = CATALOGUE[name].version
    with FileLock(cache_dir() / "speeds.lock"):
        speeds = _read_speeds()
        speeds[name] = MeasuredSpeed(speed.prompt, speed.written, version, usable_cores(), now)
        written = _file().with_suffix(".new")
        with open(written, "wb", opener=private.open_for_owner) as file:
            file.write(msgspec.json.format(msgspec.json.encode(speeds)))
        written.replace(_file())


def measured_speed(entry: CatalogueEntry) -> MeasuredSpeed | None:
    """Return what was measured of this version with as many cores as there are now, if it was."""
    found = _read_speeds().get(entry.name)
    if found is None or (found.version, found.cores) != (entry.version, usable_cores()):
        return None
    return found


def estimate_speed(entry: CatalogueEntry) -> Speed | None:
    """Estimate the speed of a generator that was never measured here, from the catalogue's.

    Where other generators were measured here, it is as much faster or slower than catalogued as
    they are; or else as fast as one thread of the catalogue's machine times the cores of this one.
    """
    if entry.speed is None:
        return None
    prompt = written = float(usable_cores())
    known = [
        (kept, other.speed)
        for other in CATALOGUE.values()
        if other.speed is not None and (kept := measured_speed(other)) is not None
    ]
    if known:
        prompt = sum(kept.prompt / listed.prompt for kept, listed in known) / len(known)
        written = sum(kept.written / listed.written for kept, listed in known) / len(known)
    return Speed(entry.speed.prompt * prompt, entry.speed.written * written)


def _file() -> Path:
    return cache_dir() / "speeds.json"


def _read_speeds() -> dict[str, MeasuredSpeed]:
    # A file that is missing or damaged says nothing; the next measurement writes it anew.
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(_file().read_bytes(), type=dict[str, MeasuredSpeed])
    return {}
