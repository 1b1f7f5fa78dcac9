"""Fetch the files of a revision of a git repository into a mirror.

git speaks with the server, and knows how to do so in more ways than are wanted here. So it runs
without anybody's configuration, with one protocol, without redirects, alternates, submodules,
hooks, filters and prompts, and connects to the addresses that were checked. Files are taken out of
its objects by name: nothing is checked out, and a link is no file.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from rag.errors import SourceError, first_line, without_passwords
from rag.processes import absolute_path, bare_environment, find_program
from rag.sources.addresses.fetching import Fetcher, normalize, origin
from rag.sources.addresses.mirror import Entry, Mirror
from rag.types import Problem

_PREFIX = "git+"
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,200}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
# The first that can be told which addresses to connect to.
_LEAST_VERSION = (2, 37)
_SECONDS = 600.0
_FILE = re.compile(rb"(100644|100755) blob ([0-9a-f]{40,64})\s+([0-9]+)\t(.+)", re.S)
_PIECE = 1 << 20


def normalize_git(address: str) -> str:
    """Return the address of a repository, `git+https://HOST/PATH` or with `@REVISION`.

    Raises:
        SourceError: if it is none.
    """
    repository, revision = _split(address)
    return f"{_PREFIX}{repository}" + (f"@{revision}" if revision else "")


def gather(
    address: str,
    mirror: Mirror,
    fetcher: Fetcher,
    *,
    takes: Callable[[str], bool],
    most_file: int,
    most_bytes: int,
    show: Callable[[str], None],
) -> Iterator[Problem]:
    """Bring the mirror of a repository up to date, and yield which files are left out.

    Args:
        takes: whether patterns of the user's let a file in, by its path in the repository.
        most_file: bytes of the largest file that is taken.
        most_bytes: bytes of all that is fetched.

    Raises:
        SourceError: if it cannot be fetched.
    """
    repository, revision = _split(address)
    shown = f"{_PREFIX}{repository}" + (f"@{revision}" if revision else "")
    program = find_program("git")
    if program is None:
        raise SourceError(shown, "needs the program `git`: install it", lasting=False)
    show(shown)
    with tempfile.TemporaryDirectory(prefix="rag-git-", dir=mirror.folder) as name:
        git = _Git(program, Path(name), shown, fetcher, repository)
        git.check_version()
        git.run("init", "--quiet", "--bare", ".")
        wanted = revision or "HEAD"
        git.fetch(wanted, most_bytes)
        modified = float(git.run("show", "-s", "--format=%ct", "FETCH_HEAD").strip() or b"0")
        for line in git.run("ls-tree", "-r", "-z", "-l", "FETCH_HEAD").split(b"\0"):
            found = _FILE.fullmatch(line)
            if found is None:
                # A link, or the commit of a submodule.
                continue
            _, blob, size, raw = found.groups()
            path = raw.decode("utf-8", "backslashreplace")
            if not takes(path) or not int(size):
                continue
            place = f"{shown}/{path}"
            if int(size) > most_file:
                reason = f"has more than {most_file >> 20:,} MB (`sources.max_file_mb`)"
                yield Problem(place, reason, "skipped", lasting=False)
                continue
            known = mirror.find(place)
            if known is not None and known.version == blob.decode():
                mirror.keep(place)
                continue
            show(place)
            entry = Entry(place, path.rpartition("/")[2], version=blob.decode())
            mirror.put(entry, git.read(blob.decode()), modified=modified)


def _split(address: str) -> tuple[str, str]:
    """Return the address of a repository for git, and the revision (empty: its main branch)."""
    place = address.removeprefix(_PREFIX)
    head, at, revision = place.rpartition("@")
    # An @ before the path is a user's, which `normalize` refuses.
    if not at or "/" not in head.partition("://")[2]:
        head, revision = place, ""
    repository = normalize(head)
    url = httpx.URL(repository)
    if url.query or "//" in url.path or ".." in url.path:
        raise SourceError(address, "is no address of a repository: it has a host and a path")
    if (at and revision and not _REVISION.fullmatch(revision)) or ".." in revision:
        raise SourceError(address, f"`{revision[:80]}` is no branch, tag or commit")
    return repository.rstrip("/"), revision


class _Git:
    """git in a folder of its own, for one repository."""

    def __init__(
        self, program: str, folder: Path, shown: str, fetcher: Fetcher, repository: str
    ) -> None:
        self._program = program
        self._folder = folder
        self._shown = shown
        self._repository = repository
        scheme, host, port = origin(repository)
        self._scheme = scheme
        literal = ":" in host
        if not (literal or _HOST.fullmatch(host)):
            # curl might read another name in it than the one that was looked up.
            raise SourceError(shown, "its host is written in an unusual way: write it plainly")
        try:
            addresses = fetcher.addresses_of(host, port)
        except SourceError as error:
            raise SourceError(shown, error.reason, lasting=False) from error
        places = ",".join(f"[{each}]" if ":" in each else each for each in addresses)
        self._resolved = [] if literal else ["-c", f"http.curloptResolve={host}:{port}:{places}"]

    def check_version(self) -> None:
        """Raise SourceError unless git can be told which addresses to connect to."""
        found = re.search(rb"(\d+)\.(\d+)", self.run("version"))
        if found is None or (int(found[1]), int(found[2])) < _LEAST_VERSION:
            least = ".".join(map(str, _LEAST_VERSION))
            raise SourceError(
                self._shown, f"needs git {least} or newer, which connects where it is told to",
                lasting=False,
            )  # fmt: skip

    def fetch(self, revision: str, most_bytes: int) -> None:
        """Fetch one revision, without its history where the server can leave it out."""
        arguments = [
            *("-c", "protocol.allow=never", "-c", f"protocol.{self._scheme}.allow=always"),
            *("-c", "http.followRedirects=false", "-c", "http.proxy=", "-c", "core.askPass="),
            *("-c", "credential.helper=", "-c", "transfer.bundleURI=false"),
            *("-c", "fetch.fsckObjects=true", "-c", "fetch.recurseSubmodules=false"),
            *("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30"),
            *self._resolved,
            *("fetch", "--quiet", "--no-tags", "--no-write-commit-graph"),
        ]
        end = [self._repository, revision]
        try:
            self.run(*arguments, "--depth=1", *end, most_bytes=most_bytes)
        except SourceError as error:
            # Servers that only hand out files have no other way.
            if "shallow" not in error.reason:
                raise
            self.run(*arguments, *end, most_bytes=most_bytes)

    def run(self, *arguments: str, most_bytes: int = 1 << 30) -> bytes:
        """Run git, and return what it prints.

        Raises:
            SourceError: with git's reason if it fails, takes too long or too much room.
        """
        ends = time.monotonic() + _SECONDS
        with (
            (self._folder / ".out").open("w+b") as output,
            (self._folder / ".err").open("w+b") as errors,
            subprocess.Popen(
                [self._program, *arguments],
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            ) as process,
        ):
            try:
                while True:
                    try:
                        process.wait(0.2)
                        break
                    except subprocess.TimeoutExpired:
                        self._check_limits(ends, most_bytes)
            finally:
                process.kill()
            output.seek(0)
            errors.seek(0)
            if process.returncode:
                said = errors.read(4096).decode("utf-8", "replace").strip()
                lines = [line for line in said.splitlines() if line.startswith("fatal:")]
                said = (lines or said.splitlines() or ["no reason given"])[-1]
                reason = f"cannot be fetched by git: {without_passwords(said)[:300]}"
                raise SourceError(self._shown, reason, lasting=False)
            self._check_limits(float("inf"), most_bytes)
            return output.read()

    def read(self, blob: str) -> Iterator[bytes]:
        """Yield the contents of a file."""
        try:
            with subprocess.Popen(
                [self._program, "cat-file", "blob", blob],
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as process:
                if process.stdout is None:
                    raise AssertionError("a process without a pipe")
                while piece := process.stdout.read(_PIECE):
                    yield piece
        except OSError as error:
            raise SourceError(self._shown, f"cannot be read: {first_line(error)}") from error
        if process.returncode:
            raise SourceError(self._shown, "cannot be read: git ended early", lasting=False)

    def _check_limits(self, ends: float, most_bytes: int) -> None:
        if time.monotonic() > ends:
            raise SourceError(self._shown, f"took more than {_SECONDS:g} s", lasting=False)
        if _bytes_below(self._folder) > most_bytes:
            reason = f"has more than {most_bytes >> 20:,} MB (`sources.max_container_mb`)"
            raise SourceError(self._shown, reason, lasting=False)

    def _environment(self) -> dict[str, str]:
        certificates = {
            name: os.environ[name]
            for name in ("SSL_CERT_FILE", "GIT_SSL_CAINFO")
            if os.environ.get(name)
        }
        return bare_environment(
            PATH=absolute_path(),
            HOME=str(self._folder),
            XDG_CONFIG_HOME=str(self._folder),
            GIT_CONFIG_NOSYSTEM="1",
            GIT_CONFIG_GLOBAL=os.devnull,
            GIT_TERMINAL_PROMPT="0",
            GIT_ASKPASS="",
            GIT_DIR=str(self._folder),
            LC_ALL="C",
            **certificates,
        )


def _bytes_below(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                total += (Path(place) / file).stat().st_size
            except OSError:
                continue
    return total
