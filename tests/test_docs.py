"""The documentation is true: pages are current, snippets run, commands are described."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import click
import pytest
from conftest import ROOT, RunMain

from rag import RAG, load_config
from rag.cli import cli
from rag.config import known_settings
from rag.models import CATALOGUE
from rag.protocols import Embedder

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def generate_cli() -> ModuleType:
    path = ROOT / "docs" / "generate_cli.py"
    spec = importlib.util.spec_from_file_location("generate_cli", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_manual_page_is_what_help_says(generate_cli: ModuleType) -> None:
    page = ROOT / "docs" / "rag.1"
    shown = page.read_text(encoding="utf-8")
    assert shown == generate_cli.man_page()
    for name, command in cli.commands.items():
        if not isinstance(command, click.Group):
            assert f'.SS "rag {name}' in shown
    groff = shutil.which("groff")
    if groff is not None:
        command_line = [groff, "-man", "-Tutf8", "-ww", str(page)]
        made = subprocess.run(command_line, capture_output=True, text=True, check=True)
        assert made.stderr == ""
        assert "--where FILTER" in re.sub(r"\x1b\[\d*m|.\x08", "", made.stdout)


def test_the_command_line_page_is_what_help_says(generate_cli: ModuleType) -> None:
    shown = generate_cli.page()
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == shown
    for name, command in cli.commands.items():
        assert f"## rag {name}" in shown
        assert command.help
        for option in (p for p in command.params if isinstance(p, click.Option)):
            assert option.help


SNIPPETS = [
    pytest.param(snippet, id=f"{page.stem}-{number}")
    for page in [
        ROOT / "README.md",
        *(ROOT / "docs" / f"{name}.md" for name in ("python", "chat", "checking", "prompts")),
    ]
    for number, snippet in enumerate(blocks(page, "python"), start=1)
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python_snippets_run(
    snippet: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    embedder: Embedder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path_factory.mktemp("snippet")
    (folder / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(folder)
    RAG(embedder=embedder).index("data/corpus")
    exec(compile(snippet, "snippet", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.strip()


def test_the_readme_has_its_two_commands() -> None:
    main, tests = re.findall(r"<!-- (?:main job|tests) -->\n```sh\n(.*)\n```", README)
    for command in (main, tests):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert tests.endswith("&& .venv/bin/pytest")
    *_, rag = main.partition(".venv/bin/rag ")
    arguments = shlex.split(rag)
    name, sub, rest = cli.resolve_command(click.Context(cli), arguments)
    assert sub is not None
    sub.make_context(name, rest)


def test_commands_in_the_readme_parse() -> None:
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("rag ")]
    assert len(commands) >= 8
    for arguments in commands:
        name, sub, rest = cli.resolve_command(click.Context(cli), arguments)
        assert sub is not None
        sub.make_context(name, rest)


def test_the_configuration_page_lists_every_key_with_its_default(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "docs" / "configuration.md", "toml")
    tables = tomllib.loads(block)
    given = {f"{section}.{key}" for section, keys in tables.items() for key in keys}
    assert given == set(known_settings())
    path = tmp_path / "rag.toml"
    path.write_text(block)
    assert load_config(path, {}) == load_config(None, {})


def test_the_models_page_lists_the_catalogue(run_main: RunMain) -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    listed = run_main("models").out
    for entry in CATALOGUE.values():
        assert f"| `{entry.name}` |" in page
        assert entry.name in listed


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "data" / "README.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
