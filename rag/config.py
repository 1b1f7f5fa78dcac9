"""Settings: defaults, then `rag.toml`, then `RAG_*` in the environment, then arguments.

A key is `section.key` in TOML and as an argument, `RAG_SECTION_KEY` in the environment. The rule
that binds a setting (a range, a choice) stands in the type of its field. Nothing is read at import;
`load_config` reads once and returns a frozen `Config`.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from rag.errors import ConfigError

CONFIG_FILE = "rag.toml"
RESERVED_VARIABLES = frozenset({"RAG_CACHE", "RAG_API_KEY"})
_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Precision = Literal["auto", "int8", "float32", "float16", "bfloat16"]
Expansion = Literal["rm3", "rocchio", "multi-query", "hyde"]


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """Where the index lies, and how its vectors are searched.

    A writer waits up to `wait` seconds for another one to end (inf: as long as it takes). `kind` is
    `flat` (exact), `hnsw`, `ivf-sq8`, `ivf-pq`, or `auto`: exact while that takes a few
    milliseconds, then the kind that does best within `memory_mb` (0: half of the machine's memory).
    `recall` is the share of the 10 or 100 nearest vectors that an approximate kind must find.
    """

    path: str = "indexes/default"
    wait: Amount = 0.0
    kind: Literal["auto", "flat", "hnsw", "ivf-sq8", "ivf-pq"] = "auto"
    memory_mb: Count = 0
    recall: Share = 0.95


@dataclass(frozen=True, slots=True)
class SourcesConfig:
    """Which files of a folder are read, how, and within which limits.

    `include` and `exclude` are patterns as in `.gitignore`; `hidden` takes files whose names begin
    with a dot. `encoding` is for text that is not UTF-8 and does not name its encoding (empty:
    such a file is refused). `json_text`, `json_title` and `json_id` name the fields of JSON
    records, with dots for fields within fields; commas join several text fields.

    Limits: `max_file_mb` on disk (`max_container_mb` for archives, mailboxes and JSON lines, which
    are streamed), `max_text_mb` for the text of one document, `max_pages`, `max_nesting` of HTML
    and JSON, `max_word` characters without a space, `max_members` of an archive,
    `max_unpacked_mb` of all of them, `max_ratio` of their size to the archive's, `max_depth` of
    archives within archives. Readers run in `workers` processes (0: one per core, at most 4), each
    with `memory_mb`, and `seconds` for a file or for one document of many.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    encoding: str = ""
    json_text: str = ""
    json_title: str = ""
    json_id: str = ""
    max_file_mb: Positive = 256
    max_container_mb: Positive = 8192
    max_text_mb: Positive = 64
    max_pages: Positive = 10_000
    max_nesting: Positive = 1_000
    max_word: Annotated[int, Meta(ge=100)] = 100_000
    max_members: Positive = 100_000
    max_unpacked_mb: Positive = 8192
    max_ratio: Positive = 200
    max_depth: Count = 4
    workers: Count = 0
    memory_mb: Annotated[int, Meta(ge=256)] = 1024
    seconds: Annotated[float, Meta(ge=0.1)] = 60.0


@dataclass(frozen=True, slots=True)
class ChunkingConfig:
    """The length of a chunk and how far it overlaps the next, in tokens of the embedder.

    A `size` of 0 means as many tokens as the embedder reads.

    Raises:
        ConfigError: if chunks would overlap wholly.
    """

    size: Count = 200
    overlap: Count = 32

    def __post_init__(self) -> None:
        if self.size and self.overlap >= self.size:
            raise ConfigError(
                f"`chunking.overlap` ({self.overlap}) must be smaller than "
                f"`chunking.size` ({self.size})"
            )


@dataclass(frozen=True, slots=True)
class IngestionConfig:
    """How often indexing commits: after so many passages or seconds, whichever comes first."""

    commit_passages: Positive = 2048
    commit_seconds: Amount = 10.0


@dataclass(frozen=True, slots=True)
class EmbeddingConfig:
    """Which embedder, on which device (`auto`, `cpu`, `cuda`, `mps`), in which precision.

    `precision` is `int8` or `float32` (both through ONNX on a CPU), `float16` or `bfloat16`
    (through torch), or `auto`: on a CPU the fastest that agrees with float32, and `float16` on
    CUDA. `batch_tokens` is how many tokens torch computes at once (0: as many as suit the device).
    """

    model: str = "all-minilm-l6-v2"
    device: str = "auto"
    precision: Precision = "auto"
    batch_tokens: Count = 0


@dataclass(frozen=True, slots=True)
class RetrievalConfig:
    """How passages are found, ordered and shown.

    `top_k` is how many. `mode` is `hybrid`, `dense` or `lexical`. A hybrid search fuses both sides,
    of `candidates` passages each, by `convex` (normalised scores, the dense ones weighted by
    `dense_weight`) or by `rrf` (ranks).

    `expansion` adds to the question, by any of: `rm3` (words of the best passages), `rocchio`
    (their vectors), `multi-query` and `hyde` (what the generator writes). `rerank` is `none`,
    `embedder`, `late-interaction`, `likelihood`, or a cross-encoder by hub name or directory; it
    reads the `rerank_depth` best passages, or as many of them as fit into `rerank_budget_ms` (0:
    all). `rerank_model` is the embedder that the first two of these use (empty: the index's own).

    `correct` reads a question without its typing errors: words that occur nowhere in the index
    become the nearest that do. Of passages that are at least as similar as `collapse`, only the
    best is shown (0: all are). `diversity` trades nearness for variety, 0 to 1. `context` is what
    is read of a hit: the `passage`, a `window` (a few sentences more on either side) or its
    `section`.
    """

    top_k: Positive = 5
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    fusion: Literal["convex", "rrf"] = "convex"
    dense_weight: Share = 0.5
    candidates: Positive = 100
    expansion: tuple[Expansion, ...] = ("rm3", "rocchio")
    rerank: str = "none"
    rerank_model: str = ""
    rerank_depth: Positive = 30
    rerank_budget_ms: Count = 0
    correct: bool = True
    collapse: Share = 0.95
    diversity: Share = 0.0
    context: Literal["passage", "window", "section"] = "passage"


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Which generator writes, and how.

    `model` is `extractive`, a catalogued name, a GGUF file, a model directory, a hub name, or the
    base URL of an OpenAI-compatible server, whose model is then `served_model` (empty: the first
    that the server lists). `max_tokens` bounds the answer, `context_tokens` the prompt and the
    answer together (0: what suits the model). `timeout` is in seconds; `retries` counts the
    attempts after the first.
    """

    model: str = "smollm2-135m-instruct"
    served_model: str = ""
    device: str = "auto"
    max_tokens: Positive = 160
    context_tokens: Count = 0
    temperature: Amount = 0.0
    seed: int = 0
    timeout: Amount = 60.0
    retries: Count = 3


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """What the prompt is made of, besides question and passages.

    `templates` is a folder with templates that replace the built-in ones (empty: none). `examples`
    is a file with questions and answers of your own; the `shots` most similar ones go into the
    prompt.
    """

    templates: str = ""
    examples: str = ""
    shots: Count = 3


@dataclass(frozen=True, slots=True)
class AnsweringConfig:
    """How an answer is made, and when there is none.

    `way` is `generate`, `extract` (word for word out of the passages) or `auto` (generated where
    the generator was measured to answer better than an extract, and extracted where it was not, or
    the passages do not support what was generated). `writers` names generators that you measured
    yourself and that `auto` lets write, too. `reader` is a question answering model that decides
    whether the passages answer, and extracts: `minilm-reader`, which comes with this package, a
    hub name or a directory (empty: words and meanings are compared). `entailment` is a natural
    language inference model that verifies and checks claims: `minilm-entailment`, which comes with
    this package, a hub name or a directory (empty or `none`: words and meanings are compared).
    `strict` leaves out sentences that no passage supports. Below the probability `threshold` that
    the documents hold the answer, the reply is that they do not say.
    """

    way: Literal["auto", "generate", "extract"] = "auto"
    writers: tuple[str, ...] = ()
    reader: str = "minilm-reader"
    entailment: str = ""
    strict: bool = False
    threshold: Share = 0.15


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """Whether commands use a running daemon, and when one that they start ends.

    A daemon ends after `idle` seconds without a question.
    """

    use: bool = True
    idle: Annotated[float, Meta(gt=0)] = 900.0


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, one section per field."""

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


@dataclass(frozen=True, slots=True)
class Setting:
    """The default of a setting and, in its type, the rule that binds it."""

    kind: Any
    default: Any

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it may be, or may list; none where it is free."""
        kind = get_args(self.kind)[0] if get_origin(self.kind) is tuple else self.kind
        return get_args(kind) if get_origin(kind) is Literal else ()

    @property
    def bounds(self) -> Meta:
        """The range of a number."""
        return next(iter(getattr(self.kind, "__metadata__", ())), Meta())

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        if get_origin(self.kind) is tuple:
            return f"a list of {', '.join(self.choices) or 'texts'}"
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        name = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        low, high = self.bounds.ge, self.bounds.le
        limits = [
            f" of more than {self.bounds.gt}" if self.bounds.gt is not None else "",
            f" of at least {low}" if low is not None and high is None else "",
            f" from {low} to {high}" if high is not None else "",
        ]
        return name[type(self.default)] + "".join(limits)

    def read(self, value: Any) -> Any:
        """Convert and check a value, which may be the text of a variable or an option.

        Raises:
            ValueError: if it is not allowed; says what is.
        """
        plain = value.strip() if isinstance(value, str) else value
        if isinstance(plain, str) and get_origin(self.kind) is tuple:
            plain = plain.split(",")
        if isinstance(plain, list | tuple) and all(isinstance(each, str) for each in plain):
            plain = [each.strip() for each in plain if each.strip()]
        if isinstance(plain, str) and self.kind is bool:
            plain = _SWITCHES.get(plain.lower(), plain)
        try:
            return msgspec.convert(plain, self.kind, strict=not isinstance(plain, str))
        except msgspec.ValidationError:
            words = plain if isinstance(plain, list) else [plain]
            unknown = [each for each in words if self.choices and each not in self.choices]
            shown = unknown[0] if unknown else value
            nearest = _nearest(str(shown), self.choices)
            raise ValueError(f"must be {self.allowed}, not {shown!r}{nearest}") from None


@cache
def known_settings() -> Mapping[str, Setting]:
    """Return every setting by its `section.key`."""
    found = {}
    for section, kind in get_type_hints(Config).items():
        hints = get_type_hints(kind, include_extras=True)
        for each in fields(kind):
            found[f"{section}.{each.name}"] = Setting(hints[each.name], each.default)
    return found


def load_config(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Config:
    """Read the settings, each source overriding the one before it.

    An unknown `RAG_...` variable is a warning, since the environment belongs to others too.

    Args:
        file: a TOML file; None reads `rag.toml` of the working directory if there is one.
        environment: None reads the process environment.
        arguments: values by `section.key`; those that are None are ignored.

    Raises:
        ConfigError: on an unreadable file, an unknown key (naming the nearest one) or a value of
            the wrong type or range.
    """
    path = file if file is not None else Path(CONFIG_FILE)
    values = {}
    if file is not None or path.is_file():
        values.update(check_settings(_read_toml(path), str(path)))
    variables = os.environ if environment is None else environment
    for name, key in _find_variables(variables):
        values.update(check_settings({key: variables[name]}, name))
    given = {key: value for key, value in (arguments or {}).items() if value is not None}
    values.update(check_settings(given, "the arguments"))
    return replace_settings(Config(), values)


def replace_settings(config: Config, values: Mapping[str, Any]) -> Config:
    """Return `config` with other values of some settings, by `section.key`."""
    sections: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections[section][name] = value
    changed = {name: replace(getattr(config, name), **given) for name, given in sections.items()}
    return replace(config, **changed)


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}") from error
    return {
        f"{section}.{key}" if key else section: value
        for section, values in tables.items()
        for key, value in (values if isinstance(values, dict) else {"": values}).items()
    }


def _find_variables(variables: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the variables that are settings, each with its key; warn of those that look alike."""
    keys = {f"RAG_{key.upper().replace('.', '_')}": key for key in known_settings()}
    ours = [name for name in variables if name.startswith("RAG_")]
    for name in ours:
        if name not in keys and name not in RESERVED_VARIABLES:
            nearest = _nearest(name, [*keys, *RESERVED_VARIABLES])
            warnings.warn(f"{name}: unknown variable in the environment{nearest}", stacklevel=3)
    return [(name, keys[name]) for name in ours if name in keys]


def check_settings(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Convert the values of one source, by `section.key`.

    Raises:
        ConfigError: names the source, and the key that is unknown or whose value is not allowed.
    """
    known = known_settings()
    checked = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{origin}: unknown key `{key}`{_nearest(key, list(known))}")
        try:
            checked[key] = known[key].read(value)
        except ValueError as error:
            raise ConfigError(f"{origin}: `{key}` {error}") from None
    return checked


def _nearest(key: str, known: Sequence[str]) -> str:
    # Imported here, since most settings are right.
    import difflib

    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not close:
        last = {name.rpartition(".")[2]: name for name in known}
        close = [last[name] for name in difflib.get_close_matches(key, list(last), n=1, cutoff=0.5)]
    return f"; did you mean `{close[0]}`?" if close else ""
