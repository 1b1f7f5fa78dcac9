"""Settings: defaults, then `rag.toml`, then `RAG_*` in the environment, then arguments.

A key is `section.key` in TOML and as an argument, `RAG_SECTION_KEY` in the environment. Nothing is
read at import; `load_config` reads once and gives a frozen `Config`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from rag.errors import ConfigError

CONFIG_FILE = "rag.toml"
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_CHOICES = {
    "index.kind": ("auto", "flat", "hnsw", "ivf-sq8", "ivf-pq"),
    "embedding.precision": ("auto", "int8", "float32", "float16", "bfloat16"),
    "retrieval.mode": ("hybrid", "dense", "lexical"),
    "retrieval.fusion": ("convex", "rrf"),
    "retrieval.expansion": ("rm3", "rocchio", "multi-query", "hyde"),
    "retrieval.context": ("passage", "window", "section"),
    "answering.way": ("auto", "generate", "extract"),
}
RESERVED_VARIABLES = frozenset({"RAG_CACHE", "RAG_API_KEY"})


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """Where the index lives, and how its vectors are searched.

    Another writer is waited for up to `wait` seconds (inf: always). `kind` is `flat` (exact),
    `hnsw`, `ivf-sq8`, `ivf-pq`, or `auto`: exact while that takes a few milliseconds, then the kind
    that does best within `memory_mb` (0: half of what the machine has). `recall` is the share of
    the nearest, ten or a hundred, that the approximate kinds are to find, 0 to 1.
    """

    path: str = "indexes/default"
    wait: float = 0.0
    kind: str = "auto"
    memory_mb: int = 0
    recall: float = 0.95


@dataclass(frozen=True, slots=True)
class SourcesConfig:
    """What is taken from folders, how it is read, and the limits that reading one file has.

    `include` and `exclude` are patterns as in `.gitignore`; `hidden` takes files that begin with a
    dot. `encoding` is for text that is not UTF-8 and says nothing else (empty: such a file is
    refused). `json_text`, `json_title` and `json_id` name the fields of JSON records, with dots
    for fields within fields; several text fields are joined by commas.

    Limits: `max_file_mb` on disk (`max_container_mb` for archives, mailboxes and JSON lines, which
    are streamed), `max_text_mb` for the text of one document, `max_pages`, `max_nesting` of HTML
    and JSON, `max_word` characters without a space, `max_members` of an archive,
    `max_unpacked_mb` of all of them, `max_ratio` of their size to the archive's, `max_depth` of
    archives within archives. Readers run in `workers` processes (0: one a core, at most 4), each
    with `memory_mb`, and `seconds` for a file or for one document of many.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    encoding: str = ""
    json_text: str = ""
    json_title: str = ""
    json_id: str = ""
    max_file_mb: int = 256
    max_container_mb: int = 8192
    max_text_mb: int = 64
    max_pages: int = 10_000
    max_nesting: int = 1_000
    max_word: int = 100_000
    max_members: int = 100_000
    max_unpacked_mb: int = 8192
    max_ratio: int = 200
    max_depth: int = 4
    workers: int = 0
    memory_mb: int = 1024
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class ChunkingConfig:
    """Sizes of passages in tokens of the embedder; 0 for `size` means all the model reads."""

    size: int = 200
    overlap: int = 32


@dataclass(frozen=True, slots=True)
class IngestionConfig:
    """After how many passages or seconds, whichever comes first, what is done is made durable."""

    commit_passages: int = 2048
    commit_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class EmbeddingConfig:
    """Which embedder, on which device (`auto`, `cpu`, `cuda`, `mps`), in which precision.

    `precision` is `int8` or `float32` (both through ONNX on a CPU), `float16` or `bfloat16`
    (through torch), or `auto`: what is fastest on a CPU and agrees with float32, and `float16` on
    CUDA. `batch_tokens` is how many tokens are computed at once through torch (0: as many as
    suit the device).
    """

    model: str = "all-minilm-l6-v2"
    device: str = "auto"
    precision: str = "auto"
    batch_tokens: int = 0


