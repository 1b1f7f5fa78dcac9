"""Settings: defaults, the user's own file, `rag.toml`, `RAG_*` in the environment, arguments.

A key is `section.key` in TOML and as an argument, `RAG_SECTION_KEY` in the environment. The rule
that binds a setting (a range, a choice) stands in the type of its field; what a `rag.toml` may set
that was found rather than named stands in `HARMLESS`. Nothing is read at import; `load_config`
reads once and returns a frozen `Config`.
"""

from __future__ import annotations

import operator
import os
import stat
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from rag.errors import ConfigError, RagError, TrustError, first_line
from rag.trust import is_trusted

CONFIG_FILE = "rag.toml"
FILE_VARIABLE = "RAG_CONFIG"
RESERVED_VARIABLES = frozenset({"RAG_CACHE", "RAG_API_KEY", "RAG_SERVE_TOKEN", FILE_VARIABLE})
# A file of settings is written by hand.
_LONGEST_FILE = 1 << 20
_LONGEST_SHOWN = 80
_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}

# The range of a number ends far above what is of use, and below what breaks or exhausts a machine.
Share = Annotated[float, Meta(ge=0, le=1)]
MOST_PASSAGES = 10_000
Passages = Annotated[int, Meta(ge=1, le=MOST_PASSAGES)]
Tokens = Annotated[int, Meta(ge=0, le=2_000_000)]
Many = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Megabytes = Annotated[int, Meta(ge=1, le=1 << 24)]
Seed = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
# Only who waits may do so for ever.
Patience = Annotated[float, Meta(ge=0)]
Precision = Literal["auto", "int8", "float32", "float16", "bfloat16"]
Ocr = Literal["auto", "off", "tesseract", "rapidocr"]
Expansion = Literal["rm3", "rocchio", "multi-query", "hyde"]


