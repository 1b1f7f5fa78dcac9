"""The collections that a server offers: one index each, opened when first asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rag.config import Config, replace_settings
from rag.engine import RAG
from rag.errors import ConfigError
from rag.serving.http.access import Refused, User
from rag.serving.residents import Residents
from rag.serving.view import View

# The folder of uploads and jobs lies beside the indexes.
STATE = "server"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_MOST = 1_000
# So many indexes stay open; others are opened again when they are asked.
_MOST_OPEN = 64


@dataclass(frozen=True, slots=True)
class Collection:
    """An index with the name under which it is asked."""

    name: str
    path: Path


class Collections:
    """All collections of a server.

    With `serve.folder` these are the indexes in it, and new ones may be made; else it is the one
    index of the settings.

    Raises:
        ConfigError: if the folder is none.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._residents = Residents(_MOST_OPEN)
        self._folder = Path(config.serve.folder) if config.serve.folder else None
        if self._folder is not None and not self._folder.is_dir():
            raise ConfigError(f"{self._folder}: is no folder of indexes (`serve.folder`)")
        self._one = Path(config.index.path)
        self.default = _name_of(self._one) if self._folder is None else ""

    @property
    def state(self) -> Path:
        """The folder for uploads and jobs."""
        if self._config.serve.state:
            return Path(self._config.serve.state)
        return (self._folder or self._one.parent) / STATE

    def all(self) -> list[Collection]:
        """Return all collections by name."""
        if self._folder is None:
            return [Collection(self.default, self._one)]
        found = [
            Collection(path.name, path)
            for path in sorted(self._folder.iterdir())
            if NAME.fullmatch(path.name)
            and path.name != STATE
            and path.is_dir()
            and not path.is_symlink()
            and ((path / "index.sqlite").exists() or not any(path.iterdir()))
        ]
        return found[:_MOST]

    def find(self, name: str, user: User) -> Collection:
        """Return a collection that the user may see; without a name, the only one.

        Raises:
            Refused: if there is none: one that may not be seen is like one that does not exist.
        """
        seen = [each for each in self.all() if user.sees(each.name)]
        if not name and len(seen) == 1:
            return seen[0]
        for each in seen:
            if each.name == name:
                return each
        if not name:
            names = ", ".join(each.name for each in seen[:20]) or "none"
            raise Refused(400, f"name a collection; yours are: {names}")
        raise Refused(404, f"there is no collection {name[:80]!r}")

    def make(self, name: str, user: User) -> Collection:
        """Make a collection without documents.

        Raises:
            Refused: if the server has no folder for it, or the name cannot be used.
        """
        if self._folder is None:
            raise Refused(
                409, "this server serves one index: start it with `--folder DIR` for several"
            )
        if not NAME.fullmatch(name) or name == STATE:
            raise Refused(
                400, "the name of a collection is made of a-z, 0-9, `.`, `_` and `-`, up to 63"
            )
        if not user.sees(name):
            raise Refused(403, "your token is not for a collection of that name")
        path = self._folder / name
        if path.exists():
            raise Refused(409, f"there is a collection {name!r} already")
        path.mkdir(mode=0o700)
        return Collection(name, path)

    def rag(self, collection: Collection, *, narrowed: bool = False) -> RAG:
        """Open a collection's index; `narrowed` for a caller who sees a part of it."""
        settings = {"index.path": str(collection.path)}
        if narrowed:
            settings = {**settings, "retrieval.correct": False}  # type: ignore[dict-item]
        return self._residents.rag(replace_settings(self._config, settings))

    def view(self, collection: Collection, user: User) -> View:
        """Return what a user may see of a collection."""
        where = user.where
        return View(self.rag(collection, narrowed=bool(where.strip())), collection.name, where)


def _name_of(path: Path) -> str:
    """Make a name for the collection of an index folder."""
    name = re.sub(r"[^a-z0-9._-]+", "-", path.absolute().name.lower()).strip("-._")[:63]
    return name or "default"
