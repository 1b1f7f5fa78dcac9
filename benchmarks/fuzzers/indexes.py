"""An index folder whose checksums are right, and whose values are not; and an exported archive."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

from fuzzers import made, mutation
from fuzzers.attempts import FINE, REFUSED, Target, WrongError, check_spans, run_command, together

_JSON = {"metadata", "pages", "headings", "heading", "include", "exclude", "details"}
# What an attacker may add to the database, where ours holds tables, indexes and one trigger.
_SCHEMA = (
    "CREATE TRIGGER t AFTER INSERT ON documents BEGIN UPDATE documents SET text = 'x'; END",
    "CREATE VIEW v AS WITH RECURSIVE r(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM r) "
    "SELECT n FROM r",
    "DROP TRIGGER bury_chunk",
    "DROP INDEX chunks_by_document",
    "DROP TABLE languages",
    "DROP TABLE tombstones",
    "DELETE FROM manifest WHERE key = 'dim'",
    "DELETE FROM documents WHERE rowid = 1",
    "DELETE FROM files",
    "DELETE FROM caches",
    "ALTER TABLE chunks ADD COLUMN more INTEGER",
    "CREATE TABLE sqlite_like (a)",
    "PRAGMA user_version = 77",
)

_MOST_LINE_BYTES = 50_000


class IndexFolder(Target):
    """Edits of rows, blobs and caches of an index, each with its checksum mended.

    An input is a list of edits in JSON: of a cell (`table`, `column`, `row`, `value`), of the file
    of a cache (`cache`, `file`, `at`, `bytes`), or of the schema (`sql`).
    """

    name = "index"

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        made.set_environment(folder)
        self._whole = folder / "whole"
        if not self._whole.exists():
            made.make_index(folder).rename(self._whole)
        with closing(connect(self._whole)) as connection:
            names = [
                row[0]
                for row in connection.execute(
                    "SELECT name FROM sqlite_schema "
                    "WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
                )
            ]
            self._cells: dict[str, list[dict[str, Any]]] = {}
            for name in names:
                cursor = connection.execute(f'SELECT * FROM "{name}"')
                rows = cursor.fetchall()
                if rows:
                    columns = [
                        each[1] for each in connection.execute(f'PRAGMA table_info("{name}")')
                    ]
                    self._cells[name] = [dict(zip(columns, row, strict=True)) for row in rows]

    def seeds(self) -> Iterator[bytes]:
        yield b"[]"
        for sql in _SCHEMA:
            yield mutation.to_json([{"sql": sql}])

    def mutate(self, data: bytes, random: Random) -> bytes:
        try:
            edits = json.loads(data)
        except ValueError:
            edits = []
        if not isinstance(edits, list):
            edits = []
        if len(edits) > 2 and random.random() < 0.3:
            del edits[random.randrange(len(edits))]
        edits.append(self._edit(random))
        return mutation.to_json(edits[-4:])

    def smaller(self, data: bytes) -> Iterator[bytes]:
        return mutation.smaller_list(data)

    def run(self, data: bytes) -> str:
        index = made.copy_index(self._whole, self.folder / "index")
        texts = self._apply(index, data)
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        outcomes = []
        for arguments in (
            ("status",),
            ("info", "--json"),
            ("search", made.QUESTION, "--json"),
            ("search", '"Vorn bridge" -ferry', "--where", "title~vorn", "--json"),
            ("search", "ferry", "--mode", "lexical", "--json"),
            ("ask", made.QUESTION, "--json"),
            ("show", "bridge.md"),
            ("doctor",),
            ("export", out / "exported.zip"),
            ("backup", out / "copy"),
            ("compact",),
            ("doctor", "--repair"),
            ("search", made.QUESTION, "--json"),
        ):
            ran = self.command(*arguments)
            outcomes.append(ran.outcome)
            if "--json" in arguments and arguments[0] in ("search", "ask"):
                check_spans(ran.data, texts)
        if (out / "exported.zip").exists():
            ran = self.command("import", out / "exported.zip", "--index", out / "imported")
            outcomes.append(ran.outcome)
        if not (self.folder / "docs" / "bridge.md").exists():
            raise WrongError("a document of the user was removed")
        return together(outcomes)

    def _edit(self, random: Random) -> dict[str, Any]:
        if random.random() < 0.1:
            return {"sql": random.choice(_SCHEMA)}
        if random.random() < 0.25:
            return {
                "cache": random.choice(("vectors", "recent", "terms")),
                "file": random.randrange(12),
                "at": random.choice((*range(0, 64, 4), random.randrange(100_000))),
                "bytes": random.choice((*mutation.BYTES, random.randbytes(4))).hex(),
                "cut": random.random() < 0.15,
            }
        table = random.choice(list(self._cells))
        row = random.randrange(len(self._cells[table]))
        values = self._cells[table][row]
        column = random.choice(list(values))
        return {
            "table": table,
            "column": column,
            "row": row,
            "value": _pack(_change_cell(column, values[column], random)),
        }

    def _apply(self, index: Path, data: bytes) -> dict[str, str]:
        """Edit the index, and return the texts that its documents have then."""
        try:
            edits = json.loads(data)
        except ValueError:
            return {}
        with closing(connect(index)) as connection:
            for edit in edits:
                # What the tables themselves refuse is no state that somebody could send.
                with suppress(Exception):
                    if "sql" in edit:
                        connection.execute(edit["sql"])
                    elif "cache" in edit:
                        _edit_cache(connection, index, edit)
                    else:
                        key = f'(SELECT rowid FROM "{edit["table"]}" LIMIT 1 OFFSET {edit["row"]})'
                        where = f"rowid = {key}"
                        if edit["table"] in ("manifest", "roots", "languages"):
                            keys = next(iter(self._cells[edit["table"]][edit["row"]].items()))
                            where = f"{keys[0]} = '{keys[1]}'"
                        value = _unpack(edit["value"])
                        connection.execute(
                            f'UPDATE "{edit["table"]}" SET "{edit["column"]}" = ? WHERE {where}',
                            (value,),
                        )
            texts: dict[str, str] = {}
            with suppress(Exception):
                texts = dict(connection.execute("SELECT id, text FROM documents").fetchall())
            return texts


class ExportedArchive(Target):
    """A file of `rag export`: changed lines, vectors and manifest with checksums that are right."""

    name = "archive"

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        made.set_environment(folder)
        self._exported = folder / "exported.zip"
        if not self._exported.exists():
            made.make_index(folder)
            if run_command("export", self._exported).code:
                raise RuntimeError("the index cannot be exported")

    def seeds(self) -> Iterator[bytes]:
        yield self._exported.read_bytes()

    def mutate(self, data: bytes, random: Random) -> bytes:
        members = _members(data)
        if random.random() < 0.1 or len(members) < 2:
            return mutation.change_bytes(data, random)
        name = random.choice(list(members))
        content = members[name]
        if name == "vectors.npy":
            at = random.randrange(128, len(content) + 1)
            content = content[:at] + random.randbytes(2) + content[at + 2 :]
        elif name.endswith(".jsonl") and content:
            lines = content.split(b"\n")
            at = random.randrange(len(lines))
            lines[at] = _change_line(lines[at], random)
            content = b"\n".join(lines)
        else:
            content = _change_line(content, random)
        members[name] = content
        return _archive(members, mend=random.random() < 0.95)

    def run(self, data: bytes) -> str:
        given, target = self.folder / "given.zip", self.folder / "imported"
        shutil.rmtree(target, ignore_errors=True)
        given.write_bytes(data)
        imported = self.command("import", given, "--index", target)
        if imported.outcome == REFUSED:
            if target.exists() and any(target.glob("index.sqlite")):
                listed = self.command("info", "--index", target)
                if listed.outcome == FINE:
                    raise WrongError("what was refused is in the index")
            return REFUSED
        outcomes = []
        for arguments in (
            ("search", made.QUESTION, "--json"),
            ("ask", made.QUESTION, "--json"),
            ("show", "bridge.md"),
            ("info",),
        ):
            ran = self.command(*arguments, "--index", target)
            outcomes.append(ran.outcome)
            if "--json" in arguments:
                with closing(connect(target)) as connection:
                    rows = connection.execute("SELECT id, text FROM documents").fetchall()
                check_spans(ran.data, dict(rows))
        well = self.command("doctor", "--index", target)
        if well.outcome == REFUSED:
            raise WrongError(f"what was imported is not well: {well.out[-300:]}{well.err[-300:]}")
        return together(outcomes)


class TextsTarget(made.IndexTarget):
    """A target whose answers are compared with the documents of the index, by their ids."""

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        with closing(connect(folder / "index")) as connection:
            self._texts = dict(connection.execute("SELECT id, text FROM documents").fetchall())


def connect(index: Path) -> Any:
    """Open a database as an attacker does: with page checksums that SQLite mends itself."""
    import apsw
    import apsw.sqlite_extra

    with closing(apsw.Connection(":memory:")) as memory:
        apsw.sqlite_extra.load(memory, "cksumvfs")
    connection = apsw.Connection(str(index / "index.sqlite"), vfs="cksmvfs")
    connection.execute("PRAGMA foreign_keys = off")
    connection.execute("PRAGMA writable_schema = on")
    return connection


def _pack(value: Any) -> Any:
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _unpack(value: Any) -> Any:
    return base64.b64decode(value["bytes"]) if isinstance(value, dict) else value


def _change_cell(column: str, value: Any, random: Random) -> Any:
    roll = random.random()
    if roll < 0.1:
        return random.choice((None, b"\xff\xfe", b"", 0, -1, "", 1.5, float("inf")))
    if isinstance(value, bytes):
        halves = (b"\x00\x7c", b"\x00\xfc", b"\xff\x7f", b"\xff\x7b")
        if roll < 0.5:
            return random.choice(halves) * (len(value) // 2)
        return mutation.change_bytes(value, random)
    if column in _JSON and isinstance(value, str) and roll < 0.8:
        return json.dumps(mutation.change_value(json.loads(value), random))
    if isinstance(value, str):
        return mutation.change_text(value, random) if roll < 0.5 else random.choice(mutation.TEXTS)
    return random.choice((*mutation.NUMBERS[:18], *mutation.FLOATS, (value or 0) + 1, "text", b"x"))


def _edit_cache(connection: Any, index: Path, edit: dict[str, Any]) -> None:
    (name,) = connection.execute(
        "SELECT name FROM caches WHERE kind = ?", (edit["cache"],)
    ).fetchone()
    path = index / name
    files = (
        sorted(each for each in path.iterdir() if each.suffix != ".lock") if path.is_dir() else []
    )
    file = files[edit["file"] % len(files)] if files else path
    content = bytearray(file.read_bytes())
    at, given = edit["at"] % (len(content) + 1), bytes.fromhex(edit["bytes"])
    if edit["cut"]:
        del content[at:]
    content[at : at + len(given)] = given
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    if files:
        sums = (f"{each.name}\0{hashlib.sha256(each.read_bytes()).hexdigest()}\n" for each in files)
        digest = hashlib.sha256("".join(sums).encode()).hexdigest()
    connection.execute("UPDATE caches SET sha256 = ? WHERE kind = ?", (digest, edit["cache"]))


def _members(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # noqa: BLE001 - it was changed before.
        return {}


def _change_line(line: bytes, random: Random) -> bytes:
    if len(line) > _MOST_LINE_BYTES:
        return mutation.change_bytes(line, random)
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return mutation.change_bytes(line, random)
    if random.random() < 0.15:
        return mutation.change_bytes(line, random)
    return json.dumps(mutation.change_value(value, random), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def _archive(members: dict[str, bytes], *, mend: bool) -> bytes:
    if mend:
        with suppress(Exception):
            about = json.loads(members["manifest.json"])
            for name in about["members"]:
                content = members[name]
                about["members"][name] = {
                    "bytes": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
            members["manifest.json"] = json.dumps(about).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()