class _Section:
    """A section of the settings, each of whose numbers is within its range however it was made.

    Raises:
        ConfigError: if one is not.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for key, setting in _numbers_of(kind).items():
            value = getattr(self, key.partition(".")[2])
            if value is setting.default:
                continue
            if isinstance(value, str):
                raise ConfigError(f"`{key}` must be {setting.allowed}, not {_show(value)}")
            try:
                setting.read(value)
            except ValueError as error:
                raise ConfigError(f"`{key}` {error}") from None


@dataclass(frozen=True, slots=True)
class IndexConfig(_Section):
    """Where the index lies, and how its vectors are searched.

    A writer waits up to `wait` seconds for another one to end (inf: as long as it takes). `kind` is
    `flat` (exact), `hnsw`, `ivf-sq8`, `ivf-pq`, or `auto`: exact while that takes a few
    milliseconds, then the kind that does best within `memory_mb` (0: half of the machine's memory).
    `recall` is the share of the 10 or 100 nearest vectors that an approximate kind must find.
    """

    path: str = "indexes/default"
    wait: Patience = 0.0
    kind: Literal["auto", "flat", "hnsw", "ivf-sq8", "ivf-pq"] = "auto"
    memory_mb: Annotated[int, Meta(ge=0, le=1 << 24)] = 0
    recall: Share = 0.95


@dataclass(frozen=True, slots=True)
class SourcesConfig(_Section):
    """Which files of a folder are read, how, and within which limits.

    `include` and `exclude` are patterns as in `.gitignore`; `hidden` takes files whose names begin
    with a dot. `encoding` is for text that is not UTF-8 and does not name its encoding (empty:
    such a file is refused), `encodings` for the files of a pattern each: `old/*.csv = cp1252`.
    `json_text`, `json_title` and `json_id` name the fields of JSON records, with dots for fields
    within fields; commas join several text fields. `ocr` names what reads scanned pages and
    pictures: the program `tesseract`, the package `rapidocr`, the first of them that is installed
    (`auto`), or nothing (`off`).

    Limits: `max_file_mb` on disk (`max_container_mb` for archives, mailboxes and JSON lines, which
    are streamed), `max_text_mb` for the text of one document, `max_pages`, `max_nesting` of HTML
    and JSON, `max_word` characters without a space, `max_members` of an archive,
    `max_unpacked_mb` of all of them, `max_ratio` of their size to the archive's, `max_depth` of
    archives within archives. Readers run in `workers` processes (0: one per core, at most 4), each
    with `memory_mb`, and `seconds` for a file or for one document of many. `confined` ones open no
    other file, no socket and no process, where the system lets them give that up.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    encoding: str = ""
    encodings: tuple[Annotated[str, Meta(pattern=r"\S\s*=\s*\S")], ...] = ()
    json_text: str = ""
    json_title: str = ""
    json_id: str = ""
    ocr: Ocr = "auto"
    max_file_mb: Megabytes = 256
    max_container_mb: Megabytes = 8192
    max_text_mb: Megabytes = 64
    max_pages: Many = 10_000
    max_nesting: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    max_word: Annotated[int, Meta(ge=100, le=1_000_000_000)] = 100_000
    max_members: Many = 100_000
    max_unpacked_mb: Megabytes = 8192
    max_ratio: Many = 200
    max_depth: Annotated[int, Meta(ge=0, le=100)] = 4
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    memory_mb: Annotated[int, Meta(ge=256, le=1 << 24)] = 1024
    seconds: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    confined: bool = True


@dataclass(frozen=True, slots=True)
class FetchingConfig(_Section):
    """How far an address that is indexed reaches.

    Links are followed `depth` deep, within the folder of the page that was named, to at most
    `pages` pages. `allow_private` lets servers be asked that not everybody may reach, such as those
    of a company's own network. One page may take `seconds`, and between two requests to one server
    are `delay` seconds at least.
    """

    depth: Annotated[int, Meta(ge=0, le=20)] = 0
    pages: Annotated[int, Meta(ge=1, le=50_000)] = 500
    allow_private: bool = False
    seconds: Annotated[float, Meta(ge=0.1, le=3_600)] = 30.0
    delay: Annotated[float, Meta(ge=0, le=600)] = 1.0


@dataclass(frozen=True, slots=True)
class ChunkingConfig(_Section):
    """The length of a chunk and how far it overlaps the next, in tokens of the embedder.

    A `size` of 0 means as many tokens as the embedder reads.

    Raises:
        ConfigError: if chunks would overlap wholly.
    """

    size: Tokens = 200
    overlap: Tokens = 32

    def __post_init__(self) -> None:
        _Section.__post_init__(self)
        if self.size and self.overlap >= self.size:
            raise ConfigError(
                f"`chunking.overlap` ({self.overlap}) must be smaller than "
                f"`chunking.size` ({self.size})"
            )


@dataclass(frozen=True, slots=True)
class IngestionConfig(_Section):
    """How often indexing commits: after so many passages or seconds, whichever comes first."""

    commit_passages: Annotated[int, Meta(ge=1, le=1_000_000)] = 2048
    commit_seconds: Seconds = 10.0


@dataclass(frozen=True, slots=True)
class EmbeddingConfig(_Section):
    """Which embedder, on which device (`auto`, `cpu`, `cuda`, `mps`), in which precision.

    `precision` is `int8` or `float32` (both through ONNX on a CPU), `float16` or `bfloat16`
    (through torch), or `auto`: on a CPU the fastest that agrees with float32, and `float16` on
    CUDA. `batch_tokens` is how many tokens torch computes at once (0: as many as suit the device).
    """

    model: str = "all-minilm-l6-v2"
    device: str = "auto"
    precision: Precision = "auto"
    batch_tokens: Tokens = 0


@dataclass(frozen=True, slots=True)
class RetrievalConfig(_Section):
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
    best is shown (0: all are). Of several renditions of a document, such as a page as HTML and as
    text, the kind that `prefer` names first is shown, by suffix. `diversity` trades nearness for
    variety, 0 to 1. `context` is what is read of a hit: the `passage`, a `window` (a few sentences
    more on either side) or its `section`.
    """

    top_k: Passages = 5
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    fusion: Literal["convex", "rrf"] = "convex"
    dense_weight: Share = 0.5
    candidates: Annotated[int, Meta(ge=1, le=100_000)] = 100
    expansion: tuple[Expansion, ...] = ("rm3", "rocchio")
    rerank: str = "none"
    rerank_model: str = ""
    rerank_depth: Passages = 30
    rerank_budget_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 0
    correct: bool = True
    collapse: Share = 0.95
    prefer: tuple[str, ...] = ("html", "pdf", "docx", "epub", "md", "rst", "txt")
    diversity: Share = 0.0
    context: Literal["passage", "window", "section"] = "passage"


@dataclass(frozen=True, slots=True)
class GenerationConfig(_Section):
    """Which generator writes, and how.

    `model` is `extractive`, a catalogued name, a GGUF file, a model directory, a hub name, or the
    base URL of an OpenAI-compatible server, whose model is then `served_model` (empty: the first
    listed that chats). `max_tokens` bounds the answer, `context_tokens` the prompt and the
    answer together (0: what suits the model). `timeout` is how many seconds a server may be silent;
    a whole answer may take 30 times as long. `retries` counts the attempts after the first.
    `thinks` says whether the server's model begins an answer in the middle of its thoughts, so that
    text waits for `</think>` (`auto`: its name, its first words and its earlier answers tell).
    `plain_http` allows a server on another machine to be asked by
    `http://`, which shows everybody on the way the key, the question and the passages.

    Raises:
        ConfigError: if the URL holds a password or a query. It goes into messages and reports,
            where no secret may be.
    """

    model: str = "smollm2-135m-instruct"
    served_model: str = ""
    device: str = "auto"
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 160
    context_tokens: Tokens = 0
    temperature: Annotated[float, Meta(ge=0, le=100)] = 0.0
    seed: Seed = 0
    timeout: Seconds = 60.0
    retries: Annotated[int, Meta(ge=0, le=100)] = 3
    thinks: Literal["auto", "yes", "no"] = "auto"
    plain_http: bool = False

    def __post_init__(self) -> None:
        _Section.__post_init__(self)
        if self.model.lower().startswith(("http://", "https://")):
            place = self.model.partition("//")[2]
            if "@" in place or "?" in place or "#" in place:
                raise ConfigError(
                    "`generation.model`: the URL of a server may not hold a user, a password, a "
                    "query or a fragment: set RAG_API_KEY to the key"
                )


@dataclass(frozen=True, slots=True)
class PromptConfig(_Section):
    """What the prompt is made of, besides question and passages.

    `templates` is a folder with templates that replace the built-in ones (empty: none). `examples`
    is a file with questions and answers of your own; the `shots` most similar ones go into the
    prompt.
    """

    templates: str = ""
    examples: str = ""
    shots: Annotated[int, Meta(ge=0, le=100)] = 3


@dataclass(frozen=True, slots=True)
class AnsweringConfig(_Section):
    """How an answer is made, and when there is none.

    `way` is `generate`, `extract` (word for word out of the passages) or `auto` (generated where
    the generator was measured to answer better than an extract, and extracted where it was not, or
    the passages do not support what was generated). `writers` names generators that you measured
    yourself and that `auto` lets write, too. `reader` is a question answering model that decides
    whether the passages answer, and extracts: `mpnet-reader`, which comes with this package, a
    hub name or a directory (empty: words and meanings are compared). `entailment` is a natural
    language inference model that verifies and checks claims: `minilm-entailment`, which comes with
    this package, a hub name or a directory (empty or `none`: words and meanings are compared).
    `strict` leaves out sentences that no passage supports. Below the probability `threshold` that
    the documents hold the answer, the reply is that they do not say.
    """

    way: Literal["auto", "generate", "extract"] = "auto"
    writers: tuple[str, ...] = ()
    reader: str = "mpnet-reader"
    entailment: str = ""
    strict: bool = False
    threshold: Share = 0.15


@dataclass(frozen=True, slots=True)
class DaemonConfig(_Section):
    """Whether commands use a running daemon, and when one that they start ends.

    A daemon ends after `idle` seconds without a question.
    """

    use: bool = True
    idle: Annotated[float, Meta(gt=0)] = 900.0


@dataclass(frozen=True, slots=True)
class ServeConfig(_Section):
    """How `rag serve` is reached, and within which limits.

    It listens at `host` and `port` (0: any that is free), by TLS with the files `certificate` and
    `key`. `folder` holds one index a collection (empty: the one index of the settings is served),
    `users` is the file of those who may enter (empty: one token for all, from RAG_SERVE_TOKEN or
    made at each start). With `read_only` nobody adds or removes anything. `state` is where uploads
    and jobs are kept (empty: beside the index). `audit` is a file that each request adds a line
    to.

    `workers` answer at once (0: one per core), and `queue` more requests wait; others are asked to
    come again. An upload has at most `upload_mb`, and any other request `request_kb`. `origins` are
    sites whose pages may ask from a browser. `upstream` is the base URL of an OpenAI-compatible
    server that answers for models that are not ours; what it says is checked. A million tokens
    that the generator reads cost `price_read`, and those that it writes `price_written`, for the
    metrics and traces (0: unknown).
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    certificate: str = ""
    key: str = ""
    folder: str = ""
    users: str = ""
    read_only: bool = False
    state: str = ""
    audit: str = ""
    workers: Annotated[int, Meta(ge=0, le=1_024)] = 0
    queue: Annotated[int, Meta(ge=0, le=100_000)] = 64
    upload_mb: Megabytes = 256
    request_kb: Annotated[int, Meta(ge=1, le=1 << 20)] = 1_024
    origins: tuple[str, ...] = ()
    upstream: str = ""
    price_read: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    price_written: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, one section per field."""

    index: IndexConfig = field(default_factory=IndexConfig)
    sources: SourcesConfig = field(default_factory=SourcesConfig)
    fetching: FetchingConfig = field(default_factory=FetchingConfig)
    chunking: ChunkingConfig = field(default_factory=ChunkingConfig)
    ingestion: IngestionConfig = field(default_factory=IngestionConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    answering: AnsweringConfig = field(default_factory=AnsweringConfig)
    daemon: DaemonConfig = field(default_factory=DaemonConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)


Harmless = Callable[[Any, Path, Any], bool]
"""Whether a value can do no harm, whoever wrote it into the file of a folder, in place of what
holds without that file."""


def _anything(value: Any, folder: Path, before: Any) -> bool:
    return True


def _tighter(value: Any, folder: Path, before: Any) -> bool:
    """Allow a limit that allows no more than the one before it."""
    return bool(value <= before)


def _at_least(value: Any, folder: Path, before: Any) -> bool:
    """Allow what asks no less of us than the value before it."""
    return bool(value >= before)


def _up_to(most: float) -> Harmless:
    return lambda value, *_: bool(0 <= value <= most)


def _only(*allowed: Any) -> Harmless:
    return lambda value, *_: value in allowed


def _inside(value: Any, folder: Path, before: Any) -> bool:
    """Whether a path, with all links resolved, lies in the folder of the file."""
    if "\0" in value:
        return False
    return Path(os.path.realpath(folder / value)).is_relative_to(os.path.realpath(folder))


def _in_catalogue(kind: str, *words: str) -> Harmless:
    """Allow words, and models of a kind whose files are pinned by hash."""

    def is_known(value: Any, folder: Path, before: Any) -> bool:
        if value in words:
            return True
        from rag.models import CATALOGUE

        return value in CATALOGUE and CATALOGUE[value].kind == kind

    return is_known


# What a `rag.toml` may set that lies in the working directory and that nobody named or trusted: it
# may have come with somebody else's files. It may change what is found and shown, and make limits
# tighter. It may not name a server, a model that is not pinned, a template, a path elsewhere, files
# that are hidden, or more time and memory. Whatever is not listed here needs trust.
HARMLESS: Mapping[str, Harmless] = {
    "index.path": _inside,
    "index.wait": _anything,
    "index.kind": _anything,
    "index.recall": _anything,
    "sources.include": _anything,
    "sources.exclude": _anything,
    "sources.hidden": _only(False),
    "sources.encoding": _anything,
    "sources.encodings": _anything,
    "sources.json_text": _anything,
    "sources.json_title": _anything,
    "sources.json_id": _anything,
    "sources.ocr": _anything,
    "sources.max_file_mb": _tighter,
    "sources.max_container_mb": _tighter,
    "sources.max_text_mb": _tighter,
    "sources.max_pages": _tighter,
    "sources.max_nesting": _tighter,
    "sources.max_word": _tighter,
    "sources.max_members": _tighter,
    "sources.max_unpacked_mb": _tighter,
    "sources.max_ratio": _tighter,
    "sources.max_depth": _tighter,
    "sources.workers": _up_to(4),
    "sources.memory_mb": _tighter,
    "sources.seconds": _tighter,
    "sources.confined": _only(True),
    "fetching.depth": _tighter,
    "fetching.pages": _tighter,
    "fetching.allow_private": _only(False),
    "fetching.seconds": _tighter,
    "fetching.delay": _at_least,
    "chunking.size": _anything,
    "chunking.overlap": _anything,
    "ingestion.commit_passages": _tighter,
    "ingestion.commit_seconds": _tighter,
    "embedding.model": _in_catalogue("embedder"),
    "embedding.device": _anything,
    "embedding.precision": _anything,
    "retrieval.top_k": _up_to(1000),
    "retrieval.mode": _anything,
    "retrieval.fusion": _anything,
    "retrieval.dense_weight": _anything,
    "retrieval.candidates": _up_to(10_000),
    "retrieval.expansion": _anything,
    "retrieval.rerank": _in_catalogue(
        "reranker", "none", "embedder", "late-interaction", "likelihood"
    ),
    "retrieval.rerank_model": _in_catalogue("embedder", ""),
    "retrieval.rerank_depth": _up_to(1000),
    "retrieval.rerank_budget_ms": _up_to(60_000),
    "retrieval.correct": _anything,
    "retrieval.collapse": _anything,
    "retrieval.prefer": _anything,
    "retrieval.diversity": _anything,
    "retrieval.context": _anything,
    "generation.model": _in_catalogue("generator", "extractive"),
    "generation.device": _anything,
    "generation.max_tokens": _up_to(4096),
    "generation.context_tokens": _up_to(32_768),
    "generation.temperature": _anything,
    "generation.seed": _anything,
    "generation.timeout": _up_to(600),
    "generation.retries": _up_to(3),
    "generation.thinks": _anything,
    "generation.plain_http": _only(False),
    "prompt.shots": _up_to(20),
    "answering.way": _anything,
    "answering.reader": _in_catalogue("reader", "mpnet-reader", ""),
    "answering.entailment": _in_catalogue("entailment", "minilm-entailment", "none", ""),
    "answering.strict": _anything,
    "answering.threshold": _anything,
    "daemon.use": _anything,
    "daemon.idle": _tighter,
}


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
        words = plain if isinstance(plain, list | tuple) else [plain]
        if any(isinstance(each, str) and "\0" in each for each in words):
            raise ValueError(f"must be {self.allowed} without a zero byte, not {_show(value)}")
        if isinstance(plain, str) and self.kind is bool:
            plain = _SWITCHES.get(plain.lower(), plain)
        if not isinstance(plain, int) and hasattr(plain, "__index__"):
            # The whole numbers of NumPy.
            plain = operator.index(plain)
        try:
            return msgspec.convert(plain, self.kind, strict=not isinstance(plain, str))
        except (msgspec.ValidationError, UnicodeError):
            words = plain if isinstance(plain, list) else [plain]
            unknown = [each for each in words if self.choices and each not in self.choices]
            shown = unknown[0] if unknown else value
            nearest = _nearest(shown, self.choices) if isinstance(shown, str) else ""
            raise ValueError(f"must be {self.allowed}, not {_show(shown)}{nearest}") from None


# The numbers that calls and options take and no setting has. Their defaults stand with the calls.
_ARGUMENTS: Mapping[str, Any] = {
    "k": Passages,
    "limit": Annotated[int, Meta(ge=1, le=10_000)],
    "per-minute": Annotated[int, Meta(ge=0, le=1_000_000)],
    "offset": Annotated[int, Meta(ge=0, le=1 << 40)],
    "wait": Patience,
    "depth": Passages,
    "every": Many,
    "failures": Annotated[int, Meta(ge=0, le=10_000)],
    "questions": Annotated[int, Meta(ge=1, le=100_000)],
    "seed": Seed,
    "dim": Annotated[int, Meta(ge=0, le=65_536)],
    "passages": Annotated[int, Meta(ge=0, le=10_000_000)],
}


def argument_rule(name: str) -> Setting:
    """Return the rule that binds a number which calls and options take, by its name."""
    kind = _ARGUMENTS[name]
    return Setting(kind, get_args(kind)[0]())


def check_argument(name: str, value: Any, error: type[RagError] = ConfigError) -> Any:
    """Return a number that a call was given, within its range.

    Raises:
        RagError: of the type `error`, if it is not.
    """
    try:
        return argument_rule(name).read(value)
    except ValueError as reason:
        raise error(f"`{name}` {reason}") from None


def _show(value: Any) -> str:
    """Write a value that is not allowed, in as many characters as a message has room for."""
    try:
        shown = repr(value)
    # Python writes no whole number of more than 4,300 digits.
    except ValueError:
        return "a number of thousands of digits"
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"


@cache
def known_settings() -> Mapping[str, Setting]:
    """Return every setting by its `section.key`."""
    found = {}
    for section, kind in get_type_hints(Config).items():
        hints = get_type_hints(kind, include_extras=True)
        for each in fields(kind):
            found[f"{section}.{each.name}"] = Setting(hints[each.name], each.default)
    return found


@cache
def _numbers_of(section: Hashable) -> Mapping[str, Setting]:
    name = next(name for name, kind in get_type_hints(Config).items() if kind is section)
    return {
        key: setting
        for key, setting in known_settings().items()
        if key.startswith(f"{name}.") and setting.bounds != Meta()
    }


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that settings were read from.

    `kind` is `own` for the one in the user's folder of settings, `named` for one that `--config`,
    `RAG_CONFIG` or a program named, `found` for the `rag.toml` of the working directory. `trusted`
    says whether that one may set everything.
    """

    path: str
    kind: Literal["own", "named", "found"]
    trusted: bool = True


@dataclass(frozen=True, slots=True)
class ConfigTrace:
    """Settings, with the files that were read, and by `section.key` what gave each of them."""

    config: Config
    files: tuple[ConfigFile, ...]
    origins: Mapping[str, str]


def load_config(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Config:
    """Read the settings, each source overriding the one before it.

    These are the defaults, `rag.toml` in the user's own folder of settings, the one file that
    `file` or `RAG_CONFIG` names or else the `rag.toml` of the working directory, the environment,
    and the arguments. A file that was found in the working directory may set what is `HARMLESS`;
    for everything else the user has to trust it. An unknown `RAG_...` variable is a warning, since
    the environment belongs to others too.

    Args:
        file: a TOML file; None reads the one that `RAG_CONFIG` names, or `rag.toml` of the working
            directory if there is one.
        environment: None reads the process environment.
        arguments: values by `section.key`; those that are None are ignored.

    Raises:
        TrustError: if the `rag.toml` of the working directory sets what it may not.
        ConfigError: on an unreadable file, an unknown key (naming the nearest one) or a value of
            the wrong type or range.
    """
    return _read_sources(file, environment, arguments).config


def trace_config(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> ConfigTrace:
    """Read the settings as `load_config` does, and say where they come from."""
    return _read_sources(file, environment, arguments)


def own_config_file() -> Path:
    """Return the file of the user's own settings, which need not exist."""
    if sys.platform == "linux":
        # What platformdirs returns; it takes longer to import than all settings to read.
        home = os.environ.get("XDG_CONFIG_HOME", "").strip() or os.path.expanduser("~/.config")  # noqa: PTH111
        return Path(home, "rag", CONFIG_FILE)
    import platformdirs

    return Path(platformdirs.user_config_dir("rag"), CONFIG_FILE)


def _read_sources(
    file: Path | None, environment: Mapping[str, str] | None, arguments: Mapping[str, Any] | None
) -> ConfigTrace:
    variables = os.environ if environment is None else environment
    given = {key: value for key, value in (arguments or {}).items() if value is not None}
    above = [
        *((name, check_settings({key: variables[name]}, name))
          for name, key in _find_variables(variables)),
        ("the arguments", check_settings(given, "the arguments")),
    ]  # fmt: skip
    below, files = [], []
    own = own_config_file()
    if own.is_file():
        below.append((str(own), read_settings(own)[0]))
        files.append(ConfigFile(str(own), "own"))
    named = file if file is not None else Path(variables.get(FILE_VARIABLE) or "")
    if file is not None or variables.get(FILE_VARIABLE):
        below.append((str(named), read_settings(named)[0]))
        files.append(ConfigFile(str(named), "named"))
    elif (found := Path(CONFIG_FILE)).is_file():
        values, sha256 = read_settings(found, regular=True)
        trusted = is_trusted(found, sha256)
        overruled = {key for _, settings in above for key in settings}
        in_force = dict(below[0][1]) if below else {}
        needing = needs_trust(found, values, in_force=in_force)
        if not trusted and (refused := tuple(key for key in needing if key not in overruled)):
            raise TrustError(str(found), refused)
        below.append((str(found), values))
        files.append(ConfigFile(str(found), "found", trusted))
    values, origins = {}, {}
    for origin, settings in [*below, *above]:
        values.update(settings)
        origins.update(dict.fromkeys(settings, origin))
    return ConfigTrace(replace_settings(Config(), values), tuple(files), origins)


def read_settings(path: Path, *, regular: bool = False) -> tuple[dict[str, Any], str]:
    """Return the settings of a file, checked, by `section.key`, and the SHA-256 of its bytes.

    Raises:
        ConfigError: if it cannot be read, is no regular file though it has to be, or holds an
            unknown key or a value that is not allowed.
    """
    # Imported here, since most commands find no file.
    import hashlib

    data = _read_bytes(path, regular=regular)
    return check_settings(_parse_toml(data, path), str(path)), hashlib.sha256(data).hexdigest()


def needs_trust(
    file: Path, values: Mapping[str, Any], *, in_force: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Return the settings of a found file that it may only make if the user trusts it.

    `in_force` are those that hold without the file, besides the defaults: whoever repeats them
    changes nothing.
    """
    folder = file.absolute().parent
    before = {key: known_settings()[key].default for key in values} | dict(in_force or {})
    return tuple(
        key
        for key, value in values.items()
        if value != before[key]
        and not (key in HARMLESS and HARMLESS[key](value, folder, before[key]))
    )


def replace_settings(config: Config, values: Mapping[str, Any]) -> Config:
    """Return `config` with other values of some settings, by `section.key`."""
    sections: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections[section][name] = value
    changed = {name: replace(getattr(config, name), **given) for name, given in sections.items()}
    return replace(config, **changed)


def _read_bytes(path: Path, *, regular: bool) -> bytes:
    def begin(name: str, flags: int) -> int:
        # A pipe that somebody left under this name must not be waited for.
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        with open(path, "rb", opener=begin) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                if regular:
                    raise ConfigError(f"{path}: is not a regular file")
                # One that was named may be a pipe: `--config <(...)`.
                os.set_blocking(opened.fileno(), True)
            data = opened.read(_LONGEST_FILE + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read as TOML: {reason}") from error
    if len(data) > _LONGEST_FILE:
        raise ConfigError(f"{path}: is longer than {_LONGEST_FILE:,} bytes: it holds no settings")
    return data


def _parse_toml(data: bytes, path: Path) -> dict[str, Any]:
    import tomllib

    try:
        tables = tomllib.loads(data.decode("utf-8"))
    # Besides its own errors, numbers that are too long and nesting that is too deep.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {first_line(error)}") from error
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
            warnings.warn(f"{name}: unknown variable in the environment{nearest}", stacklevel=4)
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
