"""Remember what the user trusts: files of settings, by place and SHA-256, addresses and folders.

Each list is a file of the user's own, outside every project, that only the user may write. A file
that changes is trusted no more, nor is a copy of it elsewhere, where the same words may name other
things. An address is fetched for the index that it was named for: a folder that came from somebody
else names addresses, too, and must not have this machine ask for them. A folder or file is read for
the index that it was named for, for the same reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import ConfigError


def trust_list() -> Path:
    """Return where the list lies: in the folder for what programs remember of this user."""
    return _TRUSTED.path


def place_of(file: Path) -> str:
    """Return where a file lies, with every link in the folders above it resolved."""
    return str(Path(os.path.realpath(file.parent), file.name))


def is_trusted(file: Path, sha256: str) -> bool:
    """Tell whether the user trusts `file` with these contents.

    Raises:
        ConfigError: as `trusted_files`.
    """
    return trusted_files().get(place_of(file)) == sha256


def trust(file: Path, sha256: str) -> None:
    """Trust `file` as long as its contents have this SHA-256.

    Raises:
        ConfigError: as `trusted_files`, or if the list cannot be written.
    """
    _TRUSTED.change(lambda known: known.update({place_of(file): sha256}))


def forget(file: Path) -> bool:
    """Trust `file` no more; return whether it was trusted.

    Raises:
        ConfigError: as `trust`.
    """
    place = place_of(file)
    if place not in trusted_files():
        return False
    _TRUSTED.change(lambda known: known.pop(place, None))
    return True


def trusted_files() -> dict[str, str]:
    """Return the SHA-256 of each trusted file, by its place.

    Raises:
        ConfigError: if the list cannot be read, or if others may write it.
    """
    files = _TRUSTED.read()
    try:
        return {str(place): str(sha256) for place, sha256 in files.items()}
    except (TypeError, AttributeError) as error:
        raise _TRUSTED.damage() from error


def named_addresses(index: Path) -> dict[str, dict[str, Any]]:
    """Return the addresses that the user named for an index, each with how far it reaches.

    An index that came from somebody else, or was moved, has none, whatever it holds itself.

    Raises:
        ConfigError: as `trusted_files`.
    """
    found = _ADDRESSES.read().get(str(index.resolve()), {})
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise _ADDRESSES.damage()
    return found


def remember_address(index: Path, address: str, reach: Mapping[str, Any]) -> None:
    """Note that the user named an address for an index.

    Raises:
        ConfigError: as `trust`.
    """
    noted = named_addresses(index) | {address: dict(reach)}
    _ADDRESSES.change(lambda known: known.update({str(index.resolve()): noted}))


def forget_address(index: Path, address: str) -> None:
    """Note that an address is named no more.

    Raises:
        ConfigError: as `trust`.
    """
    noted = named_addresses(index)
    if noted.pop(address, None) is not None:
        _ADDRESSES.change(lambda known: known.update({str(index.resolve()): noted}))


def named_roots(index: Path) -> tuple[str, ...]:
    """Return the folders and files that the user named for an index, as absolute paths.

    An index that came from somebody else, or was moved, has none, whatever it holds itself.

    Raises:
        ConfigError: as `trusted_files`.
    """
    found = _ROOTS.read().get(str(index.resolve()), [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise _ROOTS.damage()
    return tuple(found)


def is_named(path: str, named: Sequence[str]) -> bool:
    """Return whether a file or folder is one of `named`, or lies in one."""
    return any(Path(path).is_relative_to(root) for root in named)


def remember_roots(index: Path, paths: Sequence[str]) -> None:
    """Note that the user named folders and files, as absolute paths, for an index.

    Raises:
        ConfigError: as `trust`.
    """
    named = named_roots(index)
    new = [path for path in paths if not is_named(path, named)]
    if new:
        noted = [*named, *dict.fromkeys(new)]
        _ROOTS.change(lambda known: known.update({str(index.resolve()): noted}))


@dataclass(frozen=True, slots=True)
class _List:
    """A JSON file of the user's own, which only the user may write.

    `key` is where in it the list stands, and `cure` what to do when it is lost.
    """

    name: str
    key: str
    cure: str

    @property
    def path(self) -> Path:
        """Where the list lies: in the folder for what programs remember of this user."""
        import platformdirs

        return Path(platformdirs.user_state_dir("rag"), self.name)

    def damage(self) -> ConfigError:
        return ConfigError(f"{self.path}: is damaged: remove it, then {self.cure}")

    def read(self) -> dict[str, Any]:
        import json

        listing = self.path
        try:
            with listing.open("rb") as opened:
                state = os.fstat(opened.fileno())
                data = opened.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(f"{listing}: cannot be read: {error.strerror}") from error
        if hasattr(os, "getuid") and (
            state.st_uid != os.getuid() or stat.S_IMODE(state.st_mode) & 0o022
        ):
            raise ConfigError(
                f"{listing}: others may write it, so that it does not tell what you trust: remove "
                f"it, then {self.cure}"
            )
        try:
            return dict(json.loads(data)[self.key])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self.damage() from error

    def change(self, change: Callable[[dict[str, Any]], object]) -> None:
        import json
        import tempfile

        from filelock import FileLock

        listing = self.path
        try:
            listing.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(listing.with_suffix(".lock")):
                known = self.read()
                change(known)
                # `mkstemp` makes the draft for this user alone, mode 0600.
                handle, draft = tempfile.mkstemp(prefix="draft-", dir=listing.parent)
                try:
                    with os.fdopen(handle, "w", encoding="utf-8") as opened:
                        json.dump({self.key: known}, opened, indent=1)
                        opened.flush()
                        os.fsync(opened.fileno())
                    Path(draft).replace(listing)
                except BaseException:
                    Path(draft).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise ConfigError(f"{listing}: cannot be written: {error.strerror or error}") from error


_TRUSTED = _List("trusted.json", "files", "run `rag trust` again for each folder")
_ADDRESSES = _List("addresses.json", "indexes", "name each address again: `rag index ADDRESS`")
_ROOTS = _List("roots.json", "indexes", "name each folder again: `rag index PATH`")