@dataclass(frozen=True, slots=True)
class RetrievalConfig:
    """How passages are found, ordered and shown.

    `top_k` is how many. `mode` is `hybrid`, `dense` or `lexical`. `fusion` of a hybrid search is
    `convex` (of normalised scores, the dense ones weighing `dense_weight`, 0 to 1) or `rrf` (by
    ranks). Each side gives `candidates` passages.

    `expansion` is what is searched with besides the question, in any number: `rm3` (words of the
    best passages), `rocchio` (their vectors), `multi-query` and `hyde` (by the generator).
    `rerank` is `none`, `embedder`, `late-interaction`, `likelihood`, or a cross-encoder by hub name
    or directory; it reads the `rerank_depth` best passages, or what of them `rerank_budget_ms` has
    room for (0: all). `rerank_model` is the embedder that the first two of these read with (empty:
    that of the index).

    `collapse` is the similarity from which of several passages only the best is shown (0: all
    are). `diversity` trades nearness for variety, 0 to 1. `context` is what is read of a hit:
    `passage`, `window` (a few sentences more on either side) or `section`.
    """

    top_k: int = 5
    mode: str = "hybrid"
    fusion: str = "convex"
    dense_weight: float = 0.5
    candidates: int = 100
    expansion: tuple[str, ...] = ("rm3", "rocchio")
    rerank: str = "none"
    rerank_model: str = ""
    rerank_depth: int = 30
    rerank_budget_ms: int = 0
    collapse: float = 0.95
    diversity: float = 0.0
    context: str = "passage"


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Which generator and how it writes.

    `model` is `extractive`, a catalogued name, a GGUF file, a model directory, a hub name, or the
    base URL of an OpenAI-compatible server, whose model is then `served_model` (empty: the first
    that the server lists). `max_tokens` bounds the answer, `context_tokens` the prompt and the
    answer together (0: what suits the model). `timeout` is in seconds; `retries` counts the
    attempts after the first.
    """

    model: str = "smollm2-135m-instruct"
    served_model: str = ""
    device: str = "auto"
    max_tokens: int = 160
    context_tokens: int = 0
    temperature: float = 0.0
    seed: int = 0
    timeout: float = 60.0
    retries: int = 3


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """What a generator is told.

    `templates` is a folder with templates in place of the built-in ones (empty: those). `examples`
    is a file of your own questions with their answers, of which the `shots` most similar ones are
    shown to the generator.
    """

    templates: str = ""
    examples: str = ""
    shots: int = 3


@dataclass(frozen=True, slots=True)
class AnsweringConfig:
    """How an answer comes about, and when there is none.

    `way` is `generate`, `extract` (word for word out of the passages) or `auto` (generated, and
    extracted where what was generated is not borne out). `reader` is a model for question answering
    that extracts, `entailment` one for natural language inference that verifies, each a hub name
    or a directory (empty: none). `strict` leaves out sentences that no passage bears out. Below the
    probability `threshold` that the documents hold the answer, the reply is that they do not say.
    """

    way: str = "auto"
    reader: str = ""
    entailment: str = ""
    strict: bool = False
    threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """Whether a daemon that runs is asked, and after how many seconds without a question it ends.

    `idle` is that of a daemon which is started.
    """

    use: bool = True
    idle: float = 900.0


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, one section a field."""

    index: IndexConfig = field(default_factory=IndexConfig)
    sources: SourcesConfig = field(default_factory=SourcesConfig)
    chunking: ChunkingConfig = field(default_factory=ChunkingConfig)
    ingestion: IngestionConfig = field(default_factory=IngestionConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    answering: AnsweringConfig = field(default_factory=AnsweringConfig)
    daemon: DaemonConfig = field(default_factory=DaemonConfig)


def load_config(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Config:
    """Read the settings, each source overriding the one before it.

    Args:
        file: a TOML file; None reads `rag.toml` of the working directory if there is one.
        environment: None reads the process environment.
        arguments: values by `section.key`; None values are passed over.

    Raises:
        ConfigError: on an unreadable file, an unknown key (naming the nearest one) or a value of
            the wrong type or range.
    """
    config = Config()
    path = file if file is not None else Path(CONFIG_FILE)
    if file is not None or path.is_file():
        config = _merge(config, _read_toml(path), str(path))
    variables = os.environ if environment is None else environment
    config = _merge(config, _read_environment(variables), "the environment")
    given = {key: value for key, value in (arguments or {}).items() if value is not None}
    config = _merge(config, given, "the arguments")
    _check_ranges(config)
    return config


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}") from error
    flat: dict[str, Any] = {}
    for section, values in tables.items():
        if isinstance(values, dict):
            flat.update({f"{section}.{key}": value for key, value in values.items()})
        else:
            flat[section] = values
    return flat


def _read_environment(variables: Mapping[str, str]) -> dict[str, str]:
    names = {f"RAG_{key.upper().replace('.', '_')}": key for key in known_keys()}
    flat = {}
    for name, value in variables.items():
        if not name.startswith("RAG_") or name in RESERVED_VARIABLES:
            continue
        if name not in names:
            nearest = _nearest(name, [*names, *RESERVED_VARIABLES])
            raise ConfigError(f"{name}: unknown variable in the environment{nearest}")
        flat[names[name]] = value
    return flat


@cache
def known_keys() -> Mapping[str, type]:
    """Every `section.key` with the type of its value."""
    sections = get_type_hints(Config)
    return {
        f"{section}.{key}": kind
        for section, kinds in sections.items()
        for key, kind in get_type_hints(kinds).items()
    }


def _merge(config: Config, values: Mapping[str, Any], origin: str) -> Config:
    kinds = known_keys()
    for key, value in values.items():
        if key not in kinds:
            raise ConfigError(f"{origin}: unknown key `{key}`{_nearest(key, list(kinds))}")
        section, name = key.split(".")
        converted = _convert(value, kinds[key], f"{origin}: `{key}`")
        updated = replace(getattr(config, section), **{name: converted})
        config = replace(config, **{section: updated})
    return config


def _convert(value: Any, kind: type, where: str) -> Any:
    if kind == tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(p, str) for p in parts):
            raise ConfigError(f"{where} must be {_spoken(kind)}, not {value!r}")
        return tuple(part.strip() for part in parts if part.strip())
    if isinstance(value, str) and kind is bool:
        if value.lower() not in _BOOLEANS:
            raise ConfigError(f"{where} must be {_spoken(kind)}, not {value!r}")
        return _BOOLEANS[value.lower()]
    if isinstance(value, str) and kind is not str:
        try:
            return kind(value)
        except ValueError:
            raise ConfigError(f"{where} must be {_spoken(kind)}, not {value!r}") from None
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where} must be {_spoken(kind)}, not {value!r}")
    return value


