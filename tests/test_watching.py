from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from working import wait_for

from rag import ConfigError, SourceError
from rag.config import SourcesConfig
from rag.sources.discovery import Root, resolve_root
from rag.sources.watching import changes

pytest.importorskip("watchfiles")


class Watch:
    """The changes seen so far, as paths relative to the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: set[str] = set()

    def saw(self, *names: str) -> set[str]:
        """Wait until all of `names` were seen, and return everything seen so far."""
        wait_for(lambda: self.paths.issuperset(names), f"{names}, beside {self.paths}")
        seen, self.paths = self.paths, set()
        return seen


@contextmanager
def watching(folder: Path, *roots: Root) -> Iterator[Watch]:
    stop = threading.Event()
    watch = Watch(folder)
    events = changes(roots, stop=stop, debounce_ms=100)

    def follow() -> None:
        for paths in events:
            watch.paths = watch.paths | {os.path.relpath(path, folder) for path in paths}

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join(300)
    assert not thread.is_alive()


def folder_root(path: Path, **config: object) -> Root:
    return resolve_root(path, SourcesConfig(**config))  # type: ignore[arg-type]


def test_files_made_changed_renamed_and_deleted(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / "sub").mkdir()
    with watching(folder, folder_root(folder)) as watch:
        (folder / "sub" / "a.md").write_text("one")
        assert watch.saw("sub/a.md") == {"sub/a.md"}
        (folder / "sub" / "a.md").write_text("two")
        assert watch.saw("sub/a.md") == {"sub/a.md"}
        (folder / "sub" / "a.md").rename(folder / "b.md")
        assert watch.saw("sub/a.md", "b.md") == {"sub/a.md", "b.md"}
        (folder / "b.md").unlink()
        assert watch.saw("b.md") == {"b.md"}


def test_what_is_ignored_is_not_seen(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / ".gitignore").write_text("*.log\nout/\n")
    (folder / "out").mkdir()
    (folder / ".git").mkdir()
    with watching(folder, folder_root(folder, include=("*.md", "*.log"))) as watch:
        for name in ("a.log", "out/a.md", ".git/a.md", ".a.md", "a.txt"):
            (folder / name).write_text("x")
        (folder / "end.md").write_text("x")
        assert watch.saw("end.md") == {"end.md"}
        for name in ("a.log", "out/a.md", ".git/a.md", ".a.md"):
            (folder / name).unlink()
        (folder / "end.md").unlink()
        assert watch.saw("end.md") == {"end.md"}


def test_ignore_files_are_seen_and_obeyed_at_once(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    with watching(folder, folder_root(folder)) as watch:
        (folder / ".ragignore").write_text("a.md\n")
        assert watch.saw(".ragignore") == {".ragignore"}
        (folder / "a.md").write_text("x")
        (folder / "b.md").write_text("x")
        assert "a.md" not in watch.saw("b.md")


def test_a_folder_moved_in_and_out(tmp_path: Path) -> None:
    outside, folder = tmp_path.resolve() / "outside", tmp_path.resolve() / "folder"
    (outside / "low").mkdir(parents=True)
    folder.mkdir()
    (outside / "low" / "a.md").write_text("x")
    (outside / ".gitignore").write_text("b.md")
    (outside / "b.md").write_text("x")
    with watching(folder, folder_root(folder, include=("*.md",))) as watch:
        outside.rename(folder / "inside")
        assert watch.saw("inside/low/a.md") == {"inside/low/a.md"}
        (folder / "inside").rename(outside)
        watch.saw("inside")


def test_a_single_file_that_an_editor_puts_another_in_place_of(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    file = folder / "a.md"
    file.write_text("one")
    with watching(folder, folder_root(file)) as watch:
        for _ in range(2):
            (folder / "a.md.new").write_text("two")
            (folder / "a.md.new").rename(file)
            assert watch.saw("a.md") == {"a.md"}
        (folder / "other.md").write_text("x")
        file.write_text("three")
        assert watch.saw("a.md") == {"a.md"}


def test_folders_and_files_together(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / "docs").mkdir()
    (folder / "beside").mkdir()
    (folder / "a.md").write_text("x")
    with watching(folder, folder_root(folder / "docs"), folder_root(folder / "a.md")) as watch:
        (folder / "beside" / "c.md").write_text("x")
        (folder / "docs" / "b.md").write_text("x")
        (folder / "a.md").write_text("y")
        assert watch.saw("a.md", "docs/b.md") == {"a.md", "docs/b.md"}


def test_what_happens_before_the_first_set_is_asked_for_is_in_it(tmp_path: Path) -> None:
    stop = threading.Event()
    events = changes([folder_root(tmp_path)], stop=stop, debounce_ms=100)
    (tmp_path / "a.md").write_text("x")
    assert next(events) == {str(tmp_path.resolve() / "a.md")}
    stop.set()
    assert list(events) == []


def test_folders_within_new_folders_are_watched(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    with watching(folder, folder_root(folder)) as watch:
        for number in range(3):
            low = folder / f"new{number}" / "low"
            low.mkdir(parents=True)
            (low / "a.md").write_text("x")
            watch.saw(f"new{number}/low/a.md")
            (low / "b.md").write_text("x")
            watch.saw(f"new{number}/low/b.md")


def test_folders_that_are_no_longer_ignored_are_watched(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / "out").mkdir()
    (folder / ".gitignore").write_text("out\n")
    with watching(folder, folder_root(folder)) as watch:
        (folder / ".gitignore").unlink()
        assert watch.saw(".gitignore") == {".gitignore"}
        (folder / "out" / "a.md").write_text("x")
        watch.saw("out/a.md")


def test_links_lead_nowhere(tmp_path: Path) -> None:
    folder, outside = tmp_path.resolve() / "folder", tmp_path.resolve() / "outside"
    (folder / "sub").mkdir(parents=True)
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    with watching(folder, folder_root(folder), folder_root(folder / "sub")) as watch:
        (outside / "a.md").write_text("x")
        (folder / "made").symlink_to(outside)
        (folder / "end.md").write_text("x")
        assert watch.saw("end.md") == {"end.md"}


def test_a_name_that_is_not_utf8_does_not_end_it(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / "a.md").write_text("x")
    with watching(folder, folder_root(folder)) as watch:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.md")).write_text("x")
        assert watch.saw("a.md") == {"a.md"}
        (folder / "b.md").write_text("x")
        watch.saw("b.md")


def test_what_cannot_be_watched_is_named(tmp_path: Path) -> None:
    gone = Root(str(tmp_path / "gone"), "gone")
    with pytest.raises(SourceError, match="gone: no such file or folder"):
        changes([gone])


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(ConfigError, match=r"checkable-rag\[watch\]"):
        changes([folder_root(tmp_path)])
