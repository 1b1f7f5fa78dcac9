"""The catalogue on this machine: what is here, how fast it is, and what is recommended."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rag.models.cache import cache_dir
from rag.models.catalogue import CATALOGUE, CatalogueEntry, Kind, gigabytes
from rag.models.devices import available_memory
from rag.models.fetching import is_pulled
from rag.models.speeds import estimate_speed, measured_speed
from rag.models.writers import measured_writers

# A prompt with the default number of passages of a usual length, and two sentences.
_PROMPT_TOKENS = 1000
_WRITTEN_TOKENS = 60
# Longer than this nobody waits for an answer where a quotation comes at once.
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A catalogued model on this machine.

    `fetch`, `disk` and `memory` are in bytes, 0 where not known; `fetched` says whether it is here.
    For a generator: `writes` says whether `auto` lets it write, `right` which share of
    its answers was right when it was measured; `prompt_speed` and `writing_speed` are in tokens a
    second, `measured` says that they were measured on this machine and not estimated, and `seconds`
    is what an answer takes by them. `reason` says why it is recommended, or why not. `durable` is
    False where nobody knows who put its packages there, which may vanish.
    """

    name: str
    kind: Kind
    description: str
    languages: tuple[str, ...]
    licence: str
    packages: tuple[str, ...]
    durable: bool
    fetch: int
    disk: int
    memory: int
    fetched: bool
    writes: bool = False
    right: float | None = None
    prompt_speed: float | None = None
    writing_speed: float | None = None
    measured: bool = False
    seconds: float | None = None
    recommended: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """All catalogued models, and the generator recommended on this machine.

    `recommended` is `extractive` where none that may write suits it;
    `available` is the memory that is free, in bytes.
    """

    models: tuple[ListedModel, ...]
    recommended: str
    available: int
    cache: str


def list_models() -> Listing:
    """List the catalogue, and recommend a generator for this machine.

    Of the generators that `auto` lets write, that fit into the free memory and answer in 20
    seconds, the one with the most right answers is recommended.
    """
    available = available_memory()
    listed = [_describe(entry, available) for entry in CATALOGUE.values()]
    suitable = [model for model in listed if model.recommended]
    best = max(suitable, key=lambda model: model.right or 0.0, default=None)
    return Listing(
        models=tuple(
            replace(model, recommended=False, reason=f"{best.name} answers better")
            if best is not None and model.recommended and model is not best
            else model
            for model in listed
        ),
        recommended=best.name if best else "extractive",
        available=available,
        cache=str(cache_dir()),
    )


def _describe(entry: CatalogueEntry, available: int) -> ListedModel:
    model = ListedModel(
        name=entry.name,
        kind=entry.kind,
        description=entry.description,
        languages=entry.languages,
        licence=entry.licence,
        packages=tuple(entry.requirements),
        durable=entry.durable,
        fetch=entry.size,
        disk=entry.disk,
        memory=entry.memory,
        fetched=is_pulled(entry.name),
    )
    return _judge(model, entry, available) if entry.kind == "generator" else model


def _judge(model: ListedModel, entry: CatalogueEntry, available: int) -> ListedModel:
    """Add what is known of a generator, and whether it suits this machine."""
    writer = measured_writers().get(entry.name)
    measured = measured_speed(entry)
    speed = measured or estimate_speed(entry)
    seconds = None
    if speed is not None:
        seconds = _PROMPT_TOKENS / speed.prompt + _WRITTEN_TOKENS / speed.written
    writes = writer is not None and writer.writes
    problem = ""
    if not writes:
        problem = "quotes: it was not measured to answer better than a quotation"
    elif entry.memory > available:
        problem = f"takes {gigabytes(entry.memory)} of memory, {gigabytes(available)} are free"
    elif seconds is not None and seconds > _PATIENCE_SECONDS:
        problem = f"takes {seconds:.0f} s to answer"
    return replace(
        model,
        writes=writes,
        right=writer.right if writer else None,
        prompt_speed=speed.prompt if speed else None,
        writing_speed=speed.written if speed else None,
        measured=measured is not None,
        seconds=seconds,
        recommended=not problem,
        reason=problem or "the most right answers of those that may write and fit",
    )
