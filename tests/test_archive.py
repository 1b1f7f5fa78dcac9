from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reading import documents, problems, results

from rag import Document, SourceError
from rag.config import SourcesConfig
from rag.sources.document import Member
from rag.sources.formats import archive


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is unpacked is gone afterwards, however reading ended."""
    unpacking = tmp_path / "unpacking"
    unpacking.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(unpacking))
    yield
    assert list(unpacking.iterdir()) == []


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return path


def tarred(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 1_000_000_000
            out.addfile(info, io.BytesIO(content))
    return path


def texts(path: Path, **settings: object) -> dict[str, str]:
    found = documents(path, **settings)
    return {document.source.removeprefix(f"{path}/"): document.text for document in found}


def named(path: Path, **settings: object) -> dict[str, str]:
    found = problems(path, **settings)
    return {problem.source.removeprefix(f"{path}/"): problem.reason for problem in found}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_members_come_in_the_order_of_their_names(tmp_path: Path, name: str) -> None:
    members = {
        "b/two.txt": b"second",
        "a.md": b"# First",
        "./c.txt": b"third",
        ".hidden/x.txt": b"not taken",
        "__MACOSX/a.md": b"not taken",
        "b/.DS_Store": b"not taken",
    }
    path = tmp_path / name
    if name == "a.zip":
        zipped(path, members)
    else:
        tarred(path, members, {"tar": "w", "tgz": "w:gz"}.get(name[2:], f"w:{name[6:]}"))
    expected = {"a.md": "# First", "b/two.txt": "second", "c.txt": "third"}
    assert list(texts(path).items()) == list(expected.items())
    assert not problems(path)
    assert ".hidden/x.txt" in texts(path, hidden=True)


def test_members_keep_their_time_and_their_title(tmp_path: Path) -> None:
    (found,) = documents(tarred(tmp_path / "a.tgz", {"notes/My page.txt": b"text"}))
    assert found.modified == 1_000_000_000
    assert found.title == "My page"


def test_archives_within_archives_down_to_the_limit(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"deep.txt": b"deep"}).read_bytes()
    path = tarred(tmp_path / "outer.tgz", {"in.zip": inner, "top.txt": b"top"})
    assert texts(path) == {"in.zip/deep.txt": "deep", "top.txt": "top"}
    assert texts(path, max_depth=1) == {"top.txt": "top"}
    assert "`sources.max_depth`" in named(path, max_depth=1)["in.zip/deep.txt"]


UNSAFE = [
    "../up.txt",
    "/absolute.txt",
    "C:\\drive.txt",
    "x/../../up.txt",
    "..\\up.txt",
    "\\abs.txt",
]


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_out_are_named_and_never_written(
    tmp_path: Path, kind: str, name: str
) -> None:
    make = zipped if kind == "zip" else tarred
    path = make(tmp_path / f"a.{kind}", {name: b"out", "good.txt": b"good"})
    before = sorted(tmp_path.rglob("*"))
    assert texts(path) == {"good.txt": "good"}
    assert list(named(path)) == [name]
    assert "leads out" in named(path)[name]
    assert sorted(tmp_path.rglob("*")) == before


def test_links_and_special_files_are_named_and_never_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as out:
        for name, kind in (
            ("soft.txt", tarfile.SYMTYPE),
            ("hard.txt", tarfile.LNKTYPE),
            ("device.txt", tarfile.CHRTYPE),
            ("pipe.txt", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            out.addfile(info)
        info = tarfile.TarInfo("good.txt")
        info.size = 4
        out.addfile(info, io.BytesIO(b"good"))
    assert texts(path) == {"good.txt": "good"}
    assert {name: reason.split(":")[0] for name, reason in named(path).items()} == {
        "soft.txt": f"is a symbolic link to {str(secret)!r}",
        "hard.txt": f"is a hard link to {str(secret)!r}",
        "device.txt": "is a device, a pipe or another special file",
        "pipe.txt": "is a device, a pipe or another special file",
    }
    assert {problem.kind for problem in problems(path)} == {"skipped"}


def test_a_symbolic_link_in_a_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as out:
        info = zipfile.ZipInfo("link.txt")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(info, "/etc/passwd")
    assert "symbolic link" in named(path)["link.txt"]
    assert not documents(path)


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"locked.txt": b"locked", "open.txt": b"open"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(signature) + offset
        struct.pack_into("<H", data, at, struct.unpack_from("<H", data, at)[0] | 1)
    path.write_bytes(data)
    assert texts(path) == {"open.txt": "open"}
    assert "is encrypted" in named(path)["locked.txt"]


def test_a_damaged_member_costs_no_other(tmp_path: Path) -> None:
    members = {"a.txt": b"first" * 50, "b.txt": b"second" * 50}
    path = zipped(tmp_path / "a.zip", members, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"firstfirst", b"firstFIRST", 1))
    assert list(texts(path)) == ["b.txt"]
    assert "is damaged in the archive" in named(path)["a.txt"]


def test_the_last_of_one_name_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as out:
        for content in (b"old", b"new"):
            info = tarfile.TarInfo("a.txt")
            info.size = 3
            out.addfile(info, io.BytesIO(content))
    assert texts(path) == {"a.txt": "new"}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_what_came_before_a_break_is_read_and_the_break_named(tmp_path: Path, mode: str) -> None:
    members = {f"{n}.txt": os.urandom(3000).hex().encode() for n in range(9)}
    path = tarred(tmp_path / "a.tar", members, mode)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = texts(path)
    assert 2 <= len(found) <= 6
    assert all(members[name].decode() == text for name, text in found.items())
    assert any("breaks off" in problem.reason for problem in problems(path))


def test_a_damaged_header_in_a_tar_is_no_end(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", {"a.txt": b"one", "b.txt": b"two"}, "w")
    data = bytearray(path.read_bytes())
    data[1024:1030] = b"\xff" * 6
    path.write_bytes(data)
    assert texts(path) == {"a.txt": "one"}
    assert "is damaged after 1 members" in problems(path)[0].reason


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.gz"])
def test_what_is_no_archive_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK\x03\x04 nonsense" if name == "a.zip" else b"nonsense" * 100)
    with pytest.raises(SourceError, match=r"ZIP|tar|compressed") as caught:
        results(path)
    assert "\n" not in str(caught.value)


def test_limits_are_refused_by_their_names(tmp_path: Path) -> None:
    many = {f"{n}.txt": b"x" for n in range(6)}
    for path in (zipped(tmp_path / "a.zip", many), tarred(tmp_path / "a.tgz", many)):
        with pytest.raises(SourceError, match=r"more than 5 files \(`sources.max_members`\)"):
            results(path, max_members=5)
    noise = os.urandom(700_000).hex().encode()
    path = zipped(tmp_path / "b.zip", {"a.txt": noise, "b.txt": noise})
    assert list(texts(path, max_unpacked_mb=2, max_word=10**7)) == ["a.txt"]
    assert (
        "`sources.max_unpacked_mb`" in problems(path, max_unpacked_mb=2, max_word=10**7)[-1].reason
    )
    path = tarred(tmp_path / "b.tgz", {"a.txt": noise, "b.txt": noise})
    with pytest.raises(SourceError, match=r"sources.max_unpacked_mb"):
        results(path, max_unpacked_mb=2)


def test_bombs_are_refused_by_what_they_unpack_to(tmp_path: Path) -> None:
    bomb = b"0 " * (8 << 20)
    path = zipped(tmp_path / "a.zip", {"bomb.txt": bomb, "good.txt": b"good"})
    # Headers may claim anything: here, that the bomb holds seven bytes.
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 7)
    claimed = tmp_path / "claimed.zip"
    claimed.write_bytes(data)
    assert list(named(claimed)) == ["bomb.txt"]
    assert texts(path) == {"good.txt": "good"}
    assert "`sources.max_ratio`" in named(path)["bomb.txt"]
    for other in (tarred(tmp_path / "a.tgz", {"bomb.txt": bomb}), tmp_path / "bomb.txt.gz"):
        if other.suffix == ".gz":
            other.write_bytes(gzip.compress(bomb))
        with pytest.raises(SourceError, match=r"sources.max_ratio"):
            results(other)


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_a_single_compressed_file_is_known_under_its_own_name(tmp_path: Path, suffix, pack) -> None:
    path = tmp_path / f"page.md{suffix}"
    path.write_bytes(pack(b"# Heading\n\ntext\n"))
    (found,) = documents(path)
    assert found.source == str(path)
    assert (found.title, found.markup) == ("Heading", "markdown")
    twice = tmp_path / f"page.md{suffix}.gz"
    twice.write_bytes(gzip.compress(path.read_bytes()))
    assert documents(twice)[0].text == found.text
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SourceError, match="breaks off in the middle"):
        results(path)


def test_a_reader_that_is_left_early_leaves_nothing_behind(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.txt": b"one", "b.txt": b"two"})
    members = archive.read(path, "a.zip", SourcesConfig())
    first = next(members)
    assert isinstance(first, Member)
    assert first.path.read_bytes() == b"one"
    second = next(members)
    assert isinstance(second, Member)
    assert not first.path.exists()
    members.close()


NAMES = st.text(
    st.one_of(
        st.sampled_from("abc/\\.: _-~\n"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    min_size=1,
    max_size=40,
)


@given(members=st.dictionaries(NAMES, st.binary(max_size=100), max_size=6))
@example(members={"__MACOSX": b"a file", "__MACOSX/._a.txt": b"beside a file", "a.txt": b"a"})
def test_any_zip_writes_nowhere_else_and_gives_every_good_member(members: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        with zipfile.ZipFile(path, "w") as out:
            for name, content in members.items():
                info = zipfile.ZipInfo(name)
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                out.writestr(info, content)
        found = {}
        for item in archive.read(path, "a.zip", SourcesConfig(hidden=True)):
            if isinstance(item, Member):
                assert Path(tempfile.gettempdir()) == item.path.parent.parent
                assert list(item.path.parent.iterdir()) == [item.path]
                assert item.path.resolve().parent == item.path.parent.resolve()
                found[item.name] = item.path.read_bytes()
            else:
                assert "leads out" in item.reason
            assert list(Path(folder).iterdir()) == [path]
        good = {}
        for name, content in members.items():
            # What zipfile itself reads back, and what has one plain way to be written.
            parts = name.split("/")
            plain = name.isprintable() and not {"", ".", ".."} & set(parts) and "\\" not in name
            # What macOS puts beside files, in a folder of this name, is none of them.
            if plain and "__MACOSX" not in parts[:-1]:
                good[name] = content
        assert {name: found.get(name) for name in good if ":" not in name} == {
            name: content for name, content in good.items() if ":" not in name
        }


def test_sources_can_be_shown_whatever_the_names(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", encoding="latin1") as out:
        for name in ("caf\xe9.txt", "new\nline.txt"):
            info = tarfile.TarInfo(name)
            info.size = 4
            out.addfile(info, io.BytesIO(b"text"))
    found = documents(path)
    assert len(found) == 2
    for document in found:
        assert isinstance(document, Document)
        document.source.encode()
        assert "\n" not in document.source
