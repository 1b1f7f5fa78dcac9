"""Start Python in a process of its own, which takes nothing from the working directory.

Python imports from the working directory before the standard library, unless it is told otherwise,
and a folder that came from others may hold a `json.py`. So every process begins with `-P`, in a
folder of ours, with a path for imports that names no relative place, and without the keys that are
in the environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# How the names of keys end. `AWS_SECRET_ACCESS_KEY` is not among them: pip signs in with it at some
# package indexes.
_KEYS = ("_API_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
# What Python and the system's libraries need to start and to know text. Nothing here is secret.
_BARE = frozenset(
    {
        "DYLD_FALLBACK_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LD_LIBRARY_PATH",
        "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONHOME", "PYTHONPYCACHEPREFIX",
        "PYTHONUTF8", "SYSTEMROOT", "TZ", "WINDIR",
    }
)  # fmt: skip
_ABOUT_TEXT = "LC_"


def start_python(
    *arguments: str, folder: Path, environment: Mapping[str, str], **pipes: Any
) -> subprocess.Popen[bytes]:
    """Start this Python with `arguments`, in `folder`.

    `environment` is one of those below; `pipes` are arguments of `subprocess.Popen`.
    """
    places = [place for place in sys.path if Path(place).is_absolute()]
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join(places)},
        **pipes,
    )


def absolute_path() -> str:
    """Return where programs are looked for, without the working directory."""
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(place for place in places if Path(place).is_absolute())


def find_program(name: str) -> str | None:
    """Return the path of a program in a folder that `PATH` names absolutely; None if there is none.

    A relative folder, `.` above all, would take a program out of the working directory.
    """
    return shutil.which(name, path=absolute_path())


def full_environment(**added: str) -> dict[str, str]:
    """Return the environment of this process, for one that does all that this one does."""
    return {**os.environ, **added}


def environment_without_keys(*, but: Iterable[str] = (), **added: str) -> dict[str, str]:
    """Return the environment of this process without keys, but those that are named, if they are.

    `added` are further variables.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in but or not name.upper().endswith(_KEYS)
    }
    return {**kept, **added}


def bare_environment(**added: str) -> dict[str, str]:
    """Return what Python itself needs, and nothing of the user's. `added` are further variables."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _BARE or name.startswith(_ABOUT_TEXT)
    }
    return {**kept, **added}
