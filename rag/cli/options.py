"""Options that commands share; those of settings take type, range and default from there."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from rag.config import Setting

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

# Where a context keeps the settings that its options chose, by `section.key`, and the file.
_CHOSEN = "rag.settings"
_FILE = "rag.config"


def chosen_settings() -> dict[str, Any]:
    """Return what the options of the command that runs have set, by `section.key`."""
    chosen: dict[str, Any] = click.get_current_context().meta.setdefault(_CHOSEN, {})
    return chosen


def config_file() -> Path | None:
    """Return the file that `--config` names."""
    file: Path | None = click.get_current_context().meta.get(_FILE)
    return file


def find_rule(key: str) -> Setting:
    """Return the rule of a setting, by `section.key`, or of a number that is none, by its name."""
    # Not at import: `rag --help` needs no settings.
    from rag.config import argument_rule, known_settings

    return known_settings()[key] if "." in key else argument_rule(key)


class RuledType(click.ParamType[Any]):
    """What a setting, or a number that is none, allows; `hint` ends the message about another.

    `key` is the setting's `section.key`, or the name of the number.
    """

    name = "value"

    def __init__(self, key: str, hint: str = "") -> None:
        self._key = key
        self._hint = hint

    @property
    def rule(self) -> Setting:
        """The rule that binds it."""
        return find_rule(self._key)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        try:
            return self.rule.read(value)
        except ValueError as error:
            self.fail(f"{error}{self._hint}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete a choice, or else the name of a file or folder."""
        from click.shell_completion import CompletionItem

        choices = self.rule.choices
        if choices:
            return [CompletionItem(each) for each in choices if each.startswith(incomplete)]
        return [CompletionItem(incomplete, type="dir" if param.metavar == "DIR" else "file")]


class _RuledOption(click.Option):
    """An option that shows choices, range and default of a setting, or of a number, in its help."""

    def __init__(self, names: list[str], *, key: str, **attributes: Any) -> None:
        super().__init__(names, **attributes)
        self.key = key

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        setting = find_rule(self.key)
        if self.metavar is None and not self.is_flag:
            self.metavar = f"[{'|'.join(setting.choices)}]" if setting.choices else "NAME"
        record = super().get_help_record(ctx)
        facts = []
        default = setting.default if self.default is None else self.default
        if self.show_default is not False and default not in ("", ()) and default is not False:
            facts.append(f"default: {default}".removesuffix(".0"))
        if not self.is_flag and (limits := _describe_limits(setting)):
            facts.append(limits)
        if record is None or not facts:
            return record
        return record[0], f"{record[1]}  [{'; '.join(facts)}]"


def _describe_limits(setting: Setting) -> str:
    """Return a range as click itself shows those of its own types."""
    bounds = setting.bounds
    if bounds.gt is not None:
        return f"x>{bounds.gt}"
    if bounds.le is not None:
        return f"{bounds.ge}<=x<={bounds.le}"
    return "" if bounds.ge is None else f"x>={bounds.ge}"


def setting(
    name: str,
    key: str,
    text: str,
    *,
    implies: Callable[[Any], Mapping[str, Any]] | None = None,
    hint: str = "",
    expose_value: bool = False,
    **attributes: Any,
) -> Decorator[Any]:
    """Make an option that sets a setting, from which it takes type, choices, range and default.

    `text` is its help. What it is given goes to `chosen_settings`, unless `expose_value` makes it a
    parameter of the command. `implies` returns further settings that follow from a value.
    """

    def collect(_: click.Context, __: click.Parameter, value: Any) -> Any:
        if value is not None and value != () and not expose_value:
            chosen_settings()[key] = value
            chosen_settings().update(implies(value) if implies else {})
        return value

    return click.option(
        name,
        cls=_RuledOption,
        key=key,
        type=str if attributes.get("multiple") else RuledType(key, hint),
        default=None,
        expose_value=expose_value,
        callback=collect,
        help=text,
        **attributes,
    )


