"""Who may enter: users with tokens, and what each may see and do."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from rag import private
from rag.errors import ConfigError, first_line
from rag.serving.view import parse_rights

TOKEN_VARIABLE = "RAG_SERVE_TOKEN"  # noqa: S105 - the name of a variable.
ALL = "*"
_FEWEST_CHARACTERS = 16
_LONGEST_FILE = 1 << 22
_NAME = r"^[A-Za-z0-9._@-]{1,64}$"


class User(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody with a token, of which only the SHA-256 in hexadecimal is kept.

    `collections` names those to be seen (`*`: all), `where` the documents in them, as a filter.
    Only who may `write` adds and removes documents, which excludes `where`; an `admin` sees
    everybody's jobs and feedback, the metrics, and makes collections. `per_minute` requests are
    answered (0: any number).
    """

    name: str
    sha256: str
    collections: tuple[str, ...] = (ALL,)
    where: str = ""
    write: bool = False
    admin: bool = False
    per_minute: int = 0

    def sees(self, collection: str) -> bool:
        """Return whether a collection is one of the user's."""
        return ALL in self.collections or collection in self.collections


class _UsersFile(msgspec.Struct, frozen=True):
    users: tuple[User, ...] = ()


class Refused(Exception):
    """A request that is not answered, with the status and the words of the reply."""

    def __init__(self, status: int, reason: str, wait: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.wait = wait


def make_token() -> str:
    """Make a token of 256 random bits."""
    return f"rag-{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> str:
    """Return what is kept of a token. One that long is not guessed, so a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class Users:
    """All who may enter, and how often each did in the last minute."""

    by_hash: dict[str, User]
    _seen: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, header: str | None) -> User:
        """Return the user whose token an Authorization header holds.

        Raises:
            Refused: if there is none, or the user asks too often.
        """
        scheme, _, token = (header or "").partition(" ")
        digest = hash_token(token.strip())
        found = None
        # All are compared, each in the same time.
        for kept, user in self.by_hash.items():
            if hmac.compare_digest(kept, digest):
                found = user
        if found is None or scheme.lower() != "bearer":
            raise Refused(401, "a valid token is needed: `Authorization: Bearer TOKEN`")
        self._count(found)
        return found

    def _count(self, user: User) -> None:
        if not user.per_minute:
            return
        now = time.monotonic()
        with self._lock:
            seen = self._seen.setdefault(user.name, deque())
            while seen and now - seen[0] >= 60:
                seen.popleft()
            if len(seen) >= user.per_minute:
                wait = int(60 - (now - seen[0])) + 1
                raise Refused(429, f"more than {user.per_minute} requests in a minute", wait)
            seen.append(now)


def load_users(file: str) -> tuple[Users, str]:
    """Return who may enter, and the token to show at start if it was made just now.

    Raises:
        ConfigError: if the file cannot be read, or a user in it is wrong.
    """
    if file:
        users = read_users(Path(file))
        if not users:
            raise ConfigError(f"{file}: holds no user: add one with `rag serve users add NAME`")
        return Users({user.sha256: user for user in users}), ""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    made = "" if token else make_token()
    if token and len(token) < _FEWEST_CHARACTERS:
        raise ConfigError(
            f"{TOKEN_VARIABLE}: has fewer than {_FEWEST_CHARACTERS} characters, which can be "
            "guessed: take a longer one"
        )
    owner = User("owner", hash_token(token or made), write=True, admin=True)
    return Users({owner.sha256: owner}), made


def read_users(file: Path) -> tuple[User, ...]:
    """Return the users of a file that `write_users` wrote; none if there is no file.

    Raises:
        ConfigError: if it cannot be read, or a user in it is wrong.
    """
    try:
        if not file.exists():
            return ()
        if file.stat().st_size > _LONGEST_FILE:
            raise ConfigError(f"{file}: is too long for a file of users")
        users = msgspec.json.decode(file.read_bytes(), type=_UsersFile).users
    except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: cannot be read as users: {first_line(error)}") from error
    names = [user.name for user in users]
    for user in users:
        _check(user, f"{file}: user {user.name!r:.80}")
    if len(set(names)) < len(names):
        raise ConfigError(f"{file}: names a user twice")
    return users


def write_users(file: Path, users: tuple[User, ...]) -> None:
    """Replace a file of users at once; only its owner can read it.

    Raises:
        ConfigError: if it cannot be written, or a user is wrong.
    """
    for user in users:
        _check(user, f"user {user.name!r:.80}")
    data = msgspec.json.format(msgspec.json.encode(_UsersFile(users)))
    try:
        private.replace_file(file, data + b"\n")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error


def _check(user: User, place: str) -> None:
    if not re.fullmatch(_NAME, user.name):
        raise ConfigError(f"{place}: a name has up to 64 letters, digits and `._@-`")
    if not re.fullmatch(r"[0-9a-f]{64}", user.sha256):
        raise ConfigError(f"{place}: `sha256` is no SHA-256 in hexadecimal")
    if user.where.strip() and (user.write or user.admin):
        raise ConfigError(
            f"{place}: who sees only what passes `where` cannot `write`, since a file could take "
            "the place of one that is hidden"
        )
    if user.per_minute < 0:
        raise ConfigError(f"{place}: `per_minute` is below 0")
    try:
        parse_rights(user.where)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
