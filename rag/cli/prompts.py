"""`rag prompts`: the templates that prompts are made from."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli import options
from rag.cli.opening import read_config
from rag.cli.terminal import say, say_text

_QUESTION = "When was the bridge built?"
_TEXT = "The bridge was built in 1921."


@click.command("prompts")
@click.option(
    "--copy",
    "target",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the built-in templates into DIR, so that you can change them there.",
)
@options.config_option
def prompts_command(target: Path | None) -> None:
    """Show the prompt templates in use, or copy the built-in ones.

    Prints the file of each template, and a prompt made from them.
    """
    from rag.answering.extractive import ExtractiveGenerator
    from rag.answering.prompt import build_prompt, copy_templates, load_templates
    from rag.config import GenerationConfig
    from rag.types import Chunk, Hit

    if target is not None:
        for path in copy_templates(target):
            say(f"written: {path}")
        say(f'set `prompt.templates = "{target}"` to use them')
        return
    templates = load_templates(read_config().prompt.templates)
    for template in (templates.system, templates.question, templates.passage):
        say(template.file)
    # Any generator will do that has room enough.
    generator = ExtractiveGenerator(GenerationConfig(model="extractive"))
    hit = Hit(Chunk(0, "", _TEXT, 0, len(_TEXT), 0), 1.0, 1, "bridge.md", "The bridge")
    prompt = build_prompt(_QUESTION, [hit], generator, templates=templates)
    for message in prompt.messages:
        say_text(f"\n[{message.role}]\n{message.content}")