def join(*decorators: Decorator[Any]) -> Decorator[Any]:
    """Join several options to one decorator; help shows them in this order."""

    def decorate(command: Command) -> Command:
        for each in reversed(decorators):
            command = each(command)
        return command

    return decorate


def text_argument(name: str) -> Decorator[Any]:
    """Make an argument of one or more words, joined by spaces, or else read from a pipe."""

    def join_words(context: click.Context, argument: click.Parameter, words: Sequence[str]) -> str:
        if words:
            return " ".join(words)
        piped = "" if sys.stdin is None or sys.stdin.isatty() else _read_piped()
        if not piped.strip():
            raise click.MissingParameter(ctx=context, param=argument)
        return piped

    shown = f"{name.upper()}..."
    made: Decorator[Any] = click.argument(name, nargs=-1, callback=join_words, metavar=shown)
    return made


def _read_piped() -> str:
    # Bytes that are no text make an odd question, and no traceback.
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    return sys.stdin.read()


def count_option(name: str, text: str, *, default: int) -> Decorator[Any]:
    """Make an option that takes a number which no setting is; its range stands in `rag.config`.

    `text` is its help.
    """
    key = name.removeprefix("--")
    return click.option(
        name,
        cls=_RuledOption,
        key=key,
        type=RuledType(key),
        default=default,
        metavar="N",
        help=text,
    )


def file_option(name: str, text: str, **attributes: Any) -> Decorator[Any]:
    """Make an option that takes a file; `text` is its help."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option(name, type=kind, metavar="FILE", help=text, **attributes)


def _keep_file(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    context.meta[_FILE] = value


def _read_one_side(mode: str) -> dict[str, Any]:
    # Who asks for one side alone wants to see that, and nothing that is built on both.
    return {} if mode == "hybrid" else {"retrieval.expansion": ()}


index_option = setting("--index", "index.path", "The index folder.", metavar="DIR")
config_option = file_option(
    "--config",
    "Read settings from FILE instead of rag.toml in this folder.",
    expose_value=False,
    callback=_keep_file,
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
wait_option = setting(
    "--wait",
    "index.wait",
    "Wait while another process writes to the index: for SECONDS, or until it is done.",
    is_flag=False,
    flag_value="inf",
    metavar="[SECONDS]",
    hint=": put --wait last, or write --wait=SECONDS.",
)
index_options = join(index_option, config_option)

k_option = setting(
    "-k", "retrieval.top_k", "How many passages to retrieve.", metavar="N", expose_value=True
)
where_option = click.option(
    "--where",
    metavar="FILTER",
    default="",
    help="Search only documents that match, e.g. 'type:pdf after:2024'.",
)
embedder_option = setting(
    "--embedder",
    "embedding.model",
    "The embedding model: a catalogued name, a directory, or a hub name.",
)
precision_option = setting(
    "--precision", "embedding.precision", "The number format that the embedder computes in."
)
generator_option = setting(
    "--generator",
    "generation.model",
    "The model that writes: `extractive` (it only quotes), a catalogued name, a GGUF file "
    "(here or on the hub), a directory, a hub name, or the URL of an OpenAI-compatible server.",
)
mode_option = setting(
    "--mode",
    "retrieval.mode",
    "Find passages by meaning and words, by meaning alone, or by words alone.",
    implies=_read_one_side,
)
rerank_option = setting(
    "--rerank",
    "retrieval.rerank",
    "Reorder the best passages by `embedder`, `late-interaction`, `likelihood`, or a cross-encoder "
    "(its directory or hub name).",
)
context_option = setting(
    "--context",
    "retrieval.context",
    "What to read of each hit: the passage, a few sentences more on either side, or its section.",
)
way_option = setting(
    "--way",
    "answering.way",
    "Write answers with the generator, quote them from the passages, or (auto) write where the "
    "generator was measured to answer better, and quote where it was not or the passages do not "
    "support what it wrote.",
)
