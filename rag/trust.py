"""Remember which files of settings the user trusts: each by its place and its SHA-256.

The list is a file of the user's own, outside every project, that only the user may write. A file
that changes is trusted no more, nor is a copy of it elsewhere, where the same words may name other
things.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from rag.errors import ConfigError


def trust_list() -> Path:
    """Return where the list lies: in the folder for what programs remember of this user."""
    import platformdirs

    return Path(platformdirs.user_state_dir("rag"), "trusted.json")


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
    _change(lambda known: known.update({place_of(file): sha256}))


def forget(file: Path) -> bool:
    """Trust `file` no more; return whether it was trusted.

    Raises:
        ConfigError: as `trust`.
    """
    place = place_of(file)
    if place not in trusted_files():
        return False
    _change(lambda known: known.pop(place, None))
    return True


def trusted_files() -> dict[str, str]:
    """Return the SHA-256 of each trusted file, by its place.

    Raises:
        ConfigError: if the list cannot be read, or if others may write it.
    """
    import json

    listing = trust_list()
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
            f"{listing}: others may write it, so that it does not tell what you trust: remove it, "
            "then run `rag trust` again for each folder"
        )
    try:
        known = json.loads(data)
        return {str(place): str(sha256) for place, sha256 in known["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{listing}: is damaged: remove it, then run `rag trust` again for each folder"
        ) from error


def _change(change: Callable[[dict[str, str]], object]) -> None:
    import json
    import tempfile

    from filelock import FileLock

    listing = trust_list()
    try:
        listing.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(listing.with_suffix(".lock")):
            known = trusted_files()
            change(known)
            # `mkstemp` makes the draft for this user alone, mode 0600.
            handle, draft = tempfile.mkstemp(prefix="trusted-", dir=listing.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as opened:
                    json.dump({"files": known}, opened, indent=1)
                    opened.flush()
                    os.fsync(opened.fileno())
                Path(draft).replace(listing)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ConfigError(f"{listing}: cannot be written: {error.strerror or error}") from error