def _spoken(kind: type) -> str:
    if kind == tuple[str, ...]:
        return "a list of texts"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]


def _nearest(key: str, known: list[str]) -> str:
    # Most settings are right.
    import difflib

    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not close:
        last = {name.rpartition(".")[2]: name for name in known}
        close = [last[name] for name in difflib.get_close_matches(key, list(last), n=1, cutoff=0.5)]
    return f"; did you mean `{close[0]}`?" if close else ""


def _check_ranges(config: Config) -> None:
    at_least = {
        "index.wait": 0,
        "index.memory_mb": 0,
        "index.recall": 0,
        "sources.max_file_mb": 1,
        "sources.max_container_mb": 1,
        "sources.max_text_mb": 1,
        "sources.max_pages": 1,
        "sources.max_nesting": 1,
        "sources.max_word": 100,
        "sources.max_members": 1,
        "sources.max_unpacked_mb": 1,
        "sources.max_ratio": 1,
        "sources.max_depth": 0,
        "sources.workers": 0,
        "sources.memory_mb": 256,
        "sources.seconds": 0.1,
        "ingestion.commit_passages": 1,
        "ingestion.commit_seconds": 0,
        "chunking.size": 0,
        "chunking.overlap": 0,
        "embedding.batch_tokens": 0,
        "retrieval.top_k": 1,
        "retrieval.dense_weight": 0,
        "retrieval.candidates": 1,
        "retrieval.rerank_depth": 1,
        "retrieval.rerank_budget_ms": 0,
        "retrieval.collapse": 0,
        "retrieval.diversity": 0,
        "generation.max_tokens": 1,
        "generation.context_tokens": 0,
        "generation.temperature": 0,
        "generation.timeout": 0,
        "generation.retries": 0,
        "prompt.shots": 0,
        "answering.threshold": 0,
        "daemon.idle": 0,
    }
    for key, least in at_least.items():
        section, name = key.split(".")
        value = getattr(getattr(config, section), name)
        if value < least:
            raise ConfigError(f"`{key}` must be at least {least}, not {value}")
    shares = ("retrieval.dense_weight", "retrieval.collapse", "retrieval.diversity")
    for key in (*shares, "index.recall", "answering.threshold"):
        section, name = key.split(".")
        value = getattr(getattr(config, section), name)
        if value > 1:
            raise ConfigError(f"`{key}` must be at most 1, not {value}")
    for key, choices in _CHOICES.items():
        section, name = key.split(".")
        value = getattr(getattr(config, section), name)
        for each in (value,) if isinstance(value, str) else value:
            if each not in choices:
                raise ConfigError(
                    f"`{key}` must be one of {', '.join(choices)}, not {each!r}"
                    f"{_nearest(each, list(choices))}"
                )
    size, overlap = config.chunking.size, config.chunking.overlap
    if size and overlap >= size:
        raise ConfigError(
            f"`chunking.overlap` ({overlap}) must be smaller than `chunking.size` ({size})"
        )
