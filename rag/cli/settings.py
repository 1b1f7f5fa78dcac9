"""`rag config` and `rag trust`: where settings come from, and which files may make them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rag.cli import options, output
from rag.cli.opening import trace_settings
from rag.cli.terminal import say
from rag.errors import ConfigError


@click.command("config")
@options.config_option
@options.json_option
def config_command(as_json: bool) -> None:
    """Show the settings in force, and where each comes from.

    Names the files that were read, then each setting that something other than its default gives.
    --json names all. Of keys it says which variable holds one, never the key.
    """
    from rag.config import known_settings
    from rag.generation.keys import find_key_variable

    trace = trace_settings()
    values = {key: _value_of(trace.config, key) for key in known_settings()}
    if as_json:
        shown = {
            key: {"value": value, "origin": trace.origins.get(key, "default")}
            for key, value in values.items()
        }
        output.print_json(
            {"files": trace.files, "settings": shown, "key": find_key_variable() or None}
        )
        return
    for file in trace.files:
        say(f"read: {output.describe_config_file(file)}")
    if not trace.files:
        say("read: no file of settings")
    for key, origin in sorted(trace.origins.items()):
        say(f"{key} = {_as_toml(values[key])}  ({origin})")
    variable = find_key_variable()
    say(f"key for a server: {f'{variable} is set' if variable else 'none'}")


@click.command("trust")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option("--forget", "forgetting", is_flag=True, help="Trust the file of DIR no more.")
@click.option("--list", "listing", is_flag=True, help="List the files that you trust.")
@options.json_option
def trust_command(folder: Path, forgetting: bool, listing: bool, as_json: bool) -> None:
    """Let the rag.toml of a folder set everything.

    A rag.toml in the working directory may have come with somebody else's files. Until you trust
    it, it may only change how your documents are searched and shown: it names no server, no model
    outside the catalogue, no template and no path elsewhere. Read it first. It is remembered by
    its place and its contents: once it changes, you are asked again.
    """
    from rag import trust

    if listing:
        _print_list(trust.trusted_files(), as_json)
        return
    file = _file_of(folder)
    if forgetting:
        forgotten = trust.forget(file)
        if as_json:
            output.print_json({"file": str(file), "forgotten": forgotten})
        else:
            say(f"{file}: {'' if forgotten else 'was '}not trusted")
        return
    from rag.config import needs_trust, read_settings

    values, sha256 = read_settings(file, regular=True)
    needing = {key: values[key] for key in needs_trust(file, values)}
    trust.trust(file, sha256)
    if as_json:
        output.print_json({"file": str(file), "sha256": sha256, "settings": needing})
        return
    say(f"{file}: trusted until it changes")
    for key, value in needing.items():
        say(f"  {key} = {_as_toml(value)}")


def ask_to_trust(file: Path, keys: tuple[str, ...]) -> bool:
    """Show somebody at a terminal what a file sets, and ask whether to trust it from now on."""
    from rag import trust
    from rag.config import read_settings

    values, sha256 = read_settings(file, regular=True)
    say(f"{file} in this folder sets what needs your trust:", err=True)
    for key in keys:
        say(f"  {key} = {_as_toml(values.get(key))}", err=True)
    if not click.confirm("Trust this file until it changes?", err=True):
        return False
    trust.trust(file, sha256)
    return True


def _file_of(folder: Path) -> Path:
    from rag.config import CONFIG_FILE

    return folder if folder.name == CONFIG_FILE else folder / CONFIG_FILE


def _print_list(trusted: dict[str, str], as_json: bool) -> None:
    states = {place: _state_of(Path(place), sha256) for place, sha256 in trusted.items()}
    if as_json:
        output.print_json([{"file": place, "state": state} for place, state in states.items()])
        return
    for place, state in sorted(states.items()):
        say(f"{place}: {state}")
    if not states:
        say("no file is trusted")


def _state_of(file: Path, sha256: str) -> str:
    from rag.config import read_settings

    try:
        found = read_settings(file, regular=True)[1]
    except ConfigError:
        return "gone, or not readable"
    return "trusted" if found == sha256 else "changed since, not trusted"


def _value_of(config: Any, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def _as_toml(value: Any) -> str:
    """Write a value in ASCII: what stands in a file of somebody else's may not reach a terminal."""
    return json.dumps(value, default=str)
