"""A reader that a document takes over finds no key, no network, no other file and no process."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag.config import SourcesConfig
from rag.sources import Finished, Root, SourceFile, discover, read_files
from rag.sources.opening import open_file, open_folder
from rag.types import Document, Problem

pytestmark = pytest.mark.skipif(
    not hasattr(os, "mkfifo"), reason="takes pipes, Unix sockets and limits"
)

PROBE = (
    "import sys, pathlib\nfrom rag.sources.confinement import confine\n"
    "print(*confine(sys.argv[1:2], pathlib.Path(sys.argv[1])))"
)
SECRET = "the-secret-of-the-user"
ONE = SourcesConfig(workers=1)
# What a reader of somebody's does once it has been taken over. It tells each attempt that succeeds.
READER = """
import ctypes, json, os, resource, signal, socket, subprocess, tempfile, threading
from pathlib import Path
from rag.types import Document

LIBC = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    if LIBC.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def grow(path):
    with open(path, "ab") as file:
        file.truncate(300 << 20)


def connect(kind, place):
    with socket.socket(kind, socket.SOCK_STREAM) as made:
        made.connect(place)


def steal(at, path):
    link = Path(tempfile.gettempdir(), "link")
    link.symlink_to(at)
    return link.read_text()


def pry(path, source):
    told = json.loads(path.read_text())
    outside, beside, port = Path(told["outside"]), Path(told["beside"]), told["port"]
    x86 = os.uname().machine == "x86_64"
    attempts = {
        "read outside": lambda: outside.read_text(),
        "read through a link": lambda: steal(outside, path),
        "list outside": lambda: os.listdir(outside.parent),
        "read passwords": lambda: Path("/etc/passwd").read_text(),
        "read of another": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "descriptors of another": lambda: os.listdir(f"/proc/{os.getppid()}/fd"),
        "write outside": lambda: (outside.parent / "new").write_text("x"),
        "write beside": lambda: beside.write_text("x"),
        "write the file": lambda: open(path, "r+b").write(b"x"),
        "make beside": lambda: (beside.parent / "new").write_text("x"),
        "delete beside": lambda: beside.unlink(),
        "rename beside": lambda: beside.rename(beside.parent / "other"),
        "link from beside": lambda: os.link(beside, Path(tempfile.gettempdir(), "hard")),
        "mode of beside": lambda: beside.chmod(0o777),
        "truncate beside": lambda: os.truncate(beside, 0),
        "attribute of beside": lambda: os.setxattr(beside, "user.x", b"x"),
        "tcp": lambda: connect(socket.AF_INET, ("127.0.0.1", port)),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "unix": lambda: connect(socket.AF_UNIX, told["socket"]),
        "pair": lambda: socket.socketpair(),
        "fork": lambda: os.fork() or os._exit(0),
        "run": lambda: subprocess.run(["/bin/true"], check=True),
        "signal": lambda: os.kill(os.getppid(), 0),
        "memory of another": lambda: call(310 if x86 else 270, os.getppid(), 0, 0, 0, 0, 0),
        "become": lambda: os.execv("/bin/true", ["true"]),
        "trace": lambda: call(101 if x86 else 117, 0, 0, 0, 0),
        "unshare": lambda: call(272 if x86 else 97, 0x10000000),
        "io_uring": lambda: call(425, 1, ctypes.create_string_buffer(200)),
        "a large file": lambda: grow(Path(tempfile.gettempdir(), "large")),
        "many files": lambda: [open(os.devnull) for _ in range(300)],
    }
    needed = {
        "read beside": lambda: beside.read_text(),
        "scratch": lambda: Path(tempfile.gettempdir(), "mine").write_text("x"),
        "thread": lambda: threading.Thread(target=int).start(),
        "import": lambda: __import__("lxml.etree"),
        "numpy": lambda: __import__("numpy"),
        "random": lambda: os.urandom(1),
    }
    did = []
    # Without confinement some would harm the test.
    chosen = {name: attempts[name] for name in told.get("only", attempts)}
    for name, attempt in [*chosen.items(), *needed.items()]:
        try:
            attempt()
            did.append(name)
        except BaseException:
            pass
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource)
              if name in ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC")}
    found = {"did": did, "environment": dict(os.environ), "limits": limits, "cwd": os.getcwd()}
    yield Document("", source, json.dumps(found), "pried", "text/x-planted", "", markup="code")


