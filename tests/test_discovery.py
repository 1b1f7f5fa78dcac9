from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rag import SourceError
from rag.config import SourcesConfig
from rag.sources import discovery
from rag.sources.discovery import Root, SourceFile, discover, is_ignored, resolve_root
from rag.types import Problem

GIT = shutil.which("git")


def roots(*paths: str | Path, **config: object) -> list[Root]:
    return [resolve_root(path, SourcesConfig(**config)) for path in paths]  # type: ignore[arg-type]


def sources(*paths: str | Path, **config: object) -> list[str]:
    """Return what is taken below the first path, and check that `is_ignored` agrees."""
    start, *others = roots(*paths, **config)
    found = [item for item in discover([start, *others]) if isinstance(item, SourceFile)]
    for item in found:
        status = Path(item.path).stat()
        assert (item.size, item.mtime_ns) == (status.st_size, status.st_mtime_ns)
        assert not all(is_ignored(one, item.path) for one in [start, *others])
    taken = {item.path for item in found}
    for path in Path(start.path).rglob("*"):
        if path.is_file() and path.stat().st_size and str(path) not in taken:
            assert is_ignored(start, str(path))
    return [os.path.relpath(item.source, paths[0]) for item in found]


def problems(*paths: Path) -> dict[str, str]:
    found = [item for item in discover(roots(*paths)) if isinstance(item, Problem)]
    assert not any(item.lasting for item in found)
    return {Path(item.source).name: f"{item.kind}: {item.reason}" for item in found}


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    return folder


def test_files_of_any_name_in_byte_order_depth_first(tmp_path: Path) -> None:
    names = ["b.txt", "B.md", "a/z", "a/b/c.rst", "a.bin", "é.txt", "Makefile"]
    tree(tmp_path, *names)
    assert sources(tmp_path) == ["B.md", "Makefile", "a/b/c.rst", "a/z", "a.bin", "b.txt", "é.txt"]


def test_what_is_not_taken_is_named_unless_it_is_hidden(tmp_path: Path) -> None:
    outside = tree(tmp_path, "outside.txt", "elsewhere/x.txt")
    inside = tree(outside / "root", "b.txt", "sub/c.rst", ".hidden/d.txt", ".e.txt")
    (inside / "empty.txt").touch()
    (inside / "loop").symlink_to(inside)
    (inside / "self").symlink_to("self")
    (inside / "within.txt").symlink_to(inside / "b.txt")
    (inside / "link.txt").symlink_to(outside / "outside.txt")
    (inside / "folder").symlink_to(outside / "elsewhere")
    (inside / "up").symlink_to("..")
    (inside / "nothing").symlink_to(outside / "missing")
    (inside / ".nothing").symlink_to(outside / "missing")
    os.mkfifo(inside / "pipe.txt")
    os.mkfifo(inside / "sub" / ".gitignore")
    assert sources(inside) == ["b.txt", "sub/c.rst"]
    assert problems(inside) == {
        "empty.txt": "skipped: is empty",
        "link.txt": "skipped: is a link out of the folder",
        "folder": "skipped: is a link out of the folder",
        "up": "skipped: is a link out of the folder",
        "nothing": "skipped: is a link to nothing",
        "pipe.txt": "skipped: is not a regular file",
    }
    assert is_ignored(roots(inside)[0], str(inside / "loop" / "b.txt"))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_name_that_is_not_utf8_is_named_and_passed_over(tmp_path: Path, kind: str) -> None:
    tree(tmp_path, "good.txt")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    tree(odd, "a.txt") if kind == "folder" else odd.write_text("text")
    problem, good = discover(roots(tmp_path))
    assert isinstance(problem, Problem)
    assert isinstance(good, SourceFile)
    assert problem.source == f"{tmp_path}/caf\\udce9"
    assert "not valid UTF-8" in problem.reason
    with pytest.raises(SourceError, match="not valid UTF-8"):
        roots(odd)


def test_sources_are_as_the_user_gave_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "docs/a.md")
    (tmp_path / "link").symlink_to("docs")
    monkeypatch.chdir(tmp_path)
    for given_as, source in {
        "docs": "docs/a.md",
        "docs/": "docs/a.md",
        "link": "link/a.md",
        ".": "docs/a.md",
        "docs/a.md": "docs/a.md",
        "link/a.md": "link/a.md",
        str(tmp_path): f"{tmp_path}/docs/a.md",
    }.items():
        (file,) = discover(roots(given_as))
        assert isinstance(file, SourceFile)
        assert file.source == source
        assert file.path == str(tmp_path.resolve() / "docs" / "a.md")


