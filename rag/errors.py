"""Every error that this package raises on purpose.

A message says what was wrong, with which file or setting, and what to do about it. The command line
prints it as one line and ends with exit code 1.
"""

from __future__ import annotations

import re
from typing import Literal

from rag.characters import replace_surrogates

__all__ = [
    "ConfigError",
    "DaemonError",
    "EmbeddingError",
    "FilterError",
    "GenerationError",
    "IncompleteError",
    "LockedError",
    "ModelError",
    "QuestionError",
    "RagError",
    "RetractedError",
    "SourceError",
    "StoreError",
    "TrustError",
]


_BEFORE_HOST = re.compile(r"(?<=://)[^/\s'\"<>]*@")


class RagError(Exception):
    """The root of the errors below: catch this one to catch them all."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, without passwords.

    A message of ours has room for one line.
    """
    return without_passwords((str(error).strip() or type(error).__name__).splitlines()[0])


def without_passwords(text: str) -> str:
    """Return a text of others without what stands before the host of a URL in it.

    The URLs of package indexes and proxies hold passwords, and libraries show them.
    """
    return _BEFORE_HOST.sub("", text)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the process got no more memory, or no more threads.

    NumPy forgets to say so at some of its allocations, which Python notices as a SystemError.
    """
    said = str(error)
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, SystemError) and "without" in said and "exception" in said)
        or (isinstance(error, RuntimeError) and said == "can't start new thread")
    )


class ConfigError(RagError):
    """A setting in `rag.toml`, the environment or an argument cannot be used."""


class TrustError(ConfigError):
    """A `rag.toml` that was found, rather than named, sets what only a trusted one may set.

    Args:
        file: the file, as it is shown.
        keys: the settings, by `section.key`.
    """

    def __init__(self, file: str, keys: tuple[str, ...]) -> None:
        named = ", ".join(f"`{key}`" for key in keys)
        super().__init__(
            f"{file}: sets {named}, which the file of a folder may do only if you trust it: read "
            f"it, then run `rag trust .`, or name it: `--config {file}`"
        )
        self.file = file
        self.keys = keys


class SourceError(RagError):
    """A file or folder cannot be read as documents.

    Args:
        source: the path as the user gave it.
        reason: what was wrong with it and what to do, without the path.
        kind: `failed`, or `skipped` where there is nothing to read.
        lasting: whether it stays so until the file changes, and need not be read again.
    """

    def __init__(
        self,
        source: str,
        reason: str,
        *,
        kind: Literal["skipped", "failed"] = "failed",
        lasting: bool = True,
    ) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason
        self.kind = kind
        self.lasting = lasting


class ModelError(RagError):
    """A model cannot be found, fetched, verified or loaded."""


class EmbeddingError(RagError):
    """Text cannot be turned into vectors, or into vectors that the index can hold."""


class StoreError(RagError):
    """The index is missing, damaged, locked, or was built with other settings."""


class LockedError(StoreError):
    """Another process is writing to the index."""


class QuestionError(RagError):
    """The question itself cannot be used: it is empty, or longer than the model reads."""


class FilterError(QuestionError):
    """A filter cannot be read: it names an unknown field, or a value that cannot be compared."""


class DaemonError(RagError):
    """The daemon cannot be started, or ended in the middle of an answer."""


class GenerationError(RagError):
    """The generator cannot be reached, gave no answer, or stopped in the middle of one."""


class IncompleteError(GenerationError):
    """The generator ended before its answer did: at its limit of tokens, or at a filter.

    What it wrote before stays valid.
    """


class RetractedError(GenerationError):
    """What the generator wrote so far turned out to be its thoughts, and is no answer.

    It knows better now: ask it once more.
    """


def check_text(text: object, name: str) -> str:
    """Return a question or a claim without white space around it, and without lone surrogates.

    Raises:
        QuestionError: if it is empty, or no text.
    """
    if not isinstance(text, str):
        raise QuestionError(f"the {name} must be text, not {type(text).__name__}")
    if not text.strip():
        raise QuestionError(f"the {name} is empty")
    return replace_surrogates(text.strip())