def swap(path, source):
    told = json.loads(path.read_text())
    real = Path(os.path.realpath(path))
    real.rename(real.with_suffix(".old"))
    real.symlink_to(told["outside"])
    yield Document("", source, path.read_text(), "swapped", "text/x-planted", "", markup="code")
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """A folder to index, a secret outside of it, and servers that listen."""
    package = tmp_path / "installed"
    package.mkdir()
    (package / "prying_readers.py").write_text(READER)
    info = package / "prying_readers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: prying-readers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rag.readers]\npry = prying_readers:pry\nswap = prying_readers:swap\n"
    )
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("RAG_API_KEY", SECRET)
    monkeypatch.setenv("SSH_AUTH_SOCK", SECRET)
    for name in ("docs", "private"):
        (tmp_path / name).mkdir()
    (tmp_path / "private" / "key").write_text(SECRET)
    (tmp_path / "docs" / "beside.txt").write_text("Beside it.")
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        monkeypatch.chdir(tmp_path)
        unix.bind("socket")
        unix.listen()
        yield {
            "outside": str(tmp_path / "private" / "key"),
            "beside": str(tmp_path / "docs" / "beside.txt"),
            "port": tcp.getsockname()[1],
            "socket": str(tmp_path / "socket"),
        }


def source_file(path: Path) -> SourceFile:
    status = path.lstat()
    return SourceFile(str(path), path.name, status.st_size, status.st_mtime_ns)


def read(path: Path, config: SourcesConfig = ONE, within: list[str] | None = None) -> list[object]:
    folders = [str(path.parent)] if within is None else within
    return [each.item for each in read_files([(source_file(path), None)], config, folders)]


def pry(folder: Path, places: dict[str, object], config: SourcesConfig = ONE) -> dict[str, object]:
    file = folder / "a.pry"
    file.write_text(json.dumps(places))
    found = read(file, config)
    assert isinstance(found[0], Document), found
    told: dict[str, object] = json.loads(found[0].text)
    return told