def test_a_given_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    tree(tmp_path, ".hidden", "out.log")
    (tmp_path / ".gitignore").write_text("*\n")
    for name in (".hidden", "out.log"):
        (file,) = discover(roots(tmp_path / name, include=("*.md",), exclude=("*",)))
        assert isinstance(file, SourceFile)
        assert not is_ignored(roots(tmp_path / name)[0], file.path)
        assert is_ignored(roots(tmp_path / name)[0], f"{file.path}.other")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="is not a regular file"):
        roots(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["missing", "a.txt/b", "\udce9missing", "a\0b"])
def test_a_given_path_that_is_not_there(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "a.txt")
    with pytest.raises(SourceError, match="no such file or folder") as caught:
        roots(tmp_path / name)
    str(caught.value).encode()


def test_no_path_is_not_the_working_folder() -> None:
    with pytest.raises(SourceError, match="no such file"):
        roots("")


def test_each_file_once_where_roots_overlap(tmp_path: Path) -> None:
    tree(tmp_path, "a.md", "sub/b.md", "sub/.c.md")
    (tmp_path / "sub" / "empty").touch()
    given_twice = roots(tmp_path, tmp_path / "sub", tmp_path / "a.md", tmp_path / "sub" / ".c.md")
    found = [item for item in discover(given_twice) if isinstance(item, SourceFile)]
    assert [Path(item.path).name for item in found] == ["a.md", "b.md", ".c.md"]
    assert len(list(discover(given_twice))) == 4


@pytest.mark.slow
def test_folders_deeper_than_the_stack_of_python(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(1200):
        folder = folder / "d"
        folder.mkdir()
    (folder / "deep.txt").write_text("text")
    (tmp_path / "end.txt").write_text("text")
    try:
        found = list(discover(roots(tmp_path)))
        assert [Path(item.source).name for item in found] == ["deep.txt", "end.txt"]
    finally:
        # pytest could not remove it.
        (folder / "deep.txt").unlink()
        os.removedirs(folder)


def test_folders_of_tools_are_passed_over(tmp_path: Path) -> None:
    tree(tmp_path, "a.md", ".git/b.md", "x/node_modules/b.md", "x/__pycache__/b.md", "x/.e")
    tree(tmp_path, "env/pyvenv.cfg", "env/lib/b.md", "index/index.sqlite", "index/writer.lock")
    tree(tmp_path, "half/index.sqlite", "copy/index.sqlite", "copy/commits")
    assert sources(tmp_path) == ["a.md", "half/index.sqlite"]
    assert sources(tmp_path, hidden=True) == ["a.md", "half/index.sqlite", "x/.e"]
    assert not problems(tmp_path)
    # Named by the user, they are what is wanted.
    assert sources(tmp_path / "env") == ["lib/b.md", "pyvenv.cfg"]


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a/x.md", "b/y.md")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    failed, taken = discover(roots(tmp_path))
    assert failed == Problem(
        f"{tmp_path}/a", "cannot be read: Permission denied", "failed", lasting=False
    )
    assert isinstance(taken, SourceFile)


def test_a_folder_with_an_unreadable_ignore_file_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "a/private.md", "a/.ragignore", "b/y.md")
    open_file = discovery.open_file

    def refusing(path: str) -> AbstractContextManager[int]:
        if path.endswith(".ragignore"):
            raise PermissionError(13, "Permission denied", path)
        return open_file(path)

    monkeypatch.setattr(discovery, "open_file", refusing)
    assert sources(tmp_path) == ["b/y.md"]
    assert problems(tmp_path) == {
        "a": "failed: is left out, its ignore files cannot be read: Permission denied"
    }


def test_include_and_exclude_are_patterns_relative_to_the_root(tmp_path: Path) -> None:
    names = ["a.md", "b.txt", "docs/c.md", "docs/d.txt", "docs/private/e.md", "src/f.md"]
    tree(tmp_path, *names)
    assert sources(tmp_path, include=("*.md",)) == [
        "a.md",
        "docs/c.md",
        "docs/private/e.md",
        "src/f.md",
    ]
    assert sources(tmp_path, include=("docs/", "!docs/private/")) == ["docs/c.md", "docs/d.txt"]
    assert sources(tmp_path, include=("/*.md", "d.txt")) == ["a.md", "docs/d.txt"]
    assert sources(tmp_path, exclude=("docs", "*.txt", "!b.txt")) == ["a.md", "b.txt", "src/f.md"]
    assert sources(tmp_path, include=("*.md",), exclude=("docs/*", "src/")) == ["a.md"]
    assert sources(tmp_path, include=("nothing",)) == []
    # What an ignore file leaves out, no pattern of the user brings back.
    (tmp_path / ".gitignore").write_text("b.txt\n")
    assert "b.txt" not in sources(tmp_path, include=("*",), exclude=("!b.txt",))


