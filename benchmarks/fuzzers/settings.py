"""Configuration: `rag.toml`, the environment, prompt templates, ignore files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

from fuzzers import made, mutation
from fuzzers.attempts import together

_VALUES = ('"auto"', "true", "0", "5", "0.5", "inf", "-1", '["a"]', '""', "1979-05-27", "{a = 1}")


class _AnySetting(made.IndexTarget):
    """A setting may name a model, whose libraries take seconds to be imported."""

    def warm(self) -> None:
        import sentence_transformers  # noqa: F401

        super().warm()


class ConfigurationFile(_AnySetting):
    """A `rag.toml` that is named, and the same as one that is found."""

    name = "configuration"
    plain = True

    def seeds(self) -> Iterator[bytes]:
        from rag.config import known_settings

        for number, key in enumerate(sorted(known_settings())):
            section, _, name = key.partition(".")
            value = _VALUES[number % len(_VALUES)]
            yield f"[{section}]\n{name} = {value}\n".encode()
        yield b"[retrieval]\ntop_k = 3\nmode = 'dense'\n[index]\nwait = 1.5\n"

    def mutate(self, data: bytes, random: Random) -> bytes:
        lines = data.split(b"\n")
        if random.random() < 0.5:
            at = random.randrange(len(lines))
            name, equals, _ = lines[at].partition(b"=")
            if equals:
                value = random.choice((*_VALUES, *map(str, mutation.NUMBERS), "nan", "1e400"))
                lines[at] = name + b"= " + value.encode()
                return b"\n".join(lines)
        return mutation.change_bytes(data, random)

    def run(self, data: bytes) -> str:
        file = self.folder / "given.toml"
        file.write_bytes(data)
        found = self.folder / "rag.toml"
        outcomes = [
            self.command(*arguments, "--config", file).outcome
            for arguments in (("config",), ("status",), ("search", made.QUESTION, "--json"))
        ]
        found.write_bytes(data)
        try:
            outcomes += [self.command(*each).outcome for each in (("config",), ("info",))]
        finally:
            found.unlink()
        return together(outcomes)


class Environment(_AnySetting):
    """Variables `RAG_*`, as JSON of names and values."""

    name = "environment"

    def seeds(self) -> Iterator[bytes]:
        from rag.config import known_settings

        for number, key in enumerate(sorted(known_settings())):
            name = "RAG_" + key.upper().replace(".", "_")
            yield mutation.to_json({name: ("5", "true", "auto", "a,b")[number % 4]})

    def mutate(self, data: bytes, random: Random) -> bytes:
        given = json.loads(data)
        name = random.choice(list(given))
        value = random.choice((*mutation.TEXTS, *map(str, (*mutation.NUMBERS, *mutation.FLOATS))))
        if random.random() < 0.1:
            name = mutation.change_text(name, random)
        given[name] = (
            value if random.random() < 0.7 else mutation.change_text(given.get(name, ""), random)
        )
        return mutation.to_json(given)

    def run(self, data: bytes) -> str:
        kept = dict(os.environ)
        for name, value in json.loads(data).items():
            clean = name.replace("\0", "").replace("=", "") or "RAG_"
            # What no process can be given, none is.
            raw = value.encode("utf-8", "surrogatepass").replace(b"\0", b"")
            os.environ[clean.encode("ascii", "replace").decode()] = os.fsdecode(raw)
        try:
            return together(
                self.command(*arguments).outcome
                for arguments in (("config",), ("status",), ("search", made.QUESTION))
            )
        finally:
            os.environ.clear()
            os.environ.update(kept)


class Templates(made.IndexTarget):
    """Prompt templates, as JSON of the three files; `rag prompts` fills them in."""

    name = "templates"

    def seeds(self) -> Iterator[bytes]:
        from rag.answering.prompt import copy_templates

        folder = self.folder / "built-in"
        if not folder.exists():
            copy_templates(folder)
        files = {each.name: each.read_text(encoding="utf-8") for each in folder.iterdir()}
        yield mutation.to_json(files)
        for text in (
            "{{ question }}{% for x in range(9) %}{{ x }}{% endfor %}",
            "{{ ''.__class__.__mro__ }}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{% include 'question.jinja' %}",
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{{ 'x' * 999999999 }}",
        ):
            yield mutation.to_json({**files, "question.jinja": text})

    def mutate(self, data: bytes, random: Random) -> bytes:
        files = json.loads(data)
        name = random.choice(list(files))
        files[name] = mutation.change_text(files[name], random)
        return mutation.to_json(files)

    def run(self, data: bytes) -> str:
        folder = self.unpack("templates", data)
        os.environ["RAG_PROMPT_TEMPLATES"] = str(folder)
        try:
            return self.command("prompts").outcome
        finally:
            del os.environ["RAG_PROMPT_TEMPLATES"]


class IgnoreFile(made.IndexTarget):
    """A `.gitignore` and the same `.ragignore` of a folder with files of many names."""

    name = "ignore"
    plain = True

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        self._tree = folder / "tree"
        for name in ("a.txt", "b/c.md", "b/d/e.txt", "x" * 100 + ".txt", "a*b[c].txt", ".h/i.txt"):
            path = self._tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text")

    def seeds(self) -> Iterator[bytes]:
        yield b"*.txt\n!a.txt\n/b/\n# comment\n\\#x\n"
        yield b"**/d/**\n[a-c].md\n?.txt\n*/*/*\n"

    def run(self, data: bytes) -> str:
        for name in (".gitignore", ".ragignore"):
            (self._tree / name).write_bytes(data)
        return self.command("status", self._tree).outcome