@pytest.fixture(scope="module")
def given_up(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What this system lets a process give up."""
    shown = subprocess.run(
        [sys.executable, "-c", PROBE, str(tmp_path_factory.mktemp("probe"))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return set(shown.stdout.split())


NEEDED = {"read beside", "scratch", "thread", "import", "numpy", "random"}
LIMITED = SourcesConfig(workers=1, max_unpacked_mb=1)


def test_a_reader_that_was_taken_over_gets_nowhere(
    tmp_path: Path, places: dict[str, object], given_up: set[str]
) -> None:
    if given_up != {"files", "calls"}:
        pytest.skip("this system lets no process confine itself")
    told = pry(tmp_path / "docs", places, LIMITED)
    assert set(told["did"]) == NEEDED
    assert Path(str(places["outside"])).read_text() == SECRET
    assert Path(str(places["beside"])).read_text() == "Beside it."
    assert stat.S_IMODE(Path(str(places["beside"])).stat().st_mode) & 0o777 != 0o777


def test_without_confinement_these_attempts_succeed(
    tmp_path: Path, places: dict[str, object]
) -> None:
    """Otherwise they would prove nothing."""
    only = [
        *("read outside", "read through a link", "list outside", "read passwords", "write outside"),
        *("write beside", "make beside", "mode of beside", "tcp", "udp", "unix", "pair", "fork"),
        *("run", "signal"),
    ]
    config = SourcesConfig(workers=1, confined=False)
    told = pry(tmp_path / "docs", {**places, "only": only}, config)
    assert set(told["did"]) == {*only, *NEEDED}


def test_its_environment_is_bare_and_its_limits_are_low_everywhere(
    tmp_path: Path, places: dict[str, object], given_up: set[str]
) -> None:
    only = ["a large file", "many files"]
    told = pry(tmp_path / "docs", {**places, "only": only}, LIMITED)
    environment = told["environment"]
    assert isinstance(environment, dict)
    assert SECRET not in json.dumps(environment)
    assert not {"HOME", "USER", "PATH", "RAG_API_KEY", "SSH_AUTH_SOCK"} & environment.keys()
    assert told["cwd"] == environment["TMPDIR"]
    limits = told["limits"]
    assert isinstance(limits, dict)
    assert limits["RLIMIT_CORE"] == [0, 0]
    assert limits["RLIMIT_FSIZE"] == [256 << 20, 256 << 20]
    assert limits["RLIMIT_NOFILE"][1] <= 256
    assert "calls" in given_up or limits["RLIMIT_NPROC"] == [0, 0]
    assert not {"a large file", "many files"} & set(told["did"])


def move_aside(path: Path, target: Path) -> None:
    path.rename(path.with_name(path.name + ".was"))
    path.symlink_to(target)


def to_a_link(folder: Path, secret: Path) -> None:
    move_aside(folder / "a" / "b" / "c.txt", secret / "b" / "c.txt")


def to_a_relative_link(folder: Path, secret: Path) -> None:
    move_aside(folder / "a" / "b" / "c.txt", Path("../../../private/b/c.txt"))


def above_to_a_link(folder: Path, secret: Path) -> None:
    move_aside(folder / "a" / "b", secret / "b")


def two_above_to_a_link(folder: Path, secret: Path) -> None:
    move_aside(folder / "a", secret)


def root_to_a_link(folder: Path, secret: Path) -> None:
    move_aside(folder, secret)


def to_a_pipe(folder: Path, secret: Path) -> None:
    (folder / "a" / "b" / "c.txt").unlink()
    os.mkfifo(folder / "a" / "b" / "c.txt")


def to_a_folder(folder: Path, secret: Path) -> None:
    (folder / "a" / "b" / "c.txt").unlink()
    (folder / "a" / "b" / "c.txt").mkdir()


SWAPS = [
    to_a_link, to_a_relative_link, above_to_a_link, two_above_to_a_link, root_to_a_link, to_a_pipe,
    to_a_folder,
]  # fmt: skip
Swap = Callable[[Path, Path], None]


@pytest.fixture
def race(tmp_path: Path) -> tuple[Path, Path]:
    """A folder to index, and one of the same shape that is private."""
    for name, text in (("docs", "Public words."), ("private", SECRET)):
        (tmp_path / name / "a" / "b").mkdir(parents=True)
        (tmp_path / name / "a" / "b" / "c.txt").write_text(text)
    (tmp_path / "private" / "b").mkdir()
    (tmp_path / "private" / "b" / "c.txt").write_text(SECRET)
    return tmp_path / "docs", tmp_path / "private"


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.__name__)
@pytest.mark.parametrize("confined", [True, False])
def test_what_takes_the_place_of_a_file_that_was_found_is_not_read(
    race: tuple[Path, Path], swap: Swap, confined: bool
) -> None:
    folder, secret = race
    (file,) = discover([Root(str(folder), "docs")])
    assert isinstance(file, SourceFile)
    swap(folder, secret)
    config = SourcesConfig(workers=1, confined=confined)
    (result,) = read_files([(file, None)], config, [str(folder)])
    assert isinstance(result.item, Problem)
    assert not result.item.lasting
    if swap not in (to_a_pipe, to_a_folder):
        assert result.item.reason == (
            "was found, and then a link or another thing took its place: run again"
        )


@pytest.mark.parametrize("swap", SWAPS[:5], ids=lambda swap: swap.__name__)
def test_no_link_is_followed_to_a_file(race: tuple[Path, Path], swap: Swap) -> None:
    folder, secret = race
    file = folder / "a" / "b" / "c.txt"
    with open_file(str(file)) as handle:
        assert os.read(handle, 100) == b"Public words."
    swap(folder, secret)
    with pytest.raises(OSError), open_file(str(file)):
        pass


def test_a_folder_that_becomes_a_link_while_folders_are_walked_is_not_entered(
    race: tuple[Path, Path],
) -> None:
    folder, secret = race
    (folder / "0.txt").write_text("first")
    found = discover([Root(str(folder), "docs")])
    first = next(found)
    assert isinstance(first, SourceFile) and first.source.endswith("0.txt")
    move_aside(folder / "a", secret)
    (problem,) = found
    assert isinstance(problem, Problem)
    assert problem.source == "docs/a"
    assert "took its place" in problem.reason
    with pytest.raises(OSError), open_folder(str(folder / "a")):
        pass


def test_an_ignore_file_that_is_a_link_or_a_pipe_is_not_read(race: tuple[Path, Path]) -> None:
    folder, secret = race
    (secret / "ignore").write_text("*.txt\n")
    (folder / ".ragignore").symlink_to(secret / "ignore")
    os.mkfifo(folder / ".gitignore")
    assert [type(item) for item in discover([Root(str(folder), "docs")])] == [SourceFile]


def test_a_swap_while_a_reader_reads_changes_nothing_of_what_is_read(
    tmp_path: Path, places: dict[str, object]
) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system has no names for open files")
    file = tmp_path / "docs" / "a.swap"
    file.write_text(json.dumps(places))
    found = read(file, SourcesConfig(workers=1, confined=False))
    assert isinstance(found[0], Document)
    assert SECRET not in found[0].text
    assert isinstance(found[1], Problem)
    assert "changed while it was being read" in found[1].reason


def test_races_against_a_thread_that_swaps(race: tuple[Path, Path]) -> None:
    folder, secret = race
    file, link, kept = (folder / "a" / "b" / name for name in ("c.txt", "l", "k"))
    link.symlink_to(secret / "b" / "c.txt")
    os.link(file, kept)
    ended = threading.Event()

    def swap_for_ever() -> None:
        while not ended.is_set():
            for source in (link, kept):
                draft = folder / "draft"
                os.link(source, draft, follow_symlinks=False)
                draft.replace(file)

    thread = threading.Thread(target=swap_for_ever)
    thread.start()
    try:
        jobs = [(SourceFile(str(file), "c.txt", 13, 1), None) for _ in range(100)]
        config = SourcesConfig(workers=1, confined=False)
        results = [each.item for each in read_files(jobs, config, [str(folder)])]
    finally:
        ended.set()
        thread.join()
    texts = {item.text for item in results if isinstance(item, Document)}
    assert texts <= {"Public words."}
    assert all(isinstance(item, Document | Problem | Finished) for item in results)
