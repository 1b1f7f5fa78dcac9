"""The key for a server: read from the environment, checked, and never shown."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from rag.errors import ConfigError, GenerationError

VARIABLES = ("RAG_API_KEY", "OPENAI_API_KEY")
_LONGEST = 4096
# A shorter one ("EMPTY", "lm-studio") stands in for a key where a server wants any, and is a word
# that may stand in a text.
_LEAST_HIDDEN = 16
_STAND_IN = "[key]"


class Secret:
    """A text that no message, log or report may hold: it shows itself as `[key]`.

    `variable` says where it was read.
    """

    __slots__ = ("_text", "variable")

    def __init__(self, text: str, variable: str) -> None:
        self._text = text
        self.variable = variable

    def __repr__(self) -> str:
        return f"Secret({self.variable})"

    def __str__(self) -> str:
        return _STAND_IN

    def __format__(self, spec: str) -> str:
        return format(_STAND_IN, spec)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not written anywhere")

    def reveal(self) -> str:
        """Return the text, for the request that needs it and nothing else."""
        return self._text

    def hide_in(self, text: str) -> str:
        """Return `text` with a stand-in wherever the secret stood in it."""
        if len(self._text) < _LEAST_HIDDEN:
            return text
        return text.replace(self._text, _STAND_IN)

    def hide_in_pieces(self, pieces: Iterator[str]) -> Iterator[str]:
        """Yield pieces of a text, with a stand-in where the secret stood, across pieces too.

        Only what may be the secret's beginning waits for the next piece.
        """
        if len(self._text) < _LEAST_HIDDEN:
            yield from pieces
            return
        held = ""
        try:
            for piece in pieces:
                held = self.hide_in(held + piece)
                most = min(len(held), len(self._text) - 1)
                begun = next((n for n in range(most, 0, -1) if self._text.startswith(held[-n:])), 0)
                ready, held = held[: len(held) - begun], held[len(held) - begun :]
                if ready:
                    yield ready
        except GenerationError:
            # What came before an error stays valid.
            if held:
                yield held
            raise
        if held:
            yield held


def find_key_variable(environment: Mapping[str, str] | None = None) -> str:
    """Return the variable that holds a key for servers; empty if none does."""
    variables = os.environ if environment is None else environment
    return next((name for name in VARIABLES if variables.get(name)), "")


def read_key(environment: Mapping[str, str] | None = None) -> Secret | None:
    """Read the key for servers from `RAG_API_KEY`, or else from `OPENAI_API_KEY`.

    Raises:
        ConfigError: if it cannot be sent as it is. The message says why, and nothing of the key.
    """
    variables = os.environ if environment is None else environment
    name = find_key_variable(variables)
    if not name:
        return None
    text = variables[name]
    if len(text) > _LONGEST:
        raise ConfigError(f"{name}: a key has at most {_LONGEST:,} characters: set it anew")
    if text != text.strip():
        raise ConfigError(f"{name}: has white space around the key, or a line break: set it anew")
    if not all("!" <= character <= "~" for character in text):
        raise ConfigError(
            f"{name}: holds a character that no key may have (a space, a line break, or one that "
            "is not ASCII): set it anew"
        )
    return Secret(text, name)


def authorize(key: Secret | None) -> dict[str, str]:
    """Return the headers of a request that carries the key, if there is one."""
    return {"Authorization": f"Bearer {key.reveal()}"} if key else {}


def check_url(url: str, *, plain_http: bool) -> None:
    """Raise ConfigError if a URL is none of a server, or shows everybody on the way what is sent.

    `plain_http` says that the user allows the latter.
    """
    try:
        # Reading the port checks it.
        _ = urlsplit(url).port
    except ValueError as error:
        raise ConfigError(f"{url}: is no URL of a server: {error}") from None
    if not (plain_http or _is_private(url)):
        raise ConfigError(
            f"{url}: everybody on the way can read what is sent by http: take https, or "
            "allow it with RAG_GENERATION_PLAIN_HTTP=true (`generation.plain_http`)"
        )


def _is_private(url: str) -> bool:
    """Whether what is sent to a URL can be read by nobody else, or never leaves this machine."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return True
    host = parts.hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