def test_ignore_files_at_every_level(tmp_path: Path) -> None:
    tree(tmp_path, "a.log", "b.log", "sub/a.log", "sub/b.log", "sub/low/b.log", "out/x.md", "k.md")
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbf*.log\r\nout/\r\n# k.md\r\n")
    (tmp_path / "sub" / ".gitignore").write_text("!b.log\n")
    (tmp_path / "sub" / "low" / ".ragignore").write_text("b.log\n")
    assert sources(tmp_path) == ["k.md", "sub/b.log"]


def test_ragignore_has_the_last_word_in_its_folder(tmp_path: Path) -> None:
    tree(tmp_path, "a.md", "b.md", "c.md")
    (tmp_path / ".gitignore").write_text("a.md\n!b.md")
    (tmp_path / ".ragignore").write_text("!a.md\nb.md")
    assert sources(tmp_path) == ["a.md", "c.md"]


def test_hostile_patterns_take_no_time(tmp_path: Path) -> None:
    tree(tmp_path, "a" * 255, "/".join(["a"] * 500) + "/c")
    (tmp_path / ".gitignore").write_text("*a" * 60 + "b\n" + "**/a/" * 60 + "b\n")
    assert len(sources(tmp_path)) == 2


NAMES = ["a", "b", "ab", "a.b", "c d", "-", "]", ".a"]
PIECES = ["a", "b", "*", "**", "?", "[ab]", "[!a]", "[^a-]", "[]-]", "[[:alpha:]]", ".", "-", "c d"]
PIECES += ["\\a", "\\*", "[", "[a", "\\", "[b-a]", "[\\]]", " ", "\t"]
SEGMENTS = st.one_of(
    st.sampled_from(["*", "**", *NAMES]), st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
)
PATTERNS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "", "!", "!", "#", "\\!", "\\#"]),
    st.sampled_from(["", "", "/"]),
    st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join),
    st.sampled_from(["", "", "", "/", " ", "\\ ", "\r"]),
    # A set of characters with a slash is the one thing that is not read as git does.
).filter(lambda pattern: not re.search(r"\[[!^]?\]?[^\]]*/", pattern))
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)


ISOLATED = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository that asks about any folder as its work tree."""
    path = tmp_path_factory.mktemp("repository") / ".git"
    command = [str(GIT), "init", "-q", str(path.parent)]
    subprocess.run(command, check=True, env={**ISOLATED, "HOME": str(path.parent)})
    return path


@pytest.mark.slow
@pytest.mark.skipif(GIT is None, reason="git is not installed")
@given(
    paths=st.sets(PATHS, min_size=1, max_size=12),
    patterns=st.dictionaries(
        st.sampled_from([".", "a", "b", "a/b", "ab"]),
        st.lists(PATTERNS, min_size=1, max_size=5).map("\n".join),
        min_size=1,
        max_size=3,
    ),
)
@settings(max_examples=60, deadline=None)
def test_ignores_what_git_ignores(
    repository: Path, paths: set[str], patterns: dict[str, str]
) -> None:
    assume(not any(other.startswith(f"{path}/") for path in paths for other in paths))
    with tempfile.TemporaryDirectory() as folder:
        tree(Path(folder), *paths)
        for place, text in patterns.items():
            if Path(folder, place).is_dir():
                Path(folder, place, ".gitignore").write_bytes(f"{text}\n".encode())
        listed = subprocess.run(
            [str(GIT), "ls-files", "-z", "--others", "--exclude-standard"],
            check=True,
            cwd=folder,
            env={**ISOLATED, "GIT_DIR": str(repository), "GIT_WORK_TREE": folder},
            stdout=subprocess.PIPE,
        )
        by_git = {os.fsdecode(name) for name in listed.stdout.split(b"\0") if name}
        assert set(sources(folder, hidden=True)) == by_git
